// SPDX-License-Identifier: BSD-2-Clause
// The page through which the driver process shows what it counts, when the supervisor's bell asks for it: the
// data path itself stores one number. What the supervisor asks for goes the other way. What a kind of device
// has beside it stands in network_state.hpp and disk_state.hpp.
#pragma once

#include <atomic>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <new>
#include <utility>

#include "core/address.hpp"
#include "descriptor.hpp"

namespace dmatoll::user {

struct SharedState {
    static constexpr std::size_t most_counters = 32;

    using Value = std::atomic<std::uint64_t>;

    // In the order of the kind of device's table of names (core/counters.hpp).
    Value counters[most_counters];

    Value hugepages;     // 1: the arena has 2 MiB pages
    Value wakeups;       // returns from waiting; what the watchdog looks at
    Value system_calls;  // on the data path, mapping included

    Value counted_at_ns;  // on the monotonic clock: when the counters were as they are

    // How often all of the counters were written: moves once they are as they were at the bell.
    Value published;

    // What the supervisor asks for. It rings the process's bell after it has written.
    Value fault;  // a Fault
};
static_assert(SharedState::Value::is_always_lock_free);

// A store that only the owner of the page makes: no locked instruction.
inline void publish(SharedState::Value& place, std::uint64_t value) {
    place.store(value, std::memory_order_relaxed);
}

// A page with a State, which begins with the SharedState that it is. It cannot be made smaller by the process
// that shares it.
class SharedMemory {
  public:
    ~SharedMemory();
    SharedMemory(const SharedMemory&) = delete;
    SharedMemory& operator=(const SharedMemory&) = delete;

    [[nodiscard]] int fd() const { return memory_.get(); }

  protected:
    // A new page. Throws Failure.
    SharedMemory();
    // The page of another process. Throws Failure.
    explicit SharedMemory(Descriptor memory);

    void* page_ = nullptr;

  private:
    void map();

    Descriptor memory_;
};

template <class State>
class SharedPage : public SharedMemory {
    static_assert(sizeof(State) <= page_bytes && std::derived_from<State, SharedState>);

  public:
    SharedPage() { clear(); }
    explicit SharedPage(Descriptor memory) : SharedMemory{std::move(memory)} {}

    State* operator->() const { return static_cast<State*>(page_); }
    State& operator*() const { return *static_cast<State*>(page_); }
    // Zeroes every number.
    void clear() { ::new (page_) State{}; }
};

}  // namespace dmatoll::user
