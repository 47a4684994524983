// SPDX-License-Identifier: BSD-2-Clause
// The latency histogram: nothing is lost, and nothing is further off than a bucket's width.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "histogram.hpp"

namespace dmatoll::workloads {
namespace {

TEST(Histogram, BucketsAreNarrowWithoutGapsAndHoldTheirBounds) {
    std::uint64_t lower = 0;
    const std::size_t last = Buckets::of(~std::uint64_t{0});
    for (std::size_t bucket = 0; bucket <= last; ++bucket) {
        const std::uint64_t upper = Buckets::upper_bound(bucket);
        ASSERT_EQ(Buckets::of(lower), bucket);
        ASSERT_EQ(Buckets::of(upper), bucket);
        ASSERT_LE(static_cast<double>(upper - lower), 0.01 * static_cast<double>(lower)) << lower;
        if (bucket < last) {
            ASSERT_EQ(Buckets::of(upper + 1), bucket + 1);
            lower = upper + 1;
        } else {
            ASSERT_EQ(upper, ~std::uint64_t{0});
        }
    }
}

TEST(Histogram, PercentilesAreWithinOnePercentOfTheSortedValues) {
    std::mt19937_64 random{7};
    std::lognormal_distribution<double> distribution{11, 1.5};
    Histogram histogram;
    std::vector<std::uint64_t> values(50'000);
    for (auto& value : values) histogram.add(value = static_cast<std::uint64_t>(distribution(random)));
    std::sort(values.begin(), values.end());
    for (const double share : {0.0001, 0.1, 0.5, 0.9, 0.99, 0.999, 0.9999, 1.0}) {
        const auto rank = static_cast<std::size_t>(std::ceil(share * static_cast<double>(values.size())));
        const auto exact = static_cast<double>(values[rank - 1]);
        const auto got = static_cast<double>(histogram.percentile(share));
        EXPECT_GE(got, exact) << share;
        EXPECT_LE(got, exact * 1.01) << share;
    }
    EXPECT_EQ(histogram.min(), values.front());
    EXPECT_EQ(histogram.max(), values.back());
    EXPECT_EQ(histogram.percentile(1), values.back()) << "never beyond what was seen";
}

TEST(Histogram, MeanAndDeviationAreThoseOfTheValues) {
    Histogram histogram;
    // Close together and far from zero: a sum of squares would lose the difference.
    for (const std::uint64_t value : {5'000'000'000U, 5'000'000'003U, 5'000'000'006U}) histogram.add(value);
    EXPECT_DOUBLE_EQ(histogram.mean(), 5'000'000'003.0);
    EXPECT_NEAR(histogram.deviation(), 3.0, 1e-3);
}

TEST(Histogram, GivesEveryValueBack) {
    Histogram histogram;
    for (int i = 0; i < 3; ++i) histogram.add(17);
    histogram.add(1'000'000);
    const auto buckets = histogram.buckets();
    ASSERT_EQ(buckets.size(), 2U);
    EXPECT_EQ(buckets[0], (std::pair<std::uint64_t, std::uint64_t>{17, 3}));
    EXPECT_EQ(buckets[1].second, 1U);
    EXPECT_EQ(histogram.count(), 4U);
    EXPECT_EQ(histogram.percentile(0.75), 17U) << "three of four do not exceed it";
    EXPECT_EQ(histogram.percentile(0.76), 1'000'000U);
}

TEST(Histogram, EmptyOneSaysNothing) {
    const Histogram histogram;
    EXPECT_EQ(histogram.count(), 0U);
    EXPECT_EQ(histogram.percentile(0.5), 0U);
    EXPECT_EQ(histogram.min(), 0U);
    EXPECT_TRUE(histogram.buckets().empty());
}

}  // namespace
}  // namespace dmatoll::workloads
