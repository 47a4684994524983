// SPDX-License-Identifier: BSD-2-Clause
#include "progress.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>

#include "process.hpp"
#include "text.hpp"

namespace dmatoll::harness {

std::string result_text(const nlohmann::json& metrics) {
    std::string text;
    const auto add = [&](const std::string& more) { text += (text.empty() ? "" : " ") + more; };
    if (metrics.contains("kills")) {
        add(fmt::format("{} faults, {} recoveries", metrics["kills"].dump(), metrics["recoveries"].dump()));
    } else if (metrics.contains("bytes_verified")) {
        add(fmt::format("{} bytes verified", metrics["bytes_verified"].dump()));
    } else if (metrics.contains("pair_ticks")) {
        const double ticks = metrics["pair_ticks"].at("mean");
        add(metrics.at("tick_unit") == "instructions"
                ? fmt::format("{:9.0f} instructions/pair", ticks)
                : fmt::format("{:9.0f} ns/pair", ticks / metrics.at("ticks_per_ns").get<double>()));
        // The driver's CPU is busy with nothing else.
        return text;
    } else if (metrics.contains("throughput_bps")) {
        add(fmt::format("{:7.1f} Mb/s", metrics["throughput_bps"].get<double>() / 1e6));
    }
    if (const auto outage = metrics.value("outage_ns", nlohmann::json::object()); outage.contains("median"))
        text += fmt::format("{}outage {:.2f} s", text.empty() ? "" : ", ", outage["median"].get<double>() * 1e-9);
    if (metrics.contains("instructions_per_packet"))
        add(fmt::format("{:7.0f} instructions/packet", metrics["instructions_per_packet"].get<double>()));
    if (metrics.contains("instructions_per_io"))
        add(fmt::format("{:7.0f} instructions/IO", metrics["instructions_per_io"].get<double>()));
    if (metrics.contains("cpu_utilisation"))
        add(fmt::format("{:5.1f} % CPU", metrics["cpu_utilisation"].get<double>() * 100));
    return text.empty() ? "ok" : text;
}

Progress::Progress(const std::vector<Trial>& trials, double estimated_seconds, bool quiet)
    : total_{trials.size()},
      estimated_{estimated_seconds},
      begun_{now_seconds()},
      quiet_{quiet},
      terminal_{::isatty(1) == 1} {
    for (const auto& trial : trials) weight_total_ += estimate_trial(trial, ClockKind::virtual_clock);
}

void Progress::line(const std::string& text, bool keep) {
    if (quiet_) return;
    if (open_line_) fmt::print("\r\033[K");
    fmt::print("{}", text);
    open_line_ = terminal_ && !keep;
    if (!open_line_) fmt::print("\n");
    std::fflush(stdout);
}

double Progress::seconds_left() const {
    // What the plan estimates counts as much as what was seen of a fiftieth of the run.
    constexpr double prior = 0.02;
    const double passed = now_seconds() - begun_;
    const double share = weight_total_ > 0 ? weight_done_ / weight_total_ : 0;
    if (share <= 0) return std::max(0.0, estimated_ - passed);
    return (passed + prior * estimated_) / (share + prior) * (1 - share);
}

void Progress::started(const Trial& trial) {
    if (!terminal_) return;
    line(fmt::format("[{:3}/{}] {} left: {} ...", done_, total_, duration_text(seconds_left()), trial.id),
         false);
}

void Progress::step(const Trial& trial, std::uint64_t done, std::uint64_t total) {
    if (!terminal_) return;
    line(fmt::format("[{:3}/{}] {} left: {}, {} of {} ...", done_, total_, duration_text(seconds_left()),
                     trial.id, done, total),
         false);
}

void Progress::finished(const Trial& trial, const nlohmann::json& record) {
    ++done_;
    weight_done_ += estimate_trial(trial, ClockKind::virtual_clock);
    const std::string status = record.value("status", "error");
    if (status == "error") ++errors_;
    if (status == "skipped") ++skipped_;
    const std::string result = status == "ok" ? result_text(record.at("metrics")) : status + ": " + record.value("reason", "");
    line(fmt::format("[{:3}/{}] {} left | {:<58} {}", done_, total_, duration_text(seconds_left()), trial.id,
                     result),
         status != "ok" || !terminal_);
}

void Progress::problem(const std::string& text) {
    ++problems_;
    if (quiet_)
        fmt::print(stderr, "dmatoll: problem: {}\n", text);
    else
        message("problem: " + text);
}

void Progress::message(const std::string& text) { line(text, true); }

void Progress::done() {
    if (open_line_) fmt::print("\n");
    open_line_ = false;
    std::fflush(stdout);
}

}  // namespace dmatoll::harness
