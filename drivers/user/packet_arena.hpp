// SPDX-License-Identifier: BSD-2-Clause
// The arena of a network driver: rings, receive slots, transmit slots.
#pragma once

#include <cstddef>
#include <cstdint>

#include "arena.hpp"

namespace dmatoll::user {

// Where what lies in the arena. The three areas begin on 2 MiB each: each is mapped with a direction of its
// own, by large pages where the IOMMU has them.
struct ArenaLayout {
    // Two rings of 4096 descriptors of 16 bytes, the largest that the driver accepts.
    static constexpr std::size_t ring_area_bytes = huge_page_bytes;

    // A receive slot is a page, so that with strict mappings the device reaches one buffer and nothing beside
    // it. In front of the buffer is room for the header that a TAP wants before the frame.
    static constexpr std::size_t receive_slot_bytes = page_bytes;
    static constexpr std::size_t receive_headroom = 64;

    // A transmit slot takes whatever one read from a TAP yields: a virtio header and a segmentable frame of
    // up to 64 KiB. The frame begins at 18, so that the IP header behind 14 bytes of Ethernet is aligned
    // to 4.
    static constexpr std::size_t transmit_frame_offset = 18;
    static constexpr std::size_t largest_transmit_frame = 65536 + 18;
    static constexpr std::size_t transmit_slot_bytes = 17 * page_bytes;
    static_assert(transmit_frame_offset + largest_transmit_frame <= transmit_slot_bytes);

    std::uint32_t receive_slots = 0;
    std::uint32_t transmit_slots = 0;

    [[nodiscard]] std::size_t receive_area_bytes() const { return whole(receive_slots * receive_slot_bytes); }
    [[nodiscard]] std::size_t transmit_area_bytes() const {
        return whole(transmit_slots * transmit_slot_bytes);
    }
    [[nodiscard]] std::size_t bytes() const {
        return ring_area_bytes + receive_area_bytes() + transmit_area_bytes();
    }

  private:
    static std::size_t whole(std::size_t bytes) {
        return (bytes + huge_page_bytes - 1) & ~(huge_page_bytes - 1);
    }
};

// Slots for rings of that many descriptors. Receive: the ring full, and two batches on their way to the TAP.
// Transmit: a frame per descriptor, up to 256; one frame takes 68 KiB, and more frames than that in flight
// keep no link busier.
ArenaLayout arena_layout(std::uint32_t receive_descriptors, std::uint32_t transmit_descriptors);

class PacketArena : public Arena {
  public:
    // As Arena.
    PacketArena(const ArenaLayout& layout, std::size_t page_size)
        : Arena{layout.bytes(), page_size}, layout_{layout} {}

    [[nodiscard]] std::byte* rings() const { return start(); }
    [[nodiscard]] std::byte* receive_area() const { return start() + ArenaLayout::ring_area_bytes; }
    [[nodiscard]] std::byte* transmit_area() const { return receive_area() + layout_.receive_area_bytes(); }
    [[nodiscard]] const ArenaLayout& layout() const { return layout_; }

    [[nodiscard]] std::byte* receive_slot(std::uint32_t slot) const {
        return receive_area() + std::size_t{slot} * ArenaLayout::receive_slot_bytes;
    }
    [[nodiscard]] std::byte* transmit_slot(std::uint32_t slot) const {
        return transmit_area() + std::size_t{slot} * ArenaLayout::transmit_slot_bytes;
    }

  private:
    ArenaLayout layout_;
};

}  // namespace dmatoll::user
