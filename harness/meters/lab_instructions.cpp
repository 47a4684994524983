// SPDX-License-Identifier: BSD-2-Clause
#include "lab_instructions.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "../cpus.hpp"

namespace dmatoll::harness {

void add_lab_instructions(nlohmann::json& record, const std::vector<lab::Window>& windows) {
    if (!record.contains("meters") || !record["meters"].contains("lab_instructions")) return;
    auto& meter = record["meters"]["lab_instructions"];
    if (!meter.contains("window")) return;
    const auto number = meter["window"].get<std::uint64_t>();
    const auto found = std::find_if(windows.begin(), windows.end(),
                                    [&](const lab::Window& window) { return window.number == number; });
    if (found == windows.end() || found->vcpus.size() <= device_cpu) {
        meter = {{"available", false},
                 {"reason", found == windows.end()       ? fmt::format("the meter wrote no window {}", number)
                            : found->unavailable.empty() ? "the meter counted no vCPU"
                                                         : found->unavailable}};
        return;
    }
    meter["available"] = true;
    meter["vcpus"] = nlohmann::json::array();
    for (const auto& vcpu : found->vcpus)
        meter["vcpus"].push_back({{"user", vcpu.user}, {"kernel", vcpu.kernel}});

    if (found->vcpus.size() == 1) {
        meter["note"] =
            "the only vCPU runs both ends: what the device under test's costs cannot be told apart";
        return;
    }

    const auto instructions = static_cast<double>(found->vcpus[device_cpu].total());
    auto& metrics = record["metrics"];
    const auto window_ns = record.value("window_ns", std::uint64_t{0});
    if (window_ns == 0) return;
    // One instruction a nanosecond: the busy fraction of a core of 1 GIPS.
    metrics["cpu_utilisation"] = instructions / static_cast<double>(window_ns);
    // Counters are read a moment before and behind the window: a rate for a rate.
    const auto work = [&](const char* counted, const char* metric, std::uint64_t counted_ns) {
        const auto count = metrics.value(counted, std::uint64_t{0});
        if (count == 0) return;
        metrics[metric] = instructions / static_cast<double>(window_ns) * static_cast<double>(counted_ns) /
                          static_cast<double>(count);
    };
    work("packets", "instructions_per_packet", record.value("packets_interval_ns", window_ns));
    // Other threads of a benchmark are on other vCPUs, and who is through first waits for them.
    if (record.value(nlohmann::json::json_pointer{"/workload/parameters/threads"}, 1) == 1)
        work("pairs", "instructions_per_pair", window_ns);
    if (record.contains("ios_interval_ns"))
        work("ios", "instructions_per_io", record["ios_interval_ns"].get<std::uint64_t>());
    if (record.contains("copies_interval_ns"))
        work("copies", "instructions_per_copy", record["copies_interval_ns"].get<std::uint64_t>());
}

}  // namespace dmatoll::harness
