// SPDX-License-Identifier: BSD-2-Clause
// Plans: the product of the axes, its order, its filter.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>

#include "catalogue.hpp"
#include "failure.hpp"
#include "plan.hpp"
#include "shuffle.hpp"

namespace dmatoll::harness {
namespace {

Suite suite() { return load_suite("quick"); }

std::vector<std::string> ids(const Plan& plan) {
    std::vector<std::string> result;
    for (const auto& trial : plan.trials) result.push_back(trial.id);
    return result;
}

TEST(Plan, IsTheProductWithoutWhatCannotBe) {
    const Plan plan = make_plan(suite(), 1, "");
    // stock and kernel have Linux's three, kernel and user have our two.
    const std::size_t combinations = 3 + 5 + 2;
    EXPECT_EQ(plan.trials.size(), combinations * suite().parts[0].workloads.size() * suite().boots);
    EXPECT_EQ(plan.excluded.size(), 15 - combinations);
    for (const auto& trial : plan.trials) {
        Placement placement{};
        ASSERT_TRUE(find_placement(trial.placement, placement));
        EXPECT_TRUE(find_strategy(trial.strategy)->runs_in(placement)) << trial.id;
    }
    const auto names = ids(plan);
    EXPECT_EQ(std::set<std::string>(names.begin(), names.end()).size(), names.size()) << "ids are unique";
}

TEST(Plan, TheSeedDecidesTheOrderAndNothingElse) {
    const auto one = ids(make_plan(suite(), 1, ""));
    EXPECT_EQ(one, ids(make_plan(suite(), 1, "")));
    auto two = ids(make_plan(suite(), 2, ""));
    EXPECT_NE(one, two);
    auto sorted = one;
    std::sort(sorted.begin(), sorted.end());
    std::sort(two.begin(), two.end());
    EXPECT_EQ(sorted, two);
}

TEST(Plan, KeepsBootsAndCombinationsTogether) {
    const Plan plan = make_plan(suite(), 7, "");
    std::set<std::string> seen;
    std::string current;
    for (const auto& trial : plan.trials) {
        const std::string key = std::to_string(trial.boot) + trial.combination();
        if (key != current) {
            EXPECT_TRUE(seen.insert(key).second) << key << " is set up twice";
        }
        current = key;
        EXPECT_EQ(trial.index, trial.boot);
    }
}

TEST(Plan, BootsHaveOrdersOfTheirOwn) {
    const Plan first = make_plan(suite(), 1, "boot=0");
    const Plan second = make_plan(suite(), 1, "boot=1");
    ASSERT_EQ(first.trials.size(), second.trials.size());
    EXPECT_FALSE(std::equal(first.trials.begin(), first.trials.end(), second.trials.begin(),
                            [](const Trial& a, const Trial& b) {
                                return a.combination() == b.combination() && a.workload == b.workload;
                            }));
}

// A run with --seed 2 replicates one with --seed 1 only if no boot of theirs is the same.
TEST(Plan, NeighbouringSeedsShareNoBoot) {
    std::set<std::uint64_t> seeds;
    for (std::uint64_t seed = 1; seed <= 3; ++seed) {
        std::set<std::uint64_t> own;
        for (const auto& trial : make_plan(suite(), seed, "").trials) own.insert(trial.boot_seed);
        EXPECT_EQ(own.size(), suite().boots);
        for (const auto boot_seed : own) EXPECT_TRUE(seeds.insert(boot_seed).second) << boot_seed;
    }
}

Suite parsed(const std::string& axes, const std::string& rest) {
    return parse_suite("[suite]\nname = \"s\"\nsummary = \"s\"\nboots = 2\n[axes]\n" + axes + "\n" + rest,
                       "s.toml");
}

const std::string one_workload = "[[workload]]\nname = \"iperf3-tcp-tx\"\n";

TEST(Plan, WhatNeedsAnotherBootHasOne) {
    const Plan plan = make_plan(parsed("device = [\"82540EM\", \"82574L\"]\nplacement = [\"user\"]\nstrategy "
                                       "= [\"strict\", \"persistent\"]",
                                       "[guest]\nvcpus = [1, 2]\n" + one_workload),
                                1, "");
    EXPECT_EQ(plan.trials.size(), 2U * 2 * 2 * 2);
    EXPECT_EQ(plan.boots(), 2U * 2 * 2);
    std::map<std::uint32_t, std::set<std::string>> shapes;
    for (const auto& trial : plan.trials) shapes[trial.boot].insert(trial.device + label(trial.guest));
    for (const auto& [boot, shape] : shapes) EXPECT_EQ(shape.size(), 1U) << "boot " << boot;
    std::set<std::uint32_t> repetitions;
    for (const auto& trial :
         make_plan(parsed("device = [\"82540EM\"]\nplacement = [\"user\"]\nstrategy = [\"strict\"]",
                          "[guest]\nvcpus = [1, 2]\n" + one_workload),
                   1, "repetition=1,vcpus=1")
             .trials) {
        EXPECT_EQ(trial.guest.vcpus, 1U);
        repetitions.insert(trial.index);
    }
    EXPECT_EQ(repetitions, std::set<std::uint32_t>{1});
}

TEST(Plan, ListsWhatCannotBeWithItsReason) {
    const Plan plan = make_plan(
        parsed(
            "device = [\"82540EM\"]\nplacement = [\"stock\", \"kernel\", \"user\"]\nstrategy = "
            "[\"linux-lazy\", "
            "\"strict\"]\ncompletion = [\"interrupt\", \"poll\"]\ncode_generation = [\"kernel\", \"native\"]",
            "[driver]\nreceive_descriptors = [64, 100, 256]\n" + one_workload),
        1, "");
    std::string reasons;
    for (const auto& excluded : plan.excluded) reasons += excluded.reason + "\n";
    for (const char* expected : {"does not poll", "no code generation 'kernel'", "fewer than 80",
                                 "power of two", "linux-lazy does not run in the placement user"})
        EXPECT_NE(reasons.find(expected), std::string::npos) << expected << " is not among:\n" << reasons;
    for (const auto& trial : plan.trials) {
        EXPECT_FALSE(impossible(trial)) << trial.id;
        if (trial.placement == "stock") {
            EXPECT_EQ(trial.settings.completion, "interrupt");
            EXPECT_GE(trial.settings.receive_descriptors, 80U);
        }
    }
}

TEST(Plan, AParameterOfAnotherStrategyIsNoAxis) {
    const Plan plan = make_plan(
        parsed("device = [\"82540EM\"]\nplacement = [\"user\"]\nstrategy = [\"strict\", \"persistent\"]",
               "[driver]\npage_size = [4096, 2097152]\n" + one_workload),
        1, "boot=0");
    EXPECT_EQ(plan.trials.size(), 1U + 2U);
}

TEST(Plan, AQueueForEachCpuIsTheKernelsOnly) {
    const Plan plan =
        make_plan(parsed("device = [\"82540EM\"]\nplacement = [\"kernel\", \"user\"]\nstrategy = [\"deferred\"]",
                         "[driver]\ndeferred_per_cpu = [0, 1]\n" + one_workload),
                  1, "boot=0");
    std::map<std::string, unsigned> trials;
    for (const auto& trial : plan.trials) ++trials[trial.placement];
    EXPECT_EQ(trials, (std::map<std::string, unsigned>{{"kernel", 2}, {"user", 1}}));
    ASSERT_EQ(plan.excluded.size(), 1U);
    EXPECT_NE(plan.excluded[0].reason.find("one thread"), std::string::npos);
}

TEST(Plan, AnAllocatorIsRefusedWhereItCannotBeAndIsNoneOfLinuxsDomains) {
    const auto planned = [](const char* axes, const std::string& workload) {
        return make_plan(parsed(axes, "[driver]\niova_allocator = [\"size-classes\", \"identity\", \"linux\"]\n" + workload),
                         1, "boot=0");
    };
    const auto reasons = [](const Plan& plan) {
        std::string text;
        for (const auto& excluded : plan.excluded) text += excluded.reason + "\n";
        return text;
    };
    const Plan plan = planned("device = [\"82540EM\"]\nplacement = [\"kernel\", \"user\"]\nstrategy = [\"strict\", "
                              "\"passthrough\", \"linux-lazy\"]",
                              one_workload);
    std::map<std::string, std::set<std::string>> allocators;
    for (const auto& trial : plan.trials) {
        EXPECT_TRUE(allocators[trial.placement + " " + trial.strategy].insert(trial.settings.iova_allocator).second);
        const bool named = trial.id.find(trial.settings.iova_allocator) != std::string::npos;
        EXPECT_EQ(named, trial.settings.iova_allocator != "size-classes") << trial.id;
    }
    const std::map<std::string, std::set<std::string>> expected{
        {"kernel strict", {"size-classes", "identity", "linux"}},
        {"kernel passthrough", {"size-classes", "linux"}},
        {"kernel linux-lazy", {"size-classes"}},
        {"user strict", {"size-classes"}}};
    EXPECT_EQ(allocators, expected);
    for (const char* reason : {"user strict: no IOVA allocator identity: a process does not know",
                               "user strict: no IOVA allocator linux: Linux's allocator is inside the kernel",
                               "kernel passthrough: no IOVA allocator identity: passthrough has taken"})
        EXPECT_NE(reasons(plan).find(reason), std::string::npos) << reason << " is not among:\n" << reasons(plan);

    const Plan disks = planned("device = [\"ICH9-AHCI\"]\nplacement = [\"kernel\"]\nstrategy = [\"strict\"]",
                               "[[workload]]\nname = \"fio-randread\"\n");
    EXPECT_EQ(disks.trials.size(), 2U);
    EXPECT_NE(reasons(disks).find("no IOVA allocator identity: a disk's request"), std::string::npos);
}

TEST(Plan, TheKernelIsThereOnceBesideEachCodeGenerationOfAProcess) {
    const Plan plan = make_plan(parsed("device = [\"82540EM\"]\nplacement = [\"stock\", \"kernel\", "
                                       "\"user\"]\nstrategy = [\"persistent\", "
                                       "\"linux-lazy\"]\ncode_generation = [\"native\", \"kernel-like\"]",
                                       one_workload),
                                1, "boot=0,strategy=persistent|linux-lazy");
    std::map<std::string, unsigned> trials;
    for (const auto& trial : plan.trials) ++trials[trial.placement + " " + code_generation(trial)];
    EXPECT_EQ(trials,
              (std::map<std::string, unsigned>{
                  {"kernel kernel", 2}, {"stock kernel", 1}, {"user kernel-like", 1}, {"user native", 1}}));
}

TEST(Plan, CopybreakIsTheDistributionsDriversOnly) {
    const Plan plan = make_plan(
        parsed("device = [\"82540EM\"]\nplacement = [\"stock\", \"kernel\"]\nstrategy = [\"linux-lazy\"]",
               "[driver]\ncopybreak = [0, 256]\n" + one_workload),
        1, "boot=0");
    std::map<std::string, unsigned> trials;
    for (const auto& trial : plan.trials) ++trials[trial.placement];
    EXPECT_EQ(trials, (std::map<std::string, unsigned>{{"kernel", 1}, {"stock", 2}}));
}

TEST(Plan, APointOfTwoPartsIsRunOnce) {
    const std::string part = "[[part]]\nname = \"NAME\"\n[[part.workload]]\nname = \"iperf3-tcp-tx\"\n";
    const auto named = [&](const std::string& name) {
        return std::string{part}.replace(part.find("NAME"), 4, name);
    };
    const Plan plan =
        make_plan(parsed("device = [\"82540EM\"]\nplacement = [\"user\"]\nstrategy = [\"strict\"]",
                         named("one") + named("two")),
                  1, "");
    ASSERT_EQ(plan.trials.size(), 2U) << "one in each boot";
    EXPECT_EQ(plan.trials[0].part, "one");

    const Plan second =
        make_plan(parsed("device = [\"82540EM\"]\nplacement = [\"user\"]\nstrategy = [\"strict\"]",
                         named("one") + named("two")),
                  1, "part=two");
    ASSERT_EQ(second.trials.size(), 2U) << "whichever of its parts is asked for";
    EXPECT_EQ(second.trials[0].part, "two");
}

TEST(Plan, LoadsThatAreCloseAreTwoTrials) {
    const std::string axes = "device = [\"82540EM\"]\nplacement = [\"user\"]\nstrategy = [\"strict\"]";
    const Plan plan =
        make_plan(parsed(axes, "[[workload]]\nname = \"udp-echo\"\nload_bps = [100_000_000, 100_000_400]\n"),
                  1, "boot=0");
    ASSERT_EQ(plan.trials.size(), 2U);
    EXPECT_NE(plan.trials[0].id, plan.trials[1].id);
}

TEST(Plan, ADriverThatMakesTheFramesHasNoOfferedLoad) {
    const std::string axes =
        "device = [\"82540EM\"]\nplacement = [\"kernel\", \"user\"]\nstrategy = [\"strict\"]";
    const Plan plan = make_plan(
        parsed(axes, "[[workload]]\nname = \"raw-frames-tx\"\nload_bps = 1_000_000\n"), 1, "boot=0");
    ASSERT_EQ(plan.trials.size(), 1U);
    EXPECT_EQ(plan.trials[0].placement, "kernel");
}

TEST(Plan, AGuestThatIsEndedHasNoOtherTrial) {
    const Plan plan = make_plan(load_suite("crash"), 1, "");
    std::map<std::uint32_t, unsigned> trials;
    for (const auto& trial : plan.trials) ++trials[trial.boot];
    unsigned ended = 0;
    for (const auto& trial : plan.trials)
        if (trial.ends_its_guest()) {
            ++ended;
            EXPECT_EQ(trials[trial.boot], 1U);
        }
    EXPECT_EQ(ended, 1U);
}

TEST(Plan, IdsAreUniqueInEverySuite) {
    for (const auto& name : suite_names()) {
        const auto names = ids(make_plan(load_suite(name), 1, ""));
        EXPECT_EQ(std::set<std::string>(names.begin(), names.end()).size(), names.size()) << name;
    }
}

// A run that an earlier version began is resumed with the defaults of what it did not know.
TEST(Plan, ReadsTrialsOfEarlierVersions) {
    const auto old =
        nlohmann::json::parse(R"({"id": "0-82540EM-user-strict-iperf3-udp-tx", "boot": 0, "boot_seed": 1,
        "device": "82540EM", "placement": "user", "strategy": "strict", "workload": "iperf3-udp-tx",
        "parameters": {"load_bps": 100000000, "payload_bytes": 1472, "warm_up_ms": 300, "window_ms": 500},
        "transport": "udp", "flow": "transmit", "index": 0, "of": 4,
        "receive_descriptors": 512, "transmit_descriptors": 256, "interrupts_per_second": 8000})");
    const Trial trial = trial_from_json(old);
    EXPECT_EQ(trial.program, "iperf3");
    EXPECT_EQ(trial.settings.receive_descriptors, 512U);
    EXPECT_EQ(trial.settings.mtu, 1500U);
    EXPECT_TRUE(trial.settings.offloads);
    EXPECT_EQ(trial.guest, GuestShape{});
}

TEST(Plan, SurvivesJson) {
    const Plan plan = make_plan(suite(), 3, "placement=user");
    EXPECT_EQ(to_json(plan_from_json(nlohmann::json::parse(to_json(plan).dump()))), to_json(plan));
}

TEST(Plan, ARunInRealLabTimeIsUnderEightMinutes) {
    const Plan plan = make_plan(suite(), 1, "");
    EXPECT_LT(estimate(plan, true, ClockKind::virtual_clock, 2).total_seconds, 480);
    EXPECT_GT(estimate(plan, true, ClockKind::virtual_clock, 1).total_seconds,
              estimate(plan, true, ClockKind::virtual_clock, 2).total_seconds);
}

TEST(Filter, SelectsByAxisChoiceNegationAndGlob) {
    for (const auto& trial :
         make_plan(suite(), 1, "placement=user|stock,workload=*-rx,strategy!=linux-*").trials) {
        EXPECT_EQ(trial.placement, "user");
        EXPECT_TRUE(trial.workload.ends_with("-rx"));
    }
}

TEST(Filter, ComplainsAboutUnknownKeysNamesAndEmptyResults) {
    const auto complaint = [](const char* filter) {
        try {
            make_plan(suite(), 1, filter);
        } catch (const Failure& failure) {
            return std::string{failure.what()};
        }
        return std::string{"no complaint"};
    };
    EXPECT_NE(complaint("strategi=strict").find("did you mean 'strategy'?"), std::string::npos);
    EXPECT_NE(complaint("strategy=persistant").find("did you mean 'persistent'?"), std::string::npos);
    EXPECT_NE(complaint("iova_allocator=tre").find("did you mean 'tree'?"), std::string::npos);
    EXPECT_NE(complaint("kernel").find("not of the form key=value"), std::string::npos);
    EXPECT_NE(complaint("placement=stock,strategy=strict").find("Nothing"), std::string::npos);
    EXPECT_EQ(complaint("placement=kernel"), "no complaint");
}

// The order must be the same with every standard library: these are the values of mt19937_64 and of our
// shuffle.
TEST(Shuffle, IsTheSameEverywhere) {
    std::mt19937_64 random{5489};
    EXPECT_EQ(random(), 14514284786278117030ULL);
    std::mt19937_64 again{42};
    std::vector<int> items{0, 1, 2, 3, 4, 5, 6, 7};
    shuffle(items, again);
    std::mt19937_64 reference{42};
    std::vector<int> expected{0, 1, 2, 3, 4, 5, 6, 7};
    for (std::size_t i = 8; i > 1; --i) std::swap(expected[i - 1], expected[reference() % i]);
    EXPECT_EQ(items, expected);
}

TEST(Shuffle, DrawsWithinItsBound) {
    std::mt19937_64 random{1};
    std::set<std::uint64_t> seen;
    for (int i = 0; i < 1000; ++i) {
        const auto value = draw_below(random, 5);
        ASSERT_LT(value, 5U);
        seen.insert(value);
    }
    EXPECT_EQ(seen.size(), 5U);
}

// A device that copies memory has a driver of its own, which polls and has no rings to choose.
TEST(Plan, CopiesOfMemoryAreNoFrames) {
    const Plan plan = make_plan(
        parsed("device = [\"82540EM\"]\nplacement = [\"stock\", \"kernel\", \"user\"]\nstrategy = [\"strict\", "
               "\"linux-lazy\"]",
               "[driver]\nreceive_descriptors = [128, 256]\nmtu = 9000\n" + one_workload +
                   "[[workload]]\nname = \"dma-copy\"\nworking_set_pairs = [8, 64]\n"),
        1, "workload=dma-copy,repetition=0");
    std::map<std::string, std::string> drivers;
    for (const auto& trial : plan.trials) {
        EXPECT_TRUE(trial.copies_memory());
        EXPECT_FALSE(trial.driver_is_workload());
        EXPECT_EQ(trial.settings.completion, "poll");
        EXPECT_EQ(trial.settings.mtu, DriverSettings{}.mtu);
        EXPECT_EQ(trial.settings.receive_descriptors, DriverSettings{}.receive_descriptors);
        EXPECT_EQ(trial.parameters.at("working_set_pairs"), 64U) << "eight pairs hold no batch of sixteen";
        drivers[trial.placement + "/" + trial.strategy] = trial.combination();
    }
    EXPECT_EQ(plan.trials.size(), 3U);
    EXPECT_EQ(drivers.size(), 3U);
    EXPECT_NE(drivers.at("kernel/strict").find("/dma-copy"), std::string::npos) << "not the driver of another workload";
    const auto reason = [&](const char* text) {
        return std::any_of(plan.excluded.begin(), plan.excluded.end(),
                           [&](const Excluded& excluded) { return excluded.reason.find(text) != std::string::npos; });
    };
    EXPECT_TRUE(reason("copies no memory on command"));
    EXPECT_TRUE(reason("no more than the working set"));
}

TEST(Plan, AProbeIsForEitherKindOfDevice) {
    Trial trial;
    trial.program = trial.workload = "probe";
    trial.placement = "kernel";
    trial.strategy = "strict";
    for (const char* device : {"82540EM", "ICH9-AHCI"}) {
        trial.device = device;
        EXPECT_EQ(impossible(trial).value_or(""), "") << device;
        EXPECT_EQ(trial.copies_by_disk(), trial.device == "ICH9-AHCI");
    }
    trial.program = trial.workload = "probe-driver";
    trial.placement = "user";
    EXPECT_NE(impossible(trial).value_or("").find("is for a network card"), std::string::npos);
}

}  // namespace
}  // namespace dmatoll::harness
