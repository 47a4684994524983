// SPDX-License-Identifier: BSD-2-Clause
#include "common_statistics.hpp"

#include "arena.hpp"
#include "code_generation.hpp"
#include "core/strategy.hpp"

namespace dmatoll::user {

nlohmann::json common_statistics(const SharedState& state, const CommonOptions& common,
                                 const MappingOptions& mapping, pid_t pid, unsigned restarts) {
    const bool hugepages = read(state.hugepages) != 0;
    // A pool of buffers, or of shadow pages.
    const bool has_large_pool =
        (mapping.strategy == strategies::persistent.name && hugepages) ||
        ((mapping.strategy == strategies::copy.name || mapping.strategy == strategies::hybrid_copy.name) &&
         mapping.page_size == huge_page_bytes);
    nlohmann::json parameters{{"completion", mapping.poll ? "poll" : "interrupt"},
                              {"page_size", hugepages ? huge_page_bytes : page_bytes},
                              {"iova_allocator", mapping.iova_allocator},
                              {"watchdog_ms", common.watchdog_ms}};
    add_parameters(parameters, mapping);
    return {{"placement", name_of(Placement::user)},
            {"device", common.device},
            {"strategy", mapping.strategy},
            {"parameters", parameters},
            {"domain", "vfio-type1"},
            // Of the buffers' mappings: one buffer at a time is mapped by base pages.
            {"page_size", has_large_pool ? huge_page_bytes : page_bytes},
            {"arena", hugepages ? "hugepages" : "4KiB"},
            {"code_generation", code_generation()},
            {"pid", pid},
            {"restarts", restarts},
            {"counted_at_ns", read(state.counted_at_ns)},
            {"process", {{"wakeups", read(state.wakeups)}, {"system_calls", read(state.system_calls)}}}};
}

}  // namespace dmatoll::user
