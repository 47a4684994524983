// SPDX-License-Identifier: BSD-2-Clause
#include "progress.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>

#include "process.hpp"
#include "text.hpp"

namespace dmatoll::harness {

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
    const double passed = now_seconds() - begun_;
    const double share = weight_total_ > 0 ? weight_done_ / weight_total_ : 0;
    // At first the plan's estimate counts, later what was seen.
    const double planned = estimated_ * (1 - share);
    if (share <= 0) return std::max(0.0, estimated_ - passed);
    const double seen = passed / share - passed;
    return planned * (1 - share) + seen * share;
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
    std::string result = status;
    if (status == "ok") {
        const auto& metrics = record.at("metrics");
        if (metrics.contains("kills"))
            result = fmt::format("{} faults, {} recoveries", metrics["kills"].dump(),
                                 metrics["recoveries"].dump());
        else if (metrics.contains("bytes_verified"))
            result = fmt::format("{} bytes verified", metrics["bytes_verified"].dump());
        else
            result = fmt::format("{:7.1f} Mb/s", metrics.value("throughput_bps", 0.0) / 1e6);
        if (const auto outage = metrics.value("outage_ns", nlohmann::json::object());
            outage.contains("median"))
            result += fmt::format(", outage {:.2f} s", outage["median"].get<double>() * 1e-9);
        if (metrics.contains("instructions_per_packet"))
            result +=
                fmt::format(" {:7.0f} instructions/packet", metrics["instructions_per_packet"].get<double>());
        if (metrics.contains("instructions_per_io"))
            result += fmt::format(" {:7.0f} instructions/IO", metrics["instructions_per_io"].get<double>());
        if (metrics.contains("cpu_utilisation"))
            result += fmt::format(" {:5.1f} % CPU", metrics["cpu_utilisation"].get<double>() * 100);
    } else {
        result += ": " + record.value("reason", "");
    }
    line(fmt::format("[{:3}/{}] {} left | {:<58} {}", done_, total_, duration_text(seconds_left()), trial.id,
                     result),
         status != "ok" || !terminal_);
}

void Progress::message(const std::string& text) { line(text, true); }

void Progress::done() {
    if (open_line_) fmt::print("\n");
    open_line_ = false;
    std::fflush(stdout);
}

}  // namespace dmatoll::harness
