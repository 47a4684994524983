// SPDX-License-Identifier: BSD-2-Clause
// A disk as a ublk device.
#pragma once

#include "disk_report.hpp"
#include "ublk_interface.hpp"

namespace dmatoll::user {

// What the block layer is to know of the disk.
ublk_params ublk_parameters(const DiskDescription& disk);

// Requests of a disk with so many tags that the block layer may have under way. It lets itself be held to no
// fewer than four; those that the disk has no tag for wait in the driver process.
constexpr std::uint32_t ublk_requests(std::uint32_t tags) { return tags < 4 ? 4 : tags; }

// Places in the queue of its device.
//
// Linux 6.12 learns of its server's death by a command that waits for a request. With none waiting, as with
// every request at the server's, it does not before the first request is half a minute old. So the queue has
// one place more than requests are let into it (/sys/block/ublkb*/queue/nr_requests).
constexpr std::uint32_t ublk_queue_depth(std::uint32_t tags) { return ublk_requests(tags) + 1; }

}  // namespace dmatoll::user
