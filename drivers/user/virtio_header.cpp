// SPDX-License-Identifier: BSD-2-Clause
#include "virtio_header.hpp"

#include "internet_checksum.hpp"

namespace dmatoll::user {
namespace {

constexpr std::size_t ethernet_bytes = 14;
constexpr std::size_t vlan_tag_bytes = 4;
constexpr std::size_t tcp_bytes = 20;
// The context descriptor holds checksum start and place in 8 bits each [8254x §3.3.6].
constexpr std::size_t device_reach = 254;

std::uint16_t big_endian_16(const std::byte* from) { return __builtin_bswap16(load<std::uint16_t>(from)); }

std::uint16_t network_start(std::span<const std::byte> frame) {
    const bool tagged = big_endian_16(frame.data() + 12) == 0x8100;
    return static_cast<std::uint16_t>(ethernet_bytes + (tagged ? vlan_tag_bytes : 0));
}

// The field holds the pseudo-header's sum already: summing from `start` on includes it.
void finish_checksum(std::span<std::byte> frame, std::size_t start, std::size_t place) {
    const auto sum = static_cast<std::uint16_t>(~fold(add_to_sum(0, frame.subspan(start))));
    // Zero means "no checksum" in UDP; its other spelling is as good for TCP.
    store<std::uint16_t>(frame.data() + place, sum == 0 ? std::uint16_t{0xffff} : sum);
}

}  // namespace

Result<e1000::TransmitOffload> to_offload(const TapHeader& header, std::span<std::byte> frame,
                                          std::uint32_t largest_frame) {
    const std::uint32_t longest = largest_frame + e1000::vlan_tag_bytes;
    e1000::TransmitOffload offload;
    if (frame.size() < ethernet_bytes + vlan_tag_bytes) {
        return Error::invalid_argument;
    }
    const bool segment = header.segmentation != tap_header::none;
    if (!segment && frame.size() > longest) {
        return Error::invalid_argument;
    }
    if (!(header.flags & tap_header::needs_checksum)) {
        // Segments need checksums of their own, so one without the other makes no sense.
        return segment ? Result<e1000::TransmitOffload>{Error::invalid_argument} : offload;
    }
    offload.network_start = network_start(frame);
    const std::size_t start = header.checksum_start;
    const std::size_t place = start + header.checksum_offset;
    if (start <= offload.network_start || place + sizeof(std::uint16_t) > frame.size()) {
        return Error::invalid_argument;
    }
    if (!segment) {
        if (place > device_reach) {
            finish_checksum(frame, start, place);
            return offload;
        }
        offload.checksum = true;
        offload.checksum_start = header.checksum_start;
        offload.checksum_offset = header.checksum_offset;
        return offload;
    }

    if (header.segmentation != tap_header::tcp_ipv4 && header.segmentation != tap_header::tcp_ipv6) {
        return Error::not_supported;
    }
    if (header.segment_bytes == 0 || header.checksum_offset != e1000::tcp_checksum_offset ||
        start + tcp_bytes > frame.size()) {
        return Error::invalid_argument;
    }
    const std::size_t tcp_header = std::size_t{std::to_integer<unsigned>(frame[start + 12]) >> 4} * 4;
    const std::size_t headers = start + tcp_header;
    // The header length in the virtio header is a hint on memory layout: the frame itself tells.
    if (tcp_header < tcp_bytes || headers >= frame.size() || headers > 255) {
        return Error::invalid_argument;
    }
    const bool ipv6 = header.segmentation == tap_header::tcp_ipv6;
    if (std::to_integer<unsigned>(frame[offload.network_start]) >> 4 != (ipv6 ? 6U : 4U)) {
        return Error::invalid_argument;
    }
    offload.checksum = true;
    offload.checksum_start = header.checksum_start;
    offload.checksum_offset = header.checksum_offset;
    offload.ipv6 = ipv6;
    if (frame.size() - headers <= header.segment_bytes) {
        // One segment: an ordinary frame, if it is short enough.
        return frame.size() <= longest ? Result{offload} : Error::invalid_argument;
    }
    if (headers + header.segment_bytes > longest) {
        return Error::invalid_argument;
    }
    offload.segment = true;
    offload.segment_bytes = header.segment_bytes;
    offload.header_bytes = static_cast<std::uint16_t>(headers);
    return offload;
}

}  // namespace dmatoll::user
