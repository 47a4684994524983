// SPDX-License-Identifier: BSD-2-Clause
// What the generator puts into a datagram, and finds in its echo.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

namespace dmatoll::workloads {

// At the front of the payload, in the byte order of the generator: only it reads them. A frame of 64 bytes
// has 18 for the payload.
struct EchoHeader {
    std::uint64_t sequence;
    std::uint64_t intended_ns;
};
static_assert(sizeof(EchoHeader) == 16);

inline constexpr std::size_t smallest_payload = sizeof(EchoHeader);
// Of an MTU of 9000 bytes, less IPv4 and UDP headers.
inline constexpr std::size_t largest_payload = 9000 - 20 - 8;

// Behind the header: the same in every packet, and different from byte to byte, so that a shifted or mixed-up
// buffer shows.
constexpr std::byte filling(std::size_t position) {
    return static_cast<std::byte>((position * 167 + (position >> 8)) & 0xff);
}

inline void fill(std::span<std::byte> payload) {
    for (std::size_t i = sizeof(EchoHeader); i < payload.size(); ++i) payload[i] = filling(i);
}

inline void put_header(std::span<std::byte> payload, const EchoHeader& header) {
    std::memcpy(payload.data(), &header, sizeof header);
}

}  // namespace dmatoll::workloads
