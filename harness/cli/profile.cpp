// SPDX-License-Identifier: BSD-2-Clause
#include <fmt/format.h>

#include <algorithm>

#include "../failure.hpp"
#include "../paths.hpp"
#include "../process.hpp"
#include "../provenance.hpp"
#include "../run_lab.hpp"
#include "../text.hpp"
#include "commands.hpp"

namespace dmatoll::harness::cli {
namespace {

struct Options {
    std::string run;
    std::vector<std::string> trials;
    unsigned jobs = 2;
    bool quiet = false;
};

std::vector<Trial> chosen(const Plan& plan, const std::vector<std::string>& patterns) {
    std::vector<Trial> trials;
    std::vector<std::string> known;
    for (const auto& trial : plan.trials) known.push_back(trial.id);
    for (const auto& pattern : patterns) {
        const auto matches = [&](const Trial& trial) { return glob_match(pattern, trial.id); };
        if (std::none_of(plan.trials.begin(), plan.trials.end(), matches))
            fail("The run has no trial '{}'{}", pattern, suggestion(pattern, known));
        for (const auto& trial : plan.trials) {
            const auto same = [&](const Trial& other) { return other.id == trial.id; };
            if (matches(trial) && std::none_of(trials.begin(), trials.end(), same)) trials.push_back(trial);
        }
    }
    return trials;
}

int profile(const Options& options) {
    Plan plan;
    nlohmann::json manifest;
    fs::path directory;
    {
        const RunDirectory run = RunDirectory::open(options.run);
        plan = run.plan();
        manifest = run.manifest();
        directory = run.path();
    }
    if (manifest.at("target") != "lab" || manifest.value("clock", "") != "virtual")
        fail("{} was not run in the lab on the virtual clock: only there is each instruction counted",
             directory.string());
    plan.trials = chosen(plan, options.trials);
    manifest["environment"].update(program_provenance());

    // A run of its own inside the run: the same trials, in boots that hold nothing else.
    RunDirectory run =
        RunDirectory::create(directory / "profiles" / ("run-" + utc_now_compact()), plan, manifest);
    const Estimate time = estimate(plan, true, ClockKind::virtual_clock, options.jobs);
    Progress progress{plan.trials, time.total_seconds, options.quiet};
    progress.message(fmt::format("{}: {} trials once more, about {}", run.path().string(), plan.trials.size(),
                                 duration_text(time.total_seconds)));
    run_lab(run, plan.trials, {.virtual_clock = true, .jobs = options.jobs, .profile = true}, progress);
    progress.done();
    fmt::print("{}", run_analysis("profile.py", {run.path().string()}));
    return progress.errors() ? trials_failed_status : 0;
}

}  // namespace

void add_profile(CLI::App& program, Outcome& outcome) {
    auto options = std::make_shared<Options>();
    auto* command = program.add_subcommand(
        "profile",
        "Says where the instructions of trials go: runs them once more and splits them by function");
    command->add_option("RUN", options->run, "a run in the lab: its directory, its name, or 'latest'")
        ->required();
    command
        ->add_option("TRIAL", options->trials,
                     "ids of trials, as trials.jsonl has them; * stands for any text")
        ->required();
    command->add_option("--jobs", options->jobs, "guests at a time, each on a CPU of its own")
        ->check(CLI::Range(1, 64))
        ->capture_default_str();
    command->add_flag("--quiet", options->quiet, "no progress, only the result");
    command->footer(
        "Every instruction of the device under test's CPU in the window is counted and given to the function "
        "that it belongs\n"
        "to, in our own objects to the innermost inlined one; functions are summed up by what they are for. "
        "Writes RUN/profiles/TRIAL.json; `dmatoll report "
        "RUN` then shows it.\n"
        "An example: dmatoll profile latest '0-82540EM-*-persistent-iperf3-udp-*'");
    command->callback([options, &outcome] { outcome.status = profile(*options); });
}

}  // namespace dmatoll::harness::cli
