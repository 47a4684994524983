// SPDX-License-Identifier: BSD-2-Clause
#include "sync_read.hpp"

#include <cmath>

#include "disk_window.hpp"
#include "failure.hpp"
#include "paths.hpp"
#include "text.hpp"

namespace dmatoll::harness {
namespace {

constexpr const char* program_name = "dmatoll-sync-read";
// By more than what the edges of a window cut off, the load was not what was asked for.
constexpr double missed_share = 0.05;
// The page cache asks for the next window before the one that is being read ends.
constexpr std::uint64_t read_ahead_windows = 2;

}  // namespace

nlohmann::json parse_sync_read(std::string_view output) {
    const auto json = nlohmann::json::parse(output, nullptr, false);
    if (!json.is_object()) fail("{} wrote no JSON object: '{}'", program_name, trim(output.substr(0, 200)));
    nlohmann::json latency;
    try {
        if (json.at("reads").get<std::uint64_t>() == 0) return latency;
        const auto& said = json.at("latency_ns");
        latency["mean"] = said.at("mean").get<double>();
        for (const auto* name : {"n", "min", "p50", "p90", "p99", "p99_9", "max"})
            latency[name] = said.at(name).get<std::uint64_t>();
    } catch (const nlohmann::json::exception& error) {
        fail("{}'s output lacks what is expected: {}", program_name, error.what());
    }
    return latency;
}

std::uint64_t offered_load_bps(const Parameters& parameters) {
    const std::uint64_t rate = parameters.at("model_bytes_per_second");
    if (rate == 0) return parameters.at("load_bps");
    if (parameters.at("load_bps") > 0)
        fail("A workload has a load_bps, or a model of a disk that gives one, not both");
    const auto block = static_cast<double>(parameters.at("block_bytes"));
    const double seconds =
        static_cast<double>(parameters.at("model_request_us")) * 1e-6 + block / static_cast<double>(rate);
    return static_cast<std::uint64_t>(block * 8 / seconds);
}

SyncRead::SyncRead(const Trial& trial, const TrafficPlaces& places)
    : block_bytes_{trial.parameters.at("block_bytes")},
      load_bps_{offered_load_bps(trial.parameters)},
      warm_up_ms_{trial.parameters.at("warm_up_ms")},
      disk_{*places.disk} {
    const fs::path program = our_program(program_name);
    if (program.empty())
        throw Unavailable{
            fmt::format("The program {} is neither beside dmatoll nor in PATH; build it", program_name)};
    std::vector<std::string> arguments{program.string(),
                                       "--file",
                                       disk_.path(),
                                       "--block-bytes",
                                       std::to_string(block_bytes_),
                                       "--region-bytes",
                                       std::to_string(trial.parameters.at("region_bytes")),
                                       "--load",
                                       std::to_string(load_bps_),
                                       "--warm-up",
                                       std::to_string(warm_up_ms_)};
    in_flight_bytes_ = block_bytes_;
    if (trial.parameters.at("direct") == 0) {
        arguments.emplace_back("--buffered");
        in_flight_bytes_ += read_ahead_windows * read_ahead_kib * 1024;
    }
    child_ = std::make_unique<Child>(Command{.arguments = arguments, .cpu = places.device.cpu});
}

void SyncRead::warm_up(const std::function<void()>& require_driver) {
    wait_for_requests(disk_, [&] {
        require_running();
        require_driver();
    });
    sleep_seconds(static_cast<double>(warm_up_ms_) * 1e-3);
}

void SyncRead::require_running() {
    if (!child_->wait_for(0)) return;
    const Ended ended = child_->finish(0);
    output_ = ended.output;
    fail("{} ended too early with status {}: {}", program_name, ended.status,
         trim(last_lines(ended.error + ended.output, 5)));
}

std::map<std::string, std::string> SyncRead::raw_outputs() { return {{"sync-read.json", output_}}; }

nlohmann::json SyncRead::finish(const MeasuredWindow& window) {
    const Ended ended = child_->terminate(10);
    output_ = ended.output;
    if (ended.status != 0)
        fail("{} ended with status {}: {}", program_name, ended.status, trim(ended.error + ended.output));
    const auto latency = parse_sync_read(ended.output);
    nlohmann::json record;
    auto& metrics = record["metrics"];
    metrics = disk_metrics(block_bytes_, in_flight_bytes_, window);
    if (load_bps_ > 0) {
        metrics["load_requested_bps"] = load_bps_;
        const auto requested = static_cast<double>(load_bps_);
        if (std::abs(requested - metrics.at("load_achieved_bps").get<double>()) > missed_share * requested)
            record["flags"] = {"load-missed"};
    }
    if (!latency.is_null()) metrics["latency_ns"] = latency;
    record["meters"]["sync_read"] = {
        {"available", true},
        {"source", load_bps_ > 0 ? "dmatoll-sync-read behind its warm-up, from the time each read was meant to begin"
                                 : "dmatoll-sync-read behind its warm-up, from the begin of each read"}};
    return record;
}

}  // namespace dmatoll::harness
