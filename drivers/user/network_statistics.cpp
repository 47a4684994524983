// SPDX-License-Identifier: BSD-2-Clause
#include "network_statistics.hpp"

#include <nlohmann/json.hpp>

#include "arena.hpp"
#include "code_generation.hpp"
#include "core/strategy.hpp"
#include "e1000/statistics.hpp"

namespace dmatoll::user {
namespace {

std::uint64_t read(const SharedState::Value& value) { return value.load(std::memory_order_relaxed); }

}  // namespace

std::string network_statistics(const NetworkState& state, const NetworkOptions& options,
                               const e1000::Part& part, pid_t pid, unsigned restarts) {
    using nlohmann::json;
    json counters = json::object();
    for (std::size_t i = 0; i < counter_names.size(); ++i) {
        counters[counter_names[i].name] = read(state.counters[i]);
    }
    json hardware = json::object();
    for (std::size_t i = 0; i < e1000::device_statistic_names.size(); ++i) {
        hardware[e1000::device_statistic_names[i].name] = read(state.hardware[i]);
    }
    const bool hugepages = read(state.hugepages) != 0;
    const bool pool = options.driver.strategy == strategies::persistent.name;
    return json{{"placement", name_of(Placement::user)},
                {"device", options.device},
                {"tap", options.tap},
                {"strategy", options.driver.strategy},
                {"parameters",
                 {{"receive_descriptors", options.driver.receive_descriptors},
                  {"transmit_descriptors", options.driver.transmit_descriptors},
                  {"interrupts_per_second", options.driver.interrupts_per_second},
                  {"part", part.name},
                  {"mtu", options.driver.mtu},
                  {"completion", options.driver.poll ? "poll" : "interrupt"},
                  {"offloads", options.driver.offloads},
                  {"page_size", hugepages ? huge_page_bytes : page_bytes},
                  {"deferred_entries", options.driver.deferred_entries},
                  {"deferred_milliseconds", options.driver.deferred_milliseconds},
                  {"iova_allocator", options.driver.iova_allocator},
                  {"raw", name_of(options.driver.raw)},
                  {"frame_bytes", options.driver.frame_bytes},
                  {"watchdog_ms", options.watchdog_ms}}},
                {"domain", "vfio-type1"},
                // Of the buffers' mappings: one buffer at a time is mapped by base pages.
                {"page_size", pool && hugepages ? std::uint64_t{2} << 20 : page_bytes},
                {"arena", hugepages ? "hugepages" : "4KiB"},
                {"code_generation", code_generation()},
                {"pid", pid},
                {"restarts", restarts},
                {"link_megabits", read(state.link_megabits)},
                {"counters", counters},
                {"counted_at_ns", read(state.counted_at_ns)},
                {"process",
                 {{"wakeups", read(state.wakeups)},
                  {"system_calls", read(state.system_calls)},
                  {"tap_frames_read", read(state.tap_frames_read)},
                  {"tap_frames_written", read(state.tap_frames_written)},
                  {"tap_frames_refused", read(state.tap_frames_refused)},
                  {"tap_writes_failed", read(state.tap_writes_failed)},
                  {"raw_frames_lost", read(state.raw_frames_lost)},
                  {"raw_frames_bad", read(state.raw_frames_bad)}}},
                {"hardware", hardware}}
        .dump();
}

}  // namespace dmatoll::user
