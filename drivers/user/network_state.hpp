// SPDX-License-Identifier: BSD-2-Clause
// What the driver process of a network card shares with its supervisor.
#pragma once

#include <cstddef>

#include "core/counters.hpp"
#include "shared_state.hpp"

namespace dmatoll::user {

struct NetworkState : SharedState {
    static constexpr std::size_t most_hardware_counters = 64;

    // In the order of e1000::device_statistic_names; read from the device every two seconds.
    Value hardware[most_hardware_counters];

    Value link_megabits;  // 0: no link

    // What happened between TAP and driver.
    Value tap_frames_read;     // a segmentable frame is one
    Value tap_frames_written;  // frames joined to one are one
    Value tap_frames_refused;  // read, but impossible to send
    Value tap_writes_failed;
    Value raw_frames_lost;  // loopback: sent, and never came back
    Value raw_frames_bad;   // loopback: not what was sent, or out of order

    // The supervisor asks: 1: the device is to take what is meant for others, too.
    Value promiscuous;
};
static_assert(counter_names.size() <= SharedState::most_counters);

}  // namespace dmatoll::user
