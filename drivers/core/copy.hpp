// SPDX-License-Identifier: BSD-2-Clause
// Copying and clearing bytes in the same way in every placement: the kernel's memcpy() and a C library's execute
// different instructions, and the difference would be taken for one between the placements.
//
// String instructions by eight bytes of x86-64, the only architecture that is supported: the compiler cannot replace
// them, they use no vector registers, which the kernel may not touch, and where every repetition counts as an
// instruction it stands for eight bytes.
#pragma once

#include <cstddef>
#include <cstdint>

namespace dmatoll {

// The ranges do not overlap.
inline void copy_bytes(void* destination, const void* source, std::size_t bytes) {
    std::size_t words = bytes / 8;
    std::size_t rest = bytes % 8;
    asm volatile("rep movsq" : "+D"(destination), "+S"(source), "+c"(words) : : "memory");
    asm volatile("rep movsb" : "+D"(destination), "+S"(source), "+c"(rest) : : "memory");
}

inline void clear_bytes(void* destination, std::size_t bytes) {
    std::size_t words = bytes / 8;
    std::size_t rest = bytes % 8;
    asm volatile("rep stosq" : "+D"(destination), "+c"(words) : "a"(std::uint64_t{0}) : "memory");
    asm volatile("rep stosb" : "+D"(destination), "+c"(rest) : "a"(std::uint64_t{0}) : "memory");
}

}  // namespace dmatoll
