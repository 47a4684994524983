// SPDX-License-Identifier: BSD-2-Clause
// Micro-benchmarks of mapping: the driver maps buffers and unmaps them, and says what each took.
#pragma once

#include <nlohmann/json.hpp>

#include <functional>
#include <string>
#include <vector>

#include "traffic.hpp"

namespace dmatoll::harness {

// What was timed under that name in a driver's answer to `result`: {n, mean, min, p50, p90, p99, p99_9, max}, in ticks.
// Throws Failure if that is not all there.
nlohmann::json tick_summary(const nlohmann::json& answer, const std::string& name);

// `in_window` does what it is given within a window of the meters; it is called once. Returns a merge patch for the
// record: metrics (pairs, threads_together, map_ticks, unmap_ticks, clock_ticks, put_off_ticks where it was timed, put_off_ticks_per_pair,
// pair_ticks, parts_ticks or parts_absent, ticks_per_ns, tick_unit, iommu) and meters.map_unmap. Throws Failure.
nlohmann::json run_map_unmap(const Trial& trial, const TrafficPlaces& places,
                             const std::function<void(const std::function<void()>&)>& in_window);

// The trials of this kind among records, in the shape of Google Benchmark's JSON: a benchmark is a pair, its time the mean,
// what else was timed are counters, in ticks. `environment`: as in a run's manifest.
nlohmann::json benchmark_json(const nlohmann::json& environment, const std::vector<nlohmann::json>& records);

}  // namespace dmatoll::harness
