// SPDX-License-Identifier: BSD-2-Clause
// What is asked of a disk, and how it ended.
#pragma once

#include <cstdint>
#include <span>

#include "../core/address.hpp"

namespace dmatoll::ahci {

enum class Operation : std::uint8_t { read, write, flush, trim };

// As many as one entry of the device's list takes. A longer BlockRange takes several entries.
inline constexpr std::uint32_t most_trim_blocks = 0xffff;

struct BlockRange {
    std::uint64_t first = 0;
    std::uint32_t blocks = 0;  // at least 1
};

struct Request {
    Operation operation = Operation::read;
    bool force_unit_access = false;  // write: done means on the medium. Where Disk::force_unit_access
    std::uint64_t first_block = 0;   // read, write
    std::uint32_t blocks = 0;        // read, write: at least 1, and at most most_transfer_bytes
    // read, write: the memory, blocks * block_bytes together. Addresses and lengths are even.
    std::span<const Segment> segments{};
    std::span<const BlockRange> ranges{};  // trim
};

enum class Outcome : std::uint8_t {
    done,
    medium_error,     // the device cannot read or write these blocks
    refused,          // the device aborted the command
    transport_error,  // between adapter and device, as often as it was tried
    timed_out,        // no answer, as often as it was tried
    gone,             // the device is not there any more, or the driver stopped
};

constexpr const char* describe(Outcome outcome) {
    switch (outcome) {
        case Outcome::done:
            return "done";
        case Outcome::medium_error:
            return "medium error";
        case Outcome::refused:
            return "refused by the device";
        case Outcome::transport_error:
            return "error between adapter and device";
        case Outcome::timed_out:
            return "the device did not answer in time";
        case Outcome::gone:
            return "the device is gone";
    }
    return "unknown";
}

}  // namespace dmatoll::ahci
