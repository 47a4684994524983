// SPDX-License-Identifier: BSD-2-Clause
// A disk as a ublk device.
#pragma once

#include "disk_report.hpp"
#include "ublk_interface.hpp"

namespace dmatoll::user {

// What the block layer is to know of the disk.
ublk_params ublk_parameters(const DiskDescription& disk);

// Requests that the device may have at its server's.
//
// Linux 6.12 learns of its server's death by a command that waits for a request. With none waiting, as with every
// request at the server's, it does not before the first request is half a minute old. So the queue has one place
// more than requests are let into it (/sys/block/ublkb*/queue/nr_requests).
constexpr std::uint16_t ublk_queue_depth(const DiskDescription& disk) {
    return static_cast<std::uint16_t>(disk.queue_depth + 1);
}

}  // namespace dmatoll::user
