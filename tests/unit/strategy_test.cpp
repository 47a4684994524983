// SPDX-License-Identifier: BSD-2-Clause
// The mapping strategies over the software IOMMU, without a driver.
#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "machine.hpp"

namespace dmatoll::test {
namespace {

using model::Access;

class StrictTest : public testing::Test {
  protected:
    Machine machine;
    StrictMapper mapper{machine.domain};
    Memory pages = machine.memory.allocate_pages(32);
};

TEST_F(StrictTest, MapsTheBufferInItsDirectionAndKeepsTheOffset) {
    const Result<Iova> iova = mapper.map(pages + 100, 200, Direction::to_device);
    ASSERT_TRUE(iova.ok());
    EXPECT_EQ(offset_in_page(iova.value().value), 100u);
    Bytes seen(200);
    *machine.at(pages + 100) = std::byte{7};
    EXPECT_TRUE(machine.iommu.read(iova.value(), seen));
    EXPECT_EQ(seen[0], std::byte{7});
    EXPECT_FALSE(machine.iommu.write(iova.value(), seen));
    mapper.unmap(iova.value(), 200, Direction::to_device, 0);
}

TEST_F(StrictTest, LeavesNoTranslationAfterUnmap) {
    std::mt19937 random{7};
    for (int i = 0; i < 500; ++i) {
        const std::uint64_t offset = random() % (8 * page_bytes);
        const auto length = static_cast<std::uint32_t>(1 + random() % (5 * page_bytes));
        const Direction direction = random() % 2 == 0 ? Direction::to_device : Direction::from_device;
        const Access access = direction == Direction::to_device ? Access::read : Access::write;
        const Result<Iova> iova = mapper.map(pages + offset, length, direction);
        ASSERT_TRUE(iova.ok());
        Bytes bytes(length);
        ASSERT_TRUE(access == Access::read ? machine.iommu.read(iova.value(), bytes)
                                           : machine.iommu.write(iova.value(), bytes));
        mapper.unmap(iova.value(), length, direction, 0);
        for (std::uint64_t at = 0; at < length + page_bytes; at += page_bytes) {
            ASSERT_FALSE(machine.iommu.reachable(iova.value() + at, access));
        }
        ASSERT_FALSE(machine.iommu.exposed(pages + offset, access));
    }
    EXPECT_EQ(machine.iommu.mapped_pages(), 0u);
    EXPECT_TRUE(machine.iommu.stale_accesses().empty());
    EXPECT_EQ(machine.domain.live(), 0u);
}

TEST_F(StrictTest, InvalidatesOnceForEachUnmap) {
    for (int i = 0; i < 10; ++i) {
        const Result<Iova> iova = mapper.map(pages, 3 * page_bytes, Direction::to_device);
        mapper.unmap(iova.value(), 3 * page_bytes, Direction::to_device, 0);
    }
    const MappingCounters counters = mapper.counters();
    EXPECT_EQ(counters.maps, 10u);
    EXPECT_EQ(counters.unmaps, 10u);
    EXPECT_EQ(counters.invalidations, 10u);
    EXPECT_EQ(counters.first_touches, 0u);
    EXPECT_EQ(counters.failures, 0u);
    // What it counts is what the IOMMU saw.
    EXPECT_EQ(machine.iommu.counts().maps, 10u);
    EXPECT_EQ(machine.iommu.counts().unmaps, 10u);
    EXPECT_EQ(machine.iommu.counts().invalidations, 10u);
}

TEST_F(StrictTest, ARefusedMappingIsCountedAndItsIovaFree) {
    machine.iommu.refuse_maps(0);
    EXPECT_EQ(mapper.map(pages, 100, Direction::to_device).error(), Error::mapping_failed);
    EXPECT_EQ(mapper.counters().failures, 1u);
    EXPECT_EQ(mapper.counters().maps, 0u);
    const std::uint32_t carved = machine.allocator.usual().carved();
    const Result<Iova> iova = mapper.map(pages, 100, Direction::to_device);
    ASSERT_TRUE(iova.ok());
    EXPECT_EQ(machine.allocator.usual().carved(), carved) << "the same range was used again";
    mapper.unmap(iova.value(), 100, Direction::to_device, 0);
}

TEST_F(StrictTest, ARangeWhoseUnmappingIsRefusedIsNeverUsedAgain) {
    const Result<Iova> lost = mapper.map(pages, 100, Direction::to_device);
    machine.iommu.refuse_unmaps(0);
    mapper.unmap(lost.value(), 100, Direction::to_device, 0);
    EXPECT_EQ(machine.domain.quarantined(), 1u);
    EXPECT_EQ(mapper.counters().failures, 1u);
    for (int i = 0; i < 100; ++i) {
        const Result<Iova> other = mapper.map(pages, 100, Direction::to_device);
        ASSERT_TRUE(other.ok());
        ASSERT_NE(other.value(), lost.value());
        if (i % 2 == 0) mapper.unmap(other.value(), 100, Direction::to_device, 0);
    }
}

TEST_F(StrictTest, ARangeWhoseInvalidationTimesOutIsNeverUsedAgain) {
    const Iova lost = mapper.map(pages, 100, Direction::to_device).value();
    Bytes bytes(8);
    ASSERT_TRUE(machine.iommu.read(lost, bytes));
    machine.iommu.time_out_invalidations(0);
    mapper.unmap(lost, 100, Direction::to_device, 0);
    ASSERT_TRUE(machine.iommu.reachable(lost, Access::read));
    EXPECT_EQ(machine.domain.quarantined(), 1u);
    EXPECT_EQ(mapper.counters().failures, 1u);
    for (int i = 0; i < 100; ++i) {
        const Iova other = mapper.map(pages, 100, Direction::to_device).value();
        ASSERT_NE(other, lost);
        if (i % 2 == 0) mapper.unmap(other, 100, Direction::to_device, 0);
    }
}

TEST_F(StrictTest, ExhaustedIovaSpaceIsAnError) {
    std::uint64_t mapped = 0;
    Result<Iova> iova = mapper.map(pages, 1, Direction::to_device);
    for (; iova.ok(); iova = mapper.map(pages, 1, Direction::to_device)) ++mapped;
    EXPECT_EQ(iova.error(), Error::no_iova_space);
    EXPECT_EQ(mapped, 8192u) << "the machine's allocator has that capacity";
    EXPECT_EQ(mapper.counters().failures, 1u);
}

class PersistentTest : public testing::Test {
  protected:
    void cover() { ASSERT_TRUE(mapper.cover(Memory{0}, Memory{machine.memory.bytes() - 1}).ok()); }
    ~PersistentTest() override {
        mapper.release_all();
        EXPECT_EQ(machine.iommu.mapped_pages(), 0u);
        EXPECT_EQ(machine.domain.live(), 0u);
        EXPECT_EQ(machine.platform.tables_out(), machine.tables_at_start);
        EXPECT_EQ(machine.platform.misuses(), 0u);
    }

