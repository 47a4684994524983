// SPDX-License-Identifier: BSD-2-Clause
// Buffers in pieces under each strategy: what the device is told, what it reaches, and what is left afterwards.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <vector>

#include "core/mapper.hpp"
#include "machine.hpp"
#include "mapping/scatter_list.hpp"

namespace dmatoll::test {
namespace {

static_assert(ScatterMapper<StrictMapper>);
static_assert(ScatterMapper<DeferredMapper>);
static_assert(ScatterMapper<CopyMapper>);
static_assert(ScatterMapper<PersistentMapper>);
static_assert(ScatterMapper<ContiguousMapper>);
static_assert(ScatterMapper<HybridCopyMapper>);
static_assert(ScatterMapper<SharedMapper>);
static_assert(ScatterMapper<OptimisticMapper>);
static_assert(ScatterMapper<OnDemandMapper>);

// Pages of the test's own, apart from each other.
std::vector<Memory> scattered_pages(Machine& machine, std::size_t count) {
    std::vector<Memory> pages;
    for (std::size_t i = 0; i < count; ++i) {
        pages.push_back(machine.memory.allocate_pages(1));
        machine.memory.allocate_pages(1);
    }
    return pages;
}

std::uint64_t length_of(std::span<const DeviceSegment> mapped) {
    std::uint64_t sum = 0;
    for (const DeviceSegment& piece : mapped) sum += piece.length;
    return sum;
}

template <class M>
class ScatterListTest : public testing::Test {
  protected:
    void TearDown() override { mapper->release_all(); }

    Machine machine;
    std::unique_ptr<M> mapper = make_mapper(machine, static_cast<M*>(nullptr));
    std::array<DeviceSegment, 16> room{};

