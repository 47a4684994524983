// SPDX-License-Identifier: BSD-2-Clause
// PCI devices, their drivers and their IOMMU groups, through sysfs.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "../file.hpp"

namespace dmatoll::harness {

struct PciDevice {
    std::string bdf;
    std::uint16_t vendor = 0;
    std::uint16_t device = 0;
    std::uint32_t class_code = 0;  // 24 bits; 0x0200xx is an Ethernet controller, 0x06xxxx a bridge
    std::string driver;            // empty: none
    std::string driver_override;   // empty: none
    std::optional<int> group;
    std::string group_type;  // DMA, DMA-FQ, identity, ...; empty without a group
    int irq = 0;
    std::vector<std::string> interfaces;  // in our network namespace
    bool default_route = false;           // one of them carries it

    [[nodiscard]] bool is_disk_controller() const { return class_code == 0x010601; }  // AHCI
    [[nodiscard]] bool is_network() const { return class_code >> 16 == 0x02; }
    [[nodiscard]] bool is_bridge() const { return class_code >> 16 == 0x06; }
};

std::vector<PciDevice> pci_devices();

// Throws Failure if the address is not one, or there is no such device.
PciDevice pci_device(const std::string& bdf);

// Network interfaces that carry a default route, IPv4 or IPv6.
std::vector<std::string> default_route_interfaces();

// Other functions in the same group that a driver of their own could make do DMA: all but bridges.
std::vector<std::string> group_companions(const PciDevice& device);

// Throws Failure, with the reason and what can be done, if the device must not be taken: it is neither a network
// card nor an AHCI controller; or, unless `force`, it carries the default route, or somebody uses a disk of it.
void require_free(const PciDevice& device, bool force);
// ... is an AHCI controller with a disk that somebody uses, and would lose with the driver.
void require_disks_unused(const PciDevice& device);
// ... is none that our driver drives.
void require_drivable(const PciDevice& device);
// ... has no IOMMU group, or shares it.
void require_own_group(const PciDevice& device, const std::string& purpose);

// Leaves the device without a driver. Nothing happens if it has none.
void unbind(const std::string& bdf);

// Binds by driver_override; another driver is unbound first. Throws Failure, with the kernel's last words
// about the device, if the driver does not take it.
void bind_driver(const std::string& bdf, const std::string& driver);

void set_driver_override(const std::string& bdf, const std::string& driver);  // empty: none

// Sets the type of the device's group, unbound, and reads it back. Throws Failure if it is another one
// afterwards.
void set_group_type(const std::string& bdf, const std::string& type);

// Asks modprobe for the drivers of the function and of what sits on it (a virtio device). Nothing happens if
// there is none.
void load_modules_for(const std::string& bdf);

// The interface that the bound driver made, waiting for it at most that long. Throws Failure.
std::string wait_for_interface(const std::string& bdf, double seconds);

// The last lines of the kernel's log that name the device; empty if it cannot be read.
std::string kernel_log_about(const std::string& name);

fs::path device_path(const std::string& bdf);

}  // namespace dmatoll::harness
