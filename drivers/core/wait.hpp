// SPDX-License-Identifier: BSD-2-Clause
// Waiting for a device, with an end to it.
#pragma once

#include <cstdint>

#include "platform.hpp"
#include "result.hpp"

namespace dmatoll {

// Asks `ready()` every `step_us` microseconds (1 to 1000) until it says true or `timeout_us` have passed. It
// is asked once more after the deadline, so that a driver that was not scheduled for long does not blame the
// device. The steps are counted too: a clock that stands still cannot turn the wait into one without end.
// Error: timed_out.
template <Platform P, class Ready>
Status wait_until(P& platform, std::uint32_t timeout_us, std::uint32_t step_us, Ready&& ready) {
    const std::uint64_t deadline = platform.now_ns() + std::uint64_t{timeout_us} * 1000;
    for (std::uint32_t waited = 0;; waited += step_us) {
        const bool expired = waited >= timeout_us || platform.now_ns() >= deadline;
        if (ready()) return {};
        if (expired) return Error::timed_out;
        platform.delay_us(step_us);
    }
}

// Lets at least that many milliseconds pass.
template <Platform P>
void wait_ms(P& platform, std::uint32_t milliseconds) {
    for (; milliseconds != 0; --milliseconds) platform.delay_us(1000);
}

}  // namespace dmatoll
