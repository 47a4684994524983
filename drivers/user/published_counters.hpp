// SPDX-License-Identifier: BSD-2-Clause
// How a data path shows what it counted on the page that it shares with the supervisor.
#pragma once

#include <time.h>

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "core/counters.hpp"
#include "shared_state.hpp"

namespace dmatoll::user {

// A device's counters and the mapping's by the table of names, when they were counted, and how many system
// calls it took. finish_publication() comes after whatever the caller adds.
template <class Names, class Own>
void show_counters(const Names& names, const Own& own, const MappingCounters& mapping,
                   std::uint64_t system_calls, SharedState& shared) {
    timespec now{};
    ::clock_gettime(CLOCK_MONOTONIC, &now);
    publish(shared.counted_at_ns,
            static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<std::uint64_t>(now.tv_nsec));
    for (std::size_t i = 0; i < names.size(); ++i) {
        publish(shared.counters[i], counter(names[i], own, mapping));
    }
    publish(shared.system_calls, system_calls);
}

// Tells the supervisor that all of it is there.
inline void finish_publication(SharedState& shared) {
    shared.published.fetch_add(1, std::memory_order_release);
}

}  // namespace dmatoll::user
