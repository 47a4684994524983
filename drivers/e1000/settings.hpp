// SPDX-License-Identifier: BSD-2-Clause
// What the surroundings choose for one device, and within which limits.
#pragma once

#include <cstdint>

#include "../core/ring.hpp"
#include "part.hpp"

namespace dmatoll::e1000 {

struct Settings {
    std::uint32_t receive_descriptors = 256;     // a power of two, 64 to 4096
    std::uint32_t transmit_descriptors = 256;    // likewise
    std::uint32_t receive_buffer_bytes = 2048;   // a power of two, 256 to 16384
    std::uint32_t interrupts_per_second = 8000;  // at most; 60 to 1000000, or 0: as many as there are causes
    // With link header, without CRC and VLAN tag, in both directions: standard_frame to jumbo_frame, as far
    // as the part goes.
    std::uint32_t largest_frame = standard_frame;
};

inline constexpr std::uint32_t fewest_descriptors = 64;
inline constexpr std::uint32_t most_descriptors = 4096;

constexpr bool valid(const Settings& settings, const Part& part) {
    const std::uint32_t rate = settings.interrupts_per_second;
    return RingSize::valid(settings.receive_descriptors, fewest_descriptors, most_descriptors) &&
           RingSize::valid(settings.transmit_descriptors, fewest_descriptors, most_descriptors) &&
           RingSize::valid(settings.receive_buffer_bytes, 256, 16384) &&
           (rate == 0 || (rate >= 60 && rate <= 1'000'000)) && settings.largest_frame >= standard_frame &&
           settings.largest_frame <= jumbo_frame && settings.largest_frame <= part.longest_frame;
}

static_assert(valid(Settings{}, parts::i82540em));

}  // namespace dmatoll::e1000
