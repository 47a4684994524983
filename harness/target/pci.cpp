// SPDX-License-Identifier: BSD-2-Clause
#include "pci.hpp"

#include <fcntl.h>
#include <sys/klog.h>

#include <algorithm>
#include <cstdlib>
#include <regex>

#include "../catalogue.hpp"
#include "../failure.hpp"
#include "../process.hpp"
#include "../text.hpp"
#include "disk_users.hpp"
#include "system.hpp"

namespace dmatoll::harness {
namespace {

std::uint64_t hexadecimal(const std::optional<std::string>& text) {
    return text ? std::strtoull(text->c_str(), nullptr, 16) : 0;
}

PciDevice read_device(const std::string& bdf, const std::vector<std::string>& routed) {
    const fs::path path = device_path(bdf);
    PciDevice device;
    device.bdf = bdf;
    device.vendor = static_cast<std::uint16_t>(hexadecimal(read_attribute(path / "vendor")));
    device.device = static_cast<std::uint16_t>(hexadecimal(read_attribute(path / "device")));
    device.class_code = static_cast<std::uint32_t>(hexadecimal(read_attribute(path / "class")));
    device.driver = link_name(path / "driver").value_or("");
    device.driver_override = read_attribute(path / "driver_override").value_or("");
    if (device.driver_override == "(null)") device.driver_override.clear();
    if (const auto group = link_name(path / "iommu_group")) {
        device.group = std::atoi(group->c_str());
        device.group_type =
            read_attribute(system_paths().sys / "kernel/iommu_groups" / *group / "type").value_or("");
    }
    device.irq = std::atoi(read_attribute(path / "irq").value_or("0").c_str());
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(path / "net", error))
        device.interfaces.push_back(entry.path().filename().string());
    // A virtio device is one level deeper than the PCI function.
    for (const auto& entry : fs::directory_iterator(path, error)) {
        if (!entry.path().filename().string().starts_with("virtio")) continue;
        for (const auto& inner : fs::directory_iterator(entry.path() / "net", error))
            device.interfaces.push_back(inner.path().filename().string());
    }
    std::sort(device.interfaces.begin(), device.interfaces.end());
    device.default_route =
        std::any_of(device.interfaces.begin(), device.interfaces.end(), [&](const std::string& name) {
            return std::find(routed.begin(), routed.end(), name) != routed.end();
        });
    return device;
}

}  // namespace

fs::path device_path(const std::string& bdf) { return system_paths().sys / "bus/pci/devices" / bdf; }

namespace {

// Those below a bridge, a bond or a VLAN carry what it carries.
void add_with_lower(const std::string& name, std::vector<std::string>& names) {
    if (std::find(names.begin(), names.end(), name) != names.end()) return;
    names.push_back(name);
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(system_paths().sys / "class/net" / name, error)) {
        constexpr std::string_view lower = "lower_";
        const std::string link = entry.path().filename().string();
        if (link.starts_with(lower)) add_with_lower(link.substr(lower.size()), names);
    }
}

}  // namespace

std::vector<std::string> default_route_interfaces() {
    std::vector<std::string> names;
    // Iface Destination Gateway Flags RefCnt Use Metric Mask ...: the default route has destination and mask
    // 0.
    for (const auto& line : lines(read_attribute(system_paths().proc / "net/route").value_or(""))) {
        const auto fields = split(line, '\t');
        if (fields.size() > 7 && fields[1] == "00000000" && fields[7] == "00000000")
            add_with_lower(fields[0], names);
    }
    // destination length source length next-hop metric reference use flags interface
    for (const auto& line : lines(read_attribute(system_paths().proc / "net/ipv6_route").value_or(""))) {
        if (!line.starts_with(std::string(32, '0') + " 00 ")) continue;
        const std::string name = trim(line.substr(line.rfind(' ')));
        if (name != "lo") add_with_lower(name, names);
    }
    return names;
}

std::vector<PciDevice> pci_devices() {
    const auto routed = default_route_interfaces();
    std::vector<PciDevice> devices;
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(system_paths().sys / "bus/pci/devices", error))
        devices.push_back(read_device(entry.path().filename().string(), routed));
    std::sort(devices.begin(), devices.end(),
              [](const PciDevice& a, const PciDevice& b) { return a.bdf < b.bdf; });
    return devices;
}

PciDevice pci_device(const std::string& bdf) {
    static const std::regex form{"[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\\.[0-7]"};
    if (!std::regex_match(bdf, form))
        fail(
            "'{}' is not a PCI address: one looks like 0000:00:04.0; `dmatoll devices` lists those that can "
            "be driven",
            bdf);
    if (!fs::exists(device_path(bdf)))
        fail("There is no PCI device {} here; `dmatoll devices` lists those that can be driven", bdf);
    return read_device(bdf, default_route_interfaces());
}

std::vector<std::string> group_companions(const PciDevice& device) {
    std::vector<std::string> companions;
    if (!device.group) return companions;
    std::error_code error;
    const fs::path members =
        system_paths().sys / "kernel/iommu_groups" / std::to_string(*device.group) / "devices";
    for (const auto& entry : fs::directory_iterator(members, error)) {
        const std::string bdf = entry.path().filename().string();
        if (bdf == device.bdf || read_device(bdf, {}).is_bridge()) continue;
        companions.push_back(bdf);
    }
    std::sort(companions.begin(), companions.end());
    return companions;
}

