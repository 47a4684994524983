// SPDX-License-Identifier: BSD-2-Clause
#pragma once

#include <array>
#include <cstdint>

namespace dmatoll {

// In the order of transmission.
using MacAddress = std::array<std::uint8_t, 6>;

constexpr bool is_multicast(const MacAddress& address) { return (address[0] & 1) != 0; }

// Can a station have this address? Not if it is a group's, or all zeros.
constexpr bool is_station(const MacAddress& address) {
    std::uint8_t any = 0;
    for (const std::uint8_t byte : address) any = static_cast<std::uint8_t>(any | byte);
    return any != 0 && !is_multicast(address);
}

static_assert(is_station(MacAddress{0x52, 0x54, 0, 0x12, 0x34, 0x56}) && !is_station(MacAddress{}));

}  // namespace dmatoll
