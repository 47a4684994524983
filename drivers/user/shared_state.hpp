// SPDX-License-Identifier: BSD-2-Clause
// The page through which the driver process shows what it counts, when the supervisor's bell asks for it: the
// data path itself stores one number. Two numbers go the other way.
#pragma once

#include <atomic>
#include <cstdint>

#include "core/address.hpp"
#include "core/counters.hpp"
#include "descriptor.hpp"

namespace dmatoll::user {

struct SharedState {
    static constexpr std::size_t most_hardware_counters = 64;

    using Value = std::atomic<std::uint64_t>;

    Value counters[counter_names.size()];
    // In the order of e1000::device_statistic_names; read from the device every two seconds.
    Value hardware[most_hardware_counters];

    // What the process set up.
    Value hugepages;      // 1: the arena has 2 MiB pages
    Value link_megabits;  // 0: no link

    // What happened between TAP and driver.
    Value wakeups;             // returns from epoll_wait; what the watchdog looks at
    Value system_calls;        // on the data path, mapping included
    Value tap_frames_read;     // a segmentable frame is one
    Value tap_frames_written;  // frames joined to one are one
    Value tap_frames_refused;  // read, but impossible to send
    Value tap_writes_failed;
    Value raw_frames_lost;  // loopback: sent, and never came back
    Value raw_frames_bad;   // loopback: not what was sent, or out of order

    Value counted_at_ns;  // on the monotonic clock: when the counters were as they are

    // How often all of the counters were written: moves once they are as they were at the bell.
    Value published;

    // What the supervisor asks for. It rings the process's bell after it has written.
    Value fault;        // a Fault
    Value promiscuous;  // 1: the device is to take what is meant for others, too
};
static_assert(sizeof(SharedState) <= page_bytes);
static_assert(SharedState::Value::is_always_lock_free);

// A store that only the owner of the page makes: no locked instruction.
inline void publish(SharedState::Value& place, std::uint64_t value) {
    place.store(value, std::memory_order_relaxed);
}

// The page, mapped. It cannot be made smaller by the process that shares it.
class SharedPage {
  public:
    // A new page. Throws Failure.
    SharedPage();
    // The page of another process. Throws Failure.
    explicit SharedPage(Descriptor memory);
    ~SharedPage();
    SharedPage(const SharedPage&) = delete;
    SharedPage& operator=(const SharedPage&) = delete;

    [[nodiscard]] int fd() const { return memory_.get(); }
    SharedState* operator->() const { return state_; }
    SharedState& operator*() const { return *state_; }
    // Zeroes every number.
    void clear();

  private:
    void map();

    Descriptor memory_;
    SharedState* state_ = nullptr;
};

}  // namespace dmatoll::user
