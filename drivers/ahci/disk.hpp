// SPDX-License-Identifier: BSD-2-Clause
// A disk as its IDENTIFY DEVICE data describes it, checked.
#pragma once

#include <cstdint>

namespace dmatoll::ahci {

struct Disk {
    std::uint64_t blocks;                // at least 1
    std::uint32_t block_bytes;           // logical: what addresses count; a power of two from 512 to 4096
    std::uint32_t physical_block_bytes;  // block_bytes times a power of two
    std::uint32_t queue_depth;           // Driver::submit() takes tags below this
    bool native_queueing;                // disk and adapter have READ and WRITE FPDMA QUEUED
    bool force_unit_access;
    bool write_cache;  // switched on: a write that is done may be lost with the power until a flush is done
    bool flush;
    bool trim;
    bool rotational;
    std::uint32_t most_trim_ranges;  // each of up to most_trim_blocks; 0 without trim
    // Without the blanks that they are filled up with; what is no printable character is a question mark. End
    // with a zero.
    char model[41];
    char serial[21];
    char firmware[9];
};

}  // namespace dmatoll::ahci