void require_disks_unused(const PciDevice& device) {
    if (!device.is_disk_controller()) return;
    const auto uses = uses_of_controller(device.bdf);
    if (!uses.empty())
        fail(
            "{} is not taken from {}, since disks of it are in use: {}. Unmount them and end what holds them, or "
            "say --force if their data may be lost",
            device.bdf, device.driver.empty() ? "its driver" : device.driver, join(uses, "; "));
}

void require_free(const PciDevice& device, bool force) {
    if (!device.is_network() && !device.is_disk_controller())
        fail(
            "{} is {:04x}:{:04x} of class {:06x}, no network card and no AHCI controller, and is not taken; "
            "`dmatoll devices` lists those that can be driven",
            device.bdf, device.vendor, device.device, device.class_code);
    if (!force) require_disks_unused(device);
    if (device.default_route && !force)
        fail(
            "{} ({}) carries this machine's default route and is not taken. If you reach this machine "
            "another way, say --force",
            device.bdf, join(device.interfaces, ", "));
}

void require_drivable(const PciDevice& device) {
    if (!find_device_model(device.vendor, device.device, device.class_code))
        fail("{} is {:04x}:{:04x}; dmatoll drives {} and leaves other devices alone", device.bdf,
             device.vendor, device.device, join(device_model_names(), ", "));
}

void require_own_group(const PciDevice& device, const std::string& purpose) {
    if (!device.group)
        fail(
            "{} has no IOMMU group, which {} needs: no IOMMU is active. Switch it on in the firmware (VT-d, "
            "AMD-Vi) and boot "
            "with intel_iommu=on; `dmatoll doctor` checks this",
            device.bdf, purpose);
    const auto companions = group_companions(device);
    if (!companions.empty())
        fail(
            "{} shares the IOMMU group {} with {}, and {} needs a group of its own: all devices of a group "
            "share one domain. "
            "Put the card into another slot",
            device.bdf, *device.group, join(companions, ", "), purpose);
}

void unbind(const std::string& bdf) {
    if (!link_name(device_path(bdf) / "driver")) return;
    write_attribute(device_path(bdf) / "driver/unbind", bdf);
    if (const auto still = link_name(device_path(bdf) / "driver"))
        fail("{} is still bound to {} after it was unbound", bdf, *still);
}

void set_driver_override(const std::string& bdf, const std::string& driver) {
    write_attribute(device_path(bdf) / "driver_override", driver + "\n");
}

void bind_driver(const std::string& bdf, const std::string& driver) {
    if (link_name(device_path(bdf) / "driver") == driver) return;
    if (!fs::exists(system_paths().sys / "bus/pci/drivers" / driver))
        fail("Cannot bind {} to {}: there is no such PCI driver; its module is not loaded", bdf, driver);
    unbind(bdf);
    set_driver_override(bdf, driver);
    std::string refused;
    try {
        write_attribute(system_paths().sys / "bus/pci/drivers_probe", bdf);
    } catch (const Failure& failure) {
        refused = failure.what();
    }
    const auto bound = link_name(device_path(bdf) / "driver");
    if (bound != driver) {
        const std::string log = kernel_log_about(bdf);
        fail("The driver {} did not take {}{}{}{}", driver, bdf, bound ? " (bound to " + *bound + ")" : "",
             refused.empty() ? "" : ": " + refused, log.empty() ? "" : "\nThe kernel said:\n" + log);
    }
}

void set_group_type(const std::string& bdf, const std::string& type) {
    const PciDevice device = pci_device(bdf);
    if (device.group && device.group_type == type) return;
    require_own_group(device, fmt::format("a domain of type {}", type));
    const fs::path attribute =
        system_paths().sys / "kernel/iommu_groups" / std::to_string(*device.group) / "type";
    unbind(bdf);
    write_attribute(attribute, type);
    const std::string now = read_attribute(attribute).value_or("");
    if (now != type)
        fail("The type of IOMMU group {} of {} is {} after {} was written to {}", *device.group, bdf, now,
             type, attribute.string());
}

void load_modules_for(const std::string& bdf) {
    const auto load = [](const fs::path& device) {
        if (link_name(device / "driver")) return;
        if (const auto alias = read_attribute(device / "modalias")) run({.arguments = {"modprobe", *alias}});
    };
    load(device_path(bdf));
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(device_path(bdf), error))
        if (entry.path().filename().string().starts_with("virtio")) load(entry.path());
}

std::string wait_for_interface(const std::string& bdf, double seconds) {
    const double deadline = now_seconds() + seconds;
    for (;;) {
        const PciDevice device = pci_device(bdf);
        if (!device.interfaces.empty()) return device.interfaces.front();
        if (now_seconds() >= deadline)
            fail("{} of {} made no network interface within {} s. The kernel said:\n{}",
                 device.driver.empty() ? "No driver" : "The driver " + device.driver, bdf, seconds,
                 kernel_log_about(bdf));
        sleep_seconds(0.02);
    }
}

std::string kernel_log_about(const std::string& name) {
    constexpr int read_all = 3;  // SYSLOG_ACTION_READ_ALL
    std::string log(1 << 18, '\0');
    const int got = ::klogctl(read_all, log.data(), static_cast<int>(log.size()));
    if (got <= 0) return {};
    log.resize(static_cast<std::size_t>(got));
    std::string found;
    for (const auto& line : lines(log))
        if (line.find(name) != std::string::npos) found += line + "\n";
    return last_lines(found, 5);
}

}  // namespace dmatoll::harness
