// SPDX-License-Identifier: BSD-2-Clause
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace dmatoll::workloads {

struct SyncReadOptions {
    std::string file;  // a block device, or any file
    std::uint64_t block_bytes = 4096;
    std::uint64_t region_bytes = 64 << 20;  // from the beginning of the file, read again and again
    bool direct = true;                     // past the page cache
    std::uint64_t load_bps = 0;             // bits a second; 0: each read as soon as the one before is done
    std::uint64_t warm_up_ms = 0;           // its reads are not counted
    std::uint64_t duration_ms = 0;          // with the warm-up; 0: until a stop request
};

// Nothing: help was asked for and printed. Throws Failure for what makes no sense.
std::optional<SyncReadOptions> parse_sync_read_options(int argc, const char* const* argv);

}  // namespace dmatoll::workloads
