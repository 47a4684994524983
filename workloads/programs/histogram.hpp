// SPDX-License-Identifier: BSD-2-Clause
// Latencies in full, from 1 ns to centuries.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "core/buckets.hpp"

namespace dmatoll::workloads {

class Histogram {
  public:
    Histogram() : counts_(Buckets::of(~std::uint64_t{0}) + 1) {}

    void add(std::uint64_t value) {
        ++counts_[Buckets::of(value)];
        ++n_;
        // B. P. Welford's update: sums of squares would lose small deviations of large values.
        const double deviation = static_cast<double>(value) - mean_;
        mean_ += deviation / static_cast<double>(n_);
        squares_ += deviation * (static_cast<double>(value) - mean_);
        if (value < min_) min_ = value;
        if (value > max_) max_ = value;
    }

    [[nodiscard]] std::uint64_t count() const { return n_; }
    // Of the values themselves, not of their buckets; 0 when there are none.
    [[nodiscard]] std::uint64_t min() const { return n_ > 0 ? min_ : 0; }
    [[nodiscard]] std::uint64_t max() const { return max_; }
    [[nodiscard]] double mean() const { return mean_; }
    [[nodiscard]] double deviation() const;  // of the sample, with n - 1; 0 for fewer than two

    // The least value that at least that share (0 to 1) of all values do not exceed, rounded up to the
    // largest value of its bucket, at most max(). Of fewer values than 1/(1 - share) it is the largest. 0: no
    // values.
    [[nodiscard]] std::uint64_t percentile(double share) const;

    // Upper bound and count of each bucket that has any, upwards.
    [[nodiscard]] std::vector<std::pair<std::uint64_t, std::uint64_t>> buckets() const;

  private:
    std::vector<std::uint64_t> counts_;
    std::uint64_t n_ = 0;
    double mean_ = 0;
    double squares_ = 0;  // of the deviations from the mean
    std::uint64_t min_ = ~std::uint64_t{0};
    std::uint64_t max_ = 0;
};

}  // namespace dmatoll::workloads