    // As the device would: from or to its addresses, piece by piece.
    std::vector<std::byte> read(std::span<const DeviceSegment> mapped) {
        std::vector<std::byte> bytes;
        for (const DeviceSegment& piece : mapped) {
            std::vector<std::byte> part(piece.length);
            EXPECT_TRUE(machine.iommu.read(piece.iova, part));
            bytes.insert(bytes.end(), part.begin(), part.end());
        }
        return bytes;
    }
    void write(std::span<const DeviceSegment> mapped, std::byte value) {
        for (const DeviceSegment& piece : mapped) {
            EXPECT_TRUE(machine.iommu.write(piece.iova, std::vector<std::byte>(piece.length, value)));
        }
    }
};

TYPED_TEST_SUITE(ScatterListTest, EveryMapper, StrategyNames);

TYPED_TEST(ScatterListTest, TheDeviceReadsThePiecesInOrder) {
    const auto pages = scattered_pages(this->machine, 3);
    const std::vector<Segment> segments{{pages[2] + 512, 3584}, {pages[0], 4096}, {pages[1], 1024}};
    std::vector<std::byte> expected;
    std::uint8_t value = 1;
    for (const Segment& segment : segments) {
        std::byte* const bytes = this->machine.at(segment.memory, segment.length);
        for (std::uint32_t i = 0; i < segment.length; ++i) bytes[i] = std::byte{value++};
        expected.insert(expected.end(), bytes, bytes + segment.length);
    }
    const auto count = this->mapper->map_list(segments, Direction::to_device, this->room);
    ASSERT_TRUE(count.ok());
    const std::span mapped{this->room.data(), count.value()};
    EXPECT_EQ(length_of(mapped), expected.size());
    EXPECT_EQ(this->read(mapped), expected);
    this->mapper->unmap_list(mapped, Direction::to_device, 0);
}

TYPED_TEST(ScatterListTest, WhatTheDeviceWroteReachesEachPiece) {
    const auto pages = scattered_pages(this->machine, 3);
    const std::vector<Segment> segments{{pages[0] + 1024, 3072}, {pages[2], 4096}, {pages[1], 512}};
    const auto count = this->mapper->map_list(segments, Direction::from_device, this->room);
    ASSERT_TRUE(count.ok());
    const std::span mapped{this->room.data(), count.value()};
    this->write(mapped, std::byte{0xa5});
    this->mapper->unmap_list(mapped, Direction::from_device, 3072 + 4096 + 512);
    for (const Segment& segment : segments) {
        const std::byte* const bytes = this->machine.at(segment.memory, segment.length);
        EXPECT_TRUE(std::all_of(bytes, bytes + segment.length, [](std::byte b) { return b == std::byte{0xa5}; }));
    }
    // Beside the pieces nothing was written.
    EXPECT_EQ(*this->machine.at(pages[0] + 1023), std::byte{0});
    EXPECT_EQ(*this->machine.at(pages[1] + 512), std::byte{0});
}

TYPED_TEST(ScatterListTest, NoRoomIsRefusedAndLeavesNothing) {
    const auto pages = scattered_pages(this->machine, 3);
    const std::vector<Segment> segments{{pages[0], 4096}, {pages[2], 4096}, {pages[1], 4096}};
    EXPECT_EQ(this->mapper->map_list(segments, Direction::to_device, {}).error(), Error::invalid_argument);
    EXPECT_EQ(this->mapper->map_list({}, Direction::to_device, this->room).error(), Error::invalid_argument);
    this->mapper->release_all();
    EXPECT_EQ(this->machine.domain.live(), 0u);
}

TEST(ScatterList, OneRangeAndOneUnmappingForARequestUnderStrict) {
    Machine machine;
    StrictMapper mapper{machine.domain};
    const auto pages = scattered_pages(machine, 4);
    // As the block layer gives them: all but the first begin on a page, all but the last end on one.
    const std::vector<Segment> segments{{pages[3] + 3584, 512}, {pages[0], 4096}, {pages[2], 4096}, {pages[1], 2048}};
    std::array<DeviceSegment, 4> room{};
    const auto count = mapper.map_list(segments, Direction::from_device, room);
    ASSERT_TRUE(count.ok());
    ASSERT_EQ(count.value(), 1u);
    EXPECT_EQ(room[0].length, 512u + 4096 + 4096 + 2048);
    EXPECT_EQ(mapper.counters().maps, 1u);
    mapper.unmap_list({room.data(), 1}, Direction::from_device, 0);
    EXPECT_EQ(mapper.counters().unmaps, 1u);
    EXPECT_EQ(mapper.counters().invalidations, 1u);
    EXPECT_EQ(machine.domain.live(), 0u);
    std::byte byte{};
    EXPECT_FALSE(machine.iommu.write(room[0].iova, {&byte, 1}));
    EXPECT_FALSE(machine.iommu.write(room[0].iova + (room[0].length - 1), {&byte, 1}));
}

TEST(ScatterList, OtherShapesHaveAnEntryForEachGap) {
    Machine machine;
    StrictMapper mapper{machine.domain};
    const auto pages = scattered_pages(machine, 2);
    const std::vector<Segment> segments{{pages[0] + 100, 50}, {pages[0] + 150, 50}, {pages[1] + 8, 16}};
    std::array<DeviceSegment, 3> room{};
    const auto count = mapper.map_list(segments, Direction::to_device, room);
    ASSERT_TRUE(count.ok());
    EXPECT_EQ(count.value(), 3u);
    mapper.unmap_list({room.data(), count.value()}, Direction::to_device, 0);
    EXPECT_EQ(machine.domain.live(), 0u);
}

TEST(ScatterList, ARefusalInTheMiddleTakesBackWhatWasMapped) {
    Machine machine;
    StrictMapper mapper{machine.domain};
    const auto pages = scattered_pages(machine, 3);
    const std::vector<Segment> segments{{pages[0], 4096}, {pages[1], 4096}, {pages[2], 4096}};
    std::array<DeviceSegment, 3> room{};
    machine.iommu.refuse_maps(2);
    EXPECT_EQ(mapper.map_list(segments, Direction::to_device, room).error(), Error::mapping_failed);
    EXPECT_EQ(machine.domain.live(), 0u);
    EXPECT_EQ(mapper.counters().failures, 1u);
    EXPECT_EQ(machine.iommu.mapped_pages(), 0u);
    const auto again = mapper.map_list(segments, Direction::to_device, room);
    ASSERT_TRUE(again.ok());
    mapper.unmap_list({room.data(), again.value()}, Direction::to_device, 0);
    EXPECT_EQ(machine.domain.live(), 0u);
}

TEST(ScatterList, CopyGivesTheSlotsOfAListBackWhenTheyRunOut) {
    Machine machine;
    CopyMapper mapper{machine.domain, machine.platform};
    ASSERT_TRUE(mapper.set_up({.to_device = 4, .from_device = 4}).ok());
    const auto pages = scattered_pages(machine, 5);
    std::vector<Segment> segments;
    for (const Memory page : pages) segments.push_back({page, 4096});
    std::array<DeviceSegment, 8> room{};
    EXPECT_EQ(mapper.map_list(segments, Direction::from_device, room).error(), Error::no_memory);
    segments.pop_back();
    const auto count = mapper.map_list(segments, Direction::from_device, room);
    ASSERT_TRUE(count.ok());
    EXPECT_EQ(count.value(), 4u);
    // Only what is wanted is copied: the first page and a half.
    for (std::uint32_t i = 0; i < count.value(); ++i) {
        EXPECT_TRUE(machine.iommu.write(room[i].iova, std::vector<std::byte>(room[i].length, std::byte{7})));
    }
    mapper.unmap_list({room.data(), count.value()}, Direction::from_device, 4096 + 2048);
    EXPECT_EQ(*machine.at(pages[1] + 2047), std::byte{7});
    EXPECT_EQ(*machine.at(pages[1] + 2048), std::byte{0});
    EXPECT_EQ(*machine.at(pages[2]), std::byte{0});
    mapper.release_all();
}

TEST(ScatterList, PersistentTellsAPoolAsOnePiece) {
    Machine machine;
    PersistentMapper mapper{machine.domain, machine.platform};
    const Memory pool = machine.memory.allocate_pages(64);
    ASSERT_TRUE(mapper.premap(pool, 64 * page_bytes, Direction::bidirectional).ok());
    const std::vector<Segment> segments{{pool + 4096, 8192}, {pool + 12288, 4096}};
    std::array<DeviceSegment, 2> room{};
    const auto count = mapper.map_list(segments, Direction::to_device, room);
    ASSERT_TRUE(count.ok());
    EXPECT_EQ(count.value(), 1u);
    EXPECT_EQ(room[0].length, 12288u);
    mapper.unmap_list({room.data(), 1}, Direction::to_device, 0);
    mapper.release_all();
}

}  // namespace
}  // namespace dmatoll::test
