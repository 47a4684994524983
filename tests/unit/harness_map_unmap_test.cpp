// SPDX-License-Identifier: BSD-2-Clause
// What is made of a driver's times.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include <algorithm>
#include <set>

#include "failure.hpp"
#include "map_unmap.hpp"
#include "progress.hpp"
#include "suite.hpp"
#include "text.hpp"

namespace dmatoll::harness {
namespace {

using nlohmann::json;

// As it is read from a driver's text.
const json answer = json::parse(R"({"map_n": 4, "map_total": 1002, "map_min": 200, "map_p50": 250, "map_p90": 300,
                                    "map_p99": 300, "map_p99_9": 300, "map_max": 300})");

TEST(MapUnmap, ASummaryHasItsMean) {
    EXPECT_EQ(tick_summary(answer, "map"), (json{{"n", 4},
                                                 {"mean", 250.5},
                                                 {"min", 200},
                                                 {"p50", 250},
                                                 {"p90", 300},
                                                 {"p99", 300},
                                                 {"p99_9", 300},
                                                 {"max", 300}}));
}

TEST(MapUnmap, WhatIsMissingIsNotTakenForNothing) {
    EXPECT_THROW(tick_summary(answer, "unmap"), Failure);
    for (const auto& [name, value] : answer.items()) {
        json torn = answer;
        torn.erase(name);
        EXPECT_THROW(tick_summary(torn, "map"), Failure) << name;
        torn[name] = "many";
        EXPECT_THROW(tick_summary(torn, "map"), Failure) << name;
    }
    json none = answer;
    none["map_n"] = 0;
    EXPECT_THROW(tick_summary(none, "map"), Failure);
}

TEST(MapUnmap, GoogleBenchmarksShapeHasPairsAsBenchmarks) {
    const json summary = tick_summary(answer, "map");
    const json record{{"status", "ok"},
                      {"trial", "0-kernel-strict"},
                      {"started_utc", "2026-11-30T16:00:00Z"},
                      {"repetition", {{"index", 1}, {"of", 2}}},
                      {"workload", {{"parameters", {{"threads", 2}}}}},
                      {"metrics",
                       {{"pairs", 4},
                        {"map_ticks", summary},
                        {"unmap_ticks", summary},
                        {"clock_ticks", summary},
                        {"put_off_ticks", summary},
                        {"put_off_ticks_per_pair", 62.625},
                        {"pair_ticks", {{"mean", 501.0}, {"p50", 500}}},
                        {"parts_ticks", {{"iova_free", summary}}},
                        {"ticks_per_ns", 2.0}}}};
    const json result =
        benchmark_json({{"git", "abc"}, {"qemu", "7.2"}, {"host", {{"kernel", "6"}}}},
                       {{{"status", "error"}, {"trial", "other"}}, record});
    EXPECT_EQ(result.at("context").at("git"), "abc");
    EXPECT_EQ(result.at("context").at("date"), "2026-11-30T16:00:00Z");
    EXPECT_FALSE(result.at("context").contains("host"));
    ASSERT_EQ(result.at("benchmarks").size(), 1u);
    const json& benchmark = result.at("benchmarks").front();
    EXPECT_EQ(benchmark.at("name"), "0-kernel-strict");
    EXPECT_EQ(benchmark.at("iterations"), 4);
    EXPECT_EQ(benchmark.at("threads"), 2);
    EXPECT_DOUBLE_EQ(benchmark.at("real_time").get<double>(), 250.5);
    EXPECT_EQ(benchmark.at("time_unit"), "ns");
    EXPECT_EQ(benchmark.at("map_ticks_p99_9"), 300);
    EXPECT_EQ(benchmark.at("iova_free_ticks_mean"), 250.5);
    EXPECT_EQ(benchmark.at("put_off_ticks_mean"), 250.5);
    EXPECT_EQ(benchmark.at("put_off_ticks_per_pair"), 62.625);
}

TEST(MapUnmap, ProgressTellsWhatAPairTook) {
    const json pair{{"pair_ticks", {{"mean", 3000.0}}}, {"ticks_per_ns", 2.0}, {"cpu_utilisation", 1.0}};
    json metrics = pair;
    metrics["tick_unit"] = "instructions";
    EXPECT_EQ(trim(result_text(metrics)), "3000 instructions/pair");
    metrics["tick_unit"] = "tsc";
    EXPECT_EQ(trim(result_text(metrics)), "1500 ns/pair");
    EXPECT_EQ(trim(result_text({{"throughput_bps", 2.5e6}, {"cpu_utilisation", 0.5}})), "2.5 Mb/s  50.0 % CPU");
    EXPECT_EQ(result_text({{"bytes_verified", 4096}, {"throughput_bps", 2.5e6}}), "4096 bytes verified");
    EXPECT_EQ(result_text({{"kills", 2}, {"recoveries", 1}, {"throughput_bps", 2.5e6}, {"outage_ns", {{"median", 5e8}}}}),
              "2 faults, 1 recoveries, outage 0.50 s");
    EXPECT_EQ(result_text({{"outage_ns", {{"median", 5e8}}}}), "outage 0.50 s");
    // No throughput was measured: none is made up.
    EXPECT_EQ(result_text({{"less_than_promised", 0}}), "ok");
}

TEST(MapUnmap, TheSuiteIsPlannedAndLeavesOutWhatCannotBe) {
    const Plan plan = make_plan(load_suite("bench"), 1, "");
    for (const Trial& trial : plan.trials) {
        EXPECT_TRUE(trial.times_mapping() && trial.copies_memory()) << trial.id;
        EXPECT_FALSE(trial.driver_is_workload()) << trial.id;
        EXPECT_GT(estimate_trial(trial, ClockKind::virtual_clock), 0) << trial.id;
        EXPECT_EQ(trial.settings.completion, "poll") << trial.id;
    }
    Trial trial = plan.trials.front();
    trial.placement = "user";
    trial.strategy = "strict";
    const auto reason = [&](const char* name, std::uint64_t value) {
        Trial changed = trial;
        changed.parameters = load_workload("map-unmap").defaults;
        changed.parameters[name] = value;
        return impossible(changed).value_or("");
    };
    EXPECT_EQ(reason("buffer_pages", 1024), "");
    EXPECT_NE(reason("threads", 2).find("one thread"), std::string::npos);
    EXPECT_NE(reason("held_buffers", 4097).find("4096"), std::string::npos);
    trial.placement = "kernel";
    EXPECT_EQ(reason("threads", 2), "");
    EXPECT_NE(reason("threads", 4).find("4 threads need a CPU each, and the guest (vcpus) has 2"), std::string::npos);
    trial.guest.vcpus = 4;
    EXPECT_EQ(reason("threads", 4), "");
}

// Where it runs is no guest: what the suite says of one does not count.
TEST(MapUnmap, ThreadsArePlannedUpToTheMachinesCpus) {
    const auto threads_of = [](std::optional<std::uint32_t> cpus) {
        const Plan plan = make_plan(load_suite("bench"), 1, "part=threads,strategy=strict,repetition=0", cpus);
        std::set<std::uint64_t> threads;
        for (const Trial& trial : plan.trials) threads.insert(trial.parameters.at("threads"));
        const bool told = std::any_of(plan.excluded.begin(), plan.excluded.end(), [](const Excluded& excluded) {
            return excluded.reason.find("this machine has") != std::string::npos;
        });
        return std::pair{threads, told};
    };
    EXPECT_EQ(threads_of(std::nullopt), (std::pair{std::set<std::uint64_t>{1, 2, 4}, false}));
    EXPECT_EQ(threads_of(64), (std::pair{std::set<std::uint64_t>{1, 2, 4}, false}));
    EXPECT_EQ(threads_of(3), (std::pair{std::set<std::uint64_t>{1, 2}, true}));
}

}  // namespace
}  // namespace dmatoll::harness
