// SPDX-License-Identifier: BSD-2-Clause
// How long something took, many times: all of the distribution, without the heap or a floating-point number.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "buckets.hpp"

namespace dmatoll {

// All zero is empty. One writer.
class TickHistogram {
  public:
    // What takes longer, over ten seconds, is in the last bucket; maximum and sum are exact all the same.
    static constexpr std::uint64_t most = (std::uint64_t{1} << 36) - 1;

    struct Summary {
        std::uint64_t n = 0;
        std::uint64_t total = 0;
        std::uint64_t min = 0;
        std::uint64_t p50 = 0;
        std::uint64_t p90 = 0;
        std::uint64_t p99 = 0;
        std::uint64_t p99_9 = 0;
        std::uint64_t max = 0;
    };

    void add(std::uint64_t ticks) {
        ++counts_[Buckets::of(ticks < most ? ticks : most)];
        total_ += ticks;
        if (n_++ == 0 || ticks < min_) min_ = ticks;
        if (ticks > max_) max_ = ticks;
    }

    void add(const TickHistogram& other) {
        if (other.n_ == 0) return;
        for (std::size_t i = 0; i < counts_.size(); ++i) counts_[i] += other.counts_[i];
        if (n_ == 0 || other.min_ < min_) min_ = other.min_;
        if (other.max_ > max_) max_ = other.max_;
        n_ += other.n_;
        total_ += other.total_;
    }

    [[nodiscard]] std::uint64_t count() const { return n_; }

    // A percentile is the least value that so many do not exceed, rounded up to the largest of its bucket, at
    // most the maximum. Of none all is 0.
    [[nodiscard]] Summary summary() const {
        return Summary{.n = n_,
                       .total = total_,
                       .min = min_,
                       .p50 = percentile(500),
                       .p90 = percentile(900),
                       .p99 = percentile(990),
                       .p99_9 = percentile(999),
                       .max = max_};
    }

  private:
    [[nodiscard]] std::uint64_t percentile(std::uint64_t thousandths) const {
        const std::uint64_t rank = (n_ * thousandths + 999) / 1000;
        std::uint64_t seen = 0;
        for (std::size_t bucket = 0; bucket < counts_.size(); ++bucket) {
            seen += counts_[bucket];
            if (seen < rank || seen == 0) continue;
            const std::uint64_t bound = Buckets::upper_bound(bucket);
            return bound < max_ ? bound : max_;
        }
        return max_;
    }

    std::array<std::uint32_t, Buckets::of(most) + 1> counts_{};
    std::uint64_t n_ = 0;
    std::uint64_t total_ = 0;
    std::uint64_t min_ = 0;
    std::uint64_t max_ = 0;
};

// What a driver tells of a distribution, and under which name.
struct SummaryField {
    const char* name;
    std::uint64_t TickHistogram::Summary::* value;
};
inline constexpr std::array summary_fields{
    SummaryField{"n", &TickHistogram::Summary::n},     SummaryField{"total", &TickHistogram::Summary::total},
    SummaryField{"min", &TickHistogram::Summary::min}, SummaryField{"p50", &TickHistogram::Summary::p50},
    SummaryField{"p90", &TickHistogram::Summary::p90}, SummaryField{"p99", &TickHistogram::Summary::p99},
    SummaryField{"p99_9", &TickHistogram::Summary::p99_9}, SummaryField{"max", &TickHistogram::Summary::max},
};

}  // namespace dmatoll
