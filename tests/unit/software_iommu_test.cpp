// SPDX-License-Identifier: BSD-2-Clause
// The model's IOMMU itself: what it lets through, what it refuses, and what its IOTLB remembers.
#include <gtest/gtest.h>

#include <array>
#include <cstring>

#include "machine.hpp"

namespace dmatoll::test {
namespace {

using model::Access;
using model::FaultReason;

class SoftwareIommuTest : public testing::Test {
  protected:
    bool read(Iova iova, std::size_t bytes = 8) {
        Bytes sink(bytes);
        return iommu.read(iova, sink);
    }
    bool write(Iova iova, std::size_t bytes = 8) { return iommu.write(iova, Bytes(bytes, std::byte{0x5a})); }

    model::PhysicalMemory memory{1 << 20};
    model::SoftwareIommu iommu{memory};
    Memory page = memory.allocate_pages(4);
    static constexpr Iova iova{0x10'0000};
};

TEST_F(SoftwareIommuTest, LetsThroughWhatIsMappedInThatDirection) {
    ASSERT_TRUE(iommu.map(iova, page, page_bytes, Direction::bidirectional).ok());
    EXPECT_TRUE(write(iova + 100));
    EXPECT_EQ(*memory.at(page + 100), std::byte{0x5a});
    Bytes back(8);
    EXPECT_TRUE(iommu.read(iova + 100, back));
    EXPECT_EQ(back, Bytes(8, std::byte{0x5a}));
    EXPECT_TRUE(iommu.faults().empty());
}

TEST_F(SoftwareIommuTest, RefusesWhatIsNotMapped) {
    EXPECT_FALSE(read(iova));
    ASSERT_EQ(iommu.faults().size(), 1u);
    EXPECT_EQ(iommu.faults()[0].iova, iova);
    EXPECT_EQ(iommu.faults()[0].access, Access::read);
    EXPECT_EQ(iommu.faults()[0].reason, FaultReason::not_mapped);
}

TEST_F(SoftwareIommuTest, RefusesTheOtherDirectionWithAndWithoutIotlb) {
    ASSERT_TRUE(iommu.map(iova, page, page_bytes, Direction::to_device).ok());
    EXPECT_FALSE(write(iova));
    EXPECT_TRUE(read(iova));
    EXPECT_FALSE(write(iova));
    ASSERT_EQ(iommu.faults().size(), 2u);
    EXPECT_EQ(iommu.faults()[1].reason, FaultReason::wrong_direction);
    EXPECT_EQ(*memory.at(page), std::byte{0});
}

TEST_F(SoftwareIommuTest, RefusesBeyondItsWidth) {
    EXPECT_FALSE(read(Iova{std::uint64_t{1} << 39}));
    EXPECT_EQ(iommu.faults().at(0).reason, FaultReason::beyond_address_width);
    EXPECT_FALSE(iommu.map(Iova{std::uint64_t{1} << 39}, page, page_bytes, Direction::to_device).ok());
    EXPECT_FALSE(
        iommu.map(Iova{(std::uint64_t{1} << 39) - page_bytes}, page, 2 * page_bytes, Direction::to_device)
            .ok());
}

TEST_F(SoftwareIommuTest, AnAccessAcrossPagesStopsAtTheOneThatIsRefused) {
    ASSERT_TRUE(iommu.map(iova, page, page_bytes, Direction::from_device).ok());
    EXPECT_FALSE(write(iova + (page_bytes - 4), 8));
    EXPECT_EQ(*memory.at(page + (page_bytes - 1)), std::byte{0x5a});
    EXPECT_EQ(*memory.at(page + page_bytes), std::byte{0});
    EXPECT_EQ(iommu.faults().at(0).iova, iova + page_bytes);
}

TEST_F(SoftwareIommuTest, UnmapNowLeavesNothing) {
    ASSERT_TRUE(iommu.map(iova, page, page_bytes, Direction::to_device).ok());
    ASSERT_TRUE(read(iova));
    ASSERT_TRUE(iommu.unmap(iova, page_bytes, Invalidate::now).ok());
    EXPECT_FALSE(iommu.reachable(iova, Access::read));
    EXPECT_FALSE(read(iova));
    EXPECT_TRUE(iommu.stale_accesses().empty());
}

TEST_F(SoftwareIommuTest, UnmapLaterLeavesAWindowForWhatWasCached) {
    ASSERT_TRUE(iommu.map(iova, page, 2 * page_bytes, Direction::from_device).ok());
    ASSERT_TRUE(write(iova));  // the second page is never touched, so never cached
    ASSERT_TRUE(iommu.unmap(iova, 2 * page_bytes, Invalidate::later).ok());
    EXPECT_TRUE(write(iova)) << "the IOTLB still has it";
    EXPECT_FALSE(write(iova + page_bytes)) << "this one never was in it";
    ASSERT_EQ(iommu.stale_accesses().size(), 1u);
    EXPECT_EQ(iommu.stale_accesses()[0].reached, page);
    EXPECT_TRUE(iommu.invalidate_all().ok());
    EXPECT_FALSE(write(iova));
    EXPECT_EQ(iommu.stale_accesses().size(), 1u);
}

TEST_F(SoftwareIommuTest, AnInvalidationThatTimesOutSaysSoAndLeavesWhatWasCached) {
    ASSERT_TRUE(iommu.map(iova, page, page_bytes, Direction::from_device).ok());
    ASSERT_TRUE(write(iova));
    iommu.time_out_invalidations(0, 2);
    EXPECT_EQ(iommu.unmap(iova, page_bytes, Invalidate::now).error(), Error::timed_out);
    EXPECT_TRUE(write(iova));
    EXPECT_EQ(iommu.invalidate_all().error(), Error::timed_out);
    EXPECT_TRUE(write(iova));
    EXPECT_TRUE(iommu.invalidate_all().ok());
    EXPECT_FALSE(write(iova));
    EXPECT_EQ(iommu.counts().invalidations, 3u);
}

TEST_F(SoftwareIommuTest, AStaleEntryLeadsToTheOldMemoryWhenTheIovaIsUsedAgain) {
    ASSERT_TRUE(iommu.map(iova, page, page_bytes, Direction::from_device).ok());
    ASSERT_TRUE(write(iova));
    ASSERT_TRUE(iommu.unmap(iova, page_bytes, Invalidate::later).ok());
    std::memset(memory.at(page), 0, page_bytes);
    ASSERT_TRUE(iommu.map(iova, page + page_bytes, page_bytes, Direction::from_device).ok());
    EXPECT_TRUE(write(iova));
    EXPECT_EQ(*memory.at(page), std::byte{0x5a});
    EXPECT_EQ(*memory.at(page + page_bytes), std::byte{0});
    EXPECT_EQ(iommu.stale_accesses().size(), 1u);
    EXPECT_TRUE(iommu.exposed(page, Access::write));
}

TEST_F(SoftwareIommuTest, TheIotlbForgetsTheOldest) {
    model::SoftwareIommu small{memory, 39, 1};
    ASSERT_TRUE(small.map(iova, page, 2 * page_bytes, Direction::to_device).ok());
    Bytes sink(1);
    ASSERT_TRUE(small.read(iova, sink));
    ASSERT_TRUE(small.read(iova + page_bytes, sink));
    ASSERT_TRUE(small.unmap(iova, 2 * page_bytes, Invalidate::later).ok());
    EXPECT_FALSE(small.read(iova, sink));
    EXPECT_TRUE(small.read(iova + page_bytes, sink));
}

TEST_F(SoftwareIommuTest, RefusesMappingsThatNobodyCanMean) {
    EXPECT_EQ(iommu.map(iova + 1, page, page_bytes, Direction::to_device).error(), Error::invalid_argument);
    EXPECT_EQ(iommu.map(iova, page + 1, page_bytes, Direction::to_device).error(), Error::invalid_argument);
    EXPECT_EQ(iommu.map(iova, page, 100, Direction::to_device).error(), Error::invalid_argument);
    EXPECT_EQ(iommu.map(iova, page, 0, Direction::to_device).error(), Error::invalid_argument);
    EXPECT_EQ(iommu.map(Iova{0}, page, page_bytes, Direction::to_device).error(), Error::mapping_failed);
    EXPECT_EQ(iommu.map(iova, Memory{memory.bytes()}, page_bytes, Direction::to_device).error(),
              Error::mapping_failed);
    ASSERT_TRUE(iommu.map(iova, page, 2 * page_bytes, Direction::to_device).ok());
    EXPECT_EQ(iommu.map(iova + page_bytes, page, page_bytes, Direction::to_device).error(),
              Error::mapping_failed);
    EXPECT_EQ(iommu.unmap(iova, page_bytes, Invalidate::now).error(), Error::mapping_failed)
        << "half of a range";
    EXPECT_EQ(iommu.unmap(iova + page_bytes, page_bytes, Invalidate::now).error(), Error::mapping_failed);
    EXPECT_TRUE(iommu.unmap(iova, 2 * page_bytes, Invalidate::now).ok());
    EXPECT_EQ(iommu.unmap(iova, 2 * page_bytes, Invalidate::now).error(), Error::mapping_failed) << "twice";
    EXPECT_EQ(iommu.mapped_pages(), 0u);
}

TEST_F(SoftwareIommuTest, InjectedRefusalsHitTheCallThatWasMeant) {
    iommu.refuse_maps(1, 2);
    EXPECT_TRUE(iommu.map(iova, page, page_bytes, Direction::to_device).ok());
    EXPECT_EQ(iommu.map(iova + page_bytes, page, page_bytes, Direction::to_device).error(),
              Error::mapping_failed);
    EXPECT_EQ(iommu.map(iova + page_bytes, page, page_bytes, Direction::to_device).error(),
              Error::mapping_failed);
    EXPECT_TRUE(iommu.map(iova + page_bytes, page, page_bytes, Direction::to_device).ok());
    iommu.refuse_unmaps(0);
    EXPECT_EQ(iommu.unmap(iova, page_bytes, Invalidate::now).error(), Error::mapping_failed);
    EXPECT_TRUE(iommu.reachable(iova, Access::read)) << "a refused unmapping changes nothing";
    EXPECT_TRUE(iommu.unmap(iova, page_bytes, Invalidate::now).ok());
}

TEST(PhysicalMemory, HandsOutZeroedPagesOnceAndNeverOffsetZero) {
    model::PhysicalMemory memory{16 * page_bytes};
    const Memory first = memory.allocate_pages(2);
    const Memory second = memory.allocate_pages(3);
    EXPECT_NE(first.address, 0u);
    EXPECT_GE(second.address, first.address + 2 * page_bytes);
    EXPECT_EQ(memory.pages_in_use(), 5u);
    std::memset(memory.at(first), 0xff, 2 * page_bytes);
    memory.free_pages(first, 2);
    EXPECT_THROW(memory.free_pages(first, 2), std::logic_error);
    const Memory again = memory.allocate_pages(2);
    EXPECT_EQ(again, first);
    EXPECT_EQ(*memory.at(again), std::byte{0});
    EXPECT_THROW(static_cast<void>(memory.allocate_pages(100)), std::bad_alloc);
    EXPECT_THROW(static_cast<void>(memory.at(Memory{memory.bytes() - 1}, 2)), std::out_of_range);
}

}  // namespace
}  // namespace dmatoll::test
