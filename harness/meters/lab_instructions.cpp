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
    if (const auto packets = metrics.value("packets", std::uint64_t{0}); packets > 0) {
        const auto counted_ns = record.value("packets_interval_ns", window_ns);
        metrics["instructions_per_packet"] = instructions / static_cast<double>(window_ns) *
                                             static_cast<double>(counted_ns) / static_cast<double>(packets);
    }
    if (const auto ios = metrics.value("ios", std::uint64_t{0}); ios > 0 && record.contains("ios_interval_ns")) {
        const auto counted_ns = record["ios_interval_ns"].get<std::uint64_t>();
        metrics["instructions_per_io"] = instructions / static_cast<double>(window_ns) *
                                         static_cast<double>(counted_ns) / static_cast<double>(ios);
    }
}

}  // namespace dmatoll::harness
