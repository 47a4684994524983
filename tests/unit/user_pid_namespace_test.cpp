// SPDX-License-Identifier: BSD-2-Clause
// Who is started in a PID namespace ends with it, whatever it does to live on.
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <optional>

#include "descriptor.hpp"
#include "failure.hpp"
#include "pid_namespace.hpp"

namespace dmatoll::user {
namespace {

// Of this machine, for anything at all: only an end to waiting.
constexpr int patience_ms = 60'000;

// A child of the caller's child, which takes no signal that it can leave, and holds `held` as long as it lives.
[[noreturn]] void leave_a_child_behind(int held) {
    const pid_t first = ::fork();
    if (first == 0) {
        if (::fork() == 0) {
            ::setsid();
            sigset_t all;
            ::sigfillset(&all);
            ::sigprocmask(SIG_BLOCK, &all, nullptr);
            const char ready = 0;
            if (::write(held, &ready, 1) == 1) {
                while (true) {
                    ::pause();
                }
            }
        }
        ::_exit(0);
    }
    ::waitpid(first, nullptr, 0);
    ::_exit(7);
}

class PidNamespaceTest : public testing::Test {
  protected:
    void SetUp() override {
        try {
            const PidNamespace made;
        } catch (const Failure& failure) {
            GTEST_SKIP() << failure.what();
        }
        std::array<int, 2> ends{};
        ASSERT_EQ(::pipe(ends.data()), 0) << "no pipe: " << errno;
        alive_ = Descriptor{ends[0]};
        held_ = Descriptor{ends[1]};
    }

    // Of the one that was left behind: it is there.
    bool begins() {
        char ready = 0;
        pollfd waited{alive_.get(), POLLIN, 0};
        return ::poll(&waited, 1, patience_ms) == 1 && ::read(alive_.get(), &ready, 1) == 1;
    }
    // It is there no more.
    bool ends_within(int milliseconds) {
        pollfd waited{alive_.get(), POLLIN, 0};
        return ::poll(&waited, 1, milliseconds) == 1 && (waited.revents & POLLHUP) != 0;
    }

    Descriptor alive_;
    Descriptor held_;
};

TEST_F(PidNamespaceTest, WhatAProcessLeavesBehindEndsWithTheNamespaceAndNotBefore) {
    std::optional<PidNamespace> place;
    place.emplace();
    const pid_t child = place->fork();
    ASSERT_GE(child, 0) << errno;
    if (child == 0) {
        leave_a_child_behind(held_.get());
    }
    held_.reset();
    ASSERT_TRUE(begins());
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_EQ(WEXITSTATUS(status), 7) << "its own end is told as ever";
    EXPECT_FALSE(ends_within(0));
    place.reset();
    EXPECT_TRUE(ends_within(0));
}

TEST_F(PidNamespaceTest, WhatAProcessLeavesBehindEndsWithAParentThatIsKilled) {
    const pid_t parent = ::fork();
    if (parent == 0) {
        const PidNamespace place;
        if (place.fork() == 0) {
            leave_a_child_behind(held_.get());
        }
        held_.reset();
        while (true) {
            ::pause();
        }
    }
    held_.reset();
    EXPECT_TRUE(begins());
    ::kill(parent, SIGKILL);
    ASSERT_EQ(::waitpid(parent, nullptr, 0), parent);
    EXPECT_TRUE(ends_within(patience_ms));
}

TEST_F(PidNamespaceTest, NoOtherProcessHasANumberThere) {
    const pid_t outside = ::getpid();
    const PidNamespace place;
    const pid_t child = place.fork();
    ASSERT_GE(child, 0) << errno;
    if (child == 0) {
        // The first is the keeper, and the next is this one.
        const bool alone = ::getpid() == 2 && ::getppid() == 0 && ::kill(outside, 0) != 0 && errno == ESRCH;
        ::_exit(alone ? 0 : 1);
    }
    int status = -1;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
    // Later children of this process's are none of the namespace's.
    const pid_t later = ::fork();
    if (later == 0) {
        ::_exit(::getppid() == outside ? 0 : 1);
    }
    ASSERT_EQ(::waitpid(later, &status, 0), later);
    EXPECT_EQ(status, 0);
}

}  // namespace
}  // namespace dmatoll::user
