// SPDX-License-Identifier: BSD-2-Clause
// What the device computes for us on transmission: checksums, and the cutting of a large TCP frame into
// segments.
//
// [8254x] Intel 317453 §3.3.5-7, §3.5 (segmentation), §3.6 (checksums).
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>

#include "../core/result.hpp"
#include "descriptors.hpp"
#include "part.hpp"

namespace dmatoll::e1000 {

// Offsets are from the start of the frame.
struct TransmitOffload {
    bool checksum = false;
    std::uint16_t checksum_start = 0;   // first byte that is summed: the TCP or UDP header
    std::uint16_t checksum_offset = 0;  // the checksum field, from checksum_start on: 16 TCP, 6 UDP
    bool segment = false;               // cut into segments; implies the checksums of IP and TCP
    std::uint16_t segment_bytes = 0;    // payload of a segment (MSS)
    std::uint16_t header_bytes = 0;     // link, network and transport header together
    std::uint16_t network_start = 14;
    bool ipv6 = false;
};

inline constexpr std::uint16_t tcp_checksum_offset = 16;
inline constexpr std::uint32_t longest_tagged_frame = standard_frame + vlan_tag_bytes;
// An IP packet of 64 KiB behind its longest link header; the device could take 1 MiB.
inline constexpr std::uint32_t longest_segmented_frame = 65535 + 64;

// Is this a request that the device can follow? `largest_frame` counts without a VLAN tag, which may be there
// all the same. All offsets lie in the first 255 bytes, since the context has eight bits for each
// [8254x §3.3.6].
[[gnu::always_inline]] constexpr bool valid_offload(const TransmitOffload& offload, std::uint32_t frame_bytes,
                                                    std::uint32_t largest_frame) {
    const std::uint32_t limit = largest_frame + vlan_tag_bytes;
    if (!offload.segment) {
        if (frame_bytes > limit) return false;
        if (!offload.checksum) return true;
        const std::uint32_t field = std::uint32_t{offload.checksum_start} + offload.checksum_offset;
        return field <= 254 && field + 2 <= frame_bytes;
    }
    return frame_bytes <= longest_segmented_frame && offload.header_bytes <= 255 &&
           offload.header_bytes < frame_bytes && offload.segment_bytes != 0 &&
           std::uint32_t{offload.header_bytes} + offload.segment_bytes <= limit &&
           offload.checksum_offset == tcp_checksum_offset &&
           offload.network_start + (offload.ipv6 ? 40u : 20u) <= offload.checksum_start &&
           offload.checksum_start + 20u <= offload.header_bytes;
}

// A ContextDescriptor as the two words that it is in memory: made by shifts and compared in two steps, since
// every frame with an offload needs one to compare with the last.
struct ContextWords {
    std::uint64_t checksums = 0;
    std::uint64_t segmentation = 0;

    constexpr bool operator==(const ContextWords&) const = default;
};

// The context that the data descriptors of such a frame rely on. `frame_bytes` counts the headers once.
[[gnu::always_inline]] constexpr ContextWords context_for(const TransmitOffload& offload,
                                                          std::uint32_t frame_bytes) {
    const std::uint64_t start = offload.checksum_start;
    ContextWords context{.checksums = start << 32 | (start + offload.checksum_offset) << 40,
                         .segmentation = ContextDescriptor::extension};
    if (offload.checksum_offset == tcp_checksum_offset) context.segmentation |= ContextDescriptor::tcp;
    if (offload.segment) {
        const std::uint64_t network = offload.network_start;
        context.checksums |= network;
        if (!offload.ipv6) {
            constexpr std::uint32_t ip_checksum_field = 10;
            context.checksums |= (network + ip_checksum_field) << 8 | (start - 1) << 16;
            context.segmentation |= ContextDescriptor::ipv4;
        }
        context.segmentation |=
            ContextDescriptor::segmentation_enable | (frame_bytes - offload.header_bytes) |
            std::uint64_t{offload.header_bytes} << 40 | std::uint64_t{offload.segment_bytes} << 48;
    }
    return context;
}

static_assert(context_for({.checksum_start = 34,
                           .checksum_offset = 16,
                           .segment = true,
                           .segment_bytes = 1448,
                           .header_bytes = 66},
                          4066) ==
              std::bit_cast<ContextWords>(ContextDescriptor{
                  .ip_checksum_start = 14,
                  .ip_checksum_offset = 24,
                  .ip_checksum_end = 33,
                  .tcp_udp_checksum_start = 34,
                  .tcp_udp_checksum_offset = 50,
                  .tcp_udp_checksum_end = 0,
                  .command_and_payload = ContextDescriptor::extension |
                                         ContextDescriptor::segmentation_enable | ContextDescriptor::tcp |
                                         ContextDescriptor::ipv4 | 4000,
                  .status = 0,
                  .header_length = 66,
                  .maximum_segment = 1448,
              }));

// Writes into the headers what the device expects to find when it segments [8254x §3.5]: an IP length of
// zero (the device fills in each segment's), an IPv4 header checksum of zero, and as TCP checksum the folded
// sum of the pseudo-header *without* its length, which the device adds for every segment. `headers` are the
// frame's first header_bytes or more; only they are touched. Error: invalid_argument (not a header that the
// device can segment; whether the segments are too long, transmit() finds out).
inline Status prepare_segmentation(std::span<std::byte> headers, const TransmitOffload& offload) {
    if (!offload.segment || headers.size() < offload.header_bytes ||
        !valid_offload(offload, std::uint32_t{offload.header_bytes} + 1, jumbo_frame)) {
        return Error::invalid_argument;
    }
    std::byte* const network = headers.data() + offload.network_start;
    const auto word = [](const std::byte* at) {
        return static_cast<std::uint32_t>(at[0]) << 8 | static_cast<std::uint32_t>(at[1]);
    };
    const auto put = [](std::byte* at, std::uint32_t value) {
        at[0] = static_cast<std::byte>(value >> 8);
        at[1] = static_cast<std::byte>(value);
    };

    constexpr std::uint32_t protocol_tcp = 6;
    std::uint32_t sum = protocol_tcp;
    if (offload.ipv6) {
        if (static_cast<std::uint32_t>(network[0]) >> 4 != 6) return Error::invalid_argument;
        for (std::uint32_t at = 8; at < 40; at += 2) sum += word(network + at);
        put(network + 4, 0);  // payload length
    } else {
        if (static_cast<std::uint32_t>(network[0]) >> 4 != 4) return Error::invalid_argument;
        for (std::uint32_t at = 12; at < 20; at += 2) sum += word(network + at);
        put(network + 2, 0);   // total length
        put(network + 10, 0);  // header checksum
    }
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    put(headers.data() + offload.checksum_start + offload.checksum_offset, sum);
    return {};
}

}  // namespace dmatoll::e1000
