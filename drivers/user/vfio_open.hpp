// SPDX-License-Identifier: BSD-2-Clause
// The privileged half of VFIO: opening what only root may open. What is done with the descriptors afterwards
// needs none.
#pragma once

#include "descriptor.hpp"
#include "pci_device.hpp"

namespace dmatoll::user {

// The group's own descriptor need not stay: the device's holds the group.
struct VfioDescriptors {
    Descriptor container;
    Descriptor device;
};

// Opens container and device, with a type 1 domain attached. A group that is still busy (its last user has
// just died) is tried again for up to `patience_ms`. Throws Failure.
VfioDescriptors open_vfio(const PciDevice& device, int patience_ms);

}  // namespace dmatoll::user
