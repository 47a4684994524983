// SPDX-License-Identifier: BSD-2-Clause
#include "disk_statistics.hpp"

#include <nlohmann/json.hpp>

#include "common_statistics.hpp"

namespace dmatoll::user {

std::string disk_statistics(const DiskState& state, const DiskOptions& options, const nlohmann::json& disks,
                            pid_t pid, unsigned restarts) {
    nlohmann::json result = common_statistics(state, options, options.driver, pid, restarts);
    result["disks"] = disks;
    result["parameters"]["queue_depth"] = options.driver.queue_depth;
    result["counters"] = counters_json(storage_counter_names, state);
    result["process"].update({{"requests_refused", read(state.requests_refused)},
                              {"requests_delayed", read(state.requests_delayed)}});
    return result.dump();
}

}  // namespace dmatoll::user
