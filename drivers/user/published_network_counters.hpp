// SPDX-License-Identifier: BSD-2-Clause
// What every data path of a network card shows of its driver on the page that it shares with the supervisor.
#pragma once

#include <cstddef>
#include <cstdint>

#include "e1000/statistics.hpp"
#include "network_state.hpp"
#include "published_counters.hpp"

namespace dmatoll::user {

// The driver's counters and its Mapper's, and how many system calls that makes: `own_calls` are the caller's,
// and VFIO maps by one each, and unmaps by one for what adjoins.
template <class Driver, class Mapper>
void publish_counters_of(const Driver& driver, const Mapper& mapper, std::uint64_t own_calls,
                         NetworkState& shared) {
    const MappingCounters mapping = mapper.counters();
    show_counters(counter_names, driver.counters(), mapping, own_calls + mapping.maps + mapping.unmap_calls,
                  shared);
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
