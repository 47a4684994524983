// SPDX-License-Identifier: BSD-2-Clause
// Who keeps a strategy's time bound when there is no traffic that would.
#pragma once

#include <concepts>
#include <cstdint>

namespace dmatoll {

// After that many nanoseconds the surroundings call the strategy's on_alarm(), once. At most one alarm is
// pending: a further one takes the place of the first, and is for an earlier time. Called with a lock of the
// strategy's held.
template <class A>
concept Alarm = requires(A alarm, std::uint64_t nanoseconds) {
    { alarm.set(nanoseconds) } -> std::same_as<void>;
};

}  // namespace dmatoll
