// SPDX-License-Identifier: BSD-2-Clause
// When the supervisor takes a driver process for hung, and how soon it starts the next one.
#include <gtest/gtest.h>

#include "restart_policy.hpp"
#include "watchdog.hpp"

namespace dmatoll::user {
namespace {

using Finding = Watchdog::Finding;

TEST(Watchdog, AProcessThatWorksIsLeftAlone) {
    Watchdog watchdog{1000};
    for (std::uint64_t look = 1; look < 100; ++look) {
        EXPECT_EQ(watchdog.look(look, look * 500), Finding::alive);
    }
}

TEST(Watchdog, AnIdleProcessIsAskedAndAnswers) {
    Watchdog watchdog{1000};
    std::uint64_t wakeups = 0;
    for (std::uint64_t now = 0; now < 100'000; now += watchdog.period_ms()) {
        const Finding finding = watchdog.look(wakeups, now);
        ASSERT_NE(finding, Finding::hangs) << now;
        if (finding == Finding::ask) {
            ++wakeups;
        }
    }
    EXPECT_GT(wakeups, 50u);
}

TEST(Watchdog, AProcessThatDoesNotAnswerHangs) {
    Watchdog watchdog{1000};
    EXPECT_EQ(watchdog.look(7, 0), Finding::alive);
    EXPECT_EQ(watchdog.look(7, 500), Finding::ask);
    EXPECT_EQ(watchdog.look(7, 1000), Finding::alive);
    EXPECT_EQ(watchdog.look(7, 1499), Finding::alive);
    EXPECT_EQ(watchdog.look(7, 1500), Finding::hangs);
}

TEST(Watchdog, ASupervisorThatStoodStillFirstLooksForALateAnswer) {
    Watchdog watchdog{1000};
    EXPECT_EQ(watchdog.look(0, 0), Finding::ask);
    EXPECT_EQ(watchdog.look(1, 60'000), Finding::alive);
    EXPECT_EQ(watchdog.look(1, 60'500), Finding::ask);
}

TEST(RestartPolicy, TheFirstRestartIsAtOnceAndTheNextWaitLongerAndLonger) {
    RestartPolicy policy{std::nullopt};
    EXPECT_EQ(policy.next_delay_ms(5), 0u);
    EXPECT_EQ(policy.next_delay_ms(5), RestartPolicy::first_delay_ms);
    EXPECT_EQ(policy.next_delay_ms(5), 2 * RestartPolicy::first_delay_ms);
    unsigned delay = 0;
    for (int i = 0; i < 20; ++i) {
        delay = policy.next_delay_ms(5);
    }
    EXPECT_EQ(delay, RestartPolicy::longest_delay_ms);
    EXPECT_FALSE(policy.exhausted());
}

TEST(RestartPolicy, AProcessThatRanForAWhileBeginsAnew) {
    RestartPolicy policy{std::nullopt};
    for (int i = 0; i < 5; ++i) {
        policy.next_delay_ms(5);
    }
    EXPECT_EQ(policy.next_delay_ms(RestartPolicy::sound_ms), 0u);
    EXPECT_EQ(policy.next_delay_ms(5), RestartPolicy::first_delay_ms);
}

TEST(RestartPolicy, SoManyTimesAndNoMore) {
    RestartPolicy policy{2};
    for (unsigned left = 2; left > 0; --left) {
        EXPECT_FALSE(policy.exhausted());
        EXPECT_EQ(policy.left(), left);
        policy.next_delay_ms(5);
    }
    EXPECT_TRUE(policy.exhausted());
    EXPECT_EQ(policy.restarts(), 2u);
    EXPECT_TRUE(RestartPolicy{0}.exhausted());
}

}  // namespace
}  // namespace dmatoll::user
