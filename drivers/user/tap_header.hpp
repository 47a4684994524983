// SPDX-License-Identifier: BSD-2-Clause
// The header in front of each frame of a TAP with IFF_VNET_HDR: virtio-net's, in the machine's byte order
// [virtio 1.1 §5.1.6]. Written here since the kernel's own header names a member `class` and does not compile
// as C++.
#pragma once

#include <cstdint>

namespace dmatoll::user {

struct TapHeader {
    std::uint8_t flags = 0;
    std::uint8_t segmentation = 0;
    std::uint16_t header_bytes = 0;   // a hint
    std::uint16_t segment_bytes = 0;  // payload of each segment
    std::uint16_t checksum_start = 0;
    std::uint16_t checksum_offset = 0;
};
static_assert(sizeof(TapHeader) == 10);

namespace tap_header {

// flags
inline constexpr std::uint8_t needs_checksum = 1;  // the field holds the pseudo-header's sum only
inline constexpr std::uint8_t data_valid = 2;      // the checksum was verified
// segmentation
inline constexpr std::uint8_t none = 0;
inline constexpr std::uint8_t tcp_ipv4 = 1;
inline constexpr std::uint8_t tcp_ipv6 = 4;
inline constexpr std::uint8_t udp = 5;  // each segment a datagram

}  // namespace tap_header
}  // namespace dmatoll::user
