// SPDX-License-Identifier: BSD-2-Clause
// The end: quiet device, empty domain, everything given back, from every state.
#include <gtest/gtest.h>

#include "machine.hpp"

namespace dmatoll::test {
namespace {

using namespace model::datasheet;
using model::Arrival;
using model::Fault;

template <class M>
using Stop = EveryStrategy<M>;
TYPED_TEST_SUITE(Stop, EveryMapper, StrategyNames);

TYPED_TEST(Stop, LeavesTheDeviceQuietUnderTraffic) {
    for (const bool reset_resets : {true, false}) {
        Bench<TypeParam> bench{{}, {.reset_resets = reset_resets, .acts_on_doorbell = false}};
        ASSERT_TRUE(bench.start().ok());
        bench.driver->enable_interrupts();
        model::E1000Device& device = bench.machine.device;
        for (int i = 0; i < 30; ++i) {
            device.receive_frame(make_frame({}));
            ASSERT_TRUE(bench.transmit(make_frame({.payload = 500}), {}, 200).ok());
        }
        device.step(20);  // in the midst of a frame
        bench.receive(7);
        bench.reclaim(2);
        // Announced to nobody.
        ASSERT_TRUE(bench.transmit(make_frame({}), {}, 65536, true).ok());
        bench.stop();
        const std::uint64_t accesses = bench.machine.iommu.counts().accesses;
        EXPECT_NE(device.receive_frame(make_frame({})), Arrival::stored);
        device.step();
        device.release_late_writes();
        bench.machine.platform.advance_ns(1'000'000'000);
        device.step();
        EXPECT_EQ(bench.machine.iommu.counts().accesses, accesses) << "no DMA after stop";
        EXPECT_EQ(device.peek(RCTL) & rctl_en, 0u);
        EXPECT_EQ(device.peek(TCTL) & tctl_en, 0u);
        EXPECT_FALSE(device.interrupt_line());
        EXPECT_EQ(device.peek(IMS), 0u);
        EXPECT_EQ(bench.unsent.size(), 29u);
        bench.expect_nothing_left();
        bench.expect_clean_device();
    }
}

// A write that is under way when the receiver is switched off still lands: stop() has to wait for it before
// it unmaps.
TYPED_TEST(Stop, WaitsForWhatIsUnderWay) {
    Bench<TypeParam> bench;
    ASSERT_TRUE(bench.start().ok());
    bench.machine.device.inject(Fault::receive_early_write_back);
    const std::uint64_t before = bench.machine.iommu.counts().accesses;
    bench.machine.device.receive_frame(make_frame({}));
    EXPECT_EQ(bench.machine.iommu.counts().accesses, before + 2)
        << "the descriptor was read and written; the data is under way";
    bench.stop();
    EXPECT_EQ(bench.machine.iommu.counts().accesses, before + 3);
    bench.machine.platform.advance_ns(1'000'000'000);
    EXPECT_EQ(bench.machine.iommu.counts().accesses, before + 3);
    bench.expect_nothing_left();
    bench.expect_clean_device();
}

TYPED_TEST(Stop, MayBeCalledTwiceAndWithoutStart) {
    Bench<TypeParam> bench;
    ASSERT_TRUE(bench.driver->probe().ok());
    bench.stop();
    ASSERT_TRUE(bench.start().ok());
    bench.stop();
    bench.stop_and_expect_nothing_left();
}

// Whatever start() fails at, stop() gives back what it had taken.
TYPED_TEST(Stop, CleansUpAfterEveryFailureOfStart) {
    for (std::uint64_t nth = 0; nth < 2; ++nth) {
        Bench<TypeParam> bench;
        bench.machine.platform.refuse_ring(nth);
        EXPECT_EQ(bench.start().error(), Error::no_memory);
        bench.stop_and_expect_nothing_left();
    }
    for (std::uint64_t nth = 0; nth < 2; ++nth) {
        Bench<TypeParam> bench;
        ASSERT_TRUE(bench.driver->probe().ok());
        bench.machine.device.set_bus_master(true);
        bench.machine.platform.refuse_allocation(nth);
        EXPECT_EQ(bench.driver->start(bench.provide()).error(), Error::no_memory);
        bench.stop_and_expect_nothing_left();
    }
    for (std::uint64_t nth = 0; nth < (maps_buffers<TypeParam> ? 3 : 2); ++nth) {  // either ring, the first buffer
        Bench<TypeParam> bench;
        bench.machine.iommu.refuse_maps(nth);
        EXPECT_EQ(bench.start().error(), Error::mapping_failed) << nth;
        bench.stop_and_expect_nothing_left();
    }
    if (maps_buffers<TypeParam>) {
        Bench<TypeParam> bench;  // not all buffers: it starts with fewer
        bench.machine.iommu.refuse_maps(10);
        EXPECT_TRUE(bench.start().ok());
        EXPECT_EQ(bench.machine.device.peek(RDT), 8u);
        bench.stop_and_expect_nothing_left();
    }
    {
        Bench<TypeParam> bench;
        ASSERT_TRUE(bench.driver->probe().ok());
        bench.machine.device.set_bus_master(true);
        bench.machine.device.inject(Fault::mdic_stuck);
        EXPECT_EQ(bench.driver->start(bench.provide()).error(), Error::timed_out);
        bench.stop_and_expect_nothing_left();
    }
}

TYPED_TEST(Stop, ADeviceThatGoesOnIsStoppedByTheDomainAndNoticed) {
    Bench<TypeParam> bench;
    ASSERT_TRUE(bench.start().ok());
    model::E1000Device& device = bench.machine.device;
    device.receive_frame(make_frame({}));
    device.inject(Fault::dma_after_stop);
    bench.stop();
    bench.mapper->release_all();
    ASSERT_EQ(bench.machine.iommu.mapped_pages(), 0u);
    for (const Memory buffer : bench.buffers)
        std::memset(bench.machine.at(buffer, page_bytes), 0x77, page_bytes);
    device.step();
    EXPECT_EQ(device.happened(Fault::dma_after_stop), 1u);
    EXPECT_EQ(device.accesses_while_quiet(), 2u) << "noticed";
    EXPECT_EQ(bench.machine.iommu.faults().size(), 2u) << "both refused";
    EXPECT_TRUE(bench.machine.iommu.stale_accesses().empty());
    for (const Memory buffer : bench.buffers) {
        for (const std::byte byte : bench.machine.memory.view(buffer, page_bytes))
            ASSERT_EQ(byte, std::byte{0x77});
    }
    bench.expect_nothing_left();
}

TYPED_TEST(Stop, WhatDidNotBecomeQuietIsMadeSoBeforeItMayMasterTheBusAgain) {
    Bench<TypeParam> bench;
    ASSERT_TRUE(bench.start().ok());
    model::E1000Device& device = bench.machine.device;
    device.inject(Fault::reset_stuck);
    device.set_bus_master(false);
    bench.stop();
    EXPECT_FALSE(bench.driver->ensure_quiet().ok());
    device.clear(Fault::reset_stuck);
    ASSERT_NE(device.peek(model::datasheet::RDLEN), 0u) << "the old ring is still in it";
    EXPECT_TRUE(bench.driver->ensure_quiet().ok());
    EXPECT_EQ(device.peek(model::datasheet::RDLEN), 0u);
    EXPECT_EQ(device.peek(model::datasheet::TDLEN), 0u);
    device.set_bus_master(true);
    ASSERT_TRUE(bench.driver->start(bench.provide()).ok());
    bench.stop_and_expect_nothing_left();
}

TYPED_TEST(Stop, ARefusedUnmappingKeepsTheRangeAndIsCounted) {
    Bench<TypeParam> bench;
    ASSERT_TRUE(bench.start().ok());
    bench.machine.iommu.refuse_unmaps(3);
    bench.stop();
    bench.mapper->release_all();
    EXPECT_EQ(bench.machine.domain.quarantined(), 1u);
    // A page of a buffer, or a piece of a pool.
    EXPECT_EQ(bench.machine.iommu.mapped_pages(), maps_buffers<TypeParam> ? 1u : 256u);
    EXPECT_EQ(bench.mapper->counters().failures, 1u);
    EXPECT_TRUE(bench.buffers_out.empty());
}

}  // namespace
}  // namespace dmatoll::test
