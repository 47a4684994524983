// SPDX-License-Identifier: BSD-2-Clause
// Transmission: what is on the wire, byte for byte, and what is given back.
#include <gtest/gtest.h>

#include "machine.hpp"

namespace dmatoll::test {
namespace {

using namespace model::datasheet;

template <class M>
using Transmit = EveryStrategy<M>;
TYPED_TEST_SUITE(Transmit, EveryMapper, StrategyNames);

TYPED_TEST(Transmit, APlainFrameIsOnTheWireAsItWas) {
    Bench<TypeParam> bench;
    ASSERT_TRUE(bench.start().ok());
    for (const std::uint32_t payload : {6u, 100u, 1448u}) {
        const Bytes frame = make_frame({.payload = payload});
        ASSERT_TRUE(bench.transmit(frame).ok());
        const auto wire = bench.machine.device.take_wire();
        ASSERT_EQ(wire.size(), 1u);
        EXPECT_EQ(wire[0].bytes, frame);
        EXPECT_TRUE(wire[0].crc_good);
        ASSERT_EQ(bench.reclaim(), 1u);
        EXPECT_EQ(bench.reclaimed.back().frames, 1u);
        EXPECT_EQ(bench.reclaimed.back().bytes, frame.size());
    }
    const NetworkCounters counters = bench.driver->counters();
    EXPECT_EQ(counters.frames_transmitted, 3u);
    EXPECT_EQ(counters.bytes_transmitted, 66u * 3 + 6 + 100 + 1448);
    EXPECT_EQ(counters.transmit_errors, 0u);
    bench.stop_and_expect_nothing_left();
}

TYPED_TEST(Transmit, AShortFrameIsPaddedByTheDevice) {
    Bench<TypeParam> bench;
    ASSERT_TRUE(bench.start().ok());
    Bytes frame(42, std::byte{0x11});
    ASSERT_TRUE(bench.transmit(frame).ok());
    const auto wire = bench.machine.device.take_wire();
    frame.resize(60);
    ASSERT_EQ(wire.size(), 1u);
    EXPECT_EQ(wire[0].bytes, frame);
    bench.reclaim();
    bench.stop_and_expect_nothing_left();
}

TYPED_TEST(Transmit, ManySegmentsAcrossPagesMakeOneFrame) {
    Bench<TypeParam> bench;
    bench.transmit_offset = 4090;  // every segment crosses into another page
    ASSERT_TRUE(bench.start().ok());
    const Bytes frame = make_frame({.payload = 1448});
    ASSERT_TRUE(bench.transmit(frame, {}, 100).ok());
    const auto wire = bench.machine.device.take_wire();
    ASSERT_EQ(wire.size(), 1u);
    EXPECT_EQ(wire[0].bytes, frame);
    EXPECT_EQ(bench.reclaim(), 1u);
    bench.stop_and_expect_nothing_left();
}

TYPED_TEST(Transmit, ChecksumsAreInserted) {
    Bench<TypeParam> bench;
    ASSERT_TRUE(bench.start().ok());
    for (const bool ipv6 : {false, true}) {
        for (const bool tcp : {false, true}) {
            for (const std::uint32_t payload : {1u, 2u, 999u, 1400u}) {
                const FrameShape shape{.ipv6 = ipv6, .tcp = tcp, .payload = payload};
                const Bytes frame = make_frame(shape);
                ASSERT_TRUE(
                    bench.transmit(with_partial_checksum(frame, shape), checksum_offload(shape)).ok());
                auto wire = bench.machine.device.take_wire();
                ASSERT_EQ(wire.size(), 1u);
                wire[0].bytes.resize(frame.size());  // padding
                EXPECT_EQ(wire[0].bytes, frame) << ipv6 << tcp << payload;
                bench.reclaim();
            }
        }
    }
    bench.stop_and_expect_nothing_left();
}

TYPED_TEST(Transmit, AContextIsSentAgainOnlyWhenItChanges) {
    Bench<TypeParam> bench;
    ASSERT_TRUE(bench.start().ok());
    const FrameShape tcp{};
    const FrameShape udp{.tcp = false};
    const auto send = [&](const FrameShape& shape, bool offload) {
        const std::uint32_t room = bench.driver->transmit_room();
        const Bytes frame = make_frame(shape);
        EXPECT_TRUE(bench
                        .transmit(offload ? with_partial_checksum(frame, shape) : frame,
                                  offload ? checksum_offload(shape) : e1000::TransmitOffload{})
                        .ok());
        EXPECT_EQ(bench.machine.device.take_wire().at(0).bytes, frame);
        const std::uint32_t used = room - bench.driver->transmit_room();
        bench.reclaim();
        return used;
    };
    EXPECT_EQ(send(tcp, true), 2u);
    EXPECT_EQ(send(tcp, true), 1u);
    EXPECT_EQ(send(tcp, false), 1u);
    EXPECT_EQ(send(tcp, true), 1u) << "a frame without offload does not disturb the context";
    EXPECT_EQ(send(udp, true), 2u);
    EXPECT_EQ(send(tcp, true), 2u);
    bench.stop_and_expect_nothing_left();
}

// Every byte of every segment, by what TCP demands and not by what the model does.
template <class B>
void expect_segments(B& bench, const FrameShape& shape, std::uint16_t mss, std::uint32_t piece) {
    Bytes frame = make_frame(shape);
    const Bytes original = frame;
    const e1000::TransmitOffload offload = segmentation_offload(shape, mss);
    ASSERT_TRUE(e1000::prepare_segmentation(frame, offload).ok());
    ASSERT_TRUE(bench.transmit(frame, offload, piece).ok());
    const auto wire = bench.machine.device.take_wire();
    const std::uint32_t count = (shape.payload + mss - 1) / mss;
    ASSERT_EQ(wire.size(), count);
    const std::uint32_t network = link_header;
    const std::uint32_t transport = shape.transport_start();
    std::uint32_t sent = 0;
    for (std::uint32_t i = 0; i < count; ++i) {
        const Bytes& segment = wire[i].bytes;
        const std::uint32_t payload = std::min<std::uint32_t>(mss, shape.payload - sent);
        ASSERT_GE(segment.size(), shape.header_bytes() + payload);
        if (shape.ipv6) {
            EXPECT_EQ(model::load_be16(segment, network + 4), shape.transport_bytes() + payload);
        } else {
            EXPECT_EQ(model::load_be16(segment, network + 2), 20 + shape.transport_bytes() + payload);
            EXPECT_EQ(model::load_be16(segment, network + 4), 0x4321u + i);
            EXPECT_TRUE(network_checksum_good(segment)) << i;
        }
        EXPECT_EQ(model::load_be32(segment, transport + 4), shape.sequence + sent);
        const auto flags = std::to_integer<unsigned>(segment[transport + 13]);
        EXPECT_EQ(flags, i + 1 == count ? shape.tcp_flags : shape.tcp_flags & ~0x09u);
        EXPECT_TRUE(transport_checksum_good(segment)) << i;
        EXPECT_TRUE(wire[i].crc_good);
        for (std::uint32_t byte = 0; byte < payload; ++byte) {
            ASSERT_EQ(segment[shape.header_bytes() + byte], payload_byte(shape.seed, sent + byte))
                << i << " " << byte;
        }
        // Addresses, ports and options are copies.
        EXPECT_TRUE(std::equal(segment.begin(), segment.begin() + 14, original.begin()));
        EXPECT_TRUE(std::equal(segment.begin() + transport, segment.begin() + transport + 4,
                               original.begin() + transport));
        sent += payload;
    }
    ASSERT_EQ(bench.reclaim(), 1u);
    EXPECT_EQ(bench.reclaimed.back().frames, count);
    EXPECT_EQ(bench.reclaimed.back().bytes, shape.payload + count * shape.header_bytes());
}

TYPED_TEST(Transmit, SegmentsAreWhatTcpDemands) {
    Bench<TypeParam> bench;
    ASSERT_TRUE(bench.start().ok());
    for (const bool ipv6 : {false, true}) {
        for (const std::uint32_t payload : {1u, 1447u, 1448u, 1449u, 2896u, 10'000u, 64'000u}) {
            const std::uint16_t mss = ipv6 ? 1428 : 1448;
            expect_segments(bench, {.ipv6 = ipv6, .payload = payload}, mss, 65536 * 2);
            // As Linux hands it over: a linear part and page-sized fragments.
            expect_segments(bench, {.ipv6 = ipv6, .payload = payload, .sequence = 0xffff'fff0}, mss,
                            page_bytes);
        }
        expect_segments(bench, {.ipv6 = ipv6, .payload = 5000, .tcp_flags = 0x10}, 536, 700);
    }
    bench.driver->update_statistics();
    EXPECT_EQ(bench.driver->statistics().segmentation_contexts, 2u * 15);
    EXPECT_EQ(bench.driver->statistics().good_packets_transmitted,
              bench.driver->counters().frames_transmitted);
    bench.stop_and_expect_nothing_left();
}

TYPED_TEST(Transmit, ChecksumAndSegmentationFramesMayAlternate) {
    Bench<TypeParam> bench;
    ASSERT_TRUE(bench.start().ok());
    const FrameShape small{.payload = 333};
    for (int i = 0; i < 50; ++i) {
        expect_segments(bench, {.payload = 9000u + static_cast<std::uint32_t>(i % 2)}, 1448, 4096);
        const Bytes frame = make_frame(small);
        ASSERT_TRUE(bench.transmit(with_partial_checksum(frame, small), checksum_offload(small)).ok());
        ASSERT_EQ(bench.machine.device.take_wire().at(0).bytes, frame);
        bench.reclaim();
    }
    bench.stop_and_expect_nothing_left();
}

TYPED_TEST(Transmit, TheRingWrapsManyTimes) {
    Bench<TypeParam> bench{{.transmit_descriptors = 64}};
    ASSERT_TRUE(bench.start().ok());
    std::uint32_t frames = 0;
    for (std::uint32_t i = 0; i < 1000; ++i) {
        const Bytes frame = make_frame({.payload = 64 + i % 900, .seed = static_cast<std::uint8_t>(i)});
        ASSERT_TRUE(bench.transmit(frame, {}, 200 + i % 300).ok());
        const auto wire = bench.machine.device.take_wire();
        ASSERT_EQ(wire.size(), 1u);
        ASSERT_EQ(wire[0].bytes, frame);
        if (i % 3 == 0) frames += bench.reclaim();
    }
    frames += bench.reclaim();
    EXPECT_EQ(frames, 1000u);
    for (std::size_t i = 0; i < bench.reclaimed.size(); ++i)
        ASSERT_EQ(bench.reclaimed[i].cookie, i + 1) << "in order";
    bench.stop_and_expect_nothing_left();
}

TYPED_TEST(Transmit, AFullRingTakesNothingAndSaysSo) {
    Bench<TypeParam> bench{{.transmit_descriptors = 64}, {.acts_on_doorbell = false}};
    ASSERT_TRUE(bench.start().ok());
    EXPECT_EQ(bench.driver->transmit_room(), 63u);
    const Bytes frame = make_frame({});
    std::uint32_t taken = 0;
    Status status;
    while ((status = bench.transmit(frame, {}, 65536)).ok()) ++taken;
    EXPECT_EQ(status.error(), Error::ring_full);
    EXPECT_GE(taken, 62u);
    EXPECT_LE(taken, 63u);
    EXPECT_EQ(bench.driver->counters().transmit_errors, 0u) << "a full ring is no error";
    EXPECT_EQ(bench.reclaim(), 0u);
    bench.machine.device.step(10);
    EXPECT_EQ(bench.reclaim(), 10u);
    EXPECT_TRUE(bench.transmit(frame).ok());
    bench.machine.device.step();
    EXPECT_EQ(bench.machine.device.take_wire().size(), taken + 1);
    EXPECT_EQ(bench.reclaim(), taken + 1 - 10);
    EXPECT_EQ(bench.driver->transmit_room(), 63u);
    bench.stop_and_expect_nothing_left();
}

TYPED_TEST(Transmit, SegmentsInOnePieceAndInSeveralMixInAFrame) {
    Bench<TypeParam> bench;
    ASSERT_TRUE(bench.start().ok());
    // From 4000 on in a page each: 300 bytes reach into the next.
    for (const std::vector<std::uint32_t>& lengths :
         {std::vector<std::uint32_t>{40, 300, 40}, {300, 40, 300}, {300, 300}, {40, 40, 300}, {300, 40}}) {
        const Memory pages = bench.machine.memory.allocate_pages(2 * lengths.size());
        std::vector<Segment> segments;
        Bytes frame;
        std::uint32_t pieces = 0;
        for (std::size_t i = 0; i < lengths.size(); ++i) {
            const Memory start = pages + (2 * i * page_bytes + 4000);
            const Bytes part = make_frame({.payload = lengths[i], .seed = static_cast<std::uint8_t>(i)});
            std::memcpy(bench.machine.at(start, lengths[i]), part.data(), lengths[i]);
            frame.insert(frame.end(), part.begin(), part.begin() + lengths[i]);
            segments.push_back({start, lengths[i]});
            for (std::uint32_t done = 0; done < lengths[i]; ++pieces) {
                done += bench.mapper->extent(start + done, lengths[i] - done, Direction::to_device);
            }
        }
        const std::uint32_t room = bench.driver->transmit_room();
        const std::uint64_t cookie = bench.next_cookie++;
        bench.in_flight[cookie] = {{pages, 2 * lengths.size()}};
        ASSERT_TRUE(bench.driver->transmit(segments, {}, cookie).ok());
        EXPECT_EQ(room - bench.driver->transmit_room(), pieces);
        const auto wire = bench.machine.device.take_wire();
        ASSERT_EQ(wire.size(), 1u);
        EXPECT_EQ(wire[0].bytes, frame);
        EXPECT_EQ(bench.reclaim(), 1u);
    }
    bench.stop_and_expect_nothing_left();
}

TYPED_TEST(Transmit, AfterARestartTheRingIsNoLongerThanBefore) {
    Bench<TypeParam> bench{{.transmit_descriptors = 64}, {.acts_on_doorbell = false}};
    ASSERT_TRUE(bench.start().ok());
    for (int i = 0; i < 500; ++i) {
        ASSERT_TRUE(bench.transmit(make_frame({})).ok());
        bench.machine.device.step();
        bench.reclaim();
    }
    bench.stop();
    bench.machine.device.set_bus_master(true);
    ASSERT_TRUE(bench.driver->start(bench.provide()).ok());
    std::uint32_t taken = 0;
    while (taken < 100 && bench.transmit(make_frame({}), {}, 65536).ok()) ++taken;
    EXPECT_EQ(taken, 62u) << "one is kept for a context, one lies between tail and head";
    bench.stop_and_expect_nothing_left();
}

TYPED_TEST(Transmit, TheLargestFrameFitsTheSmallestRingWheneverRoomSaysSo) {
    Bench<TypeParam> bench{{.transmit_descriptors = 64}};
    bench.transmit_offset = 4095;
    ASSERT_TRUE(bench.start().ok());
    for (int i = 0; i < 20; ++i) {
        ASSERT_GE(bench.driver->transmit_room(), e1000::most_descriptors_per_frame);
        expect_segments(bench, {.payload = 65'000, .seed = static_cast<std::uint8_t>(i)}, 1448, 4096);
        ASSERT_TRUE(bench.transmit(make_frame({})).ok());
        bench.machine.device.take_wire();
        bench.reclaim();
    }
    bench.stop_and_expect_nothing_left();
}

TYPED_TEST(Transmit, TheDoorbellWaitsForTheLastOfABurst) {
    Bench<TypeParam> bench;
    ASSERT_TRUE(bench.start().ok());
    for (int i = 0; i < 5; ++i) ASSERT_TRUE(bench.transmit(make_frame({}), {}, 65536, true).ok());
    EXPECT_TRUE(bench.machine.device.take_wire().empty());
    EXPECT_EQ(bench.machine.device.peek(TDT), 0u);
    EXPECT_EQ(bench.reclaim(), 0u);
    ASSERT_TRUE(bench.transmit(make_frame({})).ok());
    EXPECT_EQ(bench.machine.device.take_wire().size(), 6u);
    ASSERT_TRUE(bench.transmit(make_frame({}), {}, 65536, true).ok());
    bench.driver->ring_transmit_doorbell();
    EXPECT_EQ(bench.machine.device.take_wire().size(), 1u);
    EXPECT_EQ(bench.reclaim(3), 3u) << "a budget";
    EXPECT_EQ(bench.reclaim(), 4u);
    bench.stop_and_expect_nothing_left();
}

TYPED_TEST(Transmit, RequestsThatTheDeviceCannotFollowAreRefused) {
    Bench<TypeParam> bench;
    ASSERT_TRUE(bench.start().ok());
    const std::uint32_t room = bench.driver->transmit_room();
    const FrameShape shape{};
    EXPECT_EQ(bench.transmit(Bytes(1519)).error(), Error::invalid_argument) << "too long";
    EXPECT_EQ(bench.driver->transmit({}, {}, 1).error(), Error::invalid_argument) << "no segments";
    const Segment empty{Memory{page_bytes}, 0};
    EXPECT_EQ(bench.driver->transmit({&empty, 1}, {}, 1).error(), Error::invalid_argument)
        << "an empty segment";
    const std::vector<Segment> many(19, {Memory{page_bytes}, 10});
    EXPECT_EQ(bench.driver->transmit(many, {}, 1).error(), Error::invalid_argument) << "too many segments";
    const std::vector<Segment> huge(2, {Memory{page_bytes}, 0xffff'fff0});
    EXPECT_EQ(bench.driver->transmit(huge, {}, 1).error(), Error::invalid_argument) << "a sum that wraps";
    e1000::TransmitOffload outside = checksum_offload(shape);
    outside.checksum_offset = 240;
    EXPECT_EQ(bench.transmit(make_frame(shape), outside).error(), Error::invalid_argument);
    EXPECT_EQ(bench.driver->counters().transmit_errors, 6u);
    EXPECT_EQ(bench.driver->transmit_room(), room);
    EXPECT_TRUE(bench.transmit(make_frame(shape)).ok());
    EXPECT_EQ(bench.reclaim(), 1u);
    bench.stop_and_expect_nothing_left();
}

TYPED_TEST(Transmit, ARefusedMappingInTheMidstOfAFrameLeavesNothingMapped) {
    if (!maps_buffers<TypeParam>) GTEST_SKIP() << "nothing is mapped for a buffer";
    Bench<TypeParam> bench;
    ASSERT_TRUE(bench.start().ok());
    const FrameShape shape{.payload = 8000};
    Bytes frame = make_frame(shape);
    ASSERT_TRUE(e1000::prepare_segmentation(frame, segmentation_offload(shape, 1448)).ok());
    for (std::uint64_t nth = 0; nth < 8; ++nth) {
        const std::uint32_t room = bench.driver->transmit_room();
        const std::uint64_t mapped = bench.machine.domain.live();
        bench.machine.iommu.refuse_maps(nth);
        const Status status = bench.transmit(frame, segmentation_offload(shape, 1448), 1000);
        ASSERT_EQ(status.error(), Error::mapping_failed) << nth;
        EXPECT_EQ(bench.driver->transmit_room(), room);
        EXPECT_TRUE(bench.machine.device.take_wire().empty());
        if constexpr (requires { bench.mapper->idle(); }) {
            EXPECT_EQ(bench.mapper->mapped() - bench.mapper->idle(), bench.settings.receive_descriptors - 1)
                << "the receive buffers";
        } else if constexpr (std::is_same_v<TypeParam, StrictMapper> || std::is_same_v<TypeParam, HybridCopyMapper>) {
            EXPECT_EQ(bench.machine.domain.live(), mapped);
        } else {
            EXPECT_EQ(bench.machine.domain.live(), mapped + nth);
        }
        // Touched pages stay, by the definition of some strategies; start over with other pages.
        for (std::uint64_t page = 0; page < nth * 8; ++page)
            static_cast<void>(bench.machine.memory.allocate_pages(1));
    }
    bench.machine.iommu.refuse_maps(0, 0);
    EXPECT_EQ(bench.driver->counters().transmit_errors, 8u);
    // The context that was written for the failed frames is written again.
    ASSERT_TRUE(bench.transmit(frame, segmentation_offload(shape, 1448), 1000).ok());
    EXPECT_EQ(bench.machine.device.take_wire().size(), 6u);
    EXPECT_EQ(bench.reclaim(), 1u);
    bench.stop_and_expect_nothing_left();
}

TEST(TransmitStrict, NoTranslationOutlivesTheFrame) {
    Bench<StrictMapper> bench;
    bench.keeps_memory = true;
    ASSERT_TRUE(bench.start().ok());
    const std::uint64_t before = bench.machine.iommu.mapped_pages();
    for (int i = 0; i < 100; ++i) {
        ASSERT_TRUE(bench.transmit(make_frame({.payload = 1000}), {}, 300).ok());
        const Iova last = bench.machine.device.last_transmit_buffer();
        ASSERT_TRUE(bench.machine.iommu.reachable(last, model::Access::read));
        ASSERT_FALSE(bench.machine.iommu.reachable(last, model::Access::write));
        ASSERT_EQ(bench.reclaim(), 1u);
        ASSERT_FALSE(bench.machine.iommu.reachable(last, model::Access::read));
        for (const auto& [start, pages] : bench.kept) {
            ASSERT_FALSE(bench.machine.iommu.exposed(start, model::Access::read));
        }
        bench.kept.clear();
    }
    EXPECT_EQ(bench.machine.iommu.mapped_pages(), before);
    bench.stop_and_expect_nothing_left();
}

TEST(TransmitPersistent, AfterWarmUpNothingIsMapped) {
    Bench<PersistentMapper> bench;
    ASSERT_TRUE(bench.start().ok());
    // The bench takes the lowest free pages, so the same ones every time.
    for (int i = 0; i < 10; ++i) {
        ASSERT_TRUE(bench.transmit(make_frame({.payload = 1000}), {}, 300).ok());
        bench.reclaim();
    }
    const MappingCounters warm = bench.mapper->counters();
    for (int i = 0; i < 500; ++i) {
        ASSERT_TRUE(bench.transmit(make_frame({.payload = 1000}), {}, 300).ok());
        ASSERT_EQ(bench.reclaim(), 1u);
    }
    EXPECT_EQ(bench.mapper->counters().maps, warm.maps);
    EXPECT_EQ(bench.mapper->counters().invalidations, warm.invalidations);
    EXPECT_GT(warm.first_touches, 0u);
    bench.stop_and_expect_nothing_left();
}

}  // namespace
}  // namespace dmatoll::test
