// SPDX-License-Identifier: BSD-2-Clause
// The commands of dmatoll. Each adds itself to the program; its callback throws Failure, or sets the exit
// status.
#pragma once

#include <CLI/CLI.hpp>

namespace dmatoll::harness::cli {

// What main() returns after a command that did not throw.
struct Outcome {
    int status = 0;
};

inline constexpr int failed_status = 1;
inline constexpr int trials_failed_status = 3;  // the run is complete, some trials are errors
inline constexpr int promise_broken_status = 4;  // a strategy protects less than it promises
inline constexpr int interrupted_status = 130;

void add_doctor(CLI::App& program, Outcome& outcome);
void add_list(CLI::App& program, Outcome& outcome);
void add_plan(CLI::App& program, Outcome& outcome);
void add_run(CLI::App& program, Outcome& outcome);
void add_bench(CLI::App& program, Outcome& outcome);
void add_probe(CLI::App& program, Outcome& outcome);
void add_report(CLI::App& program, Outcome& outcome);
void add_profile(CLI::App& program, Outcome& outcome);
void add_lab(CLI::App& program, Outcome& outcome);
void add_devices(CLI::App& program, Outcome& outcome);  // devices, bind, restore
void add_guest_job(CLI::App& program, Outcome& outcome);

// Runs one of the programs of analysis/ and returns its output. Throws Failure with what it said.
std::string run_analysis(const std::string& script, const std::vector<std::string>& arguments);

// Writes RUN's report.html by the Python analysis. Throws Failure.
void make_report(const std::string& run);

}  // namespace dmatoll::harness::cli
