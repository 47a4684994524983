// SPDX-License-Identifier: BSD-2-Clause
// Strategy `persistent` with large pages: which chunks of memory are mapped by one entry, which never, and
// that nothing is left behind.
#include <gtest/gtest.h>

#include <array>
#include <functional>
#include <utility>
#include <vector>

#include "machine.hpp"

namespace dmatoll::test {
namespace {

using model::Access;

constexpr std::uint64_t pages_in_chunk = large_page_bytes / page_bytes;

// The first byte of the nth chunk.
constexpr Memory chunk(std::uint64_t n) { return Memory{n * large_page_bytes}; }
// As a range of memory that ends there.
constexpr Memory before(Memory end) { return Memory{end.address - 1}; }

class LargePageTest : public testing::Test {
  protected:
    void cover(std::span<const MemoryRange> ranges, std::span<const IovaRange> holes = {}) {
        memory_ranges.assign(ranges.begin(), ranges.end());
        reserved.assign(holes.begin(), holes.end());
        const CachePages pages{.bytes = large_page_bytes, .memory = memory_ranges, .reserved = reserved};
        ASSERT_TRUE(mapper.cover(Memory{0}, ranges.back().last, pages).ok());
    }
    // The pages of a chunk that the device can reach.
    std::uint64_t exposed_pages(Memory start, Access access) const {
        std::uint64_t count = 0;
        for (std::uint64_t i = 0; i < pages_in_chunk; ++i) {
            count += machine.iommu.exposed(start + i * page_bytes, access) ? 1 : 0;
        }
        return count;
    }
    Iova touch(Memory memory, Direction direction = Direction::to_device) {
        const Result<Iova> iova = mapper.map(memory, 1, direction);
        EXPECT_TRUE(iova.ok()) << std::hex << memory.address;
        return iova.ok() ? iova.value() : Iova{};
    }
    ~LargePageTest() override {
        mapper.release_all();
        EXPECT_EQ(machine.iommu.mapped_pages(), 0u);
        EXPECT_EQ(machine.domain.live(), 0u);
        EXPECT_EQ(machine.domain.quarantined(), 0u);
        EXPECT_EQ(machine.platform.tables_out(), machine.tables_at_start);
        EXPECT_EQ(machine.platform.misuses(), 0u);
    }

