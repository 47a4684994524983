// SPDX-License-Identifier: BSD-2-Clause
// Frames longer than a receive buffer: several pieces, whole or not at all. And frames whose size is wrong.
#include <gtest/gtest.h>

#include "machine.hpp"

namespace dmatoll::test {
namespace {

using namespace model::datasheet;
using model::Arrival;
using model::Fault;

template <class M>
using LongFrames = EveryStrategy<M>;
TYPED_TEST_SUITE(LongFrames, EveryMapper, StrategyNames);

constexpr std::uint32_t headers = link_header + 20 + 32;

// A frame of that many bytes.
Bytes frame_of(std::uint32_t bytes, std::uint8_t seed = 1) {
    return make_frame({.payload = bytes - headers, .seed = seed});
}

constexpr e1000::Settings jumbo{.receive_descriptors = 64, .largest_frame = e1000::jumbo_frame};

TYPED_TEST(LongFrames, EverySizeArrivesInAsManyPiecesAsItNeeds) {
    for (const std::uint32_t buffer : {256u, 1024u, 2048u, 4096u}) {
        e1000::Settings settings = jumbo;
        settings.receive_buffer_bytes = buffer;
        Bench<TypeParam> bench{settings};
        ASSERT_TRUE(bench.start().ok());
        EXPECT_NE(bench.machine.device.peek(RCTL) & rctl_lpe, 0u);
        std::uint64_t frames = 0;
        std::uint64_t bytes = 0;
        for (const std::uint32_t size :
             {buffer - 1, buffer, buffer + 1, 2 * buffer, 2 * buffer + 1, 1514u, 9014u}) {
            const Bytes frame = frame_of(size);
            ASSERT_EQ(bench.machine.device.receive_frame(frame), Arrival::stored);
            ASSERT_EQ(bench.receive(), 1u) << size;
            ASSERT_EQ(bench.received.size(), ++frames);
            EXPECT_EQ(bench.received.back().bytes, frame);
            EXPECT_EQ(bench.received.back().checksum, e1000::Checksum::good);
            EXPECT_EQ(bench.pieces_of_last_frame, (size + buffer - 1) / buffer);
            bytes += size;
            bench.refill();
        }
        EXPECT_EQ(bench.driver->counters().frames_received, frames);
        EXPECT_EQ(bench.driver->counters().bytes_received, bytes);
        EXPECT_EQ(bench.driver->counters().receive_errors, 0u);
        EXPECT_EQ(bench.dropped, 0u);
        bench.stop_and_expect_nothing_left();
    }
}

TYPED_TEST(LongFrames, WithoutLongPacketsTheyGoOverSmallBuffersAllTheSame) {
    Bench<TypeParam> bench{{.receive_descriptors = 64, .receive_buffer_bytes = 256}};
    ASSERT_TRUE(bench.start().ok());
    EXPECT_EQ(bench.machine.device.peek(RCTL) & rctl_lpe, 0u);
    const Bytes frame = frame_of(1066);
    bench.machine.device.receive_frame(frame);
    bench.machine.device.receive_frame(frame_of(100));
    EXPECT_EQ(bench.receive(), 2u);
    ASSERT_EQ(bench.received.size(), 2u);
    EXPECT_EQ(bench.received[0].bytes, frame);
    bench.stop_and_expect_nothing_left();
}

TYPED_TEST(LongFrames, TheSmallestRingWrapsInTheMidstOfFrames) {
    Bench<TypeParam> bench{jumbo};
    ASSERT_TRUE(bench.start().ok());
    for (std::uint32_t i = 0; i < 500; ++i) {
        const Bytes frame = frame_of(headers + i * 2731 % 8949, static_cast<std::uint8_t>(i));
        ASSERT_EQ(bench.machine.device.receive_frame(frame), Arrival::stored);
        if (i % 3 != 2) continue;
        const std::size_t before = bench.received.size();
        ASSERT_EQ(bench.receive(), 3u);
        ASSERT_EQ(bench.received.size(), before + 3);
        EXPECT_EQ(bench.received.back().bytes, frame);
        bench.refill();
    }
    bench.receive();
    EXPECT_EQ(bench.received.size(), 500u);
    EXPECT_EQ(bench.driver->counters().receive_errors, 0u);
    bench.stop_and_expect_nothing_left();
}

TYPED_TEST(LongFrames, TheBudgetCountsFramesAndAFrameThatIsBegunIsTakenWhole) {
    Bench<TypeParam> bench{jumbo};
    ASSERT_TRUE(bench.start().ok());
    for (std::uint8_t i = 0; i < 6; ++i)
        bench.machine.device.receive_frame(frame_of(i % 2 == 0 ? 9000 : 500, i));
    EXPECT_EQ(bench.receive(0), 0u);
    EXPECT_TRUE(bench.received.empty());
    EXPECT_EQ(bench.receive(1), 1u);
    ASSERT_EQ(bench.received.size(), 1u);
    EXPECT_EQ(bench.received[0].bytes, frame_of(9000, 0));
    EXPECT_EQ(bench.receive(2), 2u);
    EXPECT_EQ(bench.received.back().bytes, frame_of(9000, 2));
    EXPECT_EQ(bench.receive(64), 3u);
    ASSERT_EQ(bench.received.size(), 6u);
    EXPECT_EQ(bench.received.back().bytes, frame_of(500, 5));
    bench.stop_and_expect_nothing_left();
}

TYPED_TEST(LongFrames, AnUnfinishedFrameStaysUntilItsEndIsThere) {
    Bench<TypeParam> bench{jumbo};
    ASSERT_TRUE(bench.start().ok());
    const Bytes frame = frame_of(9000);
    bench.machine.device.inject(Fault::receive_rest_late);
    ASSERT_EQ(bench.machine.device.receive_frame(frame), Arrival::stored);
    ASSERT_EQ(bench.machine.device.happened(Fault::receive_rest_late), 1u);
    for (int i = 0; i < 3; ++i) EXPECT_EQ(bench.receive(), 0u);
    bench.refill();
    EXPECT_TRUE(bench.received.empty());
    EXPECT_EQ(bench.dropped, 0u);
    EXPECT_FALSE(bench.driver->receive_starved()) << "there are buffers behind it";
    bench.machine.device.release_late_writes();
    EXPECT_EQ(bench.receive(), 1u);
    ASSERT_EQ(bench.received.size(), 1u);
    EXPECT_EQ(bench.received[0].bytes, frame);
    EXPECT_EQ(bench.driver->counters().receive_errors, 0u);
    bench.stop_and_expect_nothing_left();
}

// The device has used up its buffers in the midst of a frame: no interrupt comes before it has more.
TYPED_TEST(LongFrames, AnUnfinishedFrameInTheLastBuffersIsStarvation) {
    Bench<TypeParam> bench{jumbo, {}, 4};
    ASSERT_TRUE(bench.start().ok());
    bench.machine.device.inject(Fault::receive_without_eop, 4);
    ASSERT_EQ(bench.machine.device.receive_frame(frame_of(8192)), Arrival::stored);
    ASSERT_EQ(bench.machine.device.happened(Fault::receive_without_eop), 4u);
    EXPECT_EQ(bench.receive(), 0u);
    bench.refill();
    EXPECT_TRUE(bench.driver->receive_starved());
    for (std::uint32_t i = 4; i < 6; ++i) {
        bench.buffers.push_back(bench.machine.memory.allocate_pages(1));
        bench.free_buffers.push_back(i);
    }
    bench.refill();
    EXPECT_FALSE(bench.driver->receive_starved());
    bench.machine.device.receive_frame(frame_of(100));  // by the descriptors the end of the same frame
    EXPECT_EQ(bench.receive(), 1u);
    ASSERT_EQ(bench.received.size(), 1u);
    EXPECT_EQ(bench.received[0].bytes.size(), 8292u);
    EXPECT_EQ(bench.pieces_of_last_frame, 5u);
    bench.refill();
    EXPECT_FALSE(bench.driver->receive_starved());
    bench.stop_and_expect_nothing_left();
}

TYPED_TEST(LongFrames, StopTakesAnUnfinishedFrameBackAndStartForgetsIt) {
    Bench<TypeParam> bench{jumbo};
    ASSERT_TRUE(bench.start().ok());
    bench.machine.device.inject(Fault::receive_rest_late);
    ASSERT_EQ(bench.machine.device.receive_frame(frame_of(9000)), Arrival::stored);
    EXPECT_EQ(bench.receive(), 0u);
    bench.stop();
    EXPECT_TRUE(bench.buffers_out.empty());
    ASSERT_TRUE(bench.start().ok());
    const Bytes frame = frame_of(3000);
    bench.machine.device.receive_frame(frame);
    EXPECT_EQ(bench.receive(), 1u);
    ASSERT_EQ(bench.received.size(), 1u);
    EXPECT_EQ(bench.received[0].bytes, frame);
    bench.stop();
    bench.expect_nothing_left();
}

// A bad frame between two good ones: the neighbours arrive, it is dropped whole and counted once.
template <class M>
void expect_dropped_whole(const e1000::Settings& settings, const Bytes& bad, std::uint32_t pieces,
                          const std::vector<Fault>& faults) {
    Bench<M> bench{settings};
    ASSERT_TRUE(bench.start().ok());
    const Bytes before = frame_of(std::min(settings.largest_frame, 2900u), 1);
    const Bytes after = frame_of(std::min(settings.largest_frame, 2901u), 3);
    for (int round = 1; round <= 40; ++round) {
        bench.machine.device.receive_frame(before);
        for (const Fault fault : faults) bench.machine.device.inject(fault);
        ASSERT_EQ(bench.machine.device.receive_frame(bad), Arrival::stored);
        for (const Fault fault : faults) {
            ASSERT_EQ(bench.machine.device.happened(fault), static_cast<unsigned>(round));
        }
        bench.machine.device.receive_frame(after);
        EXPECT_EQ(bench.receive(), 3u);
        bench.refill();
        ASSERT_EQ(bench.received.size(), 2u);
        EXPECT_EQ(bench.received[0].bytes, before);
        EXPECT_EQ(bench.received[1].bytes, after);
        EXPECT_EQ(bench.dropped, pieces);
        EXPECT_EQ(bench.driver->counters().receive_errors, static_cast<unsigned>(round));
        bench.received.clear();
        bench.dropped = 0;
    }
    bench.stop_and_expect_nothing_left();
}

TYPED_TEST(LongFrames, DamageThatTheLastPieceTellsDropsAll) {
    expect_dropped_whole<TypeParam>(jumbo, frame_of(9000), 5, {Fault::receive_bad_crc});
}

TYPED_TEST(LongFrames, AnImpossibleLengthInOnePieceDropsAll) {
    for (const Fault fault : {Fault::receive_length_zero, Fault::receive_length_beyond_buffer,
                              Fault::receive_length_huge, Fault::receive_length_short}) {
        expect_dropped_whole<TypeParam>(jumbo, frame_of(9000), 5, {fault});
    }
}

// The device takes what a partner sends with long packets on; the surroundings asked for less.
TYPED_TEST(LongFrames, LongerThanTheLargestIsDroppedWholeHoweverManyPieces) {
    e1000::Settings settings{.receive_descriptors = 64, .largest_frame = 3000};
    expect_dropped_whole<TypeParam>(settings, frame_of(3005), 2, {});
    expect_dropped_whole<TypeParam>(settings, frame_of(4097), 3, {});
    expect_dropped_whole<TypeParam>(settings, frame_of(9000), 5, {});
    settings.receive_buffer_bytes = 4096;
    expect_dropped_whole<TypeParam>(settings, frame_of(3005), 1, {});
    expect_dropped_whole<TypeParam>(settings, frame_of(9000), 3, {});
    Bench<TypeParam> bench{settings};
    ASSERT_TRUE(bench.start().ok());
    bench.machine.device.receive_frame(frame_of(3004));
    EXPECT_EQ(bench.receive(), 1u);
    EXPECT_EQ(bench.received.size(), 1u) << "with a VLAN tag it may have this much";
    bench.stop_and_expect_nothing_left();
}

TYPED_TEST(LongFrames, WhatADeviceStoresAgainstItsOrdersIsDropped) {
    expect_dropped_whole<TypeParam>({.receive_descriptors = 64}, frame_of(1519), 1,
                                    {Fault::receive_wrong_size});
    expect_dropped_whole<TypeParam>({.receive_descriptors = 64}, frame_of(9000), 5,
                                    {Fault::receive_wrong_size});
}

TYPED_TEST(LongFrames, TheRestOfADroppedFrameIsDroppedWheneverItComes) {
    Bench<TypeParam> bench{{.receive_descriptors = 64}};
    ASSERT_TRUE(bench.start().ok());
    for (unsigned round = 1; round <= 30; ++round) {
        bench.machine.device.inject(Fault::receive_wrong_size);
        bench.machine.device.inject(Fault::receive_rest_late);
        ASSERT_EQ(bench.machine.device.receive_frame(frame_of(9000)), Arrival::stored);
        EXPECT_EQ(bench.receive(), 1u);
        EXPECT_EQ(bench.dropped, 1u) << "the first piece says already that it is too long";
        EXPECT_EQ(bench.receive(), 0u);
        bench.refill();
        bench.machine.device.release_late_writes();
        const Bytes frame = frame_of(1000);
        bench.machine.device.receive_frame(frame);
        EXPECT_EQ(bench.receive(), 1u);
        EXPECT_EQ(bench.dropped, 5u);
        ASSERT_EQ(bench.received.size(), 1u);
        EXPECT_EQ(bench.received[0].bytes, frame);
        EXPECT_EQ(bench.driver->counters().receive_errors, round);
        bench.refill();
        bench.received.clear();
        bench.dropped = 0;
    }
    bench.stop_and_expect_nothing_left();
}

TYPED_TEST(LongFrames, RuntsAndOversizeFramesAreTheDevicesToCount) {
    for (const bool long_packets : {false, true}) {
        Bench<TypeParam> bench{long_packets ? jumbo : e1000::Settings{}};
        ASSERT_TRUE(bench.start().ok());
        Bytes runt = frame_of(100);
        runt.resize(59);
        EXPECT_EQ(bench.machine.device.receive_as_it_is(runt), Arrival::wrong_size);
        EXPECT_EQ(bench.machine.device.receive_frame(frame_of(long_packets ? 16381 : 1519)),
                  Arrival::wrong_size);
        EXPECT_EQ(bench.machine.device.receive_frame(frame_of(60 + headers)), Arrival::stored);
        bench.driver->update_statistics();
        const e1000::DeviceStatistics statistics = bench.driver->statistics();
        EXPECT_EQ(statistics.receive_undersize, 1u);
        EXPECT_EQ(statistics.receive_oversize, 1u);
        EXPECT_EQ(statistics.receive_length_errors, 2u);
        EXPECT_EQ(statistics.good_packets_received, 1u);
        EXPECT_EQ(bench.receive(), 1u);
        bench.stop_and_expect_nothing_left();
    }
}

TYPED_TEST(LongFrames, ARuntThatTheDeviceStoresIsDeliveredAsItIs) {
    Bench<TypeParam> bench;
    ASSERT_TRUE(bench.start().ok());
    Bytes runt = frame_of(100);
    runt.resize(20);
    bench.machine.device.inject(Fault::receive_wrong_size);
    ASSERT_EQ(bench.machine.device.receive_as_it_is(runt), Arrival::stored);
    EXPECT_EQ(bench.receive(), 1u);
    ASSERT_EQ(bench.received.size(), 1u);
    EXPECT_EQ(bench.received[0].bytes, runt);
    bench.stop_and_expect_nothing_left();
}

TYPED_TEST(LongFrames, AreSentInOnePieceUpToTheLargest) {
    e1000::Settings settings = jumbo;
    settings.largest_frame = 5000;
    Bench<TypeParam> bench{settings};
    ASSERT_TRUE(bench.start().ok());
    for (const std::uint32_t size : {1514u, 1519u, 4096u, 5000u, 5004u}) {
        const Bytes frame = frame_of(size);
        ASSERT_TRUE(bench.transmit(frame).ok()) << size;
        const auto wire = bench.machine.device.take_wire();
        ASSERT_EQ(wire.size(), 1u);
        EXPECT_EQ(wire[0].bytes, frame);
        ASSERT_EQ(bench.reclaim(), 1u);
    }
    EXPECT_EQ(bench.transmit(frame_of(5005)).error(), Error::invalid_argument);
    const FrameShape shape{.payload = 9000};
    Bytes large = with_partial_checksum(make_frame(shape), shape);
    EXPECT_TRUE(bench.transmit(large, segmentation_offload(shape, 4000)).ok());
    const auto wire = bench.machine.device.take_wire();
    ASSERT_EQ(wire.size(), 3u);
    EXPECT_EQ(wire[0].bytes.size(), shape.header_bytes() + 4000u);
    EXPECT_EQ(bench.transmit(large, segmentation_offload(shape, 5000)).error(), Error::invalid_argument);
    bench.reclaim();
    bench.stop_and_expect_nothing_left();
}

}  // namespace
}  // namespace dmatoll::test
