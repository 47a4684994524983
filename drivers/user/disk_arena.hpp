// SPDX-License-Identifier: BSD-2-Clause
// Memory of a disk controller's driver. Buffers: for each disk one of the longest transfer for each request
// that ublk may have with its server. A buffer begins on a page of its own, so that with strict mappings the
// device reaches one and nothing beside it.
#pragma once

#include <cstddef>
#include <cstdint>

#include "ahci/settings.hpp"
#include "arena.hpp"
#include "ublk_parameters.hpp"

namespace dmatoll::user {

// A port's command list, what it receives, and 32 command tables of 257 entries: 144 KiB. All 32 ports fit.
inline constexpr std::size_t disk_ring_bytes = 3 * huge_page_bytes;

// Of a disk with that many tags.
constexpr std::size_t disk_buffer_bytes(std::uint32_t tags) {
    const std::size_t bytes = std::size_t{ublk_queue_depth(tags)} * ahci::most_transfer_bytes;
    return (bytes + huge_page_bytes - 1) / huge_page_bytes * huge_page_bytes;
}

}  // namespace dmatoll::user
