// SPDX-License-Identifier: BSD-2-Clause
// The clock that keeps the time bound of an unmapping that waits: a descriptor that the event loop waits for.
#pragma once

#include <sys/timerfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>

#include "descriptor.hpp"
#include "failure.hpp"

namespace dmatoll::user {

class FlushAlarm {
  public:
    // Throws Failure.
    FlushAlarm() : timer_{::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK)} {
        if (!timer_.valid()) {
            throw system_failure("cannot make the clock of unmappings that wait", errno);
        }
    }

    // Once, after that time. It cannot be refused: the descriptor and the time are good.
    void set(std::uint64_t nanoseconds) const {
        const itimerspec once{{0, 0},
                              {static_cast<time_t>(nanoseconds / 1'000'000'000),
                               static_cast<long>(nanoseconds % 1'000'000'000)}};
        ::timerfd_settime(timer_.get(), 0, &once, nullptr);
    }

    [[nodiscard]] int fd() const { return timer_.get(); }

  private:
    Descriptor timer_;
};

}  // namespace dmatoll::user
