// SPDX-License-Identifier: BSD-2-Clause
#include <fmt/format.h>

#include "../cpus.hpp"
#include "../plan.hpp"
#include "../text.hpp"
#include "commands.hpp"

namespace dmatoll::harness::cli {
namespace {

struct Options {
    std::string suite;
    std::string filter;
    std::string target = "lab";
    std::string clock = "virtual";
    std::uint64_t seed = 1;
    unsigned jobs = 2;
    bool json = false;
};

void print_plan(const Options& options) {
    const bool lab = options.target == "lab";
    const Plan plan = make_plan(load_suite(options.suite), options.seed, options.filter,
                                lab ? std::nullopt : std::optional{machine_cpus()});
    const auto clock = lab && options.clock == "virtual" ? ClockKind::virtual_clock : ClockKind::wall_clock;
    const Estimate time = estimate(plan, lab, clock, options.jobs);
    if (options.json) {
        auto json = to_json(plan);
        json["target"] = options.target;
        json["estimate"] = {{"total_seconds", time.total_seconds},
                            {"trials_seconds", time.trials_seconds},
                            {"boots_seconds", time.boots_seconds}};
        fmt::print("{}\n", json.dump(2));
        return;
    }
    std::string combination;
    for (const auto& trial : plan.trials) {
        const std::string current = fmt::format("boot {} (seed {}{}), {}", trial.boot, trial.boot_seed,
                                                label(trial.guest).empty() ? "" : ", " + label(trial.guest),
                                                trial.combination());
        if (current != combination) fmt::print("{}\n", current);
        combination = current;
        fmt::print("    {:16}", trial.workload);
        for (const auto& [name, value] : trial.parameters) fmt::print(" {}={}", name, value);
        fmt::print("\n");
    }
    for (const auto& excluded : plan.excluded) fmt::print("not: {}\n", excluded.reason);
    fmt::print("{} trials in {} boots, about {}{}\n", plan.trials.size(), plan.boots(),
               duration_text(time.total_seconds),
               lab ? fmt::format(" with {} guests at a time", options.jobs) : "");
}

}  // namespace

void add_plan(CLI::App& program, Outcome&) {
    auto options = std::make_shared<Options>();
    auto* command = program.add_subcommand(
        "plan", "Prints a suite's trials in their order, with an estimate of the time; runs nothing");
    command->add_option("SUITE", options->suite, "name of a suite (dmatoll list), or a TOML file")
        ->required();
    command->add_option("--filter", options->filter,
                        "only some trials, for example: placement=kernel|user,workload=*-rx,boot=0");
    command->add_option("--seed", options->seed, "decides the order and each boot's seed")
        ->capture_default_str();
    command->add_option("--target", options->target, "lab: guests; local: this machine")
        ->check(CLI::IsMember({"lab", "local"}))
        ->capture_default_str();
    command->add_option("--clock", options->clock, "of the lab")
        ->check(CLI::IsMember({"virtual", "wall"}))
        ->capture_default_str();
    command->add_option("--jobs", options->jobs, "guests at a time")
        ->check(CLI::Range(1, 64))
        ->capture_default_str();
    command->add_flag("--json", options->json, "as one JSON object");
    command->callback([options] { print_plan(*options); });
}

}  // namespace dmatoll::harness::cli
