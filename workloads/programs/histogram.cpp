// SPDX-License-Identifier: BSD-2-Clause
#include "histogram.hpp"

#include <algorithm>
#include <cmath>

namespace dmatoll::workloads {

double Histogram::deviation() const { return n_ < 2 ? 0 : std::sqrt(squares_ / static_cast<double>(n_ - 1)); }

std::uint64_t Histogram::percentile(double share) const {
    const auto rank = std::max(std::uint64_t{1},
                               static_cast<std::uint64_t>(std::ceil(share * static_cast<double>(n_) - 1e-9)));
    std::uint64_t seen = 0;
    for (std::size_t bucket = 0; bucket < counts_.size(); ++bucket) {
        seen += counts_[bucket];
        if (seen >= rank) return std::min(Buckets::upper_bound(bucket), max_);
    }
    return max_;
}

std::vector<std::pair<std::uint64_t, std::uint64_t>> Histogram::buckets() const {
    std::vector<std::pair<std::uint64_t, std::uint64_t>> result;
    for (std::size_t bucket = 0; bucket < counts_.size(); ++bucket)
        if (counts_[bucket] > 0) result.emplace_back(Buckets::upper_bound(bucket), counts_[bucket]);
    return result;
}

}  // namespace dmatoll::workloads
