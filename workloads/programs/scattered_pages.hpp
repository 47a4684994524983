// SPDX-License-Identifier: BSD-2-Clause
// Buffers whose pages are scattered in memory, as on a machine that has run for long. How many pages of a buffer happen to
// be neighbours decides what it costs to map them, and differs from start to start: by a third of all instructions at
// blocks of 128 KiB (fio, in the lab), by half at 1 MiB (dmatoll-sync-read).
#pragma once

#include <cstddef>
#include <numeric>
#include <span>

namespace dmatoll::workloads {

// Touches fresh memory for the first time, page by page. The kernel gives pages out in order: so they are asked for out
// of order, the last neighbours far apart.
inline void touch_scattered(std::span<unsigned char> memory) {
    constexpr std::size_t page = 4096;
    const std::size_t pages = memory.size() / page;
    std::size_t step = pages * 5 / 8 + 1;
    while (std::gcd(step, pages) != 1) ++step;
    for (std::size_t i = 0, at = 0; i < pages; ++i, at = (at + step) % pages) memory[at * page] = 1;
}

}  // namespace dmatoll::workloads
