// SPDX-License-Identifier: BSD-2-Clause
// Which frames are taken: exact addresses, the hash table, promiscuity. And which causes interrupt.
#include <gtest/gtest.h>

#include "machine.hpp"

namespace dmatoll::test {
namespace {

using namespace model::datasheet;
using model::Arrival;

template <class M>
using Filter = EveryStrategy<M>;
TYPED_TEST_SUITE(Filter, EveryMapper, StrategyNames);

constexpr MacAddress ours{0x52, 0x54, 0x00, 0x12, 0x34, 0x56};
constexpr MacAddress other{0x52, 0x54, 0x00, 0x12, 0x34, 0x57};
constexpr MacAddress everyone{0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

constexpr MacAddress group(std::uint32_t number) {
    return {
        0x01, 0x00, 0x5e, 0x01, static_cast<std::uint8_t>(number >> 8), static_cast<std::uint8_t>(number)};
}

template <class M>
bool takes(Bench<M>& bench, const MacAddress& destination) {
    Bytes frame = make_frame({});
    for (std::size_t i = 0; i < destination.size(); ++i) frame[i] = static_cast<std::byte>(destination[i]);
    const Arrival arrival = bench.machine.device.receive_frame(frame);
    EXPECT_TRUE(arrival == Arrival::stored || arrival == Arrival::filtered);
    const bool stored = arrival == Arrival::stored;
    EXPECT_EQ(bench.receive(), stored ? 1u : 0u);
    bench.refill();
    return stored;
}

TYPED_TEST(Filter, FromTheStartOursEveryonesAndAllGroups) {
    Bench<TypeParam> bench;
    ASSERT_TRUE(bench.start().ok());
    EXPECT_TRUE(takes(bench, ours));
    EXPECT_TRUE(takes(bench, everyone));
    for (std::uint32_t i = 0; i < 5000; i += 7) ASSERT_TRUE(takes(bench, group(i)));
    EXPECT_FALSE(takes(bench, other));
    bench.stop_and_expect_nothing_left();
}

TYPED_TEST(Filter, ATableThatIsForEveryAddressLetsNoOtherStationIn) {
    Bench<TypeParam> bench{{}, {.hashes_stations = true}};
    ASSERT_TRUE(bench.start().ok());
    EXPECT_FALSE(takes(bench, other));
    bench.driver->set_receive_filter({.all_multicast = true});
    EXPECT_TRUE(takes(bench, group(7)));
    EXPECT_FALSE(takes(bench, other));
    bench.stop_and_expect_nothing_left();
}

TYPED_TEST(Filter, AListIsMatchedExactlyAsFarAsTheRegistersGo) {
    Bench<TypeParam> bench;
    ASSERT_TRUE(bench.start().ok());
    for (const std::uint32_t count : {0u, 1u, 15u}) {
        std::vector<MacAddress> wanted;
        for (std::uint32_t i = 0; i < count; ++i) wanted.push_back(group(100 + i));
        bench.driver->set_receive_filter({.multicast = wanted});
        for (std::uint32_t i = 0; i < 4096; ++i) {
            ASSERT_EQ(takes(bench, group(i)), i >= 100 && i < 100 + count) << count << " " << i;
        }
        EXPECT_TRUE(takes(bench, ours));
        EXPECT_TRUE(takes(bench, everyone));
        EXPECT_FALSE(takes(bench, other));
    }
    bench.stop_and_expect_nothing_left();
}

TYPED_TEST(Filter, TheRestOfALongListIsFoundByItsHash) {
    Bench<TypeParam> bench;
    ASSERT_TRUE(bench.start().ok());
    std::vector<MacAddress> wanted;
    for (std::uint32_t i = 0; i < 100; ++i) wanted.push_back(group(i * 401));
    bench.driver->set_receive_filter({.multicast = wanted});
    for (const MacAddress& address : wanted) ASSERT_TRUE(takes(bench, address));
    std::uint32_t unasked = 0;
    for (std::uint32_t i = 0; i < 0x10000; i += 16) unasked += takes(bench, group(i)) ? 1 : 0;
    EXPECT_LE(unasked, 100u) << "4096 groups of different hashes: one for each that is asked for";
    EXPECT_FALSE(takes(bench, other)) << "the table is for groups only";
    // Leaving them all empties the table again.
    bench.driver->set_receive_filter({});
    for (const MacAddress& address : wanted) ASSERT_FALSE(takes(bench, address));
    bench.stop_and_expect_nothing_left();
}

TYPED_TEST(Filter, PromiscuousTakesEverythingAndGivesItUpAgain) {
    Bench<TypeParam> bench;
    ASSERT_TRUE(bench.start().ok());
    bench.driver->set_receive_filter({.promiscuous = true});
    EXPECT_TRUE(takes(bench, other));
    EXPECT_TRUE(takes(bench, group(7)));
    EXPECT_TRUE(takes(bench, ours));
    bench.driver->set_receive_filter({.all_multicast = true});
    EXPECT_FALSE(takes(bench, other));
    EXPECT_TRUE(takes(bench, group(7)));
    bench.driver->set_receive_filter({});
    EXPECT_FALSE(takes(bench, group(7)));
    EXPECT_TRUE(takes(bench, ours));
    bench.stop();
    ASSERT_TRUE(bench.start().ok());
    EXPECT_TRUE(takes(bench, group(7))) << "a start begins with all multicast";
    EXPECT_FALSE(takes(bench, other));
    bench.stop_and_expect_nothing_left();
}

// In QEMU every write of RCTL costs a second without reception.
TYPED_TEST(Filter, OnlyAChangeOfPromiscuityWritesTheReceiveControlRegister) {
    Bench<TypeParam> bench;
    ASSERT_TRUE(bench.start().ok());
    const std::uint64_t before = bench.machine.device.writes_of(RCTL);
    bench.driver->set_receive_filter({.all_multicast = true});
    EXPECT_EQ(bench.machine.device.writes_of(RCTL), before);
    std::vector<MacAddress> wanted(40, group(1));
    bench.driver->set_receive_filter({.multicast = wanted});
    EXPECT_EQ(bench.machine.device.writes_of(RCTL), before + 1);
    bench.driver->set_receive_filter({});
    EXPECT_EQ(bench.machine.device.writes_of(RCTL), before + 1);
    bench.driver->set_receive_filter({.promiscuous = true});
    bench.driver->set_receive_filter({.promiscuous = true});
    EXPECT_EQ(bench.machine.device.writes_of(RCTL), before + 2);
    bench.stop_and_expect_nothing_left();
}

TYPED_TEST(Filter, WithoutTheTransmitCauseOnlyReceptionAndTheLinkInterrupt) {
    Bench<TypeParam> bench{{.interrupts_per_second = 0}};
    ASSERT_TRUE(bench.start().ok());
    model::E1000Device& device = bench.machine.device;
    bench.driver->take_interrupt();
    bench.driver->enable_interrupts(false);
    ASSERT_TRUE(bench.transmit(make_frame({})).ok());
    EXPECT_FALSE(device.interrupt_line());
    device.receive_frame(make_frame({}));
    EXPECT_TRUE(device.interrupt_line());
    bench.driver->take_interrupt();
    device.inject(model::Fault::link_loss);
    EXPECT_TRUE(device.interrupt_line());
    device.clear(model::Fault::link_loss);
    bench.driver->take_interrupt();
    bench.driver->enable_interrupts();
    ASSERT_TRUE(bench.transmit(make_frame({})).ok());
    EXPECT_TRUE(device.interrupt_line());
    EXPECT_TRUE(bench.driver->take_interrupt().transmit);
    bench.driver->disable_interrupts();
    bench.driver->enable_interrupts(false);
    ASSERT_TRUE(bench.transmit(make_frame({})).ok());
    EXPECT_FALSE(device.interrupt_line());
    bench.stop_and_expect_nothing_left();
}

}  // namespace
}  // namespace dmatoll::test