    Machine machine;
    PersistentMapper mapper{machine.domain, machine.platform};
    Memory pages = machine.memory.allocate_pages(1024);
};

TEST_F(PersistentTest, MapsAPageAtItsFirstTouchOnly) {
    cover();
    const Iova first = mapper.map(pages + 100, 50, Direction::to_device).value();
    mapper.unmap(first, 50, Direction::to_device, 0);
    const Iova second = mapper.map(pages + 2000, 1000, Direction::to_device).value();
    EXPECT_EQ(second.value - first.value, 1900u);
    EXPECT_EQ(mapper.counters().maps, 1u);
    EXPECT_EQ(mapper.counters().first_touches, 1u);
    EXPECT_EQ(mapper.counters().unmaps, 0u);
    EXPECT_TRUE(machine.iommu.reachable(first, Access::read)) << "that is its window: unbounded";
}

TEST_F(PersistentTest, AfterWarmUpNothingIsMapped) {
    cover();
    for (int round = 0; round < 3; ++round) {
        for (std::uint64_t page = 0; page < 1024; ++page) {
            const Result<Iova> iova = mapper.map(pages + page * page_bytes, page_bytes, Direction::to_device);
            ASSERT_TRUE(iova.ok());
            mapper.unmap(iova.value(), page_bytes, Direction::to_device, 0);
        }
        EXPECT_EQ(mapper.counters().maps, 1024u) << "round " << round;
        EXPECT_EQ(mapper.counters().first_touches, 1024u);
    }
    EXPECT_EQ(mapper.counters().invalidations, 0u);
}

TEST_F(PersistentTest, DirectionsAreMappingsOfTheirOwn) {
    cover();
    const Iova out = mapper.map(pages, 100, Direction::to_device).value();
    const Iova in = mapper.map(pages, 100, Direction::from_device).value();
    EXPECT_NE(out, in);
    EXPECT_TRUE(machine.iommu.reachable(out, Access::read));
    EXPECT_FALSE(machine.iommu.reachable(out, Access::write));
    EXPECT_TRUE(machine.iommu.reachable(in, Access::write));
    EXPECT_FALSE(machine.iommu.reachable(in, Access::read));
}

TEST_F(PersistentTest, ExtentEndsWithThePage) {
    cover();
    EXPECT_EQ(mapper.extent(pages, 100, Direction::to_device), 100u);
    EXPECT_EQ(mapper.extent(pages + 4000, 1000, Direction::to_device), 96u);
    EXPECT_EQ(mapper.extent(pages, 3 * page_bytes, Direction::to_device), page_bytes);
    EXPECT_EQ(mapper.map(pages + 4000, 1000, Direction::to_device).error(), Error::invalid_argument)
        << "it would reach into a stranger's page";
}

TEST_F(PersistentTest, APoolIsMappedOnceAndAsAWhole) {
    const std::uint64_t bytes = 64 * page_bytes;
    const Result<Iova> start = mapper.premap(pages, bytes, Direction::bidirectional);
    ASSERT_TRUE(start.ok());
    EXPECT_EQ(mapper.counters().maps, 1u);
    EXPECT_EQ(mapper.extent(pages + 4000, 9000, Direction::to_device), 9000u);
    EXPECT_EQ(mapper.extent(pages + (bytes - 10), 9000, Direction::to_device), 10u);
    const Result<Iova> inside = mapper.map(pages + 4000, 9000, Direction::from_device);
    ASSERT_TRUE(inside.ok());
    EXPECT_EQ(inside.value(), start.value() + 4000);
    mapper.unmap(inside.value(), 9000, Direction::from_device, 0);
    EXPECT_EQ(mapper.counters().maps, 1u);
    EXPECT_EQ(mapper.counters().first_touches, 0u);
    EXPECT_EQ(mapper.map(pages + (bytes - 10), 11, Direction::to_device).error(), Error::invalid_argument);
    // No cache was prepared: what lies outside of the pool is nobody's.
    EXPECT_FALSE(mapper.map(pages + bytes, 10, Direction::to_device).ok());
}

TEST_F(PersistentTest, APoolForOneDirectionServesNoOther) {
    ASSERT_TRUE(mapper.premap(pages, page_bytes, Direction::from_device).ok());
    EXPECT_TRUE(mapper.map(pages, 10, Direction::from_device).ok());
    EXPECT_EQ(mapper.map(pages, 10, Direction::to_device).error(), Error::invalid_argument);
    cover();
    EXPECT_EQ(mapper.map(pages, 10, Direction::to_device).error(), Error::invalid_argument)
        << "nor does the cache";
    EXPECT_EQ(machine.iommu.mapped_pages(), 1u);
}

TEST_F(PersistentTest, EveryPoolOfADirectionIsFound) {
    std::vector<Iova> starts;
    for (std::uint64_t i = 0; i < 6; ++i) {
        const auto direction = static_cast<Direction>(i % 3);
        const Result<Iova> start = mapper.premap(pages + i * 2 * page_bytes, 2 * page_bytes, direction);
        ASSERT_TRUE(start.ok());
        starts.push_back(start.value());
    }
    for (std::uint64_t i = 0; i < 6; ++i) {
        for (const Direction direction : {Direction::to_device, Direction::from_device}) {
            const bool served = i % 3 == static_cast<std::uint64_t>(direction) || i % 3 == 2;
            const Memory buffer = pages + (i * 2 * page_bytes + 100);
            const Result<Iova> iova = mapper.map(buffer, page_bytes, direction);
            ASSERT_EQ(iova.ok(), served) << i;
            if (served) {
                EXPECT_EQ(iova.value(), starts[i] + 100);
            }
            EXPECT_EQ(mapper.extent(buffer, 2 * page_bytes, direction),
                      served ? 2 * page_bytes - 100 : page_bytes - 100);
        }
    }
    mapper.release_all();
    EXPECT_EQ(machine.iommu.mapped_pages(), 0u) << "each is unmapped, and once";
    EXPECT_EQ(machine.domain.live(), 0u);
    EXPECT_EQ(machine.domain.quarantined(), 0u);
}

TEST_F(PersistentTest, PoolsHaveToBeWholePages) {
    EXPECT_EQ(mapper.premap(pages + 1, page_bytes, Direction::to_device).error(), Error::invalid_argument);
    EXPECT_EQ(mapper.premap(pages, 100, Direction::to_device).error(), Error::invalid_argument);
    EXPECT_EQ(mapper.premap(pages, 0, Direction::to_device).error(), Error::invalid_argument);
    for (std::uint64_t i = 0; i < PersistentMapper::most_pools; ++i) {
        EXPECT_TRUE(mapper.premap(pages + i * page_bytes, page_bytes, Direction::to_device).ok());
    }
    EXPECT_EQ(mapper.premap(pages + 100 * page_bytes, page_bytes, Direction::to_device).error(),
              Error::invalid_argument);
}

TEST_F(PersistentTest, MemoryOutsideOfTheCoveredRangeIsRefused) {
    ASSERT_TRUE(mapper.cover(pages, pages + (page_bytes - 1)).ok());
    EXPECT_TRUE(mapper.map(pages, 10, Direction::to_device).ok());
    // 2 MiB is what one leaf covers: beyond it on both sides.
    EXPECT_FALSE(mapper.map(pages + 1023 * page_bytes, 10, Direction::to_device).ok());
    EXPECT_EQ(mapper.cover(Memory{0}, pages).error(), Error::invalid_argument) << "twice";
    EXPECT_EQ(mapper.counters().maps, 1u);
}

TEST_F(PersistentTest, ReleaseAllEmptiesTheDomainAndItCanBeginAgain) {
    cover();
    ASSERT_TRUE(mapper.premap(pages, 16 * page_bytes, Direction::bidirectional).ok());
    for (std::uint64_t page = 16; page < 700; ++page) {
        ASSERT_TRUE(mapper
                        .map(pages + page * page_bytes, 1,
                             page % 2 == 0 ? Direction::to_device : Direction::from_device)
                        .ok());
    }
    EXPECT_EQ(machine.iommu.mapped_pages(), 700u);
    mapper.release_all();
    EXPECT_EQ(machine.iommu.mapped_pages(), 0u);
    EXPECT_EQ(machine.domain.live(), 0u);
    cover();
    EXPECT_TRUE(mapper.map(pages, 1, Direction::to_device).ok());
}

TEST_F(PersistentTest, ARefusedFirstTouchIsNotRemembered) {
    cover();
    machine.iommu.refuse_maps(0);
    EXPECT_EQ(mapper.map(pages, 1, Direction::to_device).error(), Error::mapping_failed);
    EXPECT_EQ(mapper.counters().first_touches, 0u);
    EXPECT_EQ(mapper.counters().failures, 1u);
    const Result<Iova> iova = mapper.map(pages, 1, Direction::to_device);
    ASSERT_TRUE(iova.ok());
    EXPECT_TRUE(machine.iommu.reachable(iova.value(), Access::read));
    EXPECT_EQ(mapper.counters().first_touches, 1u);
}

TEST_F(PersistentTest, WithoutMemoryForItsTablesItSaysSo) {
    machine.platform.refuse_allocation(1);
    EXPECT_EQ(mapper.cover(Memory{0}, Memory{machine.memory.bytes() - 1}).error(), Error::no_memory);
    EXPECT_EQ(machine.platform.tables_out(), machine.tables_at_start) << "the first table was given back";
    cover();
    machine.platform.refuse_allocation(0);
    EXPECT_EQ(mapper.map(pages, 1, Direction::to_device).error(), Error::no_memory);
    EXPECT_EQ(machine.iommu.mapped_pages(), 0u);
    EXPECT_TRUE(mapper.map(pages, 1, Direction::to_device).ok());
}

}  // namespace
}  // namespace dmatoll::test
