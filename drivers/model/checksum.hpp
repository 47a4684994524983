// SPDX-License-Identifier: BSD-2-Clause
// Sums over bytes, as a network device computes them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace dmatoll::model {

// Ones' complement sum [RFC 1071], not yet complemented, added to `start`. An odd last byte counts as the
// upper half.
constexpr std::uint16_t ones_sum(std::span<const std::byte> bytes, std::uint32_t start = 0) {
    std::uint64_t sum = start;
    for (std::size_t i = 0; i < bytes.size(); ++i) {
        sum += std::to_integer<std::uint64_t>(bytes[i]) << (i % 2 == 0 ? 8 : 0);
    }
    while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
    return static_cast<std::uint16_t>(sum);
}

// The Ethernet CRC as a number whose least significant byte is sent first [802.3 §3.2.9].
constexpr std::uint32_t ethernet_crc(std::span<const std::byte> bytes) {
    std::uint32_t crc = ~std::uint32_t{0};
    for (const std::byte byte : bytes) {
        crc ^= std::to_integer<std::uint32_t>(byte);
        for (int i = 0; i < 8; ++i) crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0xedb88320u : 0);
    }
    return ~crc;
}

constexpr std::uint16_t load_be16(std::span<const std::byte> bytes, std::size_t offset) {
    return static_cast<std::uint16_t>(std::to_integer<unsigned>(bytes[offset]) << 8 |
                                      std::to_integer<unsigned>(bytes[offset + 1]));
}

constexpr void store_be16(std::span<std::byte> bytes, std::size_t offset, std::uint32_t value) {
    bytes[offset] = static_cast<std::byte>(value >> 8);
    bytes[offset + 1] = static_cast<std::byte>(value);
}

constexpr std::uint32_t load_be32(std::span<const std::byte> bytes, std::size_t offset) {
    return std::uint32_t{load_be16(bytes, offset)} << 16 | load_be16(bytes, offset + 2);
}

constexpr void store_be32(std::span<std::byte> bytes, std::size_t offset, std::uint32_t value) {
    store_be16(bytes, offset, value >> 16);
    store_be16(bytes, offset + 2, value);
}

}  // namespace dmatoll::model
