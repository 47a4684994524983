// SPDX-License-Identifier: BSD-2-Clause
// What sysfs says about the device, and whether it can be driven from here.
#pragma once

#include <cstdint>
#include <string>

#include "e1000/part.hpp"

namespace dmatoll::user {

struct PciDevice {
    std::string bdf;        // 0000:00:03.0
    std::string group;      // number of the IOMMU group
    unsigned address_bits;  // of IOVA that the IOMMU in front of it translates
    const e1000::Part* part;
};

// Throws Failure unless the device is there, is a part that the driver knows, is in an IOMMU group of which
// every other function is bound to a VFIO driver or to none, and is itself bound to vfio-pci. `bdf` may lack
// the domain (00:03.0).
PciDevice find_device(const std::string& bdf);

}  // namespace dmatoll::user
