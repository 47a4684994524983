// SPDX-License-Identifier: BSD-2-Clause
// A NIC that copies memory on command, on the model: under every strategy, and when things go wrong.
#include <gtest/gtest.h>

#include <cstdint>
#include <string>

#include "dma_machine.hpp"

namespace dmatoll::test {
namespace {

std::uint64_t number(const Answer& answer, const char* name) { return std::stoull(answer.at(name)); }

template <class M>
class EveryCopy : public testing::Test {};
TYPED_TEST_SUITE(EveryCopy, EveryMapper, StrategyNames);

TYPED_TEST(EveryCopy, CopiesWhatItWasAskedTo) {
    CopyBench<TypeParam> bench;
    ASSERT_TRUE(bench.start().ok());
    for (const char* plan :
         {"begin bytes=60 working_set=1 batch=1", "begin bytes=1514 working_set=64 batch=16",
          "begin bytes=4096 working_set=300 batch=255", "begin lifetime=0", "begin lifetime=3"}) {
        bench.follow(plan);
        const Answer answer = bench.run(1000);
        EXPECT_EQ(answer.at("state"), "ready") << plan;
        EXPECT_EQ(answer.at("copies"), "1000") << plan;
        EXPECT_EQ(answer.at("copies_bad"), "0") << plan;
        EXPECT_EQ(answer.at("copies_lost"), "0") << plan;
        EXPECT_EQ(bench.follow("end").at("copies_bad"), "0") << plan;
        EXPECT_TRUE(bench.pages_out.empty());
    }
    EXPECT_EQ(bench.driver->counters().copies, 5000u);
    EXPECT_EQ(bench.driver->counters().bytes_copied, 1000u * (60 + 1514 + 4096 + 1514 + 1514));
    bench.expect_no_fault();
    bench.stop_and_expect_nothing_left();
}

TYPED_TEST(EveryCopy, StopEndsWhatWasBegun) {
    CopyBench<TypeParam> bench;
    ASSERT_TRUE(bench.start().ok());
    bench.follow("begin working_set=32 batch=8 lifetime=5");
    bench.follow("run");
    for (int step = 0; step < 10; ++step) bench.driver->step();
    EXPECT_TRUE(bench.driver->running());
    bench.stop_and_expect_nothing_left();
    bench.expect_no_fault();
}

// Surroundings keep a device from memory before they stop it: what it has to copy never ends.
TYPED_TEST(EveryCopy, StopWaitsForNothingThatIsInFlight) {
    CopyBench<TypeParam> bench;
    ASSERT_TRUE(bench.start().ok());
    bench.follow("begin working_set=32 batch=8");
    bench.follow("run");
    bench.machine.device.inject(model::Fault::transmit_no_write_back, 1'000'000);
    bench.driver->step();
    bench.machine.device.set_bus_master(false);
    const std::uint64_t stopped_at_ns = bench.machine.platform.now_ns();
    bench.stop_and_expect_nothing_left();
    EXPECT_LT(bench.machine.platform.now_ns() - stopped_at_ns, 50'000'000u);
    const DmaCounters counters = bench.driver->counters();
    EXPECT_EQ(counters.restarts, 0u);
    EXPECT_EQ(counters.copies_bad, 0u);
    EXPECT_EQ(bench.execute("begin").error(), Error::device_gone);
    EXPECT_EQ(bench.follow("result").at("state"), "idle");
}

TYPED_TEST(EveryCopy, ARunWithoutANumberEndsWithEnd) {
    CopyBench<TypeParam> bench;
    ASSERT_TRUE(bench.start().ok());
    bench.follow("begin working_set=16 batch=4");
    bench.follow("run");
    for (int step = 0; step < 100; ++step) bench.driver->step();
    EXPECT_EQ(bench.follow("result").at("state"), "running");
    const Answer ended = bench.follow("end");
    EXPECT_EQ(ended.at("state"), "idle");
    EXPECT_GE(number(ended, "copies"), 396u);
    EXPECT_EQ(ended.at("copies_bad"), "0");
    bench.stop_and_expect_nothing_left();
}

TYPED_TEST(EveryCopy, EveryPartOfTheFamilyDoesIt) {
    for (const model::DevicePart part :
         {model::DevicePart::i82540em, model::DevicePart::i82545em, model::DevicePart::i82574l}) {
        CopyBench<TypeParam> bench{{.part = part}};
        ASSERT_TRUE(bench.start().ok());
        bench.follow("begin");
        EXPECT_EQ(bench.run(100).at("copies_bad"), "0");
        bench.stop_and_expect_nothing_left();
    }
}

TEST(DmaCopy, StrictMapsBothEndsForEachCopy) {
    CopyBench<StrictMapper> bench;
    ASSERT_TRUE(bench.start().ok());
    bench.follow("begin working_set=64 batch=16");
    const Answer answer = bench.run(500);
    EXPECT_EQ(answer.at("maps"), "1000");
    EXPECT_EQ(answer.at("unmaps"), "1000");
    EXPECT_EQ(answer.at("invalidations"), "1000");
    bench.stop_and_expect_nothing_left();
}

TEST(DmaCopy, AMappingServesAsManyCopiesAsItIsToldTo) {
    CopyBench<StrictMapper> bench;
    ASSERT_TRUE(bench.start().ok());
    bench.follow("begin working_set=10 batch=5 lifetime=4");
    EXPECT_EQ(bench.run(400).at("maps"), "200");
    bench.follow("end");
    bench.follow("begin working_set=10 batch=5 lifetime=0");
    EXPECT_EQ(bench.run(400).at("maps"), "20");
    EXPECT_EQ(bench.follow("look pair=9").at("mapped"), "1");
    EXPECT_EQ(bench.follow("end").at("unmaps"), "20");
    bench.stop_and_expect_nothing_left();
}

TEST(DmaCopy, CommandsHaveTheirOrder) {
    CopyBench<StrictMapper> bench;
    ASSERT_TRUE(bench.start().ok());
    EXPECT_EQ(bench.execute("run").error(), Error::invalid_argument);
    EXPECT_NE(bench.answer().at("error").find("nothing has begun"), std::string::npos);
    EXPECT_EQ(bench.execute("end").error(), Error::invalid_argument);
    EXPECT_EQ(bench.execute("look pair=0").error(), Error::invalid_argument);
    bench.follow("begin working_set=16");
    EXPECT_EQ(bench.execute("begin").error(), Error::invalid_argument);
    EXPECT_NE(bench.answer().at("error").find("begun already"), std::string::npos);
    EXPECT_EQ(bench.execute("look pair=16").error(), Error::invalid_argument);
    bench.follow("run");
    for (const char* line : {"run", "begin", "look pair=0", "stray_read iova=0x1000"})
        EXPECT_EQ(bench.execute(line).error(), Error::ring_full) << line;
    EXPECT_EQ(bench.execute("walk").error(), Error::invalid_argument);
    EXPECT_EQ(bench.answer().at("word"), "walk");
    bench.follow("end");
    bench.stop_and_expect_nothing_left();
}

TEST(DmaCopy, WhatBeganARunIsAnsweredByHowFarItIs) {
    CopyBench<StrictMapper> bench;
    ASSERT_TRUE(bench.start().ok());
    bench.follow("begin");
    bench.follow("run copies=32");
    while (bench.driver->running()) bench.driver->step();
    dma::DmaAnswer other;
    bench.driver->refresh(other);
    ASSERT_GT(other.count, 0u);
    EXPECT_STREQ(other.lines[0].word, "ready");
    bench.follow("look pair=0");
    other.count = 0;
    bench.driver->refresh(other);
    EXPECT_EQ(other.count, 0u) << "the answer to another command stays";
    bench.stop_and_expect_nothing_left();
}

TEST(DmaCopy, WithoutMemoryNothingIsKept) {
    for (const std::int64_t pages : {0, 1, 2, 7}) {
        CopyBench<StrictMapper> bench;
        ASSERT_TRUE(bench.start().ok());
        bench.refuse_pages_after = pages;
        EXPECT_EQ(bench.execute("begin working_set=16").error(), Error::no_memory);
        EXPECT_TRUE(bench.pages_out.empty());
        bench.refuse_pages_after = -1;
        bench.follow("begin working_set=16");
        EXPECT_EQ(bench.run(16).at("copies"), "16");
        bench.stop_and_expect_nothing_left();
    }
}

TEST(DmaCopy, AMappingThatIsRefusedEndsTheRunByName) {
    CopyBench<StrictMapper> bench;
    ASSERT_TRUE(bench.start().ok());
    bench.follow("begin working_set=16 batch=4");
    // The destination's: the source is unmapped again.
    bench.machine.iommu.refuse_maps(9, ~std::uint64_t{0});
    const Answer answer = bench.run(100);
    EXPECT_EQ(answer.at("copies"), "4");
    EXPECT_EQ(answer.at("failure"), describe(Error::mapping_failed));
    bench.machine.iommu.refuse_maps(0, 0);
    EXPECT_EQ(bench.run(100).count("failure"), 0u) << "the next run begins anew";
    bench.follow("end");
    bench.stop_and_expect_nothing_left();
}

TEST(DmaCopy, ADeviceThatDoesNotEndACopyIsStartedAgain) {
    CopyBench<StrictMapper> bench;
    ASSERT_TRUE(bench.start().ok());
    bench.follow("begin working_set=16 batch=4");
    bench.machine.device.inject(model::Fault::receive_no_write_back);
    const Answer answer = bench.run(100);
    EXPECT_EQ(answer.at("restarts"), "1");
    EXPECT_GE(number(answer, "copies_lost"), 1u);
    EXPECT_EQ(number(answer, "copies") + number(answer, "copies_lost"), 100u);
    EXPECT_EQ(answer.at("copies_bad"), "0");
    bench.follow("end");
    bench.stop_and_expect_nothing_left();
}

TEST(DmaCopy, ALengthThatIsNotTheCopysIsBad) {
    CopyBench<StrictMapper> bench;
    ASSERT_TRUE(bench.start().ok());
    bench.follow("begin working_set=16 batch=4");
    bench.machine.device.inject(model::Fault::receive_length_huge);
    EXPECT_EQ(bench.run(100).at("copies_bad"), "1");
    bench.stop_and_expect_nothing_left();
}

// The device says that the copy is done, and the destination holds nothing yet.
TEST(DmaCopy, ACopyIsJudgedByMemoryAndNotByTheDevice) {
    CopyBench<StrictMapper> bench;
    ASSERT_TRUE(bench.start().ok());
    bench.follow("begin working_set=16 batch=4");
    bench.machine.device.inject(model::Fault::receive_early_write_back);
    EXPECT_EQ(bench.run(100).at("copies_bad"), "1");
    bench.stop_and_expect_nothing_left();
}

TEST(DmaCopy, ADeviceThatIsGoneEndsTheRun) {
    CopyBench<StrictMapper> bench;
    ASSERT_TRUE(bench.start().ok());
    bench.follow("begin working_set=16 batch=4");
    bench.machine.device.inject(model::Fault::gone);
    EXPECT_EQ(bench.run(100).at("failure"), describe(Error::device_gone));
    bench.machine.device.clear(model::Fault::gone);
    bench.driver->stop(bench.give_back());
    EXPECT_TRUE(bench.pages_out.empty());
}

TEST(DmaCopy, APhyThatDoesNotLoopBackIsSaidSo) {
    CopyBench<StrictMapper> bench;
    bench.machine.device.inject(model::Fault::receive_no_write_back, 1'000'000);
    EXPECT_EQ(bench.start().error(), Error::timed_out);
    bench.stop_and_expect_nothing_left();
}

TEST(DmaCopy, WhatIsLostUntilTheReceiverIsReadyIsSentAgain) {
    CopyBench<StrictMapper> bench;
    bench.machine.device.inject(model::Fault::transmit_no_write_back, 3);
    ASSERT_TRUE(bench.start().ok());
    bench.follow("begin");
    EXPECT_EQ(bench.run(1000).at("copies_bad"), "0");
    bench.stop_and_expect_nothing_left();
}

// ---- stray accesses ----

TEST(StrayAccess, ToWhatWasNeverMappedIsRefused) {
    CopyBench<StrictMapper> bench;
    ASSERT_TRUE(bench.start().ok());
    bench.follow("begin");
    bench.run(64);
    const Answer written = bench.follow("stray_write iova=0x70000000");
    EXPECT_EQ(written.at("found"), "nowhere");
    EXPECT_EQ(bench.machine.iommu.faults().size(), 1u);
    const Answer read = bench.follow("stray_read iova=0x70000000");
    EXPECT_EQ(read.at("reached"), "0");
    EXPECT_EQ(bench.machine.iommu.faults().size(), 2u);
    // A part that hangs on it is started again, and copies as before.
    EXPECT_EQ(read.at("restarted"), "1");
    EXPECT_EQ(bench.run(64).at("copies_bad"), "0");
    bench.stop_and_expect_nothing_left();
}

// A window that is not zero lasts for as little as is done here; under `copy` the device was never near the buffer.
template <class M>
constexpr bool reaches_after_unmapping =
    M::strategy.kernel.driver_from_device.window.kind != WindowKind::zero;

TYPED_TEST(EveryCopy, AStrayWriteGetsWhereItsStrategyLetsIt) {
    CopyBench<TypeParam> bench;
    ASSERT_TRUE(bench.start().ok());
    bench.follow("begin working_set=8 batch=1");
    bench.run(8);
    const Answer place = bench.follow("look pair=7");
    const Answer answer = bench.follow("stray_write iova=" + place.at("destination_iova"));
    if (reaches_after_unmapping<TypeParam>) {
        EXPECT_EQ(answer.at("found"), "destination");
        EXPECT_EQ(answer.at("pair"), "7");
    } else {
        EXPECT_EQ(answer.at("found"), "nowhere");
    }
    // Whatever it overwrote is no copy that went wrong.
    EXPECT_EQ(bench.run(16).at("copies_bad"), "0");
    bench.stop_and_expect_nothing_left();
}

TEST(StrayAccess, WritesTheWordThatItIsTold) {
    CopyBench<PersistentMapper> bench;
    ASSERT_TRUE(bench.start().ok());
    bench.follow("begin working_set=8 batch=1");
    bench.run(8);
    const Answer place = bench.follow("look pair=7");
    const Answer answer = bench.follow("stray_write word=0xf7 iova=" + place.at("destination_iova"));
    EXPECT_EQ(answer.at("mark"), "247");
    EXPECT_EQ(answer.at("found"), "destination") << "it is there";
    EXPECT_EQ(answer.at("pair"), "7");
    bench.stop_and_expect_nothing_left();
}

TYPED_TEST(EveryCopy, AStrayReadGetsWhereItsStrategyLetsIt) {
    CopyBench<TypeParam> bench;
    ASSERT_TRUE(bench.start().ok());
    bench.follow("begin working_set=8 batch=1");
    bench.run(8);
    const Answer place = bench.follow("look pair=7");
    const Answer answer = bench.follow("stray_read iova=" + place.at("source_iova"));
    // The shadow of strategy copy holds what was sent last: the device reads that, not the buffer.
    const bool reached = reaches_after_unmapping<TypeParam> || std::is_same_v<TypeParam, CopyMapper>;
    EXPECT_EQ(answer.at("reached"), reached ? "1" : "0") << answer.at("content");
    EXPECT_EQ(answer.at("content") == "data", reached);
    // The eighth copy's stamp.
    if (reached) {
        EXPECT_EQ(answer.at("first"), "8");
    }
    bench.stop_and_expect_nothing_left();
}

TEST(StrayAccess, InTheWrongDirectionIsRefused) {
    CopyBench<StrictMapper> bench;
    ASSERT_TRUE(bench.start().ok());
    bench.follow("begin working_set=8 batch=1 lifetime=0");
    bench.run(8);
    const Answer place = bench.follow("look pair=3");
    ASSERT_EQ(place.at("mapped"), "1");
    EXPECT_EQ(bench.follow("stray_write iova=" + place.at("source_iova")).at("found"), "nowhere");
    EXPECT_EQ(bench.follow("stray_read iova=" + place.at("destination_iova")).at("reached"), "0");
    // ... and in the right one it is not.
    EXPECT_EQ(bench.follow("stray_write iova=" + place.at("destination_iova")).at("found"), "destination");
    EXPECT_EQ(bench.follow("stray_read iova=" + place.at("source_iova")).at("reached"), "1");
    EXPECT_EQ(bench.follow("end").at("copies_bad"), "0");
    bench.stop_and_expect_nothing_left();
}

TEST(StrayAccess, ToWhatCrossesAPageIsNotTried) {
    CopyBench<StrictMapper> bench;
    ASSERT_TRUE(bench.start().ok());
    EXPECT_EQ(bench.execute("stray_write iova=0x1fc5").error(), Error::invalid_argument);
    EXPECT_NE(bench.answer().at("error").find("within one page"), std::string::npos);
    EXPECT_TRUE(bench.execute("stray_write iova=0x1fc4").ok());
    bench.stop_and_expect_nothing_left();
}

TEST(StrayAccess, LeavesTheEnginesOwnPagesAlone) {
    CopyBench<StrictMapper> bench;
    ASSERT_TRUE(bench.start().ok());
    const std::uint64_t own = std::uint64_t{bench.machine.device.peek(e1000::TransmitBaseHigh::offset)}
                                  << 32 |
                              bench.machine.device.peek(e1000::TransmitBaseLow::offset);
    EXPECT_EQ(bench.execute("stray_write iova=" + std::to_string(own)).error(), Error::invalid_argument);
    EXPECT_NE(bench.answer().at("error").find("works by"), std::string::npos);
    bench.stop_and_expect_nothing_left();
}

// ---- what is reached of the driver's own buffers ----

TYPED_TEST(EveryCopy, EachAccessReachesWhatItsStrategyLetsIt) {
    constexpr bool by_bytes = std::is_same_v<TypeParam, CopyMapper> || std::is_same_v<TypeParam, HybridCopyMapper>;
    constexpr WindowKind window = TypeParam::strategy.kernel.driver_from_device.window.kind;
    CopyBench<TypeParam> bench;
    ASSERT_TRUE(bench.start().ok());
    const Answer answer = bench.reach("rounds=3 patience_ms=20");
    for (const char* live : {"neighbour_write", "neighbour_read", "backward_write", "backward_read"})
        EXPECT_EQ(answer.at(std::string{live} + "_accesses"), "6") << live;
    // Whoever shares a page with a buffer shares its mapping, unless the buffer itself is not mapped.
    EXPECT_EQ(answer.at("neighbour_write"), by_bytes ? "0" : "6");
    EXPECT_EQ(answer.at("neighbour_read"), by_bytes ? "0" : "6");
    for (const std::string stale : {"stale_write", "stale_read"}) {
        EXPECT_EQ(answer.at(stale) != "0", reaches_after_unmapping<TypeParam>) << stale;
        EXPECT_EQ(answer.at(stale + "_open"), window == WindowKind::unbounded ? "3" : "0");
        if (std::is_same_v<TypeParam, StrictMapper>) {
            EXPECT_EQ(answer.at(stale + "_accesses"), "3");
            EXPECT_EQ(answer.at(stale + "_longest_ns"), "0");
        }
    }
    bench.stop_and_expect_nothing_left();
}

TEST(Reach, TheWrongWayIsRefused) {
    CopyBench<StrictMapper> bench;
    ASSERT_TRUE(bench.start().ok());
    const Answer answer = bench.reach();
    EXPECT_EQ(answer.at("backward_write"), "0");
    EXPECT_EQ(answer.at("backward_read"), "0");
    // A part that hangs on each of them, and on nothing else that was tried.
    EXPECT_EQ(answer.at("backward_read_restarts"), answer.at("backward_read_accesses"));
    EXPECT_EQ(answer.at("neighbour_read_restarts"), "0");
    bench.stop_and_expect_nothing_left();
}

TEST(Reach, EndsInTheMidstOfIt) {
    CopyBench<StrictMapper> bench;
    ASSERT_TRUE(bench.start().ok());
    bench.follow("reach rounds=1000");
    for (int step = 0; step < 5; ++step) bench.driver->step();
    EXPECT_EQ(bench.execute("begin").error(), Error::ring_full);
    EXPECT_EQ(bench.follow("end").at("stale_write_accesses"), "1");
    EXPECT_TRUE(bench.pages_out.empty());
    bench.follow("reach");
    bench.driver->step();
    bench.stop_and_expect_nothing_left();
}

TEST(Reach, ComesBeforeOrAfterALoop) {
    CopyBench<StrictMapper> bench;
    ASSERT_TRUE(bench.start().ok());
    bench.follow("begin");
    EXPECT_EQ(bench.execute("reach").error(), Error::invalid_argument);
    bench.follow("end");
    for (const std::int64_t pages : {0, 1}) {
        bench.refuse_pages_after = pages;
        EXPECT_EQ(bench.execute("reach").error(), Error::no_memory);
        EXPECT_TRUE(bench.pages_out.empty());
    }
    bench.refuse_pages_after = -1;
    bench.follow("reach");
    while (bench.driver->running()) bench.driver->step();
    EXPECT_EQ(bench.execute("begin").error(), Error::invalid_argument);
    EXPECT_NE(bench.answer().at("error").find("probed"), std::string::npos);
    bench.follow("end");
    bench.follow("begin");
    EXPECT_EQ(bench.run(64).at("copies_bad"), "0");
    bench.stop_and_expect_nothing_left();
}

}  // namespace
}  // namespace dmatoll::test
