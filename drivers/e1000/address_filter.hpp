// SPDX-License-Identifier: BSD-2-Clause
// Which destination addresses the device takes frames for.
//
// [8254x] Intel 317453. [82574] Intel 317694: the same registers in §10.2.5.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "../core/mac_address.hpp"
#include "../core/platform.hpp"
#include "../core/register.hpp"
#include "registers.hpp"

namespace dmatoll::e1000 {

// Beside our own address and broadcast, which are always taken.
struct ReceiveFilter {
    bool promiscuous = false;    // whatever comes
    bool all_multicast = false;  // whatever goes to a group
    std::span<const MacAddress> multicast{};
};

inline constexpr ReceiveFilter accept_all_multicast{.all_multicast = true};

// RCTL.MO: the upper twelve bits of an address, its last one and a half bytes on the wire, are its hash value
// [8254x §13.5.1].
inline constexpr std::uint32_t multicast_bits_47_36 = 0;

constexpr std::uint32_t multicast_hash(const MacAddress& address) {
    return std::uint32_t{address[5]} << 4 | std::uint32_t{address[4]} >> 4;
}

using MulticastTable = std::array<std::uint32_t, multicast_table_words>;

// One pair of address registers [8254x §13.5.2]; `valid` false: it matches nothing.
template <Platform P>
void write_receive_address(P& platform, std::uint32_t index, const MacAddress& address, bool valid) {
    const std::uint32_t low_offset = ReceiveAddressLow::offset + index * receive_address_stride;
    const std::uint32_t high_offset = ReceiveAddressHigh::offset + index * receive_address_stride;
    const std::uint32_t low = std::uint32_t{address[0]} | std::uint32_t{address[1]} << 8 |
                              std::uint32_t{address[2]} << 16 | std::uint32_t{address[3]} << 24;
    ReceiveAddressHigh high{};
    high.set(ReceiveAddressHigh::address, std::uint32_t{address[4]} | std::uint32_t{address[5]} << 8)
        .set(ReceiveAddressHigh::valid, valid ? 1 : 0);
    // Not valid while its halves are of two addresses.
    platform.write32(high_offset, 0);
    platform.write32(low_offset, low);
    platform.write32(high_offset, high.raw);
}

// Our address stands in the first pair, the filter's in the others as far as they go, which match exactly;
// the rest is found by its hash value, and with it one of 4096 of what nobody asked for [8254x §14.4]. That is
// for groups only, but QEMU looks up every station in it, too: so all multicast is no table without a hole,
// which would let everything in, but RCTL's business, as promiscuity is.
template <Platform P>
void program_receive_filter(P& platform, const MacAddress& mac, const ReceiveFilter& filter) {
    MulticastTable table{};
    write_receive_address(platform, 0, mac, true);
    std::uint32_t index = 1;
    for (const MacAddress& address : filter.multicast) {
        if (index < receive_addresses) {
            write_receive_address(platform, index++, address, true);
        } else {
            const std::uint32_t hash = multicast_hash(address);
            table[hash / 32] |= std::uint32_t{1} << hash % 32;
        }
    }
    for (; index < receive_addresses; ++index) write_receive_address(platform, index, {}, false);
    for (std::uint32_t i = 0; i < multicast_table_words; ++i) {
        platform.write32(multicast_table_offset + i * 4, table[i]);
    }
}

}  // namespace dmatoll::e1000
