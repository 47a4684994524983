// SPDX-License-Identifier: BSD-2-Clause
// What a map and an unmap for one use consist of, and the names under which a driver tells what each part took.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace dmatoll {

enum class Work : std::uint8_t {
    iova_allocation,      // with the domain's lock
    page_table_map,
    page_table_unmap,
    invalidation,         // of what was unmapped; page-table pages are freed behind it
    domain_invalidation,  // of everything, as a queue of unmappings has it once
    iova_free,            // with the domain's lock
    // Where mapping is a system call it cannot be taken apart:
    map_call,     // pinning, page table
    unmap_call,   // page table, invalidation, unpinning
    system_call,  // one that does nothing
    pin_call,     // one that pins the pages and lets them go again, and maps nothing: of few pages mostly the call itself
    clock,        // two readings of the clock with nothing between: in each of the others, and no part
};

// In that order.
inline constexpr std::array work_names{"iova_allocation", "page_table_map", "page_table_unmap", "invalidation",
                                       "domain_invalidation", "iova_free", "map_call", "unmap_call", "system_call",
                                       "pin_call", "clock"};
inline constexpr std::size_t works = work_names.size();
static_assert(static_cast<std::size_t>(Work::clock) + 1 == works);

}  // namespace dmatoll
