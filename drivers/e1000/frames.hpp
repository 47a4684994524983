// SPDX-License-Identifier: BSD-2-Clause
// Frames as the driver and its surroundings hand them to each other.
//
// [8254x] Intel 317453.
#pragma once

#include <cstdint>

#include "../core/address.hpp"
#include "offload.hpp"
#include "settings.hpp"

namespace dmatoll::e1000 {

// One descriptor takes at most this much. The manual's limit is 16288 bytes [8254x §3.3.3]; a power of two
// below it.
inline constexpr std::uint32_t most_bytes_per_descriptor = 8192;

// A frame has at most this many segments: a linear part and the 17 fragments of Linux's largest buffer.
inline constexpr std::uint32_t most_segments = 18;

// What the largest frame needs at worst: its context; one descriptor for every page that it fills; and two
// more for each segment, which can begin and end inside a page. Holds for every Mapper whose extent() is at
// least the rest of the page. With fewer free descriptors than this transmit() may answer ring_full: stop the
// queue below it.
inline constexpr std::uint32_t most_descriptors_per_frame =
    1 + static_cast<std::uint32_t>(longest_segmented_frame / page_bytes) + 2 * most_segments;
static_assert(most_descriptors_per_frame < fewest_descriptors);

// cookie: the surroundings' own (a page's address, a slot's number); the driver only carries it. The memory
// is receive_buffer_bytes long and the Mapper takes it in one piece: under page-by-page strategies it lies in
// one page.
struct ReceiveBuffer {
    Memory memory;
    std::uint64_t cookie;
};

// The TCP or UDP checksum as the device found it. unknown: the device did not look.
enum class Checksum : std::uint8_t { unknown, good, bad };

// A received frame arrives as one piece or, if it is longer than a receive buffer, as several: one directly
// after the other, within one call of Driver::receive, `last` with the last one only. All but the last are
// full, and a frame has at least a link header. A frame is delivered whole or not at all.
struct ReceivedPiece {
    std::uint64_t cookie;
    std::uint32_t length;  // 1 to receive_buffer_bytes; CRC not counted
    Checksum checksum;     // of the whole frame; with the last piece only, `unknown` before
    bool last;
};

}  // namespace dmatoll::e1000
