// SPDX-License-Identifier: BSD-2-Clause
// What the block layer counted in a window, as metrics: the same for every program that reads and writes disks.
#pragma once

#include <nlohmann/json.hpp>

#include <cstdint>
#include <functional>

#include "traffic.hpp"

namespace dmatoll::harness {

// {ios, iops, throughput_bps, load_achieved_bps}. `block_bytes`: of one I/O of the program, which the block layer may cut
// or merge. `in_flight_bytes`: what the program and read-ahead have under way at a time, at most. Throws Failure if nothing
// was moved, or if the driver's own counters differ by more than that and by what their intervals differ.
nlohmann::json disk_metrics(std::uint64_t block_bytes, std::uint64_t in_flight_bytes, const MeasuredWindow& window);

// Waits until the disk has completed some requests more. Throws Failure after 10 seconds, and what `check` throws.
void wait_for_requests(const Disk& disk, const std::function<void()>& check);

}  // namespace dmatoll::harness
