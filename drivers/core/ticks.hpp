// SPDX-License-Identifier: BSD-2-Clause
// The cheapest clock that can time a few instructions: the CPU's time stamp counter. On x86-64, the only
// architecture that is supported, every surrounding may read it.
#pragma once

#include <cstdint>

namespace dmatoll {

// What stands ahead of it is done when the counter is read, and what stands behind it has not begun: reads of
// the counter are ordered by nothing else [Intel SDM, RDTSC]. Ticks of constant length, not cycles of a core
// whose frequency varies; on the lab's virtual clock an instruction each.
inline std::uint64_t read_ticks() {
    std::uint32_t low = 0;
    std::uint32_t high = 0;
    asm volatile("lfence\n\trdtsc\n\tlfence" : "=a"(low), "=d"(high) : : "memory");
    return std::uint64_t{high} << 32 | low;
}

}  // namespace dmatoll
