// SPDX-License-Identifier: BSD-2-Clause
// Joins consecutive TCP segments, or UDP datagrams, of one flow into one large frame before they go to the
// TAP. The kernel's own drivers have that done by NAPI (GRO), for TCP; what is written to a TAP passes it by.
// One write then carries up to 64 KiB instead of one frame. Datagrams stay datagrams: the kernel takes the
// frame through IP as one and cuts it up again in front of the socket.
//
// A frame is joined only if nothing is lost by it: checksums verified, headers equal but for sequence number,
// lengths, checksums and IPv4's identification, no TCP flags but ACK and PSH, nothing missing between. The
// kernel can cut the result into the same segments again, which it numbers anew.
#pragma once

#include <sys/uio.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace dmatoll::user {

// One write to the TAP in the making. The first piece begins with the virtio header, in the headroom of the
// first slot.
struct MergedFrame {
    // 64 KiB in segments of 1448 bytes; fewer than the 64 datagrams that older kernels cut one frame into.
    static constexpr std::size_t most_pieces = 46;

    std::array<iovec, most_pieces> pieces;
    std::array<std::uint32_t, most_pieces> slots;
    std::uint32_t count = 0;

    [[nodiscard]] bool empty() const { return count == 0; }
    [[nodiscard]] std::span<const iovec> vector() const { return {pieces.data(), count}; }
    [[nodiscard]] std::span<const std::uint32_t> used_slots() const { return {slots.data(), count}; }
    void clear() { count = 0; }
};

enum class Merge : std::uint8_t {
    merged,    // the frame is part of the merged frame now
    complete,  // and nothing can follow it: write the merged frame
    refused,   // write what there is first, then offer the frame again
    alone,     // the frame never joins others: write what there is, then write it as it is
};

class ReceiveMerger {
  public:
    // Without `datagrams` only TCP is joined.
    explicit ReceiveMerger(bool datagrams = true) : datagrams_{datagrams} {}

    // Offers a frame in a receive slot, `length` without CRC. Its bytes are changed only when it is joined.
    // `headroom` bytes before the frame belong to the slot, at least sizeof(TapHeader). `verified`: the
    // device found all checksums good.
    Merge offer(std::byte* frame, std::uint32_t length, std::uint32_t slot, bool verified);

    // The frame as far as it is joined, with headers and virtio header completed. Call clear() on it once it
    // is written.
    MergedFrame& finish();
    [[nodiscard]] bool empty() const { return merged_.empty(); }

  private:
    const bool datagrams_;
    MergedFrame merged_;
    std::byte* first_ = nullptr;      // the first frame
    std::uint32_t first_length_ = 0;  // of its IP packet with the Ethernet header, padding cut off
    std::uint32_t header_bytes_ = 0;  // Ethernet, IP and TCP or UDP
    bool udp_ = false;
    std::uint32_t payload_bytes_ = 0;  // of all frames
    std::uint32_t segment_bytes_ = 0;  // payload of the first
    std::uint32_t next_sequence_ = 0;  // host order
    std::uint8_t push_ = 0;
};

}  // namespace dmatoll::user
