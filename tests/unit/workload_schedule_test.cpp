// SPDX-License-Identifier: BSD-2-Clause
// The open loop's timetable and the books of what came back.
#include <gtest/gtest.h>

#include <vector>

#include "echo_packet.hpp"
#include "reply_ledger.hpp"
#include "schedule.hpp"

namespace dmatoll::workloads {
namespace {

constexpr std::uint64_t epoch = 1'790'000'000'000'000'000;  // a time of day as the clock gives it

TEST(Schedule, KeepsTheRateOverAnyNumberOfPackets) {
    // 1472 bytes at 100 Mb/s: 117.76 us.
    const Schedule schedule{epoch, 1472 * 8, 100'000'000};
    EXPECT_EQ(schedule.intended(0), epoch);
    EXPECT_EQ(schedule.intended(1), epoch + 117'760);
    EXPECT_NEAR(static_cast<double>(schedule.intended(1'000'000'000) - epoch), 117'760e9, 1.0);
    // A rate that no whole number of nanoseconds gives.
    const Schedule thirds{epoch, 1, 3};
    EXPECT_NEAR(static_cast<double>(thirds.intended(3'000'000) - epoch), 1e15, 1.0);
}

TEST(Schedule, CountsWhatIsDue) {
    const Schedule schedule{epoch, 1, 3};
    for (const std::uint64_t packet : {0U, 1U, 2U, 1000U, 1'234'567U}) {
        const std::uint64_t time = schedule.intended(packet);
        EXPECT_EQ(schedule.due_before(time), packet);
        EXPECT_EQ(schedule.due_before(time + 1), packet + 1);
    }
    EXPECT_EQ(schedule.due_before(0), 0U);
}

TEST(LineRate, IsTheFormulaOf2005) {
    EXPECT_EQ(line_rate_load(1'000'000'000, 1472), 974'834'437U);  // 1472 / 1510
    EXPECT_EQ(line_rate_load(1'000'000'000, 64), 627'450'980U);    // 64 / 102
    EXPECT_EQ(line_rate_load(400'000'000'000, 1448), 389'771'197'846U) << "beyond 64 bits on the way";
}

constexpr std::size_t payload = 64;
// One packet each 100 ns; those from number 10 on, before number 20, count.
const Schedule hundred{epoch, 1, 10'000'000};
const Window window{epoch + 1000, epoch + 2000};

class Ledger : public testing::Test {
  protected:
    Ledger() {
        fill(datagram);
        ledger.sent(30, epoch + 1500);
    }

    void reply(std::uint64_t number, std::uint64_t delay_ns = 5000) {
        put_header(datagram, {number, hundred.intended(number)});
        ASSERT_TRUE(ledger.received(datagram, hundred.intended(number) + delay_ns));
    }

    std::vector<std::byte> datagram = std::vector<std::byte>(payload);
    ReplyLedger ledger{hundred, window, epoch + 3000, payload};
};

TEST_F(Ledger, CountsThePacketsThatWereMeantForTheWindow) {
    for (std::uint64_t number = 0; number < 30; ++number) reply(number);
    EXPECT_EQ(ledger.all().received, 30U);
    EXPECT_EQ(ledger.in_window().sent, 10U);
    EXPECT_EQ(ledger.in_window().received, 10U);
    EXPECT_EQ(ledger.in_window().lost(), 0U);
    EXPECT_EQ(ledger.latency().count(), 10U);
    EXPECT_EQ(ledger.latency().max(), 5000U);
    EXPECT_EQ(ledger.arrived_in_window(), 0U) << "all came back after its end";
}

TEST_F(Ledger, AchievesWhatArrivesWithinTheWindow) {
    for (std::uint64_t number = 0; number < 30; ++number) reply(number, 500);
    EXPECT_EQ(ledger.arrived_in_window(), 10U) << "numbers 5 to 14";
    EXPECT_EQ(ledger.in_window().received, 10U) << "numbers 10 to 19";
}

TEST_F(Ledger, CountsLossAndReordering) {
    for (const std::uint64_t number : {9U, 10U, 12U, 11U, 13U, 19U, 18U}) reply(number);
    EXPECT_EQ(ledger.in_window().received, 6U);
    EXPECT_EQ(ledger.in_window().lost(), 4U);
    EXPECT_EQ(ledger.in_window().reordered, 2U) << "11 behind 12, 18 behind 19";
    EXPECT_EQ(ledger.in_window().duplicated, 0U);
}

TEST_F(Ledger, CountsADuplicateOnceAndNotAsAReply) {
    reply(15);
    reply(15, 9000);
    EXPECT_EQ(ledger.in_window().received, 1U);
    EXPECT_EQ(ledger.in_window().duplicated, 1U);
    EXPECT_EQ(ledger.latency().max(), 5000U) << "the first one's";
}

TEST_F(Ledger, TakesNoDamagedReply) {
    const std::uint64_t inside = epoch + 1500;
    const auto damaged = [&](auto damage) {
        fill(datagram);
        put_header(datagram, {15, hundred.intended(15)});
        damage();
        EXPECT_TRUE(ledger.received(datagram, inside));
        datagram.resize(payload);
    };
    damaged([&] { datagram[payload - 1] ^= std::byte{1}; });
    damaged([&] { datagram.resize(payload - 1); });
    damaged([&] { datagram.resize(payload + 1); });
    damaged([&] { datagram.resize(3); });
    damaged([&] { put_header(datagram, {15, hundred.intended(15) + 1}); });
    damaged([&] { put_header(datagram, {30, hundred.intended(30)}); });  // not sent yet
    damaged([&] { put_header(datagram, {~std::uint64_t{0}, 0}); });
    EXPECT_EQ(ledger.all().corrupted, 7U);
    EXPECT_EQ(ledger.in_window().corrupted, 7U);
    EXPECT_EQ(ledger.all().received, 0U);
    fill(datagram);
    reply(15);
    EXPECT_EQ(ledger.all().received, 1U) << "the whole one is";
}

TEST_F(Ledger, NoticesAClockThatWasSetBack) {
    put_header(datagram, {15, hundred.intended(15)});
    EXPECT_FALSE(ledger.received(datagram, hundred.intended(15) - 1));
}

TEST(LedgerOfFailedSends, SkippedPacketsAreNotSent) {
    ReplyLedger ledger{hundred, window, epoch + 3000, payload};
    ledger.sent(12, epoch + 1150);
    ledger.skipped();
    ledger.sent(17, epoch + 2000);
    EXPECT_EQ(ledger.next(), 30U);
    EXPECT_EQ(ledger.all().sent, 29U);
    EXPECT_EQ(ledger.in_window().sent, 9U);
    EXPECT_EQ(ledger.sent_in_window(), 12U) << "by when they left: 17 meant for the window left behind it";
}

}  // namespace
}  // namespace dmatoll::workloads
