// SPDX-License-Identifier: BSD-2-Clause
// A request of the block layer's, as ublk describes it, as one for the disk. The description lies in memory
// that the kernel writes; what it says is checked all the same, since it decides what the device is told.
#pragma once

#include <cerrno>
#include <cstdint>

#include "ahci/disk.hpp"
#include "ahci/request.hpp"
#include "ahci/settings.hpp"
#include "ublk_interface.hpp"

namespace dmatoll::user {

struct DiskRequest {
    int error = 0;  // negative, an errno: it cannot be done, and the rest means nothing
    ahci::Operation operation = ahci::Operation::read;
    bool force_unit_access = false;
    std::uint64_t first_block = 0;
    std::uint32_t blocks = 0;
    std::uint32_t bytes = 0;  // of data, and the answer when all went well; 0: none
};

inline DiskRequest to_disk_request(const ublksrv_io_desc& asked, const ahci::Disk& disk) {
    DiskRequest request;
    switch (ublksrv_get_op(&asked)) {
        case UBLK_IO_OP_READ:
            break;
        case UBLK_IO_OP_WRITE:
            request.operation = ahci::Operation::write;
            request.force_unit_access = (asked.op_flags & UBLK_IO_F_FUA) != 0;
            break;
        case UBLK_IO_OP_FLUSH:
            request.operation = ahci::Operation::flush;
            request.error = disk.flush ? 0 : -EOPNOTSUPP;
            return request;
        case UBLK_IO_OP_DISCARD:
            request.operation = ahci::Operation::trim;
            if (!disk.trim) [[unlikely]] {
                request.error = -EOPNOTSUPP;
                return request;
            }
            break;
        default:
            request.error = -EOPNOTSUPP;
            return request;
    }
    const std::uint32_t sectors_per_block = disk.block_bytes / ublk::sector_bytes;
    const std::uint32_t uneven = sectors_per_block - 1;
    const std::uint64_t first = asked.start_sector / sectors_per_block;
    const std::uint32_t blocks = asked.nr_sectors / sectors_per_block;
    if (((asked.start_sector | asked.nr_sectors) & uneven) != 0 || blocks == 0 || first >= disk.blocks ||
        blocks > disk.blocks - first) [[unlikely]] {
        request.error = -EIO;
        return request;
    }
    request.first_block = first;
    request.blocks = blocks;
    if (request.operation == ahci::Operation::trim) {
        return request;
    }
    if (asked.nr_sectors > ahci::most_transfer_bytes / ublk::sector_bytes ||
        (request.force_unit_access && !disk.force_unit_access)) [[unlikely]] {
        request.error = -EIO;
        return request;
    }
    request.bytes = asked.nr_sectors * ublk::sector_bytes;
    return request;
}

// What ublk is answered for a request that did not end well.
constexpr int error_of(ahci::Outcome outcome) {
    return outcome == ahci::Outcome::timed_out ? -ETIMEDOUT : -EIO;
}

}  // namespace dmatoll::user