    // The mapper looks at them until the end.
    std::vector<MemoryRange> memory_ranges;
    std::vector<IovaRange> reserved;
    Machine machine;
    PersistentMapper mapper{machine.domain, machine.platform};
    // As on a PC: page 0 belongs to the firmware.
    const std::array<MemoryRange, 1> all{MemoryRange{Memory{page_bytes}, Memory{machine.memory.bytes() - 1}}};
};

TEST_F(LargePageTest, TheFirstTouchMapsTheWholeChunkByOneEntry) {
    cover(all);
    machine.memory.allocate_pages(4 * pages_in_chunk);  // from page 1 on: chunk 3 is among them
    const Iova inside = touch(chunk(3) + 77 * page_bytes + 5);
    EXPECT_EQ(inside.value % large_page_bytes, 77 * page_bytes + 5) << "the entry is aligned to its size";
    EXPECT_EQ(machine.iommu.counts().maps, 1u);
    EXPECT_EQ(exposed_pages(chunk(3), Access::read), pages_in_chunk);
    EXPECT_EQ(machine.iommu.mapped_pages(), pages_in_chunk) << "and none of its neighbours";

    for (std::uint64_t page = 0; page < pages_in_chunk; ++page) {
        const Memory memory = chunk(3) + page * page_bytes;
        const Iova iova = touch(memory);
        EXPECT_EQ(iova.value, inside.value - 77 * page_bytes - 5 + page * page_bytes);
        *machine.at(memory) = static_cast<std::byte>(page);
        Bytes seen(1);
        ASSERT_TRUE(machine.iommu.read(iova, seen));
        EXPECT_EQ(seen[0], static_cast<std::byte>(page));
    }
    EXPECT_EQ(machine.iommu.counts().maps, 1u);
    EXPECT_EQ(mapper.counters().first_touches, 1u);
    EXPECT_EQ(mapper.cached().large, 1u);
    EXPECT_EQ(mapper.cached().small, 0u);
}

TEST_F(LargePageTest, AChunkIsMappedForItsDirectionOnly) {
    cover(all);
    const Iova out = touch(chunk(1), Direction::to_device);
    EXPECT_EQ(exposed_pages(chunk(1), Access::write), 0u);
    const Iova in = touch(chunk(1) + page_bytes, Direction::from_device);
    EXPECT_EQ(mapper.cached().large, 2u);
    for (std::uint64_t page = 0; page < pages_in_chunk; ++page) {
        EXPECT_FALSE(machine.iommu.reachable(out + page * page_bytes, Access::write));
        EXPECT_FALSE(machine.iommu.reachable(Iova{in.value - page_bytes} + page * page_bytes, Access::read));
    }
}

TEST_F(LargePageTest, AChunkWithAGapIsMappedBySmallPages) {
    const Memory gap = chunk(2) + large_page_bytes / 2;
    const std::array ranges{MemoryRange{Memory{page_bytes}, before(gap)},
                            MemoryRange{gap + page_bytes, before(chunk(5))}};
    cover(ranges);
    touch(chunk(2));
    touch(gap + page_bytes);
    EXPECT_EQ(exposed_pages(chunk(2), Access::read), 2u);
    EXPECT_FALSE(machine.iommu.exposed(gap, Access::read));
    touch(chunk(1));
    touch(chunk(3));
    EXPECT_EQ(exposed_pages(chunk(1), Access::read), pages_in_chunk);
    EXPECT_EQ(exposed_pages(chunk(3), Access::read), pages_in_chunk);
    EXPECT_EQ(mapper.cached().small, 2u);
    EXPECT_EQ(mapper.cached().large, 2u);
    EXPECT_EQ(mapper.counters().maps, 4u);
}

TEST_F(LargePageTest, AChunkThatMemoryBeginsOrEndsInIsMappedBySmallPages) {
    // Ends a byte too early for chunk 7.
    const std::array ranges{MemoryRange{Memory{page_bytes}, Memory{chunk(8).address - 2}}};
    cover(ranges);
    touch(chunk(0) + page_bytes);
    touch(chunk(7));
    touch(chunk(6));
    EXPECT_EQ(exposed_pages(chunk(0), Access::read), 1u);
    EXPECT_EQ(exposed_pages(chunk(7), Access::read), 1u);
    EXPECT_EQ(exposed_pages(chunk(6), Access::read), pages_in_chunk);
}

TEST_F(LargePageTest, AChunkThatTouchesWhatIsReservedIsMappedBySmallPages) {
    // The last byte of chunk 1, the first of chunk 4, all of chunks 6 and 7.
    const std::array holes{IovaRange{chunk(4).address, chunk(4).address},
                           IovaRange{chunk(2).address - 1, chunk(2).address - 1},
                           IovaRange{chunk(6).address, chunk(8).address - 1}};
    cover(all, holes);
    for (std::uint64_t n = 1; n <= 8; ++n) {
        touch(chunk(n) + 3 * page_bytes);
        const bool small = n == 1 || n == 4 || n == 6 || n == 7;
        EXPECT_EQ(exposed_pages(chunk(n), Access::read), small ? 1u : pages_in_chunk) << n;
    }
    EXPECT_EQ(mapper.cached().small, 4u);
    EXPECT_EQ(mapper.cached().large, 4u);
}

TEST_F(LargePageTest, ReleaseAllLeavesNothingOfEitherSize) {
    cover(all);
    for (std::uint64_t n = 0; n < 10; ++n) {
        touch(chunk(n) + page_bytes, Direction::to_device);
        touch(chunk(n) + 2 * page_bytes, Direction::from_device);
    }
    ASSERT_TRUE(mapper.premap(chunk(20), 3 * large_page_bytes, Direction::bidirectional).ok());
    EXPECT_EQ(machine.domain.live(), 2u + 2u * 9u + 1u);
    mapper.release_all();
    EXPECT_EQ(machine.iommu.mapped_pages(), 0u);
    EXPECT_EQ(machine.domain.live(), 0u);
    EXPECT_EQ(mapper.cached().large, 0u);
    // And it can begin again, by small pages this time.
    ASSERT_TRUE(mapper.cover(Memory{0}, all.back().last).ok());
    touch(chunk(3));
    EXPECT_EQ(machine.iommu.mapped_pages(), 1u);
}

TEST_F(LargePageTest, ARefusedFirstTouchIsNotRemembered) {
    cover(all);
    const std::size_t tables = machine.platform.tables_out();
    machine.iommu.refuse_maps(0);
    EXPECT_EQ(mapper.map(chunk(1), 1, Direction::to_device).error(), Error::mapping_failed);
    EXPECT_EQ(mapper.counters().failures, 1u);
    machine.platform.refuse_allocation(0);
    EXPECT_EQ(mapper.map(chunk(1), 1, Direction::to_device).error(), Error::no_memory);
    EXPECT_EQ(machine.platform.tables_out(), tables);
    EXPECT_EQ(machine.iommu.mapped_pages(), 0u);
    touch(chunk(1));
    EXPECT_EQ(exposed_pages(chunk(1), Access::read), pages_in_chunk);
}

// What another CPU does while this one asks for the memory of a leaf.
class MeetingPlatform : public ModelPlatform {
  public:
    using ModelPlatform::ModelPlatform;
    Result<void*> allocate(std::size_t bytes) {
        if (const auto other = std::exchange(meanwhile, nullptr)) other();
        return ModelPlatform::allocate(bytes);
    }

    std::function<void()> meanwhile;
};

TEST(LargePages, CpusThatMeetOneChunkAgreeOnOneMapping) {
    Machine machine;
    MeetingPlatform platform{machine.device, machine.memory, machine.domain};
    Persistent<ModelDomain, MeetingPlatform> mapper{machine.domain, platform};
    const std::array memory{MemoryRange{Memory{0}, Memory{machine.memory.bytes() - 1}}};
    ASSERT_TRUE(
        mapper.cover(memory[0].first, memory[0].last, {.bytes = large_page_bytes, .memory = memory}).ok());
    const std::size_t tables = platform.tables_out();
    Iova other{};
    platform.meanwhile = [&] { other = mapper.map(chunk(1) + page_bytes, 1, Direction::to_device).value(); };
    const Iova own = mapper.map(chunk(1), 1, Direction::to_device).value();
    EXPECT_EQ(other, own + page_bytes);
    EXPECT_EQ(machine.domain.live(), 1u);
    EXPECT_EQ(machine.iommu.mapped_pages(), pages_in_chunk) << "the loser took its own back";
    EXPECT_EQ(platform.tables_out(), tables + 1);
    mapper.release_all();
    EXPECT_EQ(machine.iommu.mapped_pages(), 0u);
    EXPECT_EQ(platform.tables_out(), 0u);
}

TEST_F(LargePageTest, OtherSizesAreRefused) {
    for (const std::uint64_t bytes :
         {std::uint64_t{0}, page_bytes / 2, 2 * page_bytes, std::uint64_t{1} << 30}) {
        EXPECT_EQ(mapper.cover(Memory{0}, all.back().last, {.bytes = bytes, .memory = all}).error(),
                  Error::invalid_argument)
            << bytes;
    }
}

}  // namespace
}  // namespace dmatoll::test
