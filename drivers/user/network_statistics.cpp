// SPDX-License-Identifier: BSD-2-Clause
#include "network_statistics.hpp"

#include <nlohmann/json.hpp>

#include "common_statistics.hpp"
#include "e1000/statistics.hpp"

namespace dmatoll::user {

std::string network_statistics(const NetworkState& state, const NetworkOptions& options,
                               const e1000::Part& part, pid_t pid, unsigned restarts) {
    nlohmann::json hardware = nlohmann::json::object();
    for (std::size_t i = 0; i < e1000::device_statistic_names.size(); ++i) {
        hardware[e1000::device_statistic_names[i].name] = read(state.hardware[i]);
    }
    nlohmann::json result = common_statistics(state, options, options.driver, pid, restarts);
    result["tap"] = options.tap;
    result["parameters"].update({{"receive_descriptors", options.driver.receive_descriptors},
                                 {"transmit_descriptors", options.driver.transmit_descriptors},
                                 {"interrupts_per_second", options.driver.interrupts_per_second},
                                 {"part", part.name},
                                 {"mtu", options.driver.mtu},
                                 {"offloads", options.driver.offloads},
                                 {"raw", name_of(options.driver.raw)},
                                 {"frame_bytes", options.driver.frame_bytes}});
    result["link_megabits"] = read(state.link_megabits);
    result["counters"] = counters_json(counter_names, state);
    result["process"].update({{"tap_frames_read", read(state.tap_frames_read)},
                              {"tap_frames_written", read(state.tap_frames_written)},
                              {"tap_frames_refused", read(state.tap_frames_refused)},
                              {"tap_writes_failed", read(state.tap_writes_failed)},
                              {"raw_frames_lost", read(state.raw_frames_lost)},
                              {"raw_frames_bad", read(state.raw_frames_bad)}});
    result["hardware"] = hardware;
    return result.dump();
}

}  // namespace dmatoll::user
