// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// The parts of the e1000 family by number, for the C side.
#include <cstdint>

#include "e1000/part.hpp"
#include "part.h"

using namespace dmatoll;

extern "C" {

const char* dmatoll_part_name(std::uint16_t vendor, std::uint16_t device) {
    const e1000::Part* const part = e1000::find_part(vendor, device);
    return part != nullptr ? part->name : nullptr;
}

bool dmatoll_part_at(unsigned int n, const char** name, std::uint16_t* vendor, std::uint16_t* device) {
    if (n >= e1000::parts::all.size()) return false;
    *name = e1000::parts::all[n]->name;
    *vendor = e1000::parts::all[n]->vendor;
    *device = e1000::parts::all[n]->device;
    return true;
}

}  // extern "C"
