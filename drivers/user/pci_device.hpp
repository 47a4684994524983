// SPDX-License-Identifier: BSD-2-Clause
// What sysfs says about the device, and whether it can be driven from here.
#pragma once

#include <cstdint>
#include <string>

namespace dmatoll::user {

inline constexpr std::uint32_t ahci_controller = 0x010601;

struct PciDevice {
    std::string bdf;        // 0000:00:03.0
    std::string group;      // number of the IOMMU group
    unsigned address_bits;  // of IOVA that the IOMMU in front of it translates
    std::uint16_t vendor;
    std::uint16_t model;
    std::uint32_t kind;  // class, subclass and programming interface: ahci_controller is one of them
};

// Throws Failure unless the device is there and in an IOMMU group. `bdf` may lack the domain (00:03.0).
PciDevice find_device(const std::string& bdf);

// Throws Failure unless the device is bound to vfio-pci and every other function of its group to a VFIO driver or to none.
// Asked when it is known to be of the right kind: whoever names another device is told that first.
void require_vfio(const PciDevice& device);

// 8086:100e
std::string identity_text(unsigned vendor, unsigned model);

}  // namespace dmatoll::user
