// SPDX-License-Identifier: BSD-2-Clause
// Frames to send and to receive, and a look at frames that came.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "e1000/offload.hpp"
#include "model/checksum.hpp"

namespace dmatoll::test {

using Bytes = std::vector<std::byte>;

inline constexpr std::uint32_t link_header = 14;

struct FrameShape {
    bool ipv6 = false;
    bool tcp = true;
    std::uint32_t payload = 100;
    std::uint32_t sequence = 0x1000'0000;
    std::uint8_t tcp_flags = 0x19;  // ACK, PSH, FIN
    std::uint8_t seed = 1;          // of the payload
    std::uint8_t destination_last = 0x56;

    [[nodiscard]] std::uint32_t network_bytes() const { return ipv6 ? 40 : 20; }
    [[nodiscard]] std::uint32_t transport_bytes() const { return tcp ? 32 : 8; }
    [[nodiscard]] std::uint32_t transport_start() const { return link_header + network_bytes(); }
    [[nodiscard]] std::uint32_t header_bytes() const { return transport_start() + transport_bytes(); }
    [[nodiscard]] std::uint32_t checksum_offset() const { return tcp ? 16 : 6; }
};

inline std::byte payload_byte(std::uint8_t seed, std::size_t position) {
    return static_cast<std::byte>(seed + position * 7 + (position >> 8) * 13);
}

inline std::uint32_t pseudo_header_sum(std::span<const std::byte> frame, bool with_length) {
    const bool ipv6 = model::load_be16(frame, 12) == 0x86dd;
    const std::span<const std::byte> packet = frame.subspan(link_header);
    const auto addresses = ipv6 ? packet.subspan(8, 32) : packet.subspan(12, 8);
    const auto protocol = std::to_integer<std::uint32_t>(packet[ipv6 ? 6 : 9]);
    const std::uint32_t transport = ipv6 ? model::load_be16(packet, 4) : model::load_be16(packet, 2) - 20u;
    return model::ones_sum(addresses, protocol + (with_length ? transport : 0));
}

// A whole frame with all its checksums right. Options of TCP fill the header to 32 bytes.
inline Bytes make_frame(const FrameShape& shape) {
    using model::store_be16;
    Bytes frame(shape.header_bytes() + shape.payload);
    const std::uint8_t link[] = {0x52, 0x54, 0, 0x12, 0x34, shape.destination_last, 0x02, 0, 0, 0, 0, 1};
    for (std::size_t i = 0; i < sizeof(link); ++i) frame[i] = static_cast<std::byte>(link[i]);
    store_be16(frame, 12, shape.ipv6 ? 0x86dd : 0x0800);
    const std::uint32_t network = link_header;
    const std::uint32_t transport = shape.transport_start();
    const std::uint32_t transport_length = shape.transport_bytes() + shape.payload;
    const std::byte protocol{static_cast<std::uint8_t>(shape.tcp ? 6 : 17)};
    if (shape.ipv6) {
        frame[network] = std::byte{0x60};
        store_be16(frame, network + 4, transport_length);
        frame[network + 6] = protocol;
        frame[network + 7] = std::byte{64};
        for (std::uint32_t i = 8; i < 40; ++i) frame[network + i] = static_cast<std::byte>(0x20 + i);
    } else {
        frame[network] = std::byte{0x45};
        store_be16(frame, network + 2, 20 + transport_length);
        store_be16(frame, network + 4, 0x4321);
        frame[network + 6] = std::byte{0x40};
        frame[network + 8] = std::byte{64};
        frame[network + 9] = protocol;
        for (std::uint32_t i = 12; i < 20; ++i) frame[network + i] = static_cast<std::byte>(10 + i);
        store_be16(frame, network + 10, 0xffffu ^ model::ones_sum(std::span{frame}.subspan(network, 20)));
    }
    store_be16(frame, transport, 5001);
    store_be16(frame, transport + 2, 5201);
    if (shape.tcp) {
        model::store_be32(frame, transport + 4, shape.sequence);
        frame[transport + 12] = std::byte{0x80};
        frame[transport + 13] = static_cast<std::byte>(shape.tcp_flags);
        store_be16(frame, transport + 14, 65000);
        for (std::uint32_t i = 20; i < 32; ++i) frame[transport + i] = std::byte{1};  // no operation
    } else {
        store_be16(frame, transport + 4, transport_length);
    }
    for (std::uint32_t i = 0; i < shape.payload; ++i) {
        frame[shape.header_bytes() + i] = payload_byte(shape.seed, i);
    }
    const std::uint32_t field = transport + shape.checksum_offset();
    store_be16(
        frame, field,
        0xffffu ^ model::ones_sum(std::span{frame}.subspan(transport), pseudo_header_sum(frame, true)));
    return frame;
}

// As the IP stack hands it over for checksum offload: the field holds the pseudo-header's sum.
inline Bytes with_partial_checksum(Bytes frame, const FrameShape& shape) {
    model::store_be16(frame, shape.transport_start() + shape.checksum_offset(),
                      pseudo_header_sum(frame, true));
    return frame;
}

inline e1000::TransmitOffload checksum_offload(const FrameShape& shape) {
    return {.checksum = true,
            .checksum_start = static_cast<std::uint16_t>(shape.transport_start()),
            .checksum_offset = static_cast<std::uint16_t>(shape.checksum_offset()),
            .ipv6 = shape.ipv6};
}

inline e1000::TransmitOffload segmentation_offload(const FrameShape& shape, std::uint16_t segment_bytes) {
    e1000::TransmitOffload offload = checksum_offload(shape);
    offload.segment = true;
    offload.segment_bytes = segment_bytes;
    offload.header_bytes = static_cast<std::uint16_t>(shape.header_bytes());
    return offload;
}

inline bool transport_checksum_good(std::span<const std::byte> frame) {
    const bool ipv6 = model::load_be16(frame, 12) == 0x86dd;
    const std::uint32_t start = link_header + (ipv6 ? 40 : 20);
    const std::uint32_t length =
        ipv6 ? model::load_be16(frame, link_header + 4) : model::load_be16(frame, link_header + 2) - 20u;
    if (start + length > frame.size()) return false;
    return model::ones_sum(frame.subspan(start, length), pseudo_header_sum(frame, true)) == 0xffff;
}

inline bool network_checksum_good(std::span<const std::byte> frame) {
    return model::ones_sum(frame.subspan(link_header, 20)) == 0xffff;
}

}  // namespace dmatoll::test
