// SPDX-License-Identifier: BSD-2-Clause
// Reception: what is delivered, what is not, and buffers that run short.
#include <gtest/gtest.h>

#include "machine.hpp"

namespace dmatoll::test {
namespace {

using namespace model::datasheet;
using model::Arrival;

template <class M>
using Receive = EveryStrategy<M>;
TYPED_TEST_SUITE(Receive, EveryMapper, StrategyNames);

TYPED_TEST(Receive, DeliversFramesAsTheyWereWithoutCrc) {
    Bench<TypeParam> bench;
    ASSERT_TRUE(bench.start().ok());
    std::uint64_t bytes = 0;
    for (const std::uint32_t payload : {6u, 7u, 100u, 1448u}) {
        const Bytes frame = make_frame({.payload = payload, .seed = static_cast<std::uint8_t>(payload)});
        ASSERT_EQ(bench.machine.device.receive_frame(frame), Arrival::stored);
        ASSERT_EQ(bench.receive(), 1u);
        EXPECT_EQ(bench.received.back().bytes, frame);
        bytes += frame.size();
        bench.refill();
    }
    EXPECT_EQ(bench.receive(), 0u);
    const NetworkCounters counters = bench.driver->counters();
    EXPECT_EQ(counters.frames_received, 4u);
    EXPECT_EQ(counters.bytes_received, bytes);
    EXPECT_EQ(counters.receive_errors, 0u);
    EXPECT_EQ(counters.polls, 5u);
    EXPECT_EQ(counters.idle_polls, 1u);
    bench.stop_and_expect_nothing_left();
}

TYPED_TEST(Receive, ChecksumsAreReportedAsTheDeviceFoundThem) {
    Bench<TypeParam> bench;
    ASSERT_TRUE(bench.start().ok());
    const auto checksum_of = [&](const Bytes& frame) {
        EXPECT_EQ(bench.machine.device.receive_frame(frame), Arrival::stored);
        EXPECT_EQ(bench.receive(), 1u);
        bench.refill();
        return bench.received.back().checksum;
    };
    for (const bool ipv6 : {false, true}) {
        for (const bool tcp : {false, true}) {
            const FrameShape shape{.ipv6 = ipv6, .tcp = tcp};
            Bytes frame = make_frame(shape);
            EXPECT_EQ(checksum_of(frame), e1000::Checksum::good) << ipv6 << tcp;
            frame[shape.header_bytes() + 5] ^= std::byte{0x10};
            EXPECT_EQ(checksum_of(frame), e1000::Checksum::bad) << ipv6 << tcp;
        }
    }
    Bytes bad_header = make_frame({});
    bad_header[link_header + 8] = std::byte{63};  // time to live, which TCP's sum leaves out
    EXPECT_EQ(checksum_of(bad_header), e1000::Checksum::bad);
    Bytes arp(60);
    std::copy_n(make_frame({}).begin(), 12, arp.begin());
    model::store_be16(arp, 12, 0x0806);
    EXPECT_EQ(checksum_of(arp), e1000::Checksum::unknown);
    Bytes fragment = make_frame({});
    fragment[link_header + 6] = std::byte{0x20};
    EXPECT_EQ(checksum_of(fragment), e1000::Checksum::unknown);
    // A checksum that does not match is the stack's business, not a damaged frame.
    EXPECT_EQ(bench.driver->counters().receive_errors, 0u);
    bench.stop_and_expect_nothing_left();
}

TYPED_TEST(Receive, ADeviceThatDoesNotCheckLeavesItUnknown) {
    Bench<TypeParam> bench{{}, {.checks_received = false}};
    ASSERT_TRUE(bench.start().ok());
    bench.machine.device.receive_frame(make_frame({}));
    ASSERT_EQ(bench.receive(), 1u);
    EXPECT_EQ(bench.received[0].checksum, e1000::Checksum::unknown);
    bench.stop_and_expect_nothing_left();
}

TYPED_TEST(Receive, TheBudgetIsKept) {
    Bench<TypeParam> bench;
    ASSERT_TRUE(bench.start().ok());
    for (int i = 0; i < 100; ++i) bench.machine.device.receive_frame(make_frame({}));
    EXPECT_EQ(bench.receive(64), 64u);
    EXPECT_EQ(bench.receive(0), 0u);
    EXPECT_EQ(bench.receive(30), 30u);
    EXPECT_EQ(bench.receive(64), 6u);
    EXPECT_EQ(bench.received.size(), 100u);
    bench.stop_and_expect_nothing_left();
}

TYPED_TEST(Receive, TheRingWrapsManyTimesAtEverySize) {
    for (const std::uint32_t descriptors : {64u, 256u, 4096u}) {
        Bench<TypeParam> bench{{.receive_descriptors = descriptors}, {}, descriptors};
        ASSERT_TRUE(bench.start().ok());
        std::uint32_t sent = 0;
        while (sent < 3 * descriptors + 17) {
            const std::uint32_t burst = 1 + sent % 61;
            const std::size_t before = bench.received.size();
            for (std::uint32_t i = 0; i < burst; ++i) {
                const Bytes frame = make_frame({.payload = 10 + (sent + i) % 50, .sequence = sent + i});
                ASSERT_EQ(bench.machine.device.receive_frame(frame), Arrival::stored);
            }
            ASSERT_EQ(bench.receive(64), burst);
            for (std::uint32_t i = 0; i < burst; ++i) {
                ASSERT_EQ(model::load_be32(bench.received[before + i].bytes, link_header + 20 + 4), sent + i)
                    << "in order";
            }
            bench.refill();
            sent += burst;
        }
        bench.stop_and_expect_nothing_left();
    }
}

TYPED_TEST(Receive, AFullSmallestRingMissesAndRecovers) {
    Bench<TypeParam> bench{{.receive_descriptors = 64, .interrupts_per_second = 0}};
    ASSERT_TRUE(bench.start().ok());
    bench.driver->enable_interrupts();
    for (int i = 0; i < 63; ++i)
        ASSERT_EQ(bench.machine.device.receive_frame(make_frame({})), Arrival::stored);
    EXPECT_EQ(bench.machine.device.receive_frame(make_frame({})), Arrival::no_descriptor);
    EXPECT_TRUE(bench.driver->take_interrupt().receive);
    EXPECT_EQ(bench.receive(100), 63u);
    EXPECT_TRUE(bench.driver->receive_starved());
    bench.refill();
    EXPECT_FALSE(bench.driver->receive_starved());
    EXPECT_EQ(bench.machine.device.receive_frame(make_frame({})), Arrival::stored);
    EXPECT_EQ(bench.receive(), 1u);
    bench.driver->update_statistics();
    EXPECT_EQ(bench.driver->counters().receive_missed, 1u);
    bench.stop_and_expect_nothing_left();
}

TYPED_TEST(Receive, TooFewBuffersAreUsedAndMadeUpForLater) {
    Bench<TypeParam> bench{{.receive_descriptors = 64}, {}, 10};
    ASSERT_TRUE(bench.start().ok());
    EXPECT_EQ(bench.machine.device.peek(RDT), 10u);
    for (int round = 0; round < 30; ++round) {
        for (int i = 0; i < 10; ++i)
            ASSERT_EQ(bench.machine.device.receive_frame(make_frame({})), Arrival::stored);
        ASSERT_EQ(bench.machine.device.receive_frame(make_frame({})), Arrival::no_descriptor);
        // The surroundings hold all of them for a while.
        const std::vector<std::uint32_t> held = std::exchange(bench.free_buffers, {});
        ASSERT_EQ(bench.receive(), 10u);
        const std::vector<std::uint32_t> back = std::exchange(bench.free_buffers, {});
        bench.refill();
        ASSERT_TRUE(bench.driver->receive_starved());
        bench.free_buffers = back;
        bench.free_buffers.insert(bench.free_buffers.end(), held.begin(), held.end());
        bench.refill();
        ASSERT_FALSE(bench.driver->receive_starved());
    }
    EXPECT_EQ(bench.received.size(), 300u);
    bench.stop_and_expect_nothing_left();
}

TYPED_TEST(Receive, WithoutASingleBufferItDoesNotStart) {
    Bench<TypeParam> bench{{}, {}, 0};
    EXPECT_EQ(bench.start().error(), Error::no_memory);
    EXPECT_EQ(bench.machine.platform.log_lines().size(), 1u);
    bench.stop_and_expect_nothing_left();
}

TYPED_TEST(Receive, ABufferThatCannotBeMappedIsKeptAndTriedAgain) {
    if (!maps_buffers<TypeParam>) GTEST_SKIP() << "nothing is mapped for a buffer";
    Bench<TypeParam> bench{{.receive_descriptors = 64}};
    ASSERT_TRUE(bench.start().ok());
    for (int i = 0; i < 20; ++i) bench.machine.device.receive_frame(make_frame({}));
    EXPECT_EQ(bench.receive(), 20u);
    // Pages that the persistent strategy has not seen yet.
    std::rotate(bench.free_buffers.begin(), bench.free_buffers.begin() + 500, bench.free_buffers.end());
    bench.machine.iommu.refuse_maps(5);
    bench.refill();
    EXPECT_EQ(bench.machine.device.peek(RDT), (63u + 5) % 64);
    bench.refill();
    EXPECT_EQ(bench.machine.device.peek(RDT), (63u + 20) % 64);
    EXPECT_EQ(bench.buffers_out.size(), 63u);
    bench.stop_and_expect_nothing_left();
}

TYPED_TEST(Receive, EveryBufferSizeIsProgrammed) {
    for (const std::uint32_t size : {2048u, 4096u}) {
        Bench<TypeParam> bench{{.receive_buffer_bytes = size}};
        ASSERT_TRUE(bench.start().ok());
        const std::uint32_t rctl = bench.machine.device.peek(RCTL);
        EXPECT_EQ(rctl & (rctl_bsex | 3u << 16), size == 2048 ? 0u : rctl_bsex | 3u << 16);
        bench.machine.device.receive_frame(make_frame({.payload = 1448}));
        EXPECT_EQ(bench.receive(), 1u);
        bench.stop_and_expect_nothing_left();
    }
}

TEST(ReceiveStrict, ADeliveredBufferIsOutOfTheDevicesReach) {
    Bench<StrictMapper> bench;
    ASSERT_TRUE(bench.start().ok());
    bench.machine.device.receive_frame(make_frame({}));
    const Iova buffer = bench.machine.device.last_receive_buffer();
    EXPECT_TRUE(bench.machine.iommu.reachable(buffer, model::Access::write));
    EXPECT_FALSE(bench.machine.iommu.reachable(buffer, model::Access::read)) << "it may write only";
    bool looked = false;
    bench.driver->receive(
        1,
        [&](const e1000::ReceivedPiece& frame) {
            looked = true;
            EXPECT_FALSE(bench.machine.iommu.reachable(buffer, model::Access::write))
                << "before anybody looks inside";
            bench.take_back()(frame.cookie);
        },
        bench.take_back());
    EXPECT_TRUE(looked);
    const MappingCounters counters = bench.mapper->counters();
    EXPECT_EQ(counters.unmaps, 1u);
    EXPECT_EQ(counters.invalidations, 1u);
    EXPECT_EQ(counters.maps, 255u + 2) << "the buffers and two rings";
    bench.stop_and_expect_nothing_left();
}

TEST(ReceivePersistent, ARecycledPoolIsMappedOnce) {
    Bench<PersistentMapper> bench{{.receive_descriptors = 64}, {}, 100};
    ASSERT_TRUE(bench.start().ok());
    for (int round = 0; round < 200; ++round) {
        for (int i = 0; i < 50; ++i) bench.machine.device.receive_frame(make_frame({}));
        ASSERT_EQ(bench.receive(), 50u);
        // The surroundings hand buffers out in an order of their own.
        std::rotate(bench.free_buffers.begin(), bench.free_buffers.begin() + 7, bench.free_buffers.end());
        bench.refill();
    }
    const MappingCounters counters = bench.mapper->counters();
    EXPECT_EQ(counters.first_touches, 100u);
    EXPECT_EQ(counters.maps, 100u + 2);
    EXPECT_EQ(counters.unmaps, 0u);
    bench.stop_and_expect_nothing_left();
}

}  // namespace
}  // namespace dmatoll::test
