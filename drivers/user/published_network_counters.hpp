// SPDX-License-Identifier: BSD-2-Clause
// What every data path shows of its driver on the page that it shares with the supervisor.
#pragma once

#include <time.h>

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "core/counters.hpp"
#include "e1000/statistics.hpp"
#include "network_state.hpp"

namespace dmatoll::user {

// The driver's counters and its Mapper's, and how many system calls that makes: `own_calls` are the caller's,
// and VFIO maps by one each, and unmaps by one for what adjoins. finish_publication() comes after whatever
// the caller adds.
template <class Driver, class Mapper>
void publish_counters_of(const Driver& driver, const Mapper& mapper, std::uint64_t own_calls,
                         NetworkState& shared) {
    timespec now{};
    ::clock_gettime(CLOCK_MONOTONIC, &now);
    publish(shared.counted_at_ns,
            static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<std::uint64_t>(now.tv_nsec));
    const NetworkCounters network = driver.counters();
    const MappingCounters mapping = mapper.counters();
    for (std::size_t i = 0; i < counter_names.size(); ++i) {
        publish(shared.counters[i], counter(counter_names[i], network, mapping));
    }
    publish(shared.system_calls, own_calls + mapping.maps + mapping.unmap_calls);
}

// Tells the supervisor that all of it is there.
inline void finish_publication(NetworkState& shared) {
    shared.published.fetch_add(1, std::memory_order_release);
}

// Reads the device's own statistics and shows them.
template <class Driver>
void publish_hardware_of(Driver& driver, NetworkState& shared) {
    driver.update_statistics();
    const e1000::DeviceStatistics hardware = driver.statistics();
    for (std::size_t i = 0; i < e1000::device_statistic_names.size(); ++i) {
        publish(shared.hardware[i], hardware.*e1000::device_statistic_names[i].member);
    }
}

}  // namespace dmatoll::user
