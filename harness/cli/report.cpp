// SPDX-License-Identifier: BSD-2-Clause
#include <fmt/format.h>

#include "../failure.hpp"
#include "../paths.hpp"
#include "../process.hpp"
#include "../run_directory.hpp"
#include "../text.hpp"
#include "commands.hpp"

namespace dmatoll::harness::cli {

std::string run_analysis(const std::string& name, const std::vector<std::string>& arguments) {
    const fs::path sources = source_tree();
    fs::path script = sources.empty() ? fs::path{} : sources / "analysis" / name;
    if (script.empty() || !fs::exists(script))
        script = own_program().parent_path().parent_path() / "share/dmatoll/analysis" / name;
    if (!fs::exists(script))
        fail("The analysis is not there: neither in the source tree nor at {}", script.string());
    // The distribution's Python has the packages; another one may come first in PATH.
    const char* python = "/usr/bin/python3";
    std::vector<std::string> command{python, script.string()};
    command.insert(command.end(), arguments.begin(), arguments.end());
    const Ended ended = harness::run({.arguments = command, .own_group = false}, 300);
    if (ended.status != 0)
        fail("{} {} ended with status {}:\n{}", name, join(arguments, " "), ended.status,
             trim(last_lines(ended.error, 15)));
    return ended.output;
}

void make_report(const std::string& run) {
    const fs::path directory = find_run(run);
    const std::string output = run_analysis("report.py", {directory.string()});
    const fs::path report = directory / "report.html";
    if (!fs::exists(report)) fail("The analysis ended well, but {} is not there", report.string());
    fmt::print("{}", output);
    fmt::print("Report: {}\n", report.string());
}

void add_report(CLI::App& program, Outcome&) {
    auto run = std::make_shared<std::string>();
    auto* command = program.add_subcommand("report", "Makes RUN/report.html from a run's records");
    command->add_option("RUN", *run, "its directory, its name below results/runs, or 'latest'")->required();
    command->callback([run] { make_report(*run); });
}

}  // namespace dmatoll::harness::cli
