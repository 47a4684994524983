// SPDX-License-Identifier: BSD-2-Clause
// Strategy `hybrid-copy`: which buffers are copied and which are mapped, and that each comes back the way it
// went.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <random>
#include <vector>

#include "machine.hpp"

namespace dmatoll::test {
namespace {

using model::Access;

class HybridCopyTest : public testing::Test {
  protected:
    static constexpr std::uint32_t threshold = 1500;

    HybridCopyTest() { EXPECT_TRUE(mapper.set_up({.to_device = 8, .from_device = 8}, threshold).ok()); }
    ~HybridCopyTest() override {
        mapper.release_all();
        EXPECT_EQ(machine.iommu.mapped_pages(), 0u);
        EXPECT_EQ(machine.domain.live(), 0u);
        EXPECT_EQ(machine.platform.pages_out(), 0u);
        EXPECT_EQ(machine.platform.tables_out(), machine.tables_at_start);
        EXPECT_EQ(machine.platform.misuses(), 0u);
    }

    Machine machine;
    HybridCopyMapper mapper{machine.domain, machine.platform};
    Memory pages = machine.memory.allocate_pages(32);
};

TEST_F(HybridCopyTest, TheThresholdIsTheLongestThatIsCopied) {
    const std::uint64_t pools = machine.domain.live();
    const Iova copied = mapper.map(pages, threshold, Direction::to_device).value();
    EXPECT_EQ(machine.domain.live(), pools);
    EXPECT_FALSE(machine.iommu.exposed(pages, Access::read));
    const Iova mapped = mapper.map(pages, threshold + 1, Direction::to_device).value();
    EXPECT_EQ(machine.domain.live(), pools + 1);
    EXPECT_TRUE(machine.iommu.exposed(pages, Access::read));
    mapper.unmap(mapped, threshold + 1, Direction::to_device, 0);
    EXPECT_FALSE(machine.iommu.exposed(pages, Access::read));
    mapper.unmap(copied, threshold, Direction::to_device, 0);
    EXPECT_EQ(mapper.counters().invalidations, 1u);
}

TEST_F(HybridCopyTest, WhatIsLongGoesInOnePieceAndWhatIsShortStaysInItsPage) {
    EXPECT_EQ(mapper.extent(pages + 4000, 9000, Direction::to_device), 9000u);
    EXPECT_EQ(mapper.extent(pages + 4000, 200, Direction::to_device), 96u);
    EXPECT_EQ(mapper.map(pages + 4000, 200, Direction::to_device).error(), Error::invalid_argument);
    const Result<Iova> mapped = mapper.map(pages + 4000, 9000, Direction::to_device);
    ASSERT_TRUE(mapped.ok());
    Bytes bytes(9000);
    EXPECT_TRUE(machine.iommu.read(mapped.value(), bytes));
    mapper.unmap(mapped.value(), 9000, Direction::to_device, 0);
}

TEST_F(HybridCopyTest, WhatTheDeviceWritesArrivesEitherWay) {
    std::mt19937 random{5};
    for (int i = 0; i < 300; ++i) {
        const std::uint64_t offset = random() % 2000;
        const auto length = static_cast<std::uint32_t>(1 + random() % 2090);
        const Memory buffer = pages + offset;
        std::memset(machine.at(buffer, length), 0xee, length);
        const Result<Iova> iova = mapper.map(buffer, length, Direction::from_device);
        ASSERT_TRUE(iova.ok());
        const Bytes written(length, std::byte{static_cast<unsigned char>(i)});
        ASSERT_TRUE(machine.iommu.write(iova.value(), written));
        mapper.unmap(iova.value(), length, Direction::from_device, length);
        ASSERT_EQ(std::memcmp(machine.at(buffer, length), written.data(), length), 0);
        Bytes late(1);
        if (length > threshold) {
            ASSERT_FALSE(machine.iommu.write(iova.value(), late));
        }
    }
}

TEST_F(HybridCopyTest, AListIsCopiedOrMappedByTheLengthOfAllOfIt) {
    std::array<DeviceSegment, 4> room{};
    const std::vector<Segment> segments{{pages, 1024}, {pages + 8192, 476}};
    const std::uint64_t pools = machine.domain.live();
    auto count = mapper.map_list(segments, Direction::to_device, room);
    ASSERT_TRUE(count.ok());
    EXPECT_EQ(machine.domain.live(), pools);
    mapper.unmap_list({room.data(), count.value()}, Direction::to_device, 0);
    const std::vector<Segment> longer{{pages, 1024}, {pages + 8192, 477}};
    count = mapper.map_list(longer, Direction::to_device, room);
    ASSERT_TRUE(count.ok());
    EXPECT_EQ(machine.domain.live(), pools + 1) << "as one range";
    mapper.unmap_list({room.data(), count.value()}, Direction::to_device, 0);
    EXPECT_EQ(machine.domain.live(), pools);
}

TEST_F(HybridCopyTest, AThresholdOfNothingMapsAllAndOneOutOfRangeIsRefused) {
    mapper.release_all();
    EXPECT_EQ(mapper.set_up({.to_device = 8, .from_device = 8}, parameters::copy_threshold.most + 1).error(),
              Error::invalid_argument);
    ASSERT_TRUE(mapper.set_up({.to_device = 8, .from_device = 8}, 0).ok());
    const Iova iova = mapper.map(pages, 1, Direction::to_device).value();
    EXPECT_TRUE(machine.iommu.exposed(pages, Access::read));
    mapper.unmap(iova, 1, Direction::to_device, 0);
}

}  // namespace
}  // namespace dmatoll::test
