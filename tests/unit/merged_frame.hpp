// SPDX-License-Identifier: BSD-2-Clause
// What the tests of the receive merger share.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "receive_merger.hpp"

namespace dmatoll::test {

// In front of a frame in its slot.
inline constexpr std::size_t headroom = 64;

inline std::uint16_t be16(std::uint32_t value) {
    return __builtin_bswap16(static_cast<std::uint16_t>(value));
}

// What the TAP gets.
inline std::vector<std::byte> written(const user::MergedFrame& merged) {
    std::vector<std::byte> all;
    for (const iovec& piece : merged.vector()) {
        const auto* const start = static_cast<const std::byte*>(piece.iov_base);
        all.insert(all.end(), start, start + piece.iov_len);
    }
    return all;
}

}  // namespace dmatoll::test
