// SPDX-License-Identifier: BSD-2-Clause
// Plans: the product of the axes, its order, its filter.
#include <gtest/gtest.h>

#include <algorithm>
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
    EXPECT_EQ(plan.trials.size(), combinations * suite().workloads.size() * suite().boots);
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
        EXPECT_EQ(trial.boot_seed, 7 + trial.boot);
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

}  // namespace
}  // namespace dmatoll::harness
