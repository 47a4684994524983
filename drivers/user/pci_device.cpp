// SPDX-License-Identifier: BSD-2-Clause
#include "pci_device.hpp"

#include <array>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <regex>

#include "failure.hpp"
#include "iova_ranges.hpp"

namespace dmatoll::user {
namespace {

namespace fs = std::filesystem;

// Translated by every IOMMU that a PCI device sits behind today when its width cannot be read.
constexpr unsigned cautious_address_bits = 39;

std::string first_line(const fs::path& path) {
    std::ifstream file{path};
    std::string line;
    std::getline(file, line);
    return line;
}

// The last part of what a link points to, or nothing if there is no link.
std::string link_name(const fs::path& path) {
    std::error_code error;
    const fs::path target = fs::read_symlink(path, error);
    return error ? std::string{} : target.filename().string();
}

std::uint64_t hexadecimal(const std::string& text) { return std::strtoull(text.c_str(), nullptr, 16); }

bool keeps_group_usable(const std::string& driver) {
    // A bridge moves no data of its own; VFIO accepts its driver in a group.
    return driver.empty() || driver == "vfio-pci" || driver == "pcieport" || driver == "pci-stub";
}

void check_driver(const std::string& bdf, const fs::path& device) {
    const std::string driver = link_name(device / "driver");
    if (driver == "vfio-pci") {
        return;
    }
    throw Failure{"device " + bdf + " is bound to " + (driver.empty() ? "no driver" : driver) +
                  " and not to vfio-pci. `dmatoll bind " + bdf +
                  " vfio-pci` binds it (an interface that it carries goes away)."};
}

void check_group_members(const std::string& bdf, const std::string& group) {
    std::string blockers;
    for (const auto& member : fs::directory_iterator{"/sys/kernel/iommu_groups/" + group + "/devices"}) {
        const std::string name = member.path().filename().string();
        const std::string driver = link_name(member.path() / "driver");
        if (name != bdf && !keeps_group_usable(driver)) {
            blockers += (blockers.empty() ? "" : ", ") + name + " (" + driver + ")";
        }
    }
    if (!blockers.empty()) {
        throw Failure{
            "device " + bdf + " shares IOMMU group " + group +
            " with devices that the kernel drives: " + blockers +
            ". The group is the unit of isolation: bind each of them to vfio-pci or to nothing, or move the "
            "card to a slot with a group of its own."};
    }
}

unsigned address_width(const fs::path& device) {
    const std::string capability = first_line(device / "iommu" / "intel-iommu" / "cap");
    // VFIO reports what the page-table format could reach, 57 bits on a unit that translates 39. AMD's units
    // have no such file; the cautious width costs nothing, as it is far beyond what one driver maps.
    return capability.empty() ? cautious_address_bits : vtd_address_bits(hexadecimal(capability));
}

}  // namespace

PciDevice find_device(const std::string& bdf_given) {
    static const std::regex form{"(([0-9a-fA-F]{4,8}):)?([0-9a-fA-F]{2}):([0-9a-fA-F]{2})\\.[0-7]"};
    std::smatch match;
    if (!std::regex_match(bdf_given, match, form)) {
        throw Failure{"`" + bdf_given +
                      "` is not a PCI address: expected domain:bus:device.function, such as 0000:00:03.0"};
    }
    const std::string bdf = match[1].matched ? bdf_given : "0000:" + bdf_given;
    const fs::path device = fs::path{"/sys/bus/pci/devices"} / bdf;
    if (!fs::exists(device)) {
        throw Failure{"there is no PCI device " + bdf + " (" + device.string() +
                      " does not exist). `dmatoll devices` lists the ones that can be used."};
    }
    const std::string group = link_name(device / "iommu_group");
    if (group.empty()) {
        throw Failure{
            "device " + bdf +
            " is in no IOMMU group: the IOMMU is absent or off. Switch VT-d or AMD-Vi on in the firmware and "
            "boot with intel_iommu=on; `dmatoll doctor` says more."};
    }
    return {bdf,
            group,
            address_width(device),
            static_cast<std::uint16_t>(hexadecimal(first_line(device / "vendor"))),
            static_cast<std::uint16_t>(hexadecimal(first_line(device / "device"))),
            static_cast<std::uint32_t>(hexadecimal(first_line(device / "class")))};
}

void require_vfio(const PciDevice& device) {
    check_driver(device.bdf, fs::path{"/sys/bus/pci/devices"} / device.bdf);
    check_group_members(device.bdf, device.group);
}

std::string identity_text(unsigned vendor, unsigned model) {
    std::array<char, 16> text{};
    std::snprintf(text.data(), text.size(), "%04x:%04x", vendor, model);
    return text.data();
}

}  // namespace dmatoll::user
