// SPDX-License-Identifier: BSD-2-Clause
#include "nic_part.hpp"

#include <string>

#include "failure.hpp"

namespace dmatoll::user {

const e1000::Part& identify_nic(const PciDevice& device) {
    if (const e1000::Part* const part = e1000::find_part(device.vendor, device.model); part != nullptr) {
        return *part;
    }
    std::string known;
    for (const e1000::Part* const part : e1000::parts::all) {
        known += (known.empty() ? "" : ", ") + std::string{part->name} + " (" +
                 identity_text(part->vendor, part->device) + ")";
    }
    throw Failure{"device " + device.bdf + " is a " + identity_text(device.vendor, device.model) +
                  ", and this driver knows only " + known + ". `lspci -nn` lists what is in this machine."};
}

}  // namespace dmatoll::user
