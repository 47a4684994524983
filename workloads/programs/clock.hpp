// SPDX-License-Identifier: BSD-2-Clause
// Time, and sleeping to a point of it. CLOCK_REALTIME, because the kernel stamps received packets with it:
// both ends of a latency are then read from one clock.
#pragma once

#include <sys/prctl.h>

#include <algorithm>
#include <cstdint>
#include <ctime>

namespace dmatoll::workloads {

inline constexpr std::uint64_t ns_per_ms = 1'000'000;
inline constexpr std::uint64_t ns_per_second = 1'000'000'000;

inline std::uint64_t to_ns(const timespec& time) {
    return static_cast<std::uint64_t>(time.tv_sec) * ns_per_second + static_cast<std::uint64_t>(time.tv_nsec);
}

inline timespec to_timespec(std::uint64_t ns) {
    return {static_cast<time_t>(ns / ns_per_second), static_cast<long>(ns % ns_per_second)};
}

inline std::uint64_t now_ns(clockid_t clock = CLOCK_REALTIME) {
    timespec now{};
    ::clock_gettime(clock, &now);
    return to_ns(now);
}

// Until then, or until a signal. Never longer than a tenth of a second: a signal that came just before the
// sleep began is noticed by then.
inline void sleep_until(std::uint64_t deadline_ns) {
    constexpr std::uint64_t longest = 100 * ns_per_ms;
    const timespec until = to_timespec(std::min(deadline_ns, now_ns() + longest));
    ::clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &until, nullptr);
}

// Wake-ups on time, and not up to 50 us late so as to share a timer interrupt.
inline void be_punctual() { ::prctl(PR_SET_TIMERSLACK, 1UL); }

}  // namespace dmatoll::workloads
