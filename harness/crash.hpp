// SPDX-License-Identifier: BSD-2-Clause
// Trials of a driver that fails under traffic: killed, by a null pointer, or in an endless loop.
#pragma once

#include <nlohmann/json.hpp>

#include <cstdint>
#include <functional>

#include "traffic.hpp"

namespace dmatoll::harness {

// Makes the driver fail as often as the trial's `kills` says, each time after traffic flows again. Returns a
// merge patch for the record: metrics {kills, recoveries, outage_ns, packets_sent, packets_lost,
// kernel_messages} and crash {how}. A driver that does not come back is a result, too, and the end: one
// recovery fewer than kills, and crash {not_recovered} says how that was seen. In the kernel it does not
// return: the lab's host reads the oops. Calls step(faults survived, of how many) before the first and after
// each.
nlohmann::json run_faults(const Trial& trial, const TrafficPlaces& places,
                          const std::function<void(std::uint64_t, std::uint64_t)>& step);

// What the console of a guest that has panicked shows of the oops: from its first line on.
std::string oops_of(const std::vector<std::string>& console);

}  // namespace dmatoll::harness
