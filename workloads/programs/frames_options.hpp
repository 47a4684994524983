// SPDX-License-Identifier: BSD-2-Clause
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>

namespace dmatoll::workloads {

using EthernetAddress = std::array<std::uint8_t, 6>;

// "52:54:00:64:6d:02"; nothing if it is none.
std::optional<EthernetAddress> ethernet_address(const std::string& text);

// Ethernet's check sequence, which the device appends and takes off.
inline constexpr std::uint32_t crc_bytes = 4;

enum class Flow : std::uint8_t { transmit, receive, loopback };

struct FramesOptions {
    std::string interface;
    Flow flow = Flow::transmit;
    std::optional<EthernetAddress> destination;
    std::uint32_t frame_bytes = 64;       // with the CRC, as on the wire
    std::uint64_t frames_per_second = 0;  // 0: as fast as the device takes them
    std::uint64_t duration_ms = 0;        // 0: until a stop request
    std::uint32_t in_flight = 64;
    std::uint32_t rest_after = 0;  // frames; 0: never

    [[nodiscard]] bool transmits() const { return flow != Flow::receive; }
    [[nodiscard]] bool receives() const { return flow != Flow::transmit; }
};

// Nothing: help was asked for and printed. Throws Failure for what makes no sense.
std::optional<FramesOptions> parse_frames_options(int argc, const char* const* argv);

}  // namespace dmatoll::workloads
