// SPDX-License-Identifier: BSD-2-Clause
#include "wait_set.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>

#include "descriptor.hpp"
#include "flush_alarm.hpp"

namespace dmatoll::user {
namespace {

// A periodic timerfd that nobody reads expires once and never again.
TEST(WaitSet, TheClockComesBackEveryTwoSeconds) {
    const Descriptor interrupt{::eventfd(0, EFD_NONBLOCK)};
    const Descriptor tap{::eventfd(0, EFD_NONBLOCK)};
    const Descriptor bell{::eventfd(0, EFD_NONBLOCK)};
    WaitSet waiting{interrupt.get(), tap.get(), bell.get()};
    waiting.set_patience(10'000);
    const auto begin = std::chrono::steady_clock::now();
    EXPECT_TRUE(waiting.wait().timer);
    EXPECT_TRUE(waiting.wait().timer);
    EXPECT_GE(std::chrono::steady_clock::now() - begin, std::chrono::milliseconds{3900});
}

TEST(WaitSet, AnEdgeIsReportedOnceAndAgainAfterTheNext) {
    const Descriptor interrupt{::eventfd(0, EFD_NONBLOCK)};
    const Descriptor tap{::eventfd(0, EFD_NONBLOCK)};
    const Descriptor bell{::eventfd(0, EFD_NONBLOCK)};
    WaitSet waiting{interrupt.get(), tap.get(), bell.get()};
    waiting.set_patience(WaitSet::do_not_sleep);
    ASSERT_EQ(::eventfd_write(interrupt.get(), 1), 0);
    EXPECT_TRUE(waiting.wait().interrupt);
    EXPECT_FALSE(waiting.wait().interrupt);
    ASSERT_EQ(::eventfd_write(interrupt.get(), 1), 0);
    EXPECT_TRUE(waiting.wait().interrupt);
}

TEST(WaitSet, TheBellIsHeardEachTimeWithoutBeingRead) {
    const Descriptor interrupt{::eventfd(0, EFD_NONBLOCK)};
    const Descriptor bell{::eventfd(0, EFD_NONBLOCK)};
    WaitSet waiting{interrupt.get(), -1, bell.get()};
    waiting.set_patience(WaitSet::do_not_sleep);
    EXPECT_FALSE(waiting.wait().bell);
    for (int i = 0; i < 2; ++i) {
        ASSERT_EQ(::eventfd_write(bell.get(), 1), 0);
        const Events events = waiting.wait();
        EXPECT_TRUE(events.bell);
        EXPECT_FALSE(events.tap || events.interrupt || events.timer || events.stop);
        EXPECT_FALSE(waiting.wait().bell);
    }
}

// As the supervisor makes it. A pipe that stays full would never bring another edge.
TEST(WaitSet, ABellThatWasRungUntilNoMoreWentInIsHeardTheNextTime) {
    const Descriptor interrupt{::eventfd(0, EFD_NONBLOCK)};
    std::array<int, 2> ends{};
    ASSERT_EQ(::pipe2(ends.data(), O_CLOEXEC | O_NONBLOCK), 0);
    const Descriptor bell{ends[0]};
    const Descriptor ringer{ends[1]};
    WaitSet waiting{interrupt.get(), -1, bell.get()};
    waiting.set_patience(WaitSet::do_not_sleep);
    const char ring = 0;
    for (int i = 0; i < 2; ++i) {
        while (::write(ringer.get(), &ring, sizeof(ring)) == sizeof(ring)) {
        }
        ASSERT_EQ(errno, EAGAIN);
        EXPECT_TRUE(waiting.wait().bell);
        EXPECT_FALSE(waiting.wait().bell);
        ASSERT_EQ(::write(ringer.get(), &ring, sizeof(ring)), 1);
        EXPECT_TRUE(waiting.wait().bell);
    }
}

TEST(WaitSet, TheAlarmRingsEachTimeItIsSetWithoutBeingRead) {
    const Descriptor interrupt{::eventfd(0, EFD_NONBLOCK)};
    const Descriptor bell{::eventfd(0, EFD_NONBLOCK)};
    const FlushAlarm alarm;
    WaitSet waiting{interrupt.get(), -1, bell.get()};
    waiting.add_alarm(alarm.fd());
    waiting.set_patience(WaitSet::do_not_sleep);
    EXPECT_FALSE(waiting.wait().alarm);
    waiting.set_patience(60'000);
    for (int i = 0; i < 3; ++i) {
        alarm.set(1'000'000);
        const Events events = waiting.wait();
        EXPECT_TRUE(events.alarm);
        EXPECT_FALSE(events.tap || events.interrupt || events.bell || events.stop);
    }
    waiting.set_patience(WaitSet::do_not_sleep);
    EXPECT_FALSE(waiting.wait().alarm);
}

TEST(WaitSet, TheRequestToStopStays) {
    const Descriptor interrupt{::eventfd(0, EFD_NONBLOCK)};
    const Descriptor tap{::eventfd(0, EFD_NONBLOCK)};
    const Descriptor bell{::eventfd(0, EFD_NONBLOCK)};
    WaitSet waiting{interrupt.get(), tap.get(), bell.get()};
    waiting.set_patience(WaitSet::do_not_sleep);
    EXPECT_FALSE(waiting.wait().stop);
    ASSERT_EQ(::raise(SIGTERM), 0);
    EXPECT_TRUE(waiting.wait().stop);
    EXPECT_TRUE(waiting.wait().stop);
}

}  // namespace
}  // namespace dmatoll::user
