// SPDX-License-Identifier: BSD-2-Clause
// The checksum of IP, TCP and UDP [RFC 1071]. A ones' complement sum does not care for the order of bytes: it
// is formed from whatever order the machine has, and is in that order itself.
#pragma once

#include <x86intrin.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

namespace dmatoll::user {

template <class T>
T load(const std::byte* from) {
    T value;
    std::memcpy(&value, from, sizeof(T));
    return value;
}

template <class T>
void store(std::byte* to, T value) {
    std::memcpy(to, &value, sizeof(T));
}

// Folds a sum to 16 bits; not inverted.
constexpr std::uint16_t fold(std::uint64_t sum) {
    sum = (sum & 0xffffffff) + (sum >> 32);
    sum = (sum & 0xffffffff) + (sum >> 32);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    return static_cast<std::uint16_t>(sum);
}

// The sum of `bytes` on top of `sum`. An odd last byte counts as if a zero followed it.
inline std::uint64_t add_to_sum(std::uint64_t sum, std::span<const std::byte> bytes) {
    constexpr std::size_t block_bytes = 64;
    const std::byte* at = bytes.data();
    std::size_t left = bytes.size();
    auto total = static_cast<unsigned long long>(sum);
    // One chain of additions with carry, eight bytes an instruction. By hand: from intrinsics GCC 12 makes
    // twice the instructions, saving and restoring the carry. LEA and DEC leave it alone, so that it lasts
    // from one block to the next.
    if (std::size_t blocks = left / block_bytes; blocks != 0) {
        asm("clc\n"
            "1:\n\t"
            "adcq (%1), %0\n\t"
            "adcq 8(%1), %0\n\t"
            "adcq 16(%1), %0\n\t"
            "adcq 24(%1), %0\n\t"
            "adcq 32(%1), %0\n\t"
            "adcq 40(%1), %0\n\t"
            "adcq 48(%1), %0\n\t"
            "adcq 56(%1), %0\n\t"
            "leaq 64(%1), %1\n\t"
            "decq %2\n\t"
            "jnz 1b\n\t"
            "adcq $0, %0"
            : "+&r"(total), "+&r"(at), "+&r"(blocks)
            :
            : "cc", "memory");
        left %= block_bytes;
    }
    for (; left >= 8; at += 8, left -= 8) {
        const unsigned char carry = _addcarry_u64(0, total, load<std::uint64_t>(at), &total);
        _addcarry_u64(carry, total, 0, &total);
    }
    if (left > 0) {
        std::uint64_t rest = 0;
        std::memcpy(&rest, at, left);
        const unsigned char carry = _addcarry_u64(0, total, rest, &total);
        _addcarry_u64(carry, total, 0, &total);
    }
    return total;
}

}  // namespace dmatoll::user
