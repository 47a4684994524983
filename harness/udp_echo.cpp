// SPDX-License-Identifier: BSD-2-Clause
#include "udp_echo.hpp"

#include <cmath>

#include "failure.hpp"
#include "paths.hpp"
#include "text.hpp"

namespace dmatoll::harness {
namespace {

constexpr const char* load_program = "dmatoll-udp-load";
constexpr const char* server_program = "dmatoll-udp-echo";
// For programs to start and to announce themselves.
constexpr double start_seconds = 10;
// The session reads the counters between the warm-up's end and the window's opening.
constexpr std::uint64_t counters_ns = 500'000;
// A point of the load axis beyond it is flagged, as by the group of 2005.
constexpr double missed_share = 0.2;
// As close as two loads must be to be compared.
constexpr double unequal_share = 0.02;

std::string program_path(const char* name) {
    const fs::path program = our_program(name);
    if (program.empty())
        throw Unavailable{
            fmt::format("The program {} is neither beside dmatoll nor in PATH; build it", name)};
    return program.string();
}

// The last line of what it printed.
nlohmann::json result_of(const std::string& output, const char* program) {
    const auto all = lines(output);
    auto json = nlohmann::json::parse(all.empty() ? "" : all.back(), nullptr, false);
    if (!json.is_object())
        fail("{} printed no JSON object: '{}'", program, trim(last_lines(output, 1)).substr(0, 200));
    return json;
}

std::string announcement(Child& child, const char* program) {
    if (const auto line = child.read_line(start_seconds)) return *line;
    const Ended ended = child.terminate(1);
    fail("{} did not start: status {}: {}", program, ended.status, trim(ended.error + ended.output));
}

}  // namespace

AnnouncedWindow parse_announced_window(std::string_view line) {
    const auto json = nlohmann::json::parse(line, nullptr, false);
    if (!json.is_object() || json.value("event", "") != "window")
        fail("{} announced no window, but '{}'", load_program, trim(line.substr(0, 200)));
    AnnouncedWindow window;
    try {
        window.begin_ns = json.at("begin_monotonic_ns");
        window.end_ns = json.at("end_monotonic_ns");
    } catch (const nlohmann::json::exception& error) {
        fail("{}'s announcement lacks what is expected: {}", load_program, error.what());
    }
    if (window.begin_ns >= window.end_ns) fail("{} announced an empty window", load_program);
    return window;
}

nlohmann::json echo_metrics(const nlohmann::json& result, const MeasuredWindow& window) {
    nlohmann::json metrics;
    std::uint64_t echoes = 0;
    try {
        const auto& inside = result.at("window");
        echoes = inside.at("arrived");
        metrics["packets"] = echoes;
        metrics["load_requested_bps"] = result.at("parameters").at("load_bps");
        metrics["load_sent_bps"] = inside.at("load_sent_bps");
        metrics["load_achieved_bps"] = inside.at("load_achieved_bps");
        if (result.contains("latency_ns")) metrics["latency_ns"] = result["latency_ns"];
    } catch (const nlohmann::json::exception& error) {
        fail("{}'s output lacks what is expected: {}", load_program, error.what());
    }
    if (echoes == 0) fail("No echo came back to {} within the window", load_program);
    const std::uint64_t sent = window.device.at("frames_transmitted");
    const std::uint64_t received = window.device.at("frames_received");
    // The windows begin within a millisecond of each other, and queues hold some frames; a twentieth is more
    // than both. What is received and not echoed is a loss, and a result; so is
    // an echo that is lost behind the device.
    const std::uint64_t slack = 64 + echoes / 20;
    if (sent + slack < echoes || received + slack < echoes)
        fail(
            "Both ends disagree about the window: {} echoes arrived at {}, while the device under test "
            "received {} "
            "frames and sent {} ({})",
            echoes, load_program, received, sent, window.device_source);
    const double seconds = static_cast<double>(window.counters_ns) * 1e-9;
    metrics["throughput_bps"] = static_cast<double>(window.device.at("bytes_transmitted")) * 8 / seconds;
    return metrics;
}

nlohmann::json echo_flags(const nlohmann::json& metrics) {
    const double requested = metrics.at("load_requested_bps");
    const double achieved = metrics.at("load_achieved_bps");
    nlohmann::json flags = nlohmann::json::array();
    if (std::abs(requested - achieved) > missed_share * requested) flags.push_back("load-missed");
    const double sent = metrics.at("load_sent_bps");
    if (std::abs(requested - sent) > unequal_share * requested) flags.push_back("load-not-offered");
    return flags;
}

UdpEcho::UdpEcho(const Trial& trial, const TrafficPlaces& places) {
    const auto parameter = [&](const char* name) { return trial.parameters.at(name); };
    if (!places.device.interface)
        throw Unavailable{"The device's driver has no network interface here, and an echo needs one"};
    server_ = std::make_unique<Child>(
        Command{.arguments = {program_path(server_program), "--address", places.device.address, "--announce"},
                .cpu = places.device.cpu,
                .network_namespace = places.device.network_namespace});
    announcement(*server_, server_program);
    load_ = std::make_unique<Child>(
        Command{.arguments = {program_path(load_program), "--server", places.device.address, "--source",
                              places.peer.address, "--load", std::to_string(parameter("load_bps")),
                              "--payload", std::to_string(parameter("payload_bytes")), "--warm-up",
                              std::to_string(parameter("warm_up_ms")), "--window",
                              std::to_string(parameter("window_ms")), "--cool-down",
                              std::to_string(parameter("cool_down_ms")), "--announce"},
                .cpu = places.peer.cpu,
                .network_namespace = places.peer.network_namespace});
    announced_ = parse_announced_window(announcement(*load_, load_program));
    patience_ = static_cast<double>(parameter("cool_down_ms")) * 1e-3 + 10;
}

void UdpEcho::warm_up(const std::function<void()>& require_driver) {
    require_running();
    require_driver();
    sleep_until_ns(announced_.begin_ns - counters_ns);
    require_running();
}

void UdpEcho::require_running() {
    const auto require = [](Child& child, const char* program, std::string& output) {
        if (!child.wait_for(0)) return;
        const Ended ended = child.finish(0);
        output = ended.output;
        fail("{} ended too early with status {}: {}", program, ended.status, trim(ended.error));
    };
    require(*load_, load_program, load_output_);
    require(*server_, server_program, server_output_);
}

nlohmann::json UdpEcho::finish(const MeasuredWindow& window) {
    const Ended load = load_->finish(patience_);
    load_output_ = load.output;
    const Ended server = server_->terminate(5);
    server_output_ = server.output;
    if (load.status != 0) fail("{} ended with status {}: {}", load_program, load.status, trim(load.error));
    if (server.status != 0)
        fail("{} ended with status {}: {}", server_program, server.status, trim(server.error));
    const std::uint64_t length = announced_.end_ns - announced_.begin_ns;
    const auto offset = static_cast<std::int64_t>(window.opened_ns - announced_.begin_ns);
    if (std::abs(static_cast<double>(offset)) > 0.05 * static_cast<double>(length))
        fail("The window opened {:.3f} ms off the one that {} announced", static_cast<double>(offset) * 1e-6,
             load_program);
    auto result = result_of(load.output, load_program);
    nlohmann::json record;
    record["metrics"] = echo_metrics(result, window);
    if (auto flags = echo_flags(record["metrics"]); !flags.empty()) record["flags"] = std::move(flags);
    // The latency is among the metrics.
    result.erase("latency_ns");
    record["meters"]["udp_load"] = {{"available", true},
                                    {"source", load_program},
                                    {"window_offset_ns", offset},
                                    {"result", std::move(result)}};
    record["meters"]["udp_echo"] = {{"available", true},
                                    {"source", server_program},
                                    {"result", result_of(server.output, server_program)}};
    return record;
}

std::map<std::string, std::string> UdpEcho::raw_outputs() {
    return {{"load.json", load_output_}, {"echo.json", server_output_}};
}

}  // namespace dmatoll::harness
