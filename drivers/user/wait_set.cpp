// SPDX-License-Identifier: BSD-2-Clause
#include "wait_set.hpp"

#include <sys/timerfd.h>

#include <csignal>

#include "failure.hpp"
#include "signals.hpp"

namespace dmatoll::user {
namespace {

// As often as Linux's own e1000 reads the device's statistics, which must not overflow in between.
constexpr time_t period_s = 2;

}  // namespace

WaitSet::WaitSet(int interrupt, int tap, int bell) : bell_{bell}, epoll_{::epoll_create1(EPOLL_CLOEXEC)} {
    ::signal(SIGINT, SIG_IGN);
    signals_ = take_signals({SIGTERM});
    timer_ = Descriptor{::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK)};
    const itimerspec period{{period_s, 0}, {period_s, 0}};
    if (!epoll_.valid() || !timer_.valid() || ::timerfd_settime(timer_.get(), 0, &period, nullptr) != 0) {
        throw system_failure("cannot make what the driver process waits on", errno);
    }
    if (interrupt >= 0) {
        add(interrupt, EPOLLIN | EPOLLET, interrupt_tag);
    }
    if (tap >= 0) {
        add(tap, EPOLLIN | EPOLLET, tap_tag);
    }
    add(bell, EPOLLIN | EPOLLET, bell_tag);
    add(timer_.get(), EPOLLIN | EPOLLET, timer_tag);
    add(signals_.get(), EPOLLIN, stop_tag);
}

void WaitSet::add(int fd, std::uint32_t events, std::uint32_t tag) const {
    epoll_event event{};
    event.events = events;
    event.data.u32 = tag;
    if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) != 0) {
        throw system_failure("cannot wait for events of descriptor " + std::to_string(fd), errno);
    }
}

}  // namespace dmatoll::user
