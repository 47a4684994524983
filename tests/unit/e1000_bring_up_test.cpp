// SPDX-License-Identifier: BSD-2-Clause
// Probe, start, link, interrupts, statistics.
#include <gtest/gtest.h>

#include "machine.hpp"

namespace dmatoll::test {
namespace {

using namespace model::datasheet;
using model::Fault;

template <class M>
using BringUp = EveryStrategy<M>;
TYPED_TEST_SUITE(BringUp, EveryMapper, StrategyNames);

TYPED_TEST(BringUp, ProbeReadsTheAddressAndTouchesNoMemory) {
    Bench<TypeParam> bench;
    const std::uint64_t delays = bench.machine.platform.delays();
    // Pools that a strategy has mapped for itself.
    const std::uint64_t mapped = bench.machine.iommu.mapped_pages();
    ASSERT_TRUE(bench.driver->probe().ok());
    EXPECT_EQ(bench.driver->mac(), (MacAddress{0x52, 0x54, 0x00, 0x12, 0x34, 0x56}));
    EXPECT_EQ(bench.machine.iommu.counts().accesses, 0u);
    EXPECT_EQ(bench.machine.iommu.mapped_pages(), mapped);
    EXPECT_GT(bench.machine.platform.delays(), delays);
    EXPECT_TRUE(bench.machine.platform.log_lines().empty());
    bench.expect_clean_device();
    bench.mapper->release_all();
}

TYPED_TEST(BringUp, StartProgramsTheDevice) {
    Bench<TypeParam> bench{{.receive_descriptors = 128, .transmit_descriptors = 512}};
    ASSERT_TRUE(bench.start().ok());
    const model::E1000Device& device = bench.machine.device;
    EXPECT_EQ(device.peek(RDLEN), 128u * 16);
    EXPECT_EQ(device.peek(TDLEN), 512u * 16);
    EXPECT_EQ(device.peek(RDH), 0u);
    EXPECT_EQ(device.peek(RDT), 127u) << "tail one behind head";
    EXPECT_EQ(device.peek(TDH), 0u);
    EXPECT_EQ(device.peek(TDT), 0u);
    EXPECT_NE(device.peek(RCTL) & rctl_en, 0u);
    EXPECT_NE(device.peek(RCTL) & rctl_bam, 0u);
    EXPECT_EQ(device.peek(RCTL) & (rctl_upe | rctl_lpe | rctl_sbp | rctl_lbm), 0u);
    EXPECT_NE(device.peek(TCTL) & tctl_en, 0u);
    EXPECT_NE(device.peek(TCTL) & tctl_psp, 0u);
    EXPECT_EQ(device.peek(IMS), 0u) << "interrupts are masked until they are asked for";
    EXPECT_EQ(device.peek(RAL), 0x1200'5452u);
    EXPECT_EQ(device.peek(RAH), 0x8000'5634u);
    EXPECT_EQ(device.peek(RAH + 8), 0u);
    EXPECT_NE(device.peek(RCTL) & rctl_mpe, 0u) << "all multicast";
    for (std::uint32_t i = 0; i < 128; ++i) ASSERT_EQ(device.peek(MTA + 4 * i), 0u);
    EXPECT_EQ(bench.buffers_out.size(), 127u);
    bench.stop_and_expect_nothing_left();
}

TYPED_TEST(BringUp, ADeviceThatWasLeftRunningIsQuietBeforeBusMastering) {
    for (const bool reset_resets : {true, false}) {
        Bench<TypeParam> bench{{}, {.reset_resets = reset_resets}};
        model::E1000Device& device = bench.machine.device;
        // What an earlier driver left: both units on, rings somewhere in the memory of others.
        device.poke(RDBAL, 0x1234'5000);
        device.poke(RDLEN, 4096);
        device.poke(RDT, 200);
        device.poke(RDH, 3);
        device.poke(RCTL, rctl_en | rctl_upe | rctl_mpe);
        device.poke(TDBAL, 0x2345'6000);
        device.poke(TDLEN, 4096);
        device.poke(TDH, 9);
        device.poke(TDT, 9);
        device.poke(TCTL, tctl_en);
        device.poke(IMS, 0xffff);
        ASSERT_TRUE(bench.driver->probe().ok());
        EXPECT_EQ(device.peek(RCTL) & rctl_en, 0u);
        EXPECT_EQ(device.peek(TCTL) & tctl_en, 0u);
        EXPECT_EQ(device.peek(IMS), 0u);
        for (const std::uint32_t offset : {RDBAL, RDBAH, RDLEN, RDH, RDT, TDBAL, TDBAH, TDLEN, TDH, TDT}) {
            EXPECT_EQ(device.peek(offset), 0u) << std::hex << offset;
        }
        device.set_bus_master(true);
        device.receive_frame(make_frame({}));
        device.step();
        EXPECT_EQ(bench.machine.iommu.counts().accesses, 0u);
        EXPECT_EQ(device.accesses_while_quiet(), 0u);
        ASSERT_TRUE(bench.start().ok());
        ASSERT_EQ(device.receive_frame(make_frame({})), model::Arrival::stored);
        EXPECT_EQ(bench.receive(), 1u);
        bench.stop();
        bench.expect_nothing_left();
        EXPECT_TRUE(bench.machine.iommu.faults().empty());
    }
}

TYPED_TEST(BringUp, SettingsOutOfRangeAreRefusedBeforeTheDeviceIsTouched) {
    const std::vector<e1000::Settings> wrong{
        {.receive_descriptors = 0},          {.receive_descriptors = 100},    {.receive_descriptors = 8192},
        {.transmit_descriptors = 32},        {.transmit_descriptors = 4097},  {.receive_buffer_bytes = 1500},
        {.receive_buffer_bytes = 128},       {.receive_buffer_bytes = 32768}, {.interrupts_per_second = 10},
        {.interrupts_per_second = 1'000'001}};
    for (const e1000::Settings& settings : wrong) {
        Bench<TypeParam> bench{settings};
        const std::uint64_t before = bench.machine.platform.now_ns();
        EXPECT_EQ(bench.driver->probe().error(), Error::invalid_argument);
        EXPECT_EQ(bench.machine.platform.now_ns(), before) << "no register was accessed";
        EXPECT_EQ(bench.machine.platform.log_lines().size(), 1u);
        bench.mapper->release_all();
    }
}

TYPED_TEST(BringUp, ModerationIsProgrammedInUnitsOf256Nanoseconds) {
    for (const auto& [rate, interval] : std::vector<std::pair<std::uint32_t, std::uint32_t>>{
             {0, 0}, {60, 65104}, {8000, 488}, {20'000, 195}, {1'000'000, 3}}) {
        Bench<TypeParam> bench{{.interrupts_per_second = rate}};
        ASSERT_TRUE(bench.start().ok());
        EXPECT_EQ(bench.machine.device.peek(ITR), interval) << rate;
        bench.stop_and_expect_nothing_left();
    }
}

TYPED_TEST(BringUp, AnAddressThatNoStationHasIsRefused) {
    for (const auto& words :
         {std::array<std::uint16_t, 3>{0, 0, 0}, std::array<std::uint16_t, 3>{0xffff, 0xffff, 0xffff},
          std::array<std::uint16_t, 3>{0x0001, 0x5e00, 0x0001}}) {
        Bench<TypeParam> bench;
        for (std::uint32_t i = 0; i < 3; ++i) bench.machine.device.set_eeprom_word(i, words[i]);
        EXPECT_EQ(bench.driver->probe().error(), Error::device_misbehaves);
        bench.mapper->release_all();
    }
}

TYPED_TEST(BringUp, TheLinkIsReportedWithItsChanges) {
    Bench<TypeParam> bench;
    ASSERT_TRUE(bench.start().ok());
    bench.driver->enable_interrupts();
    const e1000::LinkState up = bench.driver->link();
    EXPECT_TRUE(up.up);
    EXPECT_EQ(up.megabits, 1000u);
    EXPECT_TRUE(up.full_duplex);
    bench.driver->take_interrupt();

    bench.machine.device.inject(Fault::link_loss);
    EXPECT_TRUE(bench.machine.device.interrupt_line() || bench.machine.device.peek(ICR) != 0);
    const e1000::InterruptCauses causes = bench.driver->take_interrupt();
    EXPECT_TRUE(causes.link);
    EXPECT_FALSE(causes.receive);
    EXPECT_FALSE(bench.driver->link().up);
    // What is handed over now waits, and goes out when the link is back.
    ASSERT_TRUE(bench.transmit(make_frame({})).ok());
    EXPECT_EQ(bench.reclaim(), 0u);
    EXPECT_TRUE(bench.machine.device.take_wire().empty());
    bench.machine.device.clear(Fault::link_loss);
    EXPECT_TRUE(bench.driver->take_interrupt().link);
    EXPECT_TRUE(bench.driver->link().up);
    EXPECT_EQ(bench.machine.device.take_wire().size(), 1u);
    EXPECT_EQ(bench.reclaim(), 1u);
    bench.stop_and_expect_nothing_left();
}

TYPED_TEST(BringUp, InterruptsAreMaskedSetTakenAndCounted) {
    Bench<TypeParam> bench{{.interrupts_per_second = 0}};
    ASSERT_TRUE(bench.start().ok());
    model::E1000Device& device = bench.machine.device;
    device.receive_frame(make_frame({}));
    EXPECT_FALSE(device.interrupt_line()) << "masked";
    bench.driver->enable_interrupts();
    EXPECT_TRUE(device.interrupt_line());
    e1000::InterruptCauses causes = bench.driver->take_interrupt();
    EXPECT_TRUE(causes.any);
    EXPECT_TRUE(causes.receive);
    EXPECT_FALSE(causes.transmit);
    EXPECT_FALSE(device.interrupt_line()) << "the line falls";
    causes = bench.driver->take_interrupt();
    EXPECT_FALSE(causes.any) << "a shared line: somebody else's";

    ASSERT_TRUE(bench.transmit(make_frame({})).ok());
    EXPECT_TRUE(device.interrupt_line());
    causes = bench.driver->take_interrupt();
    EXPECT_TRUE(causes.transmit);
    EXPECT_FALSE(causes.receive);

    bench.driver->disable_interrupts();
    ASSERT_TRUE(bench.transmit(make_frame({})).ok());
    EXPECT_FALSE(device.interrupt_line());
    EXPECT_EQ(bench.driver->counters().interrupts, 2u);
    bench.stop_and_expect_nothing_left();
}

TYPED_TEST(BringUp, StatisticsAddUpWhatReadingClears) {
    Bench<TypeParam> bench;
    ASSERT_TRUE(bench.driver->probe().ok());
    bench.machine.device.poke(GPRC, 77);  // somebody else's
    ASSERT_TRUE(bench.start().ok());
    std::uint64_t octets = 0;
    for (int round = 1; round <= 3; ++round) {
        for (int i = 0; i < 5; ++i) {
            const Bytes frame = make_frame({.payload = 100u + static_cast<std::uint32_t>(i)});
            bench.machine.device.receive_frame(frame);
            octets += frame.size() + 4;
            ASSERT_TRUE(bench.transmit(frame).ok());
        }
        bench.receive();
        bench.refill();
        bench.reclaim();
        bench.driver->update_statistics();
        const e1000::DeviceStatistics statistics = bench.driver->statistics();
        EXPECT_EQ(statistics.good_packets_received, 5u * static_cast<unsigned>(round));
        EXPECT_EQ(statistics.good_packets_transmitted, 5u * static_cast<unsigned>(round));
        EXPECT_EQ(statistics.good_octets_received, octets);
        EXPECT_EQ(statistics.good_octets_transmitted, octets);
    }
    bench.machine.device.receive_frame(make_frame({}), true);
    bench.driver->update_statistics();
    EXPECT_EQ(bench.driver->statistics().crc_errors, 1u);
    bench.stop_and_expect_nothing_left();
}

TYPED_TEST(BringUp, StatisticsBeyondThirtyTwoBitsAreWhole) {
    Bench<TypeParam> bench;
    ASSERT_TRUE(bench.start().ok());
    bench.machine.device.poke(GOTCL, 0xffff'ff00);
    bench.machine.device.poke(GOTCH, 5);
    const Bytes frame = make_frame({.payload = 1000});
    ASSERT_TRUE(bench.transmit(frame).ok());
    bench.driver->update_statistics();
    EXPECT_EQ(bench.driver->statistics().good_octets_transmitted, 0x5'ffff'ff00u + frame.size() + 4);
    bench.reclaim();
    bench.stop_and_expect_nothing_left();
}

TYPED_TEST(BringUp, PhyLoopbackCarriesFramesFromEndToEnd) {
    Bench<TypeParam> bench;
    ASSERT_TRUE(bench.start().ok());
    // It works with no partner on the wire.
    bench.machine.device.inject(Fault::link_loss);
    ASSERT_TRUE(bench.driver->set_phy_loopback(true).ok());
    EXPECT_TRUE(bench.driver->link().up);
    const FrameShape shape{.payload = 777};
    const Bytes frame = make_frame(shape);
    for (int i = 0; i < 100; ++i) {
        ASSERT_TRUE(bench.transmit(with_partial_checksum(frame, shape), checksum_offload(shape)).ok());
        ASSERT_EQ(bench.receive(), 1u);
        bench.refill();
        ASSERT_EQ(bench.reclaim(), 1u);
        ASSERT_EQ(bench.received.back().bytes, frame);
        ASSERT_EQ(bench.received.back().checksum, e1000::Checksum::good);
    }
    EXPECT_TRUE(bench.machine.device.take_wire().empty()) << "nothing leaves";
    bench.machine.device.clear(Fault::link_loss);
    ASSERT_TRUE(bench.driver->set_phy_loopback(false).ok());
    ASSERT_TRUE(bench.transmit(frame).ok());
    EXPECT_EQ(bench.machine.device.take_wire().size(), 1u);
    EXPECT_EQ(bench.receive(), 0u);
    bench.stop_and_expect_nothing_left();
}

// Linux's driver does not take a PHY out of the loopback that another driver left it in.
TYPED_TEST(BringUp, NoLoopbackAndNoModerationIsLeftBehind) {
    Bench<TypeParam> bench{{.interrupts_per_second = 1000}, {.reset_resets = false}};
    ASSERT_TRUE(bench.start().ok());
    ASSERT_TRUE(bench.driver->set_phy_loopback(true).ok());
    EXPECT_TRUE(bench.machine.device.in_loopback());
    EXPECT_NE(bench.machine.device.peek(ITR), 0u);
    bench.stop_and_expect_nothing_left();
    EXPECT_FALSE(bench.machine.device.in_loopback());
    EXPECT_EQ(bench.machine.device.peek(ITR), 0u);
}

TYPED_TEST(BringUp, TheLargestFrameChangesBetweenStopAndStartOnly) {
    Bench<TypeParam> bench;
    ASSERT_TRUE(bench.start().ok());
    EXPECT_EQ(bench.driver->set_largest_frame(e1000::jumbo_frame).error(), Error::invalid_argument);
    bench.stop();
    EXPECT_EQ(bench.driver->set_largest_frame(e1000::jumbo_frame + 1).error(), Error::invalid_argument);
    EXPECT_EQ(bench.driver->set_largest_frame(e1000::standard_frame - 1).error(), Error::invalid_argument);
    ASSERT_TRUE(bench.driver->set_largest_frame(e1000::jumbo_frame).ok());
    EXPECT_EQ(bench.driver->settings().largest_frame, e1000::jumbo_frame);
    ASSERT_TRUE(bench.start().ok());
    EXPECT_NE(bench.machine.device.peek(RCTL) & rctl_lpe, 0u);
    bench.stop_and_expect_nothing_left();
}

TYPED_TEST(BringUp, StartTwiceIsRefusedAndAfterStopItWorksAgain) {
    Bench<TypeParam> bench;
    ASSERT_TRUE(bench.start().ok());
    EXPECT_EQ(bench.driver->start(bench.provide()).error(), Error::invalid_argument);
    for (int round = 0; round < 3; ++round) {
        const Bytes frame = make_frame({});
        bench.machine.device.receive_frame(frame);
        EXPECT_EQ(bench.receive(), 1u);
        ASSERT_TRUE(bench.transmit(frame).ok());
        EXPECT_EQ(bench.reclaim(), 1u);
        bench.stop();
        EXPECT_TRUE(bench.buffers_out.empty());
        ASSERT_TRUE(bench.start().ok());
    }
    bench.stop_and_expect_nothing_left();
}

}  // namespace
}  // namespace dmatoll::test
