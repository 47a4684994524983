// SPDX-License-Identifier: BSD-2-Clause
// The IOVA allocator: never 0, never reserved, never overlapping, never beyond the width, and an end to it.
#include <gtest/gtest.h>

#include <bit>
#include <map>
#include <random>
#include <span>
#include <vector>

#include "machine.hpp"

namespace dmatoll::test {
namespace {

// The allocator takes its bookkeeping from a platform; what the machine's own allocator does is not looked
// at.
class AllocatorTest : public testing::Test {
  protected:
    ~AllocatorTest() override {
        allocator.tear_down(machine.platform);
        EXPECT_EQ(machine.platform.tables_out(), machine.tables_at_start);
        EXPECT_EQ(machine.platform.misuses(), 0u);
    }
    Status set_up(std::vector<IovaRange> ranges, std::vector<IovaRange> reserved, std::uint32_t bits,
                  std::uint32_t capacity = 1024) {
        return allocator.set_up(machine.platform, ranges, reserved, bits, capacity);
    }

    Machine machine;
    IovaAllocator allocator;
};

constexpr std::uint64_t gigabyte = std::uint64_t{1} << 30;

class AllocatorProperty : public AllocatorTest, public testing::WithParamInterface<std::uint32_t> {};

TEST_P(AllocatorProperty, RandomSizesNeverCollide) {
    const std::vector<IovaRange> reserved{
        {0xfee0'0000, 0xfeef'ffff}, {0x10'0000, 0x10'0fff}, {0x4000'0000, 0x7fff'ffff}};
    constexpr std::uint64_t limit = std::uint64_t{1} << 33;
    ASSERT_TRUE(set_up({{0, ~std::uint64_t{0}}}, reserved, 33, 4096).ok());
    std::mt19937 random{GetParam()};
    std::map<std::uint64_t, std::uint64_t> out;  // start -> pages
    std::uint64_t allocations = 0;
    for (int step = 0; step < 20'000; ++step) {
        if (out.empty() || random() % 5 < 3) {
            const std::uint64_t pages = random() % 8 == 0 ? 1 + random() % 600 : 1 + random() % 17;
            const Result<Iova> iova = allocator.allocate(pages);
            if (!iova.ok()) {
                EXPECT_EQ(iova.error(), Error::no_iova_space);
                continue;
            }
            ++allocations;
            const std::uint64_t start = iova.value().value;
            const std::uint64_t end = start + pages * page_bytes;
            ASSERT_NE(start, 0u);
            ASSERT_EQ(start % (page_bytes * std::bit_ceil(pages)), 0u) << "aligned to its own size";
            ASSERT_LE(end, limit);
            for (const IovaRange& hole : reserved) {
                ASSERT_TRUE(end <= hole.first || start > hole.last) << "in a reserved range";
            }
            const auto above = out.lower_bound(start);
            ASSERT_TRUE(above == out.end() || end <= above->first) << "overlaps its upper neighbour";
            if (above != out.begin()) {
                const auto below = std::prev(above);
                ASSERT_LE(below->first + below->second * page_bytes, start) << "overlaps its lower neighbour";
            }
            out[start] = pages;
        } else {
            auto victim = out.begin();
            std::advance(victim, random() % out.size());
            allocator.free(Iova{victim->first}, victim->second);
            out.erase(victim);
        }
    }
    EXPECT_GT(allocations, 4'000u);
}

INSTANTIATE_TEST_SUITE_P(Seeds, AllocatorProperty, testing::Values(1u, 2u, 20u, 1234u, 987654u));

TEST_F(AllocatorTest, PageZeroIsLeftOut) {
    ASSERT_TRUE(set_up({{0, 3 * page_bytes - 1}}, {}, 39).ok());
    EXPECT_EQ(allocator.allocate(1).value(), Iova{page_bytes});
    EXPECT_EQ(allocator.allocate(1).value(), Iova{2 * page_bytes});
    EXPECT_EQ(allocator.allocate(1).error(), Error::no_iova_space);
}

TEST_F(AllocatorTest, ExhaustionIsAnErrorAndFreeingEndsIt) {
    ASSERT_TRUE(set_up({{page_bytes, 5 * page_bytes - 1}}, {}, 39).ok());
    std::vector<Iova> taken;
    for (Result<Iova> iova = allocator.allocate(1); iova.ok(); iova = allocator.allocate(1))
        taken.push_back(iova.value());
    EXPECT_EQ(taken.size(), 4u);
    allocator.free(taken[2], 1);
    const Result<Iova> again = allocator.allocate(1);
    ASSERT_TRUE(again.ok());
    EXPECT_EQ(again.value(), taken[2]);
    EXPECT_EQ(allocator.allocate(1).error(), Error::no_iova_space);
}

TEST_F(AllocatorTest, CapacityBoundsTheRangesThatExist) {
    ASSERT_TRUE(set_up({{0, gigabyte - 1}}, {}, 39, 3).ok());
    const Iova first = allocator.allocate(1).value();
    EXPECT_TRUE(allocator.allocate(1).ok());
    EXPECT_TRUE(allocator.allocate(1).ok());
    EXPECT_EQ(allocator.allocate(1).error(), Error::no_iova_space);
    allocator.free(first, 1);
    EXPECT_TRUE(allocator.allocate(1).ok());
}

TEST_F(AllocatorTest, TheYoungestComesBackFirst) {
    ASSERT_TRUE(set_up({{0, gigabyte - 1}}, {}, 39).ok());
    const Iova first = allocator.allocate(3).value();
    const Iova second = allocator.allocate(3).value();
    allocator.free(first, 3);
    allocator.free(second, 3);
    EXPECT_EQ(allocator.allocate(4).value(), second) << "3 and 4 pages are of one class";
    EXPECT_EQ(allocator.allocate(3).value(), first);
    EXPECT_EQ(allocator.carved(), 2u);
}

TEST_F(AllocatorTest, WidthCutsTheRange) {
    // 57 bits reported, 39 translated: what lies above is not handed out.
    ASSERT_TRUE(
        set_up({{(std::uint64_t{1} << 39) - 2 * page_bytes, (std::uint64_t{1} << 57) - 1}}, {}, 39).ok());
    EXPECT_TRUE(allocator.allocate(1).ok());
    EXPECT_TRUE(allocator.allocate(1).ok());
    EXPECT_EQ(allocator.allocate(1).error(), Error::no_iova_space);
}

TEST_F(AllocatorTest, NothingUsableIsRefused) {
    EXPECT_EQ(set_up({{std::uint64_t{1} << 40, (std::uint64_t{1} << 41) - 1}}, {}, 39).error(),
              Error::invalid_argument);
    EXPECT_EQ(set_up({}, {}, 39).error(), Error::invalid_argument);
    EXPECT_EQ(set_up({{0, gigabyte - 1}}, {{0, gigabyte}}, 39).error(), Error::invalid_argument);
    EXPECT_EQ(set_up({{0, page_bytes - 1}}, {}, 39).error(), Error::invalid_argument);
    EXPECT_EQ(set_up({{0, gigabyte - 1}}, {}, 11).error(), Error::invalid_argument);
    EXPECT_EQ(set_up({{0, gigabyte - 1}}, {}, 65).error(), Error::invalid_argument);
}

TEST_F(AllocatorTest, TopOfSixtyFourBitsDoesNotWrap) {
    ASSERT_TRUE(set_up({{~std::uint64_t{0} - 2 * page_bytes + 1, ~std::uint64_t{0}}}, {}, 64).ok());
    EXPECT_EQ(allocator.allocate(1).value(), Iova{~std::uint64_t{0} - 2 * page_bytes + 1});
    EXPECT_EQ(allocator.allocate(1).value(), Iova{~std::uint64_t{0} - page_bytes + 1});
    EXPECT_EQ(allocator.allocate(1).error(), Error::no_iova_space);
}

TEST_F(AllocatorTest, ReservedRangesMayOverlapAndComeInAnyOrder) {
    ASSERT_TRUE(set_up({{0, 16 * page_bytes - 1}},
                       {{8 * page_bytes, 11 * page_bytes - 1},
                        {2 * page_bytes, 3 * page_bytes + 17},
                        {3 * page_bytes, 8 * page_bytes},
                        {12 * page_bytes + 5, 12 * page_bytes + 5}},
                       39)
                    .ok());
    std::vector<std::uint64_t> pages;
    for (Result<Iova> iova = allocator.allocate(1); iova.ok(); iova = allocator.allocate(1)) {
        pages.push_back(iova.value().value / page_bytes);
    }
    EXPECT_EQ(pages, (std::vector<std::uint64_t>{1, 11, 13, 14, 15}));
}

TEST_F(AllocatorTest, TheLargestClassIsAGigabyte) {
    ASSERT_TRUE(set_up({{0, 8 * gigabyte - 1}}, {}, 39).ok());
    const Result<Iova> whole = allocator.allocate(gigabyte / page_bytes);
    ASSERT_TRUE(whole.ok());
    EXPECT_EQ(whole.value().value % gigabyte, 0u);
    EXPECT_EQ(allocator.allocate(gigabyte / page_bytes + 1).error(), Error::no_iova_space);
}

TEST_F(AllocatorTest, WithoutBookkeepingThereIsNothing) {
    EXPECT_EQ(allocator.allocate(1).error(), Error::no_iova_space);
    machine.platform.refuse_allocation(0);
    EXPECT_EQ(set_up({{0, gigabyte - 1}}, {}, 39).error(), Error::no_memory);
    EXPECT_EQ(allocator.allocate(1).error(), Error::no_iova_space);
    EXPECT_TRUE(set_up({{0, gigabyte - 1}}, {}, 39).ok());
    EXPECT_EQ(set_up({{0, gigabyte - 1}}, {}, 39).error(), Error::invalid_argument) << "set up twice";
}

}  // namespace
}  // namespace dmatoll::test
