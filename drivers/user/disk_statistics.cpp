// SPDX-License-Identifier: BSD-2-Clause
#include "disk_statistics.hpp"

#include <nlohmann/json.hpp>

#include "arena.hpp"
#include "code_generation.hpp"
#include "core/strategy.hpp"

namespace dmatoll::user {
namespace {

std::uint64_t read(const SharedState::Value& value) { return value.load(std::memory_order_relaxed); }

}  // namespace

std::string disk_statistics(const DiskState& state, const DiskOptions& options, const nlohmann::json& disks,
                            pid_t pid, unsigned restarts) {
    using nlohmann::json;
    json counters = json::object();
    for (std::size_t i = 0; i < storage_counter_names.size(); ++i) {
        counters[storage_counter_names[i].name] = read(state.counters[i]);
    }
    const bool hugepages = read(state.hugepages) != 0;
    const bool pool = options.driver.strategy == strategies::persistent.name;
    return json{{"placement", name_of(Placement::user)},
                {"device", options.device},
                {"disks", disks},
                {"strategy", options.driver.strategy},
                {"parameters",
                 {{"queue_depth", options.driver.queue_depth},
                  {"completion", options.driver.poll ? "poll" : "interrupt"},
                  {"page_size", hugepages ? huge_page_bytes : page_bytes},
                  {"deferred_entries", options.driver.deferred_entries},
                  {"deferred_milliseconds", options.driver.deferred_milliseconds},
                  {"iova_allocator", options.driver.iova_allocator},
                  {"watchdog_ms", options.watchdog_ms}}},
                {"domain", "vfio-type1"},
                // Of the buffers' mappings: one buffer at a time is mapped by base pages.
                {"page_size", pool && hugepages ? huge_page_bytes : page_bytes},
                {"arena", hugepages ? "hugepages" : "4KiB"},
                {"code_generation", code_generation()},
                {"pid", pid},
                {"restarts", restarts},
                {"counters", counters},
                {"counted_at_ns", read(state.counted_at_ns)},
                {"process",
                 {{"wakeups", read(state.wakeups)},
                  {"system_calls", read(state.system_calls)},
                  {"requests_refused", read(state.requests_refused)},
                  {"requests_delayed", read(state.requests_delayed)}}}}
        .dump();
}

}  // namespace dmatoll::user
