// SPDX-License-Identifier: BSD-2-Clause
// Free buffer slots. The slot that came back last goes out first: its memory is the likeliest to be in a
// cache still.
#pragma once

#include <cstdint>
#include <vector>

namespace dmatoll::user {

class SlotStack {
  public:
    explicit SlotStack(std::uint32_t slots) : free_(slots), top_{slots} {
        for (std::uint32_t i = 0; i < slots; ++i) {
            free_[i] = slots - 1 - i;
        }
    }

    [[nodiscard]] bool empty() const { return top_ == 0; }
    // Not when empty.
    std::uint32_t pop() { return free_[--top_]; }
    // Only what was popped.
    void push(std::uint32_t slot) { free_[top_++] = slot; }

  private:
    std::vector<std::uint32_t> free_;
    std::uint32_t top_;
};

}  // namespace dmatoll::user
