// SPDX-License-Identifier: BSD-2-Clause
// Buckets that grow with the value: the idea of G. Tene's HdrHistogram.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

namespace dmatoll {

// Every power of two is cut into 128 equal buckets, and below 256 each value has its own: a bucket is less
// than 1/128 (0.8 %) of its values wide, and finding it takes a handful of instructions.
struct Buckets {
    static constexpr std::size_t of(std::uint64_t value) {
        const auto octave = static_cast<unsigned>(std::bit_width(value >> sub_bits));
        if (octave <= 1) return static_cast<std::size_t>(value);
        return (std::size_t{octave} << sub_bits) + static_cast<std::size_t>((value >> (octave - 1)) & sub_mask);
    }

    // The largest value that falls into it.
    static constexpr std::uint64_t upper_bound(std::size_t bucket) {
        const auto octave = static_cast<unsigned>(bucket >> sub_bits);
        if (octave <= 1) return bucket;
        const std::uint64_t width = std::uint64_t{1} << (octave - 1);
        return ((bucket & sub_mask) | (sub_mask + 1)) * width + (width - 1);
    }

  private:
    static constexpr unsigned sub_bits = 7;
    static constexpr std::uint64_t sub_mask = (1U << sub_bits) - 1;
};

}  // namespace dmatoll
