// SPDX-License-Identifier: BSD-2-Clause
// Free-running ring indices: an index counts for ever and is masked only where a slot is addressed. So full
// and empty differ, how many slots lie between two indices is a subtraction, and no comparison with a wrap is
// ever needed.
#pragma once

#include <cstdint>

namespace dmatoll {

class RingSize {
  public:
    constexpr RingSize() = default;
    // `slots` is a power of two.
    constexpr explicit RingSize(std::uint32_t slots) : mask_{slots - 1} {}

    static constexpr bool valid(std::uint32_t slots, std::uint32_t least, std::uint32_t most) {
        // Not std::has_single_bit: without POPCNT it becomes a call into the compiler's library, which a
        // kernel module lacks.
        return slots != 0 && slots >= least && slots <= most && (slots & (slots - 1)) == 0;
    }

    [[nodiscard]] constexpr std::uint32_t slots() const { return mask_ + 1; }
    [[nodiscard]] constexpr std::uint32_t slot(std::uint32_t index) const { return index & mask_; }

  private:
    std::uint32_t mask_ = 0;
};

// How far `newer` is ahead of `older`, across the wrap at 2^32 as well.
constexpr std::uint32_t ahead(std::uint32_t newer, std::uint32_t older) { return newer - older; }

static_assert(ahead(2, 0xffff'fffe) == 4);

}  // namespace dmatoll
