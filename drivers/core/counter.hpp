// SPDX-License-Identifier: BSD-2-Clause
// A statistic with one writer at a time and readers anywhere.
#pragma once

#include <atomic>
#include <cstdint>

namespace dmatoll {

// A plain load, add and store: writers exclude each other by other means (one side of a ring, or a lock), so
// a locked read-modify-write would buy nothing on the data path. Readers on another CPU see a whole value,
// perhaps a late one.
class Counter {
  public:
    void add(std::uint64_t amount) {
        value_.store(value_.load(std::memory_order_relaxed) + amount, std::memory_order_relaxed);
    }
    [[nodiscard]] std::uint64_t read() const { return value_.load(std::memory_order_relaxed); }
    // What was counted ahead of its outcome did not happen.
    void take_back() { add(~std::uint64_t{0}); }
    void clear() { value_.store(0, std::memory_order_relaxed); }

  private:
    std::atomic<std::uint64_t> value_{0};
};

static_assert(std::atomic<std::uint64_t>::is_always_lock_free);

}  // namespace dmatoll
