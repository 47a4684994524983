// SPDX-License-Identifier: BSD-2-Clause
#include "packet_arena.hpp"

#include <algorithm>

namespace dmatoll::user {
namespace {

constexpr std::uint32_t most_transmit_slots = 256;
constexpr std::uint32_t slots_in_flight_to_tap = 128;

}  // namespace

ArenaLayout arena_layout(std::uint32_t receive_descriptors, std::uint32_t transmit_descriptors) {
    return {receive_descriptors + slots_in_flight_to_tap,
            std::min(transmit_descriptors, most_transmit_slots)};
}

}  // namespace dmatoll::user
