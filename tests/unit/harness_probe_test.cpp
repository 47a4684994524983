// SPDX-License-Identifier: BSD-2-Clause
// What a strategy promises about an access, and what is made of what was seen.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "catalogue.hpp"
#include "failure.hpp"
#include "probe.hpp"
#include "system_tree.hpp"
#include "target/witness.hpp"

namespace dmatoll::harness {
namespace {

using Kind = Promise::Kind;

nlohmann::json protection(const char* strategy, Placement placement, std::uint64_t page_size = 0) {
    return protection_json(*find_strategy(strategy), placement, {}, page_size);
}

Kind promised(const nlohmann::json& protection, const char* pair, const char* access) {
    return promise_of(protection.at(pair), access).kind;
}

TEST(Promise, StrictInTheKernelIsByPageAndAtOnce) {
    const auto strict = protection("strict", Placement::kernel);
    for (const char* access : {"backward_write", "stale_write", "stale_read"})
        EXPECT_EQ(promised(strict, "driver_from_device", access), Kind::never) << access;
    for (const char* access : {"neighbour_write", "neighbour_read"})
        EXPECT_EQ(promised(strict, "driver_from_device", access), Kind::none) << access;
    EXPECT_EQ(promised(strict, "kernel_from_device", "foreign_write"), Kind::never);
    // A driver in the kernel is not held by what it does itself.
    EXPECT_EQ(promised(strict, "kernel_from_driver", "foreign_write"), Kind::none);
}

// What may be written may be read.
TEST(Promise, WhatTheIommuCannotKeepApartIsNotPromised) {
    for (const Placement placement : {Placement::kernel, Placement::user}) {
        EXPECT_EQ(promised(protection("strict", placement), "driver_from_device", "backward_read"), Kind::none);
        EXPECT_EQ(promised(protection("copy", placement), "driver_from_device", "backward_read"), Kind::never);
    }
}

TEST(Promise, IsNotGuessedFromAWordThatNobodyKnows) {
    const nlohmann::json unknown{{"granularity", "cacheline"}, {"window", "zero"}};
    for (const char* access : {"foreign_write", "neighbour_read", "backward_write", "stale_read"})
        EXPECT_THROW(static_cast<void>(promise_of(unknown, access)), Failure) << access;
}

TEST(Promise, AProcessNeverReachesTheKernelWhateverItsStrategy) {
    for (const char* strategy : {"strict", "deferred", "copy", "persistent"})
        for (const char* pair : {"kernel_from_device", "kernel_from_driver"})
            EXPECT_EQ(promised(protection(strategy, Placement::user), pair, "foreign_read"), Kind::never) << strategy;
}

TEST(Promise, OnlyACopyProtectsTheNeighbour) {
    EXPECT_EQ(promised(protection("copy", Placement::kernel), "driver_from_device", "neighbour_read"), Kind::never);
    EXPECT_EQ(promised(protection("copy", Placement::user), "driver_from_device", "stale_write"), Kind::never);
}

TEST(Promise, ADeferredEndHasItsTime) {
    const auto deferred = protection("deferred", Placement::kernel);
    const Promise promise = promise_of(deferred.at("driver_from_device"), "stale_read");
    EXPECT_EQ(promise.kind, Kind::bounded);
    EXPECT_EQ(promise.bound_ns, 10'000'000u);
}

TEST(Promise, WhatStaysMappedIsNotPromised) {
    EXPECT_EQ(promised(protection("persistent", Placement::kernel), "driver_from_device", "stale_read"), Kind::none);
    EXPECT_EQ(promised(protection("persistent", Placement::user), "driver_from_device", "backward_read"), Kind::none);
    EXPECT_EQ(promised(protection("passthrough", Placement::kernel), "kernel_from_device", "foreign_write"), Kind::none);
    EXPECT_EQ(promised(protection("persistent", Placement::kernel, large_page_bytes), "kernel_from_device",
                       "foreign_write"),
              Kind::none);
}

TEST(Promise, NoPageIsSoLargeThatItReachesIntoAnotherDomain) {
    for (const char* access : {"other_domain_write", "other_domain_read"}) {
        EXPECT_EQ(promised(protection("persistent", Placement::kernel, large_page_bytes), "kernel_from_device",
                           access),
                  Kind::never);
        EXPECT_EQ(promised(protection("strict", Placement::user), "kernel_from_driver", access), Kind::never);
        EXPECT_EQ(promised(protection("passthrough", Placement::kernel), "kernel_from_device", access),
                  Kind::none);
    }
}

TEST(Promise, ThereIsNoneAboutAnAccessThatNobodyMakes) {
    EXPECT_THROW(static_cast<void>(promise_of(protection("strict", Placement::kernel).at("driver_from_device"),
                                              "sideways_write")),
                 Failure);
}

TEST(Verdict, IsByWhatWasReached) {
    constexpr std::uint64_t slack = 1000;
    const Observation refused{.accesses = 8, .refused_ns = 5};
    const Observation reached{.accesses = 8, .reached = 1, .longest_ns = 10'000};
    EXPECT_EQ(judge({Kind::never}, refused, slack), Verdict::as_promised);
    EXPECT_EQ(judge({Kind::never}, reached, slack), Verdict::less_than_promised);
    EXPECT_EQ(judge({Kind::none}, refused, slack), Verdict::more_than_promised);
    EXPECT_EQ(judge({Kind::none}, reached, slack), Verdict::as_promised);
    // A timer may be late, by as much as it is said to be.
    EXPECT_EQ(judge({Kind::bounded, 9'000}, reached, slack), Verdict::as_promised);
    EXPECT_EQ(judge({Kind::bounded, 8'999}, reached, slack), Verdict::less_than_promised);
    EXPECT_EQ(judge({Kind::bounded, 9'000}, refused, slack), Verdict::more_than_promised);
    const Observation open{.accesses = 8, .reached = 8, .longest_ns = 1, .open = 1};
    EXPECT_EQ(judge({Kind::bounded, 9'000}, open, slack), Verdict::less_than_promised);
}

class WitnessTest : public TargetTest {};

TEST_F(WitnessTest, WithoutADomainOfItsOwnIsNoneAndSaysWhy) {
    device("0000:00:06.0", "0x1041", "0x020000", -1);
    put("sys/bus/pci/devices/0000:00:06.0/driver_override", "mine\n");
    EXPECT_THROW(Witness{"0000:00:06.0"}, Unavailable);
    EXPECT_NE(complaint([] { Witness{"0000:00:06.0"}; }).find("no IOMMU group"), std::string::npos);
    EXPECT_EQ(read_attribute(device_path("0000:00:06.0") / "driver_override"), "mine") << "as it was";
    device("0000:00:05.0", "0x1041", "0x020000", 2);
    device("0000:00:05.1", "0x1041", "0x020000", 2);
    EXPECT_NE(complaint([] { Witness{"0000:00:05.0"}; }).find("shares the IOMMU group"), std::string::npos);
}

}  // namespace
}  // namespace dmatoll::harness
