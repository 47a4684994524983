// SPDX-License-Identifier: BSD-2-Clause
// What holds for every part: bring-up, both directions, interrupts, faults, stop. And what differs.
#include <gtest/gtest.h>

#include "machine.hpp"

namespace dmatoll::test {
namespace {

using namespace model::datasheet;
using model::Arrival;
using model::DevicePart;
using model::Fault;

class EveryPart : public testing::TestWithParam<DevicePart> {
  protected:
    [[nodiscard]] static model::DeviceOptions options() { return {.part = GetParam()}; }
    [[nodiscard]] static bool pci_express() { return GetParam() == DevicePart::i82574l; }
};

TEST_P(EveryPart, IsFoundByTheIdentifierInItsEeprom) {
    Bench<StrictMapper> bench{{}, options()};
    const e1000::Part& part = bench.driver->part();
    EXPECT_EQ(e1000::find_part(0x8086, bench.machine.device.eeprom_word(0x0d)), &part);
    EXPECT_EQ(part.longest_mtu(), 9000u);
    EXPECT_EQ(part.message_signalled, pci_express());
}

TEST_P(EveryPart, ComesUpAndStopsCleanly) {
    for (const bool reset_resets : {true, false}) {
        model::DeviceOptions wanted = options();
        wanted.reset_resets = reset_resets;
        Bench<StrictMapper> bench{{}, wanted};
        for (int round = 0; round < 3; ++round) {
            ASSERT_TRUE(bench.start().ok());
            EXPECT_EQ(bench.driver->mac(), (MacAddress{0x52, 0x54, 0x00, 0x12, 0x34, 0x56}));
            EXPECT_TRUE(bench.driver->link().up);
            EXPECT_TRUE(bench.machine.platform.log_lines().empty());
            bench.stop();
            EXPECT_EQ(bench.machine.device.peek(RCTL) & rctl_en, 0u);
            EXPECT_EQ(bench.machine.device.peek(TCTL) & tctl_en, 0u);
        }
        bench.stop_and_expect_nothing_left();
    }
}

TEST_P(EveryPart, CarriesFramesOfEverySizeBothWays) {
    Bench<StrictMapper> bench{{.receive_descriptors = 64, .largest_frame = e1000::jumbo_frame}, options()};
    ASSERT_TRUE(bench.start().ok());
    for (const std::uint32_t payload : {6u, 1000u, 1448u, 4000u, 8948u}) {
        const FrameShape shape{.payload = payload};
        const Bytes frame = make_frame(shape);
        ASSERT_EQ(bench.machine.device.receive_frame(frame), Arrival::stored);
        ASSERT_EQ(bench.receive(), 1u);
        EXPECT_EQ(bench.received.back().bytes, frame);
        EXPECT_EQ(bench.received.back().checksum, e1000::Checksum::good);
        bench.refill();
        ASSERT_TRUE(bench.transmit(with_partial_checksum(frame, shape), checksum_offload(shape)).ok());
        const auto wire = bench.machine.device.take_wire();
        ASSERT_EQ(wire.size(), 1u);
        EXPECT_EQ(wire[0].bytes, frame);
        EXPECT_EQ(bench.reclaim(), 1u);
    }
    bench.stop_and_expect_nothing_left();
}

TEST_P(EveryPart, InterruptsAreAcknowledgedByTakingThem) {
    Bench<StrictMapper> bench{{.interrupts_per_second = 0}, options()};
    ASSERT_TRUE(bench.start().ok());
    model::E1000Device& device = bench.machine.device;
    bench.driver->enable_interrupts();
    bench.driver->take_interrupt();
    for (int i = 0; i < 3; ++i) {
        device.receive_frame(make_frame({}));
        EXPECT_TRUE(device.interrupt_line());
        const e1000::InterruptCauses causes = bench.driver->take_interrupt();
        EXPECT_TRUE(causes.any && causes.receive);
        EXPECT_FALSE(device.interrupt_line()) << "the line falls";
        EXPECT_NE(device.peek(IMS), 0u) << "and stays open";
        EXPECT_FALSE(bench.driver->take_interrupt().any);
        ASSERT_TRUE(bench.transmit(make_frame({})).ok());
        EXPECT_TRUE(device.interrupt_line());
        EXPECT_TRUE(bench.driver->take_interrupt().transmit);
        EXPECT_FALSE(device.interrupt_line());
    }
    // Masked, as a poller reads them.
    bench.driver->disable_interrupts();
    device.receive_frame(make_frame({}));
    EXPECT_FALSE(device.interrupt_line());
    EXPECT_TRUE(bench.driver->take_interrupt().receive);
    EXPECT_FALSE(bench.driver->take_interrupt().any);
    bench.stop_and_expect_nothing_left();
}

TEST_P(EveryPart, LoopsBackAtThePhy) {
    Bench<StrictMapper> bench{{}, options()};
    ASSERT_TRUE(bench.start().ok());
    ASSERT_TRUE(bench.driver->set_phy_loopback(true).ok());
    const Bytes frame = make_frame({});
    ASSERT_TRUE(bench.transmit(frame).ok());
    EXPECT_EQ(bench.receive(), 1u);
    ASSERT_EQ(bench.received.size(), 1u);
    EXPECT_EQ(bench.received[0].bytes, frame);
    bench.stop_and_expect_nothing_left();
}

TEST_P(EveryPart, AFloodOnTheSmallestRingIsReceivedOrMissedAndNothingElse) {
    Bench<StrictMapper> bench{{.receive_descriptors = 64}, options()};
    ASSERT_TRUE(bench.start().ok());
    const Bytes frame(60, std::byte{0xff});
    std::uint32_t stored = 0;
    for (int i = 0; i < 5000; ++i) {
        stored += bench.machine.device.receive_frame(frame) == Arrival::stored ? 1 : 0;
        if (i % 200 == 0) {
            bench.receive(64);
            bench.refill();
        }
    }
    while (bench.receive(64) != 0) bench.refill();
    bench.driver->update_statistics();
    const NetworkCounters counters = bench.driver->counters();
    EXPECT_EQ(bench.received.size(), stored);
    EXPECT_EQ(counters.frames_received + counters.receive_missed, 5000u);
    EXPECT_GT(counters.receive_missed, 3000u);
    EXPECT_EQ(counters.receive_errors, 0u);
    bench.stop_and_expect_nothing_left();
}

TEST_P(EveryPart, AnEepromThatIsStuckOrWrongAndAResetThatHangsAreErrors) {
    for (const auto& [fault, error] :
         {std::pair{Fault::eeprom_stuck, Error::timed_out},
          std::pair{Fault::eeprom_bad_sum, Error::device_misbehaves},
          std::pair{Fault::reset_stuck, Error::timed_out}, std::pair{Fault::gone, Error::device_gone}}) {
        Bench<StrictMapper> bench{{}, options()};
        bench.machine.device.inject(fault);
        const std::uint64_t begin = bench.machine.platform.now_ns();
        EXPECT_EQ(bench.driver->probe().error(), error) << model::name_of(fault);
        EXPECT_LT(bench.machine.platform.now_ns() - begin, 1'000'000'000u);
        bench.mapper->release_all();
    }
}

INSTANTIATE_TEST_SUITE_P(Parts, EveryPart,
                         testing::Values(DevicePart::i82540em, DevicePart::i82545em, DevicePart::i82574l),
                         [](const auto& info) {
                             return std::string{
                                 e1000::parts::all.at(static_cast<std::size_t>(info.param))->name};
                         });

TEST(Parts, AnotherPartsDriverIsNoticed) {
    // The 82574's EERD is another: a driver that takes it for an 82540EM never sees a word.
    Machine machine{{.part = DevicePart::i82574l}};
    StrictMapper mapper{machine.domain};
    e1000::Driver<ModelPlatform, StrictMapper> driver{machine.platform, mapper, e1000::parts::i82540em, {}};
    EXPECT_FALSE(driver.probe().ok());
    EXPECT_FALSE(machine.device.violations().empty()) << "reset without waiting for requests";
}

TEST(Parts, WhatAnotherDriverLeftInTheDeviceIsOver) {
    // QEMU's reset leaves it there.
    Bench<StrictMapper> bench{{}, {.reset_resets = false, .part = DevicePart::i82574l}};
    bench.machine.platform.write32(RFCTL, rfctl_exten);
    bench.machine.platform.write32(MRQC, 1);
    ASSERT_TRUE(bench.start().ok());
    EXPECT_EQ(bench.machine.device.peek(MRQC), 0u) << "one queue";
    const Bytes frame = make_frame({});
    ASSERT_EQ(bench.machine.device.receive_frame(frame), Arrival::stored);
    ASSERT_EQ(bench.receive(), 1u);
    EXPECT_EQ(bench.received[0].bytes, frame);
    bench.stop_and_expect_nothing_left();
}

TEST(Parts, NoneIsAskedForFramesBeyondWhatItTakes) {
    e1000::Part small = e1000::parts::i82574l;
    small.longest_frame = 4000;
    EXPECT_EQ(small.longest_mtu(), 4000u - 14);
    EXPECT_TRUE(e1000::valid({.largest_frame = 4000}, small));
    EXPECT_FALSE(e1000::valid({.largest_frame = 4001}, small));
    EXPECT_FALSE(e1000::valid({.largest_frame = e1000::jumbo_frame + 1}, e1000::parts::i82540em));
    EXPECT_FALSE(e1000::valid({.largest_frame = e1000::standard_frame - 1}, e1000::parts::i82540em));
}

}  // namespace
}  // namespace dmatoll::test
