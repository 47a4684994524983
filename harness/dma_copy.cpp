// SPDX-License-Identifier: BSD-2-Clause
#include "dma_copy.hpp"

#include <fmt/format.h>

#include "failure.hpp"
#include "process.hpp"

namespace dmatoll::harness {
namespace {

// Copies that show that they flow.
constexpr std::uint64_t stream_copies = 64;
constexpr double stream_seconds = 10;
// On the virtual clock a CPU that never idles may keep the other one, which is ours, from its turns:
// raw_frames.cpp says how. Rests are rare, since going to sleep and waking up is in the measured window.
constexpr std::uint32_t rest_after = 1024;

}  // namespace

nlohmann::json copy_metrics(const MeasuredWindow& window) {
    const std::uint64_t copies = window.device.at("copies");
    if (copies == 0) fail("The device under test copied nothing in the window ({})", window.device_source);
    for (const auto* wrong : {"copies_bad", "copies_lost", "restarts"})
        if (const auto count = window.device.at(wrong); count > 0)
            fail("Of {} copies something went wrong: {} is {} ({})", copies, wrong, count,
                 window.device_source);
    const std::uint64_t bytes = window.device.at("bytes_copied");
    const double seconds = static_cast<double>(window.counters_ns) * 1e-9;
    const double bps = static_cast<double>(bytes) * 8 / seconds;
    return {{"copies", copies},
            {"copied_bytes", bytes},
            {"copies_per_second", static_cast<double>(copies) / seconds},
            {"throughput_bps", bps},
            {"load_achieved_bps", bps}};
}

DmaCopy::DmaCopy(const Trial& trial, const TrafficPlaces& places)
    : warm_up_ms_{trial.parameters.at("warm_up_ms")}, driver_{places.driver} {
    driver_.command(fmt::format("begin bytes={} working_set={} batch={} lifetime={} rest={}",
                                trial.parameters.at("copy_bytes"), trial.parameters.at("working_set_pairs"),
                                trial.parameters.at("batch_copies"), trial.parameters.at("lifetime_copies"),
                                places.virtual_clock ? rest_after : 0));
    begun_ = true;
    driver_.command("run");
}

DmaCopy::~DmaCopy() {
    if (!begun_) return;
    try {
        driver_.command("end");
    } catch (const std::exception&) {
        // The driver may be gone. One that is there and still copies refuses the next trial.
    }
}

void DmaCopy::warm_up(const std::function<void()>& require_driver) {
    const std::uint64_t at_start = driver_.counters().at("copies");
    const double patience = now_seconds() + stream_seconds;
    while (driver_.counters().at("copies") - at_start < stream_copies) {
        require_running();
        require_driver();
        if (now_seconds() > patience)
            fail("Fewer than {} copies within {} s ({})", stream_copies, stream_seconds,
                 driver_.counter_source());
        sleep_seconds(0.01);
    }
    sleep_seconds(static_cast<double>(warm_up_ms_) * 1e-3);
}

void DmaCopy::require_running() {
    const auto answer = driver_.command("result");
    if (answer.value("state", "") != "running")
        fail("The device under test copies no more: {}", answer.value("failure", "nobody says why"));
}

nlohmann::json DmaCopy::finish(const MeasuredWindow& window) {
    // What is still mapped is judged as it is unmapped.
    begun_ = false;
    const auto whole = driver_.command("end");
    if (whole.value("copies_bad", std::uint64_t{0}) > 0)
        fail("{} of {} copies came out wrong", whole["copies_bad"].dump(), whole["copies"].dump());
    nlohmann::json record;
    record["metrics"] = copy_metrics(window);
    record["meters"]["dma_copy"] = {
        {"available", true}, {"source", "the driver, from `run` to `end`"}, {"result", whole}};
    return record;
}

}  // namespace dmatoll::harness
