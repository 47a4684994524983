// SPDX-License-Identifier: BSD-2-Clause
// The catalogue of strategies says nothing that contradicts itself.
#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <string>

#include "core/strategy_parameters.hpp"
#include "machine.hpp"

namespace dmatoll::test {
namespace {

bool is_consistent(const Protection& protection) {
    const bool holds_nothing = protection.granularity == Granularity::none;
    if (holds_nothing != (protection.window.kind == WindowKind::none)) return false;
    return (protection.window.bound_ns != 0) == (protection.window.kind == WindowKind::bounded);
}

TEST(StrategyCatalogue, NamesAreTheDocumentedOnes) {
    std::set<std::string> names;
    for (const Strategy* strategy : strategies::catalogue) {
        EXPECT_TRUE(names.insert(strategy->name).second);
        EXPECT_EQ(strategies::find(strategy->name), strategy);
        EXPECT_GT(std::string{strategy->summary}.size(), 10u);
        EXPECT_EQ(std::string{strategy->summary}.find('\n'), std::string::npos);
    }
    EXPECT_EQ(names, (std::set<std::string>{"strict", "shared", "deferred", "contiguous", "optimistic", "copy", "hybrid-copy", "on-demand", "persistent", "passthrough",
                                            "linux-strict", "linux-lazy", "linux-identity"}));
    EXPECT_EQ(strategies::find(""), nullptr);
    EXPECT_EQ(strategies::find("linux-"), nullptr);
}

TEST(StrategyCatalogue, ProtectionIsConsistentWhereAStrategyRuns) {
    for (const Strategy* strategy : strategies::catalogue) {
        bool runs = false;
        for (const Placement placement : {Placement::kernel, Placement::user, Placement::stock}) {
            if (!strategy->runs_in(placement)) continue;
            runs = true;
            const ProtectionByPair& pairs = strategy->protection(placement);
            EXPECT_TRUE(is_consistent(pairs.kernel_from_device)) << strategy->name << name_of(placement);
            EXPECT_TRUE(is_consistent(pairs.kernel_from_driver)) << strategy->name << name_of(placement);
            EXPECT_TRUE(is_consistent(pairs.driver_from_device)) << strategy->name << name_of(placement);
            // A driver inside the kernel is not held by anything; a process never reaches the kernel.
            EXPECT_EQ(pairs.kernel_from_driver.granularity,
                      placement == Placement::user ? Granularity::domain : Granularity::none);
        }
        EXPECT_TRUE(runs) << strategy->name << " runs nowhere";
    }
}

// `passthrough` alone: a process has no other memory to give away.
TEST(StrategyCatalogue, OursRunInBothPlacementsAndLinuxsNeverInAProcess) {
    for (const Strategy* strategy : strategies::catalogue) {
        const bool ours = strategy->domain == DomainKind::own;
        EXPECT_EQ(strategy->runs_in(Placement::user), ours && strategy != &strategies::passthrough)
            << strategy->name;
        EXPECT_EQ(strategy->runs_in(Placement::stock), !ours) << strategy->name;
        EXPECT_TRUE(strategy->runs_in(Placement::kernel)) << strategy->name;
        EXPECT_EQ(std::string{strategy->name}.rfind("linux-", 0) == 0, !ours) << strategy->name;
    }
}

TEST(StrategyCatalogue, ABoundedWindowOfOursIsAParametersUsualValueAndFollowsIt) {
    for (const Strategy* strategy : strategies::catalogue) {
        if (strategy->domain != DomainKind::own) continue;
        for (const Placement placement : {Placement::kernel, Placement::user}) {
            const Window window = strategy->protection(placement).driver_from_device.window;
            if (window.kind != WindowKind::bounded) continue;
            const auto parameter = std::find_if(parameters::all.begin(), parameters::all.end(), [&](const auto* each) {
                return each->strategy == strategy && each->is_window_ms;
            });
            ASSERT_NE(parameter, parameters::all.end()) << strategy->name;
            StrategySettings settings;
            EXPECT_EQ(window.bound_ns, std::uint64_t{settings.*(*parameter)->value} * 1'000'000) << strategy->name;
            settings.*(*parameter)->value = 3;
            const ProtectionByPair pairs = protection_with(settings, *strategy, placement);
            EXPECT_EQ(pairs.driver_from_device.window.bound_ns, 3'000'000u) << strategy->name;
            EXPECT_EQ(pairs.kernel_from_device.window.bound_ns, placement == Placement::kernel ? 3'000'000u : 0u);
        }
    }
    StrategySettings settings;
    settings.deferred_milliseconds = 3;
    EXPECT_EQ(protection_with(settings, strategies::linux_lazy, Placement::kernel).driver_from_device.window.bound_ns,
              10'000'000u)
        << "another's parameter";
}

TEST(StrategyCatalogue, StrategiesReferToTheirOwnEntry) {
    EXPECT_EQ(&StrictMapper::strategy, strategies::find("strict"));
    EXPECT_EQ(&SharedMapper::strategy, strategies::find("shared"));
    EXPECT_EQ(&DeferredMapper::strategy, strategies::find("deferred"));
    EXPECT_EQ(&OptimisticMapper::strategy, strategies::find("optimistic"));
    EXPECT_EQ(&ContiguousMapper::strategy, strategies::find("contiguous"));
    EXPECT_EQ(&CopyMapper::strategy, strategies::find("copy"));
    EXPECT_EQ(&HybridCopyMapper::strategy, strategies::find("hybrid-copy"));
    EXPECT_EQ(&OnDemandMapper::strategy, strategies::find("on-demand"));
    EXPECT_EQ(&PersistentMapper::strategy, strategies::find("persistent"));
}

}  // namespace
}  // namespace dmatoll::test
