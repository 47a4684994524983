// SPDX-License-Identifier: BSD-2-Clause
// Devices that misbehave: each injected fault is answered by the right error or by dropping the frame, never
// by an access out of bounds and never by waiting without end. Run under the address sanitizer, too.
#include <gtest/gtest.h>

#include <random>

#include "machine.hpp"

namespace dmatoll::test {
namespace {

using namespace model::datasheet;
using model::Arrival;
using model::Fault;

template <class M>
using Faults = EveryStrategy<M>;
TYPED_TEST_SUITE(Faults, EveryMapper, StrategyNames);

// A frame hit by a fault between two that are not: the neighbours arrive, it is dropped and counted.
template <class M>
void expect_dropped(Fault fault) {
    Bench<M> bench;
    ASSERT_TRUE(bench.start().ok());
    const Bytes before = make_frame({.payload = 100, .seed = 1});
    const Bytes after = make_frame({.payload = 100, .seed = 3});
    bench.machine.device.receive_frame(before);
    bench.machine.device.inject(fault);
    ASSERT_EQ(bench.machine.device.receive_frame(make_frame({.payload = 100, .seed = 2})), Arrival::stored);
    ASSERT_EQ(bench.machine.device.happened(fault), 1u);
    bench.machine.device.receive_frame(after);
    EXPECT_EQ(bench.receive(), 3u);
    bench.refill();
    ASSERT_EQ(bench.received.size(), 2u) << model::name_of(fault);
    EXPECT_EQ(bench.received[0].bytes, before);
    EXPECT_EQ(bench.received[1].bytes, after);
    EXPECT_EQ(bench.dropped, 1u);
    EXPECT_EQ(bench.driver->counters().receive_errors, 1u);
    EXPECT_EQ(bench.driver->counters().frames_received, 2u);
    bench.stop_and_expect_nothing_left();
}

TYPED_TEST(Faults, LengthZeroIsDropped) { expect_dropped<TypeParam>(Fault::receive_length_zero); }
TYPED_TEST(Faults, LengthBeyondTheBufferIsDropped) {
    expect_dropped<TypeParam>(Fault::receive_length_beyond_buffer);
}
TYPED_TEST(Faults, HugeLengthIsDropped) { expect_dropped<TypeParam>(Fault::receive_length_huge); }
TYPED_TEST(Faults, LengthBelowALinkHeaderIsDropped) {
    expect_dropped<TypeParam>(Fault::receive_length_short);
}
TYPED_TEST(Faults, BadCrcThatIsStoredAllTheSameIsDropped) {
    expect_dropped<TypeParam>(Fault::receive_bad_crc);
}

TYPED_TEST(Faults, StatusBeforeLengthIsDroppedAndTheLateHalfDoesNoHarm) {
    Bench<TypeParam> bench{{.receive_descriptors = 64}};
    ASSERT_TRUE(bench.start().ok());
    bench.machine.device.inject(Fault::receive_status_before_length);
    bench.machine.device.receive_frame(make_frame({}));
    EXPECT_EQ(bench.receive(), 1u);
    EXPECT_EQ(bench.dropped, 1u);
    bench.refill();
    bench.machine.device.release_late_writes();
    // The descriptor is not at the ring's end: the late write hit one that is software's until the ring
    // wraps.
    for (int i = 0; i < 200; ++i) {
        bench.machine.device.receive_frame(make_frame({}));
        bench.receive();
        bench.refill();
    }
    EXPECT_GE(bench.received.size() + bench.dropped, 198u);
    bench.stop();
    bench.expect_nothing_left();
}

TYPED_TEST(Faults, WithoutEndOfPacketEverythingUpToTheNextEndIsDropped) {
    Bench<TypeParam> bench;
    ASSERT_TRUE(bench.start().ok());
    bench.machine.device.inject(Fault::receive_without_eop);
    bench.machine.device.receive_frame(make_frame({.seed = 1}));
    bench.machine.device.receive_frame(
        make_frame({.seed = 2}));  // by the descriptors the end of the same frame
    const Bytes good = make_frame({.seed = 3});
    bench.machine.device.receive_frame(good);
    EXPECT_EQ(bench.receive(), 2u) << "as frames";
    ASSERT_EQ(bench.received.size(), 1u);
    EXPECT_EQ(bench.received[0].bytes, good);
    EXPECT_EQ(bench.dropped, 2u);
    EXPECT_EQ(bench.driver->counters().receive_errors, 1u);
    bench.stop_and_expect_nothing_left();
}

TYPED_TEST(Faults, AMissingReceiveWriteBackStallsAndStopGivesEverythingBack) {
    Bench<TypeParam> bench{{.receive_descriptors = 64}};
    ASSERT_TRUE(bench.start().ok());
    bench.machine.device.receive_frame(make_frame({}));
    bench.machine.device.inject(Fault::receive_no_write_back);
    for (int i = 0; i < 70; ++i) bench.machine.device.receive_frame(make_frame({}));
    EXPECT_EQ(bench.receive(), 1u) << "never beyond a descriptor that is not done";
    for (int i = 0; i < 100; ++i) EXPECT_EQ(bench.receive(), 0u);
    bench.refill();
    bench.stop_and_expect_nothing_left();
}

// The device says done before the data is in memory. Nobody can notice that; under `strict` the late data
// must not arrive any more.
TEST(FaultsStrict, DataThatComesAfterItsStatusIsRefused) {
    Bench<StrictMapper> bench;
    ASSERT_TRUE(bench.start().ok());
    bench.machine.device.inject(Fault::receive_early_write_back);
    bench.machine.device.receive_frame(make_frame({}));
    EXPECT_EQ(bench.receive(), 1u);
    ASSERT_EQ(bench.received.size(), 1u);
    EXPECT_TRUE(bench.machine.iommu.faults().empty());
    bench.machine.device.release_late_writes();
    ASSERT_EQ(bench.machine.iommu.faults().size(), 1u);
    EXPECT_EQ(bench.machine.iommu.faults()[0].access, model::Access::write);
    EXPECT_EQ(bench.machine.iommu.faults()[0].reason, model::FaultReason::not_mapped);
    EXPECT_TRUE(bench.machine.iommu.stale_accesses().empty());
    const Memory buffer = bench.buffers[bench.free_buffers.back()];
    for (const std::byte byte : bench.machine.memory.view(buffer, page_bytes)) ASSERT_EQ(byte, std::byte{0});
    bench.stop();
    bench.expect_nothing_left();
}

// Under `persistent` it does: that is the window that the catalogue states.
TEST(FaultsPersistent, DataThatComesAfterItsStatusStillArrives) {
    Bench<PersistentMapper> bench;
    ASSERT_TRUE(bench.start().ok());
    const Bytes frame = make_frame({});
    bench.machine.device.inject(Fault::receive_early_write_back);
    bench.machine.device.receive_frame(frame);
    EXPECT_EQ(bench.receive(), 1u);
    bench.machine.device.release_late_writes();
    EXPECT_TRUE(bench.machine.iommu.faults().empty());
    const Memory buffer = bench.buffers[bench.free_buffers.back()];
    EXPECT_EQ(std::memcmp(bench.machine.at(buffer, frame.size()), frame.data(), frame.size()), 0);
    bench.stop_and_expect_nothing_left();
}

TYPED_TEST(Faults, AMissingTransmitWriteBackHoldsTheRingAndStopGivesEverythingBack) {
    Bench<TypeParam> bench{{.transmit_descriptors = 64}};
    ASSERT_TRUE(bench.start().ok());
    ASSERT_TRUE(bench.transmit(make_frame({})).ok());
    bench.machine.device.inject(Fault::transmit_no_write_back);
    std::uint32_t taken = 1;
    while (bench.transmit(make_frame({})).ok()) ++taken;
    EXPECT_EQ(bench.reclaim(), 1u) << "in order: what is behind it waits";
    EXPECT_EQ(bench.reclaim(), 0u);
    bench.stop();
    EXPECT_EQ(bench.unsent.size(), taken - 1);
    bench.expect_nothing_left();
    bench.expect_clean_device();
}

TYPED_TEST(Faults, AWriteBackBeyondTheTailIsNotBelieved) {
    Bench<TypeParam> bench{{.transmit_descriptors = 64}, {.acts_on_doorbell = false}};
    ASSERT_TRUE(bench.start().ok());
    for (int i = 0; i < 100; ++i) {
        ASSERT_TRUE(bench.transmit(make_frame({})).ok());
        ASSERT_TRUE(bench.transmit(make_frame({}), {}, 65536, true).ok());  // written, not handed over
        bench.machine.device.inject(Fault::transmit_write_back_beyond_tail);
        bench.machine.device.step();
        ASSERT_EQ(bench.machine.device.happened(Fault::transmit_write_back_beyond_tail),
                  static_cast<unsigned>(i) + 1);
        EXPECT_EQ(bench.reclaim(), 1u) << "the second one's buffer was not even looked at by the device";
        EXPECT_EQ(bench.reclaim(), 0u);
        bench.driver->ring_transmit_doorbell();
        bench.machine.device.step();
        EXPECT_EQ(bench.reclaim(), 1u);
        EXPECT_EQ(bench.machine.device.take_wire().size(), 2u);
    }
    bench.stop_and_expect_nothing_left();
}

TYPED_TEST(Faults, AStuckResetIsATimeout) {
    Bench<TypeParam> bench;
    bench.machine.device.inject(Fault::reset_stuck);
    const std::uint64_t begin = bench.machine.platform.now_ns();
    EXPECT_EQ(bench.driver->probe().error(), Error::timed_out);
    EXPECT_LT(bench.machine.platform.now_ns() - begin, 1'000'000'000u);
    EXPECT_EQ(bench.machine.device.happened(Fault::reset_stuck), 1u);
    EXPECT_EQ(bench.machine.platform.log_lines().size(), 1u);
    bench.expect_clean_device();
    bench.mapper->release_all();
}

TYPED_TEST(Faults, AResetThatSticksAtStopStillGivesEverythingBack) {
    Bench<TypeParam> bench;
    ASSERT_TRUE(bench.start().ok());
    bench.machine.device.inject(Fault::reset_stuck);
    bench.stop();
    EXPECT_FALSE(bench.machine.platform.log_lines().empty());
    bench.expect_nothing_left();
    bench.expect_clean_device();
}

TYPED_TEST(Faults, AStuckEepromIsATimeout) {
    Bench<TypeParam> bench;
    bench.machine.device.inject(Fault::eeprom_stuck);
    EXPECT_EQ(bench.driver->probe().error(), Error::timed_out);
    EXPECT_GE(bench.machine.device.happened(Fault::eeprom_stuck), 1u);
    bench.mapper->release_all();
}

TYPED_TEST(Faults, AnEepromWithAWrongSumIsRefused) {
    Bench<TypeParam> bench;
    bench.machine.device.inject(Fault::eeprom_bad_sum);
    EXPECT_EQ(bench.driver->probe().error(), Error::device_misbehaves);
    bench.mapper->release_all();
}

TYPED_TEST(Faults, AStuckPhyIsATimeout) {
    Bench<TypeParam> bench;
    ASSERT_TRUE(bench.start().ok());
    bench.machine.device.inject(Fault::mdic_stuck);
    EXPECT_EQ(bench.driver->set_phy_loopback(true).error(), Error::timed_out);
    bench.machine.device.clear(Fault::mdic_stuck);
    EXPECT_TRUE(bench.driver->set_phy_loopback(true).ok());
    bench.stop_and_expect_nothing_left();
}

TYPED_TEST(Faults, ADeviceThatIsGoneIsNoticedEverywhere) {
    {
        Bench<TypeParam> bench;
        bench.machine.device.inject(Fault::gone);
        EXPECT_EQ(bench.driver->probe().error(), Error::device_gone);
        bench.mapper->release_all();
    }
    {
        Bench<TypeParam> bench;
        ASSERT_TRUE(bench.driver->probe().ok());
        bench.machine.device.inject(Fault::gone);
        EXPECT_FALSE(bench.driver->start(bench.provide()).ok());
        bench.stop();
        bench.expect_nothing_left();
    }
    Bench<TypeParam> bench{{.transmit_descriptors = 64}};
    ASSERT_TRUE(bench.start().ok());
    bench.machine.device.receive_frame(make_frame({}));
    bench.machine.device.inject(Fault::gone);
    const e1000::InterruptCauses causes = bench.driver->take_interrupt();
    EXPECT_TRUE(causes.device_gone);
    EXPECT_FALSE(causes.any || causes.receive || causes.transmit || causes.link);
    EXPECT_FALSE(bench.driver->link().up);
    EXPECT_FALSE(bench.driver->set_phy_loopback(true).ok());
    bench.driver->update_statistics();
    EXPECT_EQ(bench.driver->statistics().good_packets_received, 0u) << "all ones is no count";
    EXPECT_EQ(bench.driver->statistics().good_octets_received, 0u);
    EXPECT_EQ(bench.receive(), 1u) << "what is in memory already is a frame";
    bench.refill();
    while (bench.transmit(make_frame({})).ok()) {
    }
    EXPECT_EQ(bench.reclaim(), 0u);
    const std::uint64_t begin = bench.machine.platform.now_ns();
    bench.stop();
    EXPECT_LT(bench.machine.platform.now_ns() - begin, 1'000'000'000u);
    bench.expect_nothing_left();
}

TYPED_TEST(Faults, AnAbortedTransmitLeavesTheDriverInOrder) {
    Bench<TypeParam> bench{{.transmit_descriptors = 64}, {.acts_on_doorbell = false}};
    bench.keeps_memory = true;
    ASSERT_TRUE(bench.start().ok());
    ASSERT_TRUE(bench.transmit(make_frame({})).ok());
    // The IOMMU loses the mapping under the device.
    bench.machine.iommu.lose_invalidations(false);
    bench.machine.device.set_bus_master(false);
    bench.machine.device.step();
    bench.machine.device.set_bus_master(true);
    bench.machine.device.step();
    EXPECT_TRUE(bench.machine.device.take_wire().empty()) << "the transmitter halted";
    EXPECT_EQ(bench.reclaim(), 0u);
    bench.stop();
    EXPECT_EQ(bench.unsent.size(), 1u);
    ASSERT_TRUE(bench.start().ok());
    ASSERT_TRUE(bench.transmit(make_frame({})).ok());
    bench.machine.device.step();
    EXPECT_EQ(bench.machine.device.take_wire().size(), 1u);
    EXPECT_EQ(bench.reclaim(), 1u);
    bench.stop();
    bench.expect_nothing_left();
}

// A device that writes anything at all into the rings: lengths, status, errors, even the addresses.
TYPED_TEST(Faults, GarbageInTheRingsIsNeverFollowed) {
    for (const std::uint32_t seed : {1u, 2u, 3u}) {
        std::mt19937 random{seed};
        Bench<TypeParam> bench{{.receive_descriptors = 64, .transmit_descriptors = 64}};
        ASSERT_TRUE(bench.start().ok());
        const Iova receive_ring{std::uint64_t{bench.machine.device.peek(RDBAH)} << 32 |
                                bench.machine.device.peek(RDBAL)};
        const Iova transmit_ring{std::uint64_t{bench.machine.device.peek(TDBAH)} << 32 |
                                 bench.machine.device.peek(TDBAL)};
        std::uint64_t reclaimed = 0;
        for (int i = 0; i < 1000; ++i) {
            Bytes garbage(16);
            for (std::byte& byte : garbage) byte = static_cast<std::byte>(random());
            const Iova ring = random() % 2 == 0 ? receive_ring : transmit_ring;
            ASSERT_TRUE(bench.machine.iommu.write(ring + (random() % 64) * 16, garbage));
            if (random() % 3 == 0) bench.receive(16);
            if (random() % 3 == 0) bench.refill();
            if (random() % 4 == 0) static_cast<void>(bench.transmit(make_frame({}), {}, 40));
            if (random() % 4 == 0) reclaimed += bench.reclaim(8);
        }
        EXPECT_EQ(bench.driver->counters().frames_transmitted, reclaimed);
        bench.stop();
        bench.expect_nothing_left();
    }
}

}  // namespace
}  // namespace dmatoll::test
