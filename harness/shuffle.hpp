// SPDX-License-Identifier: BSD-2-Clause
// A random order that is the same everywhere: std::mt19937_64 is specified to the bit, std::shuffle and the
// distributions are not.
#pragma once

#include <cstdint>
#include <random>
#include <utility>
#include <vector>

namespace dmatoll::harness {

// Even in [0, bound), bound at least 1: values of the incomplete last run are drawn again.
inline std::uint64_t draw_below(std::mt19937_64& random, std::uint64_t bound) {
    const std::uint64_t reject_below = (0 - bound) % bound;
    for (;;) {
        const std::uint64_t value = random();
        if (value >= reject_below) return value % bound;
    }
}

// Fisher and Yates.
template <class T>
void shuffle(std::vector<T>& items, std::mt19937_64& random) {
    for (std::size_t i = items.size(); i > 1; --i) std::swap(items[i - 1], items[draw_below(random, i)]);
}

}  // namespace dmatoll::harness
