// SPDX-License-Identifier: BSD-2-Clause
// What is made of a driver's times.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "failure.hpp"
#include "map_unmap.hpp"
#include "suite.hpp"

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
}

}  // namespace
}  // namespace dmatoll::harness
