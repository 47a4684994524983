// SPDX-License-Identifier: BSD-2-Clause
// Ranges of whole pages in a list: sorting them, and finding those that adjoin.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "../core/address.hpp"

namespace dmatoll {

struct PageRange {
    Iova iova{};
    std::uint64_t bytes = 0;  // a multiple of page_bytes
};

// Ascending. Shell's method: in place, without recursion, and quick on what is nearly sorted, as ranges that
// went out in ascending order and come back in the order of a ring are.
inline void sort_by_iova(std::span<PageRange> ranges) {
    // Ciura's gaps.
    static constexpr std::size_t gaps[] = {701, 301, 132, 57, 23, 10, 4, 1};
    for (const std::size_t gap : gaps) {
        for (std::size_t i = gap; i < ranges.size(); ++i) {
            const PageRange moved = ranges[i];
            std::size_t hole = i;
            for (; hole >= gap && ranges[hole - gap].iova > moved.iova; hole -= gap) {
                ranges[hole] = ranges[hole - gap];
            }
            ranges[hole] = moved;
        }
    }
}

// How many ranges at the end of a sorted, non-empty list lie without a gap behind each other.
inline std::size_t run_length_at_end(std::span<const PageRange> ranges) {
    std::size_t first = ranges.size() - 1;
    while (first > 0 && ranges[first - 1].iova + ranges[first - 1].bytes == ranges[first].iova) --first;
    return ranges.size() - first;
}

}  // namespace dmatoll
