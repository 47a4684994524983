// SPDX-License-Identifier: BSD-2-Clause
// Whether a disk that a block device was made for is among those that the next driver process found.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "disk_report.hpp"

namespace dmatoll::user {

enum class Whereabouts : std::uint8_t {
    there,
    silent,    // nothing answered at its port: it may yet, a disk takes its time behind a reset
    replaced,  // another one did
};

inline Whereabouts look_for(const DiskDescription& disk, const std::vector<DiskDescription>& found) {
    const auto at_port = std::find_if(found.begin(), found.end(),
                                      [&disk](const DiskDescription& one) { return one.port == disk.port; });
    if (at_port == found.end()) {
        return Whereabouts::silent;
    }
    return *at_port == disk ? Whereabouts::there : Whereabouts::replaced;
}

}  // namespace dmatoll::user
