// SPDX-License-Identifier: BSD-2-Clause
// Which destination addresses the device takes frames for.
//
// [8254x] Intel 317453.
#pragma once

#include <cstdint>

#include "../core/mac_address.hpp"
#include "../core/platform.hpp"
#include "../core/register.hpp"
#include "registers.hpp"

namespace dmatoll::e1000 {

// [8254x §14.4]: our address in the first pair, the others and the multicast table empty.
template <Platform P>
void program_address_filter(P& platform, const MacAddress& mac) {
    for (std::uint32_t i = 1; i < receive_addresses; ++i) {
        platform.write32(ReceiveAddressHigh::offset + i * receive_address_stride, 0);
        platform.write32(ReceiveAddressLow::offset + i * receive_address_stride, 0);
    }
    for (std::uint32_t i = 0; i < multicast_table_words; ++i) {
        platform.write32(multicast_table_offset + i * 4, 0);
    }
    ReceiveAddressLow low{};
    low.raw = std::uint32_t{mac[0]} | std::uint32_t{mac[1]} << 8 | std::uint32_t{mac[2]} << 16 |
              std::uint32_t{mac[3]} << 24;
    write_register(platform, low);
    write_register(platform,
                   ReceiveAddressHigh{}
                       .set(ReceiveAddressHigh::address, std::uint32_t{mac[4]} | std::uint32_t{mac[5]} << 8)
                       .set(ReceiveAddressHigh::valid));
}

}  // namespace dmatoll::e1000
