// SPDX-License-Identifier: BSD-2-Clause
// Words as they lie in buffers, by which is seen what a device read and wrote.
#pragma once

#include <cstddef>
#include <cstdint>

namespace dmatoll {

inline std::uint64_t load_word(const std::byte* from) {
    std::uint64_t word;
    __builtin_memcpy(&word, from, sizeof(word));
    return word;
}
inline void store_word(std::byte* to, std::uint64_t word) { __builtin_memcpy(to, &word, sizeof(word)); }

}  // namespace dmatoll
