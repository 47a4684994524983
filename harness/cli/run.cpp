// SPDX-License-Identifier: BSD-2-Clause
#include <fmt/format.h>

#include <algorithm>

#include "../cpus.hpp"
#include "../failure.hpp"
#include "../file.hpp"
#include "../map_unmap.hpp"
#include "../probe_cells.hpp"
#include "../process.hpp"
#include "../provenance.hpp"
#include "../run_lab.hpp"
#include "../run_local.hpp"
#include "../text.hpp"
#include "commands.hpp"

namespace dmatoll::harness::cli {
namespace {

struct Options {
    std::string command;  // that was given, without its options
    std::string suite;
    std::string filter;
    std::string target = "lab";
    std::string clock = "virtual";
    std::string resume;
    std::string output;
    std::uint64_t seed = 1;
    unsigned jobs = 2;
    unsigned deadline_seconds = LabSettings{}.deadline_seconds;
    std::string device;
    std::string peer;
    bool force = false;
    bool report = true;
    bool quiet = false;
};

nlohmann::json make_manifest(const Options& options) {
    nlohmann::json environment = program_provenance();
    nlohmann::json host = machine_provenance();
    const bool lab = options.target == "lab";
    environment["kind"] = !lab ? "hardware" : options.clock == "virtual" ? "lab-virtual" : "lab-wall";
    if (lab) {
        environment["qemu"] = emulator_version();
        environment["host"] = {{"kernel", host.value("kernel", "")},
                               {"cpu_model", host.value("cpu_model", "")}};
    }
    nlohmann::json manifest{
        {"target", options.target}, {"seed", options.seed}, {"environment", environment}, {"host", host}};
    if (lab) manifest["clock"] = options.clock;
    if (!lab) manifest["local"] = {{"device", options.device}, {"peer", options.peer}};
    return manifest;
}

RunDirectory open_run(const Options& options) {
    if (options.target == "local" && options.resume.empty() &&
        options.device.empty())
        fail(
            "--target local needs --device, and --peer: PCI addresses of two connected network cards, or of one "
            "controller of disks alone; `dmatoll devices` lists them");
    if (options.resume.empty()) {
        const Plan plan = make_plan(load_suite(options.suite), options.seed, options.filter,
                                    options.target == "lab" ? std::nullopt : std::optional{machine_cpus()});
        return RunDirectory::create(options.output, plan, make_manifest(options));
    }
    RunDirectory run = RunDirectory::open(options.resume);
    if (run.plan().suite != load_suite(options.suite).name)
        fail("The run {} is one of the suite {}, not of {}", run.path().string(), run.plan().suite,
             options.suite);
    return run;
}

// Says which cells of a probe protect less than they promise, and of which it is not known. Returns whether any does.
bool tell_broken_promises(const std::vector<nlohmann::json>& records) {
    bool broken = false;
    for (const auto& record : records) {
        const ToldCells told = tell_cells(record);
        for (const auto* told_lines : {&told.untried, &told.broken})
            for (const auto& line : *told_lines) fmt::print("{}\n", line);
        broken = broken || !told.broken.empty();
    }
    return broken;
}

// Returns the exit status.
int run_suite(const Options& options, RunDirectory& run) {
    const auto& manifest = run.manifest();
    const bool lab = manifest.at("target") == "lab";
    const bool virtual_clock = lab && manifest.at("clock") == "virtual";
    const auto trials = run.unfinished();
    Plan rest = run.plan();
    rest.trials = trials;
    const unsigned jobs = std::min<unsigned>(options.jobs, static_cast<unsigned>(allowed_cpus().size()));
    const Estimate time =
        estimate(rest, lab, virtual_clock ? ClockKind::virtual_clock : ClockKind::wall_clock, jobs);
    Progress progress{trials, time.total_seconds, options.quiet};
    progress.message(fmt::format(
        "{}: {} trials{}, about {}", run.path().string(), trials.size(),
        trials.size() == run.plan().trials.size() ? "" : fmt::format(" of {} left", run.plan().trials.size()),
        duration_text(time.total_seconds)));
    const double begun = now_seconds();
    const auto resume_hint = [&] {
        progress.done();
        fmt::print(stderr, "Finished trials are in {}; go on with: dmatoll {} --resume {}\n",
                   run.records_path().string(), options.command, run.path().string());
    };
    try {
        if (trials.empty()) {
            progress.message("Nothing is left to run.");
        } else if (lab) {
            run_lab(
                run, trials,
                {.virtual_clock = virtual_clock, .jobs = jobs, .deadline_seconds = options.deadline_seconds},
                progress);
        } else {
            run_local(run, trials,
                      {.device = manifest.at("local").at("device"),
                       .peer = manifest.at("local").at("peer"),
                       .force = options.force},
                      progress);
        }
    } catch (...) {
        resume_hint();
        throw;
    }
    progress.done();
    fmt::print("{} trials in {}: {} ok, {} errors, {} skipped. Records: {}\n", progress.count(),
               duration_text(now_seconds() - begun),
               progress.count() - progress.errors() - progress.skipped(), progress.errors(),
               progress.skipped(), run.records_path().string());
    if (progress.problems() != 0)
        fmt::print("{} times a driver did not stop as it should; above stands how.\n",
                   progress.problems());
    int status = progress.errors() || progress.problems() ? trials_failed_status : 0;
    if (options.report) {
        try {
            make_report(run.path().string());
        } catch (const Failure& failure) {
            // The records are what counts; the report can be made again.
            fmt::print(stderr, "dmatoll: {}\n", failure.what());
            status = failed_status;
        }
    }
    return tell_broken_promises(read_records(run.records_path()).records) ? promise_broken_status : status;
}

// What a map and an unmap took: a line a trial. Returns whether anything was timed.
bool print_times(const std::vector<nlohmann::json>& records) {
    bool timed = false;
    for (const auto& record : records) {
        const auto metrics = record.value("metrics", nlohmann::json::object());
        if (record.value("status", "") != "ok" || !metrics.contains("pair_ticks")) continue;
        const auto median = [&](const char* what) { return metrics.at(what).at("p50").dump(); };
        if (!timed)
            fmt::print("Medians, the mean of a pair, and instructions a pair of the whole run where the lab counts them: with the measuring, and "
                       "with all that was put off\nin {}, {} of each map and unmap for reading the clock\n"
                       "{:<60} {:>8} {:>8} {:>8} {:>10} {:>10}\n",
                       metrics.at("tick_unit").get<std::string>(), median("clock_ticks"), "trial", "map", "unmap", "pair", "mean",
                       "whole run");
        timed = true;
        fmt::print("{:<60} {:>8} {:>8} {:>8} {:>10.1f} {:>10}\n", record.at("trial").get<std::string>(), median("map_ticks"),
                   median("unmap_ticks"), median("pair_ticks"), metrics.at("pair_ticks").at("mean").get<double>(),
                   metrics.contains("instructions_per_pair")
                       ? fmt::format("{:.1f}", metrics["instructions_per_pair"].get<double>())
                       : "-");
    }
    return timed;
}

// All but which suite it is.
void add_options(CLI::App* command, const std::shared_ptr<Options>& options) {
    command
        ->add_option("--target", options->target,
                     "lab: emulated guests, no hardware is touched; local: this machine's network cards or disks, which "
                     "are taken from their drivers; what is on disks is lost if the suite writes")
        ->check(CLI::IsMember({"lab", "local"}))
        ->capture_default_str();
    command->add_option("--filter", options->filter,
                        "only some trials, for example: placement=kernel|user,workload=*-rx,boot=0");
    command->add_option("--seed", options->seed, "decides the order of trials, and with it each boot's seed")
        ->capture_default_str();
    command
        ->add_option("--clock", options->clock,
                     "of the lab; virtual: guest instructions, repeatable; wall: real concurrency")
        ->check(CLI::IsMember({"virtual", "wall"}))
        ->capture_default_str();
    command->add_option("--resume", options->resume,
                        "go on with a run: its directory, its name, or 'latest'");
    command->add_option("--output", options->output,
                        "directory of the run, instead of results/runs/<suite>-<time>");
    command->add_option("--jobs", options->jobs, "guests at a time, each on a CPU of its own")
        ->check(CLI::Range(1, 64))
        ->capture_default_str();
    command
        ->add_option("--deadline", options->deadline_seconds,
                     "target lab: seconds without progress after which a guest has hung")
        ->check(CLI::Range(1, 86400))
        ->capture_default_str();
    command->add_option("--device", options->device,
                        "target local: PCI address of the device under test; it is unbound!");
    command->add_option("--peer", options->peer,
                        "target local: PCI address of the card at the other end of the cable; with disks, of a device that "
                        "the probe takes from its driver, to have a domain of its own beside theirs");
    command->add_flag("--force", options->force,
                      "target local: take a device even if it carries the default route, has disks in use, "
                      "or disks that are not empty and will be written to");
    command->add_flag("!--no-report", options->report, "do not make the report at the end");
    command->add_flag("--quiet", options->quiet, "no progress, only the summary");
    // What was decided when the run began, and is in its manifest.
    for (const auto* decided : {"--target", "--filter", "--seed", "--clock", "--output", "--device", "--peer"})
        command->get_option("--resume")->excludes(command->get_option(decided));
}

}  // namespace

void add_run(CLI::App& program, Outcome& outcome) {
    auto options = std::make_shared<Options>();
    auto* command = program.add_subcommand(
        "run", "Runs a suite and writes records and a report to results/runs/<suite>-<time>/");
    command->add_option("SUITE", options->suite, "name of a suite (dmatoll list), or a TOML file")
        ->required();
    add_options(command, options);
    command->footer(
        "Ctrl-C gives every device back; the trials that are finished are whole, and --resume goes on from "
        "there.\n"
        "Exit status: 0 all trials ran; 3 some trials are errors (their records say why), or a driver did not stop as it should,\n"
        "with mappings left; 4 something was probed that protects less than it promises; 1 the run broke off; 130 interrupted.");
    command->callback([options, &outcome] {
        options->command = "run " + options->suite;
        RunDirectory run = open_run(*options);
        outcome.status = run_suite(*options, run);
    });
}

void add_probe(CLI::App& program, Outcome& outcome) {
    auto options = std::make_shared<Options>();
    options->command = options->suite = "probe";
    auto* command = program.add_subcommand(
        "probe", "Tries accesses that must fail, under every strategy, and holds what came of them against what each promises");
    add_options(command, options);
    command->footer(
        "The network card is made to stray: it reads and writes where nothing was mapped for it, behind the end of\n"
        "a buffer, the wrong way, and where a buffer was until it was unmapped, again and again until that fails.\n"
        "What it reached is judged by words in memory. `dmatoll list` shows what each promises; with\n"
        "--filter strategy=deferred,placement=user only that is tried. A driver process attacks as well, by what it maps,\n"
        "by its device's configuration, by system calls and by interrupts (--filter workload=probe-driver).\n"
        "Exit status: as of `dmatoll run`.");
    command->callback([options, &outcome] {
        RunDirectory run = open_run(*options);
        outcome.status = run_suite(*options, run);
        const auto records = read_records(run.records_path()).records;
        if (std::none_of(records.begin(), records.end(), [](const auto& record) { return tell_cells(record).any; }))
            fail("Nothing was probed; the records in {} say why", run.records_path().string());
    });
}

void add_bench(CLI::App& program, Outcome& outcome) {
    auto options = std::make_shared<Options>();
    options->command = options->suite = "bench";
    auto* command = program.add_subcommand(
        "bench", "Times maps and unmaps, and what of them each part takes, under every strategy, Linux's DMA API beside ours");
    add_options(command, options);
    auto json = std::make_shared<std::string>();
    command->add_option("--json", *json, "a file for the times in the shape of Google Benchmark's JSON, with what ran where as its context");
    command->footer(
        "The driver maps buffers and unmaps them, and the device does nothing: medians and means are printed,\n"
        "and means, extremes and percentiles are in the records. On the lab's virtual clock they are instructions, elsewhere ticks of the time\n"
        "stamp counter. The mean of a pair holds what was put off: a driver process times between pairs what has come due, in the\n"
        "kernel a timer interrupts a map or an unmap for it, but not while buffers are held for a time (hold_us), and what still\n"
        "waits at the end is done and timed then, but for Linux's own queue. VFIO pins and maps in one call; a call that only pins as\n"
        "many pages and lets them go is timed beside it (pin_call), as an estimate: at few pages it is mostly the call itself.\n"
        "`dmatoll plan bench` shows all points; --filter part=pages,strategy=strict|linux-strict,buffer_pages=1|64\n"
        "takes some of them.\n"
        "Exit status: as of `dmatoll run`, and 1 if all trials were skipped: nothing was timed.");
    command->callback([options, json, &outcome] {
        RunDirectory run = open_run(*options);
        outcome.status = run_suite(*options, run);
        const auto records = read_records(run.records_path()).records;
        if (!print_times(records)) {
            fmt::print(stderr, "dmatoll: Nothing was timed; the records in {} say why\n", run.records_path().string());
            // Trials that are errors have a status of their own; ones that were skipped have none.
            if (outcome.status == 0) outcome.status = failed_status;
            return;
        }
        if (!json->empty())
            write_file(*json, benchmark_json(run.manifest().at("environment"), records).dump(2) + "\n");
    });
}

void add_guest_job(CLI::App& program, Outcome&) {
    auto job = std::make_shared<std::string>();
    auto records = std::make_shared<std::string>();
    // Not for users: what the lab's guest runs.
    auto* command = program.add_subcommand("guest-job", "Runs the trials of a job file")->group("");
    command->add_option("JOB", *job)->required();
    command->add_option("--records", *records)->envname("DMATOLL_RECORDS")->required();
    command->callback([job, records] { run_guest_job(*job, *records); });
}

}  // namespace dmatoll::harness::cli
