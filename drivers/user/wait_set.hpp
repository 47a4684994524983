// SPDX-License-Identifier: BSD-2-Clause
// What the driver process sleeps on: the interrupt, the TAP, the supervisor's bell, a clock of two seconds,
// the alarm of deferred unmappings, and SIGTERM.
#pragma once

#include <sys/epoll.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>

#include "descriptor.hpp"

namespace dmatoll::user {

struct Events {
    bool interrupt = false;
    bool tap = false;
    bool bell = false;
    bool timer = false;
    bool alarm = false;
    bool stop = false;
};

class WaitSet {
  public:
    static constexpr int sleep = -1;
    static constexpr int do_not_sleep = 0;

    // Takes SIGTERM and SIGINT out of the usual way of delivery. SIGTERM is reported as `stop`; SIGINT is
    // ignored: on Ctrl-C the terminal sends it to the supervisor, too, which then decides. Without an
    // interrupt or a TAP that one is -1. The bell does not block, stays the caller's, and is read empty.
    // Throws Failure.
    WaitSet(int interrupt, int tap, int bell);

    // Reports `alarm` from now on when that timerfd expires, which is set again for the next time. Throws
    // Failure.
    void add_alarm(int fd) const { add(fd, EPOLLIN | EPOLLET, alarm_tag); }

    // All but `stop` are edges: reported once, and again only after something new.
    Events wait() {
        std::array<epoll_event, 6> found{};
        const int count = ::epoll_wait(epoll_.get(), found.data(), static_cast<int>(found.size()), patience_);
        Events events;
        for (int i = 0; i < count; ++i) {
            switch (found[static_cast<std::size_t>(i)].data.u32) {
                case interrupt_tag:
                    events.interrupt = true;
                    break;
                case tap_tag:
                    events.tap = true;
                    break;
                case bell_tag:
                    events.bell = true;
                    drain_bell();
                    break;
                case timer_tag:
                    events.timer = true;
                    rearm_timer();
                    break;
                case alarm_tag:
                    events.alarm = true;
                    break;
                case stop_tag:
                    events.stop = true;
                    break;
                default:
                    break;
            }
        }
        return events;
    }

    void set_patience(int milliseconds) { patience_ = milliseconds; }

  private:
    static constexpr std::uint32_t interrupt_tag = 0;
    static constexpr std::uint32_t tap_tag = 1;
    static constexpr std::uint32_t timer_tag = 2;
    static constexpr std::uint32_t stop_tag = 3;
    static constexpr std::uint32_t bell_tag = 4;
    static constexpr std::uint32_t alarm_tag = 5;

    void add(int fd, std::uint32_t events, std::uint32_t tag) const;

    // A periodic timerfd runs on only once its expiration has been read.
    void rearm_timer() const {
        std::uint64_t expirations = 0;
        [[maybe_unused]] const auto got = ::read(timer_.get(), &expirations, sizeof(expirations));
    }

    // A pipe that is full takes no byte more and so brings no edge either.
    void drain_bell() const {
        std::array<std::byte, 64> rings{};
        while (::read(bell_, rings.data(), rings.size()) == static_cast<ssize_t>(rings.size())) {
        }
    }

    const int bell_;
    Descriptor epoll_;
    Descriptor timer_;
    Descriptor signals_;
    int patience_ = sleep;
};

}  // namespace dmatoll::user
