// SPDX-License-Identifier: BSD-2-Clause
// The log page by which a device tells which queued command failed, and how; and what an error means for its
// request.
//
// [ATA8] ATA8-ACS: log address 10h in §A.7, the error field in §6.
#pragma once

#include <cstdint>

#include "../core/result.hpp"
#include "request.hpp"
#include "settings.hpp"

namespace dmatoll::ahci {

inline constexpr std::uint32_t queued_error_log_address = 0x10;
inline constexpr std::uint32_t log_page_bytes = 512;

struct DeviceError {
    std::uint32_t tag = 0;
    std::uint8_t status = 0;
    std::uint8_t error = 0;
};

// outstanding: a bit for each tag that may be meant. Error: device_misbehaves (checksum, a command that was
// not queued, a tag that is not outstanding).
constexpr Result<DeviceError> parse_queued_error_log(const std::uint8_t (&page)[log_page_bytes],
                                                     std::uint32_t outstanding) {
    std::uint32_t sum = 0;
    for (const std::uint8_t byte : page) sum += byte;
    const bool not_queued = (page[0] & 0x80) != 0;
    const DeviceError result{.tag = page[0] & 0x1fu, .status = page[2], .error = page[3]};
    if ((sum & 0xff) != 0 || not_queued || (outstanding >> result.tag & 1) == 0)
        return Error::device_misbehaves;
    return result;
}

// transport_error: worth another attempt.
constexpr Outcome outcome_of(const DeviceError& failure) {
    constexpr std::uint8_t device_fault = 1u << 5;  // of the status
    constexpr std::uint8_t interface_crc = 1u << 7;
    constexpr std::uint8_t uncorrectable = 1u << 6;
    // Of an address that is below the disk's number of blocks; the way to say that a write failed.
    constexpr std::uint8_t id_not_found = 1u << 4;
    constexpr std::uint8_t address_mark_not_found = 1u << 0;
    if ((failure.error & (uncorrectable | id_not_found | address_mark_not_found)) != 0 ||
        (failure.status & device_fault) != 0)
        return Outcome::medium_error;
    if ((failure.error & interface_crc) != 0) return Outcome::transport_error;
    // Aborted, or no reason at all.
    return Outcome::refused;
}

}  // namespace dmatoll::ahci
