// SPDX-License-Identifier: BSD-2-Clause
// Which part of the e1000 family a device is.
#pragma once

#include "e1000/part.hpp"
#include "pci_device.hpp"

namespace dmatoll::user {

// Throws Failure if it is none of them.
const e1000::Part& identify_nic(const PciDevice& device);

}  // namespace dmatoll::user
