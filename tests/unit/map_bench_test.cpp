// SPDX-License-Identifier: BSD-2-Clause
// What mapping takes, measured on the model: that all is timed, nothing is left, and the summary is right. How
// long it took is nobody's promise.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "core/tick_histogram.hpp"
#include "dma_machine.hpp"

namespace dmatoll::test {
namespace {

std::uint64_t number(const Answer& answer, const std::string& name) { return std::stoull(answer.at(name)); }

// Follows a line that begins a run, and has it run to its end.
template <class M>
Answer measure(CopyBench<M>& bench, const std::string& line) {
    bench.follow(line);
    for (int step = 0; bench.driver->running() && step < 1'000'000; ++step) bench.driver->step();
    EXPECT_FALSE(bench.driver->running()) << line;
    return bench.follow("result");
}

void expect_summary(const Answer& answer, const std::string& what, std::uint64_t n) {
    EXPECT_EQ(number(answer, what + "_n"), n) << what;
    const std::vector<std::string> upwards{"_min", "_p50", "_p90", "_p99", "_p99_9", "_max"};
    for (std::size_t i = 1; i < upwards.size(); ++i)
        EXPECT_LE(number(answer, what + upwards[i - 1]), number(answer, what + upwards[i])) << what << upwards[i];
    EXPECT_GT(number(answer, what + "_max"), 0u) << what;
    EXPECT_GE(number(answer, what + "_total"), n * number(answer, what + "_min")) << what;
    EXPECT_LE(number(answer, what + "_total"), n * number(answer, what + "_max")) << what;
}

template <class M>
class EveryBench : public testing::Test {};
TYPED_TEST_SUITE(EveryBench, EveryMapper, StrategyNames);

TYPED_TEST(EveryBench, TimesEachMapAndEachUnmap) {
    CopyBench<TypeParam> bench;
    ASSERT_TRUE(bench.start().ok());
    for (const auto& [line, rounds] : std::vector<std::pair<std::string, std::uint64_t>>{
             {"bench rounds=300", 300},
             {"bench pages=16 rounds=100", 100},
             {"bench pages=15 skew=1 rounds=100 held=3", 100},
             {"bench pages=1024 rounds=5", 5},
             {"bench held=4096 rounds=50", 50},
             {"bench held=64 hold_us=20 rounds=200", 200}}) {
        const Answer answer = measure(bench, line);
        EXPECT_EQ(answer.at("state"), "ready") << line;
        EXPECT_FALSE(answer.contains("failure")) << line;
        expect_summary(answer, "map", rounds);
        expect_summary(answer, "unmap", rounds);
        expect_summary(answer, "clock", rounds);
        EXPECT_EQ(answer.at("map_failures"), "0") << line;
        bench.follow("end");
        EXPECT_TRUE(bench.pages_out.empty());
    }
    bench.expect_no_fault();
    bench.stop_and_expect_nothing_left();
}

TYPED_TEST(EveryBench, StopEndsWhatWasBegun) {
    for (const char* line : {"bench held=32", "bench_parts pages=4"}) {
        CopyBench<TypeParam> bench;
        ASSERT_TRUE(bench.start().ok());
        bench.follow(line);
        for (int step = 0; step < 2; ++step) bench.driver->step();
        EXPECT_TRUE(bench.driver->running());
        EXPECT_EQ(bench.execute("run").error(), Error::ring_full);
        bench.stop_and_expect_nothing_left();
    }
}

TEST(MapBench, StrictMapsAndInvalidatesForEachRound) {
    CopyBench<StrictMapper> bench;
    ASSERT_TRUE(bench.start().ok());
    const Answer answer = measure(bench, "bench pages=8 held=4 rounds=250");
    EXPECT_EQ(answer.at("maps"), "250");
    EXPECT_EQ(answer.at("unmaps"), "250");
    EXPECT_EQ(answer.at("invalidations"), "250");
    EXPECT_GT(number(answer, "ticks"), number(answer, "map_total") + number(answer, "unmap_total"));
    bench.stop_and_expect_nothing_left();
}

TEST(MapBench, AsManyAreMappedAtATimeAsAreToBeHeld) {
    CopyBench<StrictMapper> bench;
    ASSERT_TRUE(bench.start().ok());
    const std::uint64_t rings = bench.machine.domain.live();
    std::uint64_t most = 0;
    bench.follow("bench pages=64 held=16 rounds=100");
    while (bench.driver->running()) {
        bench.driver->step();
        most = std::max(most, bench.machine.domain.live() - rings);
    }
    EXPECT_EQ(most, 16u);
    EXPECT_EQ(bench.machine.domain.live(), rings);
    bench.stop_and_expect_nothing_left();
}

TEST(MapBench, ABufferStaysMappedForAsLongAsItIsToldTo) {
    CopyBench<StrictMapper> bench;
    ASSERT_TRUE(bench.start().ok());
    const std::uint64_t begun = bench.machine.platform.now_ns();
    measure(bench, "bench hold_us=100 rounds=50");
    EXPECT_GE(bench.machine.platform.now_ns() - begun, 50u * 100'000);
    bench.stop_and_expect_nothing_left();
}

// A process looks at its commands by a system call between so many steps: it would be most of a large buffer's cost
// if it came with each.
TEST(MapBench, AStepIsASmallShareOfWhatSurroundingsDoBetweenTwoLooks) {
    for (const auto& [line, pairs] : std::vector<std::pair<std::string, std::uint64_t>>{
             {"bench", 64}, {"bench pages=16", 4}, {"bench pages=1024", 1}, {"bench hold_us=100", 1}}) {
        CopyBench<StrictMapper> bench;
        ASSERT_TRUE(bench.start().ok());
        bench.follow(line);
        const std::uint64_t before = bench.driver->mapping_counters().maps;
        bench.driver->step();
        EXPECT_EQ(bench.driver->mapping_counters().maps - before, pairs) << line;
        EXPECT_EQ(bench.driver->is_slow(), line == "bench hold_us=100") << line;
        bench.stop_and_expect_nothing_left();
    }
    CopyBench<StrictMapper> bench;
    ASSERT_TRUE(bench.start().ok());
    bench.follow("bench_parts");
    EXPECT_FALSE(bench.driver->is_slow());
    bench.follow("end");
    bench.follow("reach");
    EXPECT_TRUE(bench.driver->is_slow());
    bench.stop_and_expect_nothing_left();
}

TEST(MapBench, WhatIsDoneBetweenPairsOfWhatWasPutOffIsTimedBesideThem) {
    CopyBench<DeferredMapper> bench;
    ASSERT_TRUE(bench.start().ok());
    bench.follow("bench pages=64 rounds=50");
    while (bench.driver->running()) {
        bench.driver->step();
        bench.machine.platform.advance_ns(1'000'000);
        bench.driver->do_put_off([&] { bench.mapper->flush_if_due(); });
    }
    const Answer answer = bench.follow("result");
    expect_summary(answer, "map", 50);
    // Behind the last step, which flushes, nothing is of the run any more.
    expect_summary(answer, "put_off", 51);
    EXPECT_GE(number(answer, "invalidations"), 4u);
    bench.follow("end");
    bool done = false;
    bench.driver->do_put_off([&] { done = true; });
    EXPECT_TRUE(done);
    bench.stop_and_expect_nothing_left();
}

template <class M>
class BenchThatPutsOff : public testing::Test {};
using PutsOff = testing::Types<DeferredMapper, ContiguousMapper>;
TYPED_TEST_SUITE(BenchThatPutsOff, PutsOff);

TYPED_TEST(BenchThatPutsOff, WhatStillWaitsAtTheEndIsDoneAndTimed) {
    CopyBench<TypeParam> bench;
    ASSERT_TRUE(bench.start().ok());
    const std::uint64_t rings = bench.machine.iommu.mapped_pages();
    for (const char* line : {"bench rounds=10", "bench rounds=70 held=3", "bench pages=65 rounds=10"}) {
        const Answer answer = measure(bench, line);
        expect_summary(answer, "put_off", 1);
        EXPECT_EQ(answer.at("unmaps"), answer.at("maps")) << line;
        EXPECT_GT(number(answer, "invalidations"), 0u) << line;
        EXPECT_EQ(bench.machine.iommu.mapped_pages(), rings) << line;
        bench.follow("end");
    }
    bench.stop_and_expect_nothing_left();
}

TEST(MapBench, APageByPageStrategyIsCalledForEachPage) {
    CopyBench<SharedMapper> bench;
    ASSERT_TRUE(bench.start().ok());
    EXPECT_EQ(measure(bench, "bench pages=8 rounds=100").at("maps"), "800");
    bench.stop_and_expect_nothing_left();
}

TEST(MapBench, PartsAreThoseOfAStrictPair) {
    CopyBench<StrictMapper> bench;
    ASSERT_TRUE(bench.start().ok());
    const auto before = bench.machine.iommu.counts();
    const MappingCounters counted = bench.driver->mapping_counters();
    const Answer answer = measure(bench, "bench_parts pages=32 rounds=200");
    for (const char* part : {"iova_allocation", "page_table_map", "page_table_unmap", "invalidation",
                             "domain_invalidation", "iova_free", "clock"})
        expect_summary(answer, part, 200);
    for (const char* none : {"map_call_n", "unmap_call_n", "system_call_n", "pin_call_n", "map_n"}) EXPECT_FALSE(answer.contains(none));
    const auto after = bench.machine.iommu.counts();
    EXPECT_EQ(after.maps - before.maps, 400u);
    EXPECT_EQ(after.unmaps - before.unmaps, 400u);
    EXPECT_EQ(after.invalidations - before.invalidations, 400u);
    // They are no mappings of the driver's.
    EXPECT_EQ(bench.driver->mapping_counters().maps, counted.maps);
    EXPECT_EQ(bench.machine.domain.live(), counted.maps - counted.unmaps);
    bench.stop_and_expect_nothing_left();
}

TEST(MapBench, ARefusalEndsItAndIsTold) {
    CopyBench<StrictMapper> bench;
    ASSERT_TRUE(bench.start().ok());
    for (const char* line : {"bench held=8 rounds=500", "bench_parts rounds=500"}) {
        bench.machine.iommu.refuse_maps(100);
        const Answer answer = measure(bench, line);
        EXPECT_EQ(answer.at("failure"), "the IOMMU refused the mapping") << line;
        bench.follow("end");
        EXPECT_TRUE(bench.pages_out.empty());
    }
    bench.machine.iommu.refuse_maps(0, 0);
    measure(bench, "bench");
    // One IOVA that was given to a map that was refused, part by part, is out of use for good.
    bench.stop_and_expect_nothing_left();
}

TEST(MapBench, WhatCannotBeHadLeavesNothing) {
    CopyBench<StrictMapper> bench;
    ASSERT_TRUE(bench.start().ok());
    bench.refuse_pages_after = 5;
    EXPECT_EQ(bench.execute("bench held=10").error(), Error::no_memory);
    EXPECT_TRUE(bench.pages_out.empty());
    bench.refuse_pages_after = 0;
    EXPECT_EQ(bench.execute("bench_parts").error(), Error::no_memory);
    bench.refuse_pages_after = -1;
    for (const char* line : {"bench threads=3", "bench_parts"}) {
        bench.machine.platform.refuse_allocation(0);
        EXPECT_EQ(bench.execute(line).error(), Error::no_memory) << line;
    }
    bench.machine.platform.refuse_allocation(2);
    EXPECT_EQ(bench.execute("bench threads=3").error(), Error::no_memory);
    EXPECT_TRUE(bench.pages_out.empty());
    bench.follow("begin");
    EXPECT_EQ(bench.execute("bench").error(), Error::invalid_argument);
    bench.follow("end");
    bench.follow("bench");
    EXPECT_EQ(bench.execute("bench").error(), Error::ring_full);
    bench.stop_and_expect_nothing_left();
}

TEST(MapBench, ThreadsMapAtATimeAndAreCountedTogether) {
    CopyBench<StrictMapper> bench;
    ASSERT_TRUE(bench.start().ok());
    bench.follow("bench threads=4 held=8 pages=3 rounds=2000");
    ASSERT_EQ(bench.driver->threads(), 4u);
    std::vector<std::thread> threads;
    for (std::uint32_t number = 0; number < 4; ++number)
        threads.emplace_back([&bench, number] {
            model::this_cpu = number;
            while (bench.driver->running()) bench.driver->step(number);
        });
    for (auto& thread : threads) thread.join();
    const Answer answer = bench.follow("result");
    EXPECT_EQ(answer.at("state"), "ready");
    const std::uint64_t maps = number(answer, "maps");
    EXPECT_GE(maps, 8000u);
    expect_summary(answer, "map", maps);
    expect_summary(answer, "unmap", maps);
    EXPECT_EQ(number(answer, "unmaps"), maps);
    bench.follow("end");
    EXPECT_EQ(bench.driver->threads(), 1u);
    bench.stop_and_expect_nothing_left();
}

TEST(MapBench, ThreadsBeginTogetherAndGoOnUntilTheSlowestIsThrough) {
    CopyBench<StrictMapper> bench;
    ASSERT_TRUE(bench.start().ok());
    const std::uint64_t before = bench.driver->mapping_counters().maps;
    const auto mapped = [&] { return bench.driver->mapping_counters().maps - before; };
    bench.follow("bench threads=2 pages=64 held=4 rounds=10");
    for (int step = 0; step < 100; ++step) bench.driver->step(0);
    EXPECT_EQ(mapped(), 0u);
    bench.driver->step(1);
    EXPECT_EQ(mapped(), 1u);
    for (int step = 0; step < 100; ++step) bench.driver->step(0);
    EXPECT_EQ(mapped(), 101u);
    // Its last buffers are mapped and unmapped while the other one's are.
    for (int step = 1; step < 10; ++step) bench.driver->step(1);
    EXPECT_EQ(mapped(), 110u);
    for (int step = 0; step < 4; ++step) {
        EXPECT_TRUE(bench.driver->running());
        for (const std::uint32_t thread : {0u, 1u}) bench.driver->step(thread);
    }
    EXPECT_FALSE(bench.driver->running());
    const Answer answer = bench.follow("result");
    expect_summary(answer, "map", 110);
    expect_summary(answer, "unmap", 110);
    bench.stop_and_expect_nothing_left();
}

TEST(MapBench, AThreadThatMayNotMapEndsAndKeepsNoOtherWaiting) {
    CopyBench<StrictMapper> bench;
    ASSERT_TRUE(bench.start().ok());
    bench.follow("bench threads=2 pages=64 rounds=10");
    bench.driver->step(0);
    bench.machine.iommu.refuse_maps(0, 1);
    bench.driver->step(1);
    for (int step = 0; step < 10; ++step) bench.driver->step(0);
    EXPECT_TRUE(bench.driver->running());
    bench.driver->step(0);
    EXPECT_FALSE(bench.driver->running());
    EXPECT_EQ(bench.follow("result").at("failure"), "the IOMMU refused the mapping");
    bench.stop_and_expect_nothing_left();
}

// It has had its rounds, and only went on for the other one: that one still has to have its own, and no more.
TEST(MapBench, AThreadThatIsRefusedBeyondItsRoundsEndsAlone) {
    CopyBench<StrictMapper> bench;
    ASSERT_TRUE(bench.start().ok());
    bench.follow("bench threads=2 pages=64 rounds=10");
    bench.driver->step(1);
    for (int step = 0; step < 12; ++step) bench.driver->step(0);
    bench.machine.iommu.refuse_maps(0, 1);
    bench.driver->step(0);
    for (int step = 0; step < 20 && bench.driver->running(); ++step) bench.driver->step(1);
    EXPECT_FALSE(bench.driver->running());
    const Answer answer = bench.follow("result");
    EXPECT_EQ(answer.at("failure"), "the IOMMU refused the mapping");
    EXPECT_EQ(number(answer, "map_n"), 22u);
    bench.stop_and_expect_nothing_left();
}

TEST(TickHistogram, SaysOfWhatItWasGiven) {
    const auto empty = std::make_unique<TickHistogram>();
    EXPECT_EQ(empty->summary().n, 0u);
    EXPECT_EQ(empty->summary().p99_9, 0u);
    const auto few = std::make_unique<TickHistogram>();
    for (std::uint64_t value = 1; value <= 200; ++value) few->add(value);
    const auto summary = few->summary();
    EXPECT_EQ(summary.n, 200u);
    EXPECT_EQ(summary.total, 20100u);
    EXPECT_EQ(summary.min, 1u);
    EXPECT_EQ(summary.p50, 100u);
    EXPECT_EQ(summary.p90, 180u);
    EXPECT_EQ(summary.p99, 198u);
    EXPECT_EQ(summary.p99_9, 200u);
    EXPECT_EQ(summary.max, 200u);
}

TEST(TickHistogram, AddsAnotherAndKeepsExtremesExact) {
    const auto one = std::make_unique<TickHistogram>();
    const auto other = std::make_unique<TickHistogram>();
    one->add(*other);
    EXPECT_EQ(one->count(), 0u);
    one->add(5000);
    other->add(3001);
    other->add(TickHistogram::most + 12'345);
    one->add(*other);
    const auto summary = one->summary();
    EXPECT_EQ(summary.n, 3u);
    EXPECT_EQ(summary.min, 3001u);
    EXPECT_EQ(summary.max, TickHistogram::most + 12'345);
    EXPECT_EQ(summary.total, 8001 + TickHistogram::most + 12'345);
    EXPECT_GE(summary.p50, 5000u);
    EXPECT_LE(summary.p50, 5000u + 5000 / 128);
}

}  // namespace
}  // namespace dmatoll::test
