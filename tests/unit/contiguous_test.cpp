// SPDX-License-Identifier: BSD-2-Clause
// Strategy `contiguous`: where its IOVAs lie, when a block goes, and what its time bound does to one that is
// not done.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <random>
#include <thread>
#include <utility>
#include <vector>

#include "machine.hpp"

namespace dmatoll::test {
namespace {

using model::Access;

class ContiguousTest : public testing::Test {
  protected:
    ContiguousTest() {
        EXPECT_TRUE(mapper.set_up(10).ok());
        for (std::uint64_t page = 0; page < page_count; ++page) {
            const std::uint64_t content = mark + page;
            std::memcpy(machine.at(pages + page * page_bytes, sizeof(content)), &content, sizeof(content));
        }
    }
    ~ContiguousTest() override {
        mapper.release_all();
        EXPECT_EQ(machine.iommu.mapped_pages(), lost_pages);
        EXPECT_EQ(machine.domain.live(), machine.domain.quarantined());
        EXPECT_EQ(machine.platform.tables_out(), machine.tables_at_start);
        EXPECT_EQ(machine.platform.misuses(), 0u);
        EXPECT_TRUE(machine.iommu.stale_accesses().empty());
    }
    Iova map(std::uint64_t page, std::uint64_t count = 1, Direction direction = Direction::to_device) {
        const Result<Iova> iova =
            mapper.map(pages + page * page_bytes, static_cast<std::uint32_t>(count * page_bytes), direction);
        EXPECT_TRUE(iova.ok());
        return iova.value();
    }
    void unmap(Iova iova, std::uint64_t count = 1) {
        mapper.unmap(iova, static_cast<std::uint32_t>(count * page_bytes), Direction::to_device, 0);
    }
    bool device_reads(Iova iova, std::uint64_t page) {
        Bytes bytes(8);
        if (!machine.iommu.read(iova, bytes)) return false;
        std::uint64_t content = 0;
        std::memcpy(&content, bytes.data(), sizeof(content));
        EXPECT_EQ(content, mark + page) << "another buffer's memory";
        return true;
    }
    void pass(std::uint64_t nanoseconds) {
        machine.platform.advance_ns(nanoseconds);
        mapper.on_alarm();
    }

    static constexpr std::uint64_t page_count = 512;
    static constexpr std::uint64_t mark = 0xb10c'0000;
    Machine machine;
    ContiguousMapper mapper{machine.domain, machine.platform, machine.alarm};
    Memory pages = machine.memory.allocate_pages(page_count);
    std::uint64_t lost_pages = 0;
};

TEST_F(ContiguousTest, ABlockWhoseInvalidationTimesOutIsNeverUsedAgain) {
    std::vector<Iova> block;
    for (std::uint64_t page = 0; page < 64; ++page) block.push_back(map(page));
    machine.iommu.time_out_invalidations(0);
    for (const Iova& iova : block) unmap(iova);
    EXPECT_EQ(machine.domain.quarantined(), 64u);
    for (std::uint64_t page = 0; page < 300; ++page) {
        const Iova iova = map(page);
        ASSERT_EQ(std::count(block.begin(), block.end(), iova), 0);
        unmap(iova);
    }
}

TEST_F(ContiguousTest, BuffersAdjoinAndABlockGoesWithOneInvalidation) {
    std::vector<Iova> buffers;
    for (std::uint64_t page = 0; page < 64; ++page) {
        buffers.push_back(map(page));
        ASSERT_EQ(buffers.back(), buffers[0] + page * page_bytes);
        ASSERT_TRUE(device_reads(buffers.back(), page));
    }
    EXPECT_EQ(buffers[0].value % (64 * page_bytes), 0u);
    // In the order of a ring, but for the last.
    for (std::uint64_t page = 1; page < 64; ++page) unmap(buffers[page]);
    EXPECT_EQ(mapper.counters().invalidations, 0u);
    EXPECT_TRUE(device_reads(buffers[5], 5)) << "its window";
    unmap(buffers[0]);
    const MappingCounters counters = mapper.counters();
    EXPECT_EQ(counters.maps, 64u);
    EXPECT_EQ(counters.unmaps, 64u);
    EXPECT_EQ(counters.unmap_calls, 1u);
    EXPECT_EQ(counters.invalidations, 1u);
    EXPECT_EQ(machine.iommu.counts().unmaps, 1u);
    EXPECT_EQ(machine.iommu.mapped_pages(), 0u);
    EXPECT_FALSE(device_reads(buffers[5], 5));
}

TEST_F(ContiguousTest, NoIovaIsUsedAgainAheadOfItsBlocksInvalidation) {
    const Iova first = map(0);
    unmap(first);
    std::vector<Iova> seen{first};
    for (std::uint64_t i = 1; i < 63; ++i) {
        const Iova iova = map(i);
        ASSERT_EQ(std::count(seen.begin(), seen.end(), iova), 0);
        seen.push_back(iova);
        ASSERT_TRUE(device_reads(iova, i));
        unmap(iova);
    }
    EXPECT_EQ(mapper.waiting(), 63u);
    unmap(map(63));
    EXPECT_EQ(mapper.waiting(), 0u);
    EXPECT_EQ(machine.domain.live(), 0u);
}

TEST_F(ContiguousTest, ABufferThatDoesNotFitBeginsTheNextBlock) {
    const Iova first = map(0, 40);
    const Iova second = map(100, 40);
    EXPECT_EQ(first.value % (64 * page_bytes), 0u);
    EXPECT_EQ(second.value % (64 * page_bytes), 0u);
    EXPECT_NE(first, second);
    unmap(first, 40);
    EXPECT_FALSE(machine.iommu.reachable(first, Access::read)) << "nothing more comes into that block";
    EXPECT_EQ(mapper.counters().invalidations, 1u);
    EXPECT_TRUE(device_reads(second + 39 * page_bytes, 139));
    unmap(second, 40);
    EXPECT_TRUE(machine.iommu.reachable(second, Access::read)) << "more may come into this one";
}

TEST_F(ContiguousTest, ABufferOfMorePagesThanABlockIsUnmappedAtOnce) {
    const Iova iova = map(0, 65);
    EXPECT_TRUE(device_reads(iova + 64 * page_bytes, 64));
    unmap(iova, 65);
    EXPECT_FALSE(device_reads(iova, 0));
    EXPECT_EQ(machine.domain.live(), 0u);
    const Iova block = map(0, 64);
    unmap(block, 64);
    EXPECT_FALSE(device_reads(block, 0)) << "as many fill one";
    EXPECT_EQ(machine.domain.live(), 0u);
}

TEST_F(ContiguousTest, DirectionsHaveBlocksOfTheirOwn) {
    const Iova out = map(0);
    const Iova in = map(1, 1, Direction::from_device);
    EXPECT_EQ(map(2), out + page_bytes);
    EXPECT_NE(in.value / (64 * page_bytes), out.value / (64 * page_bytes));
    EXPECT_FALSE(machine.iommu.reachable(in, Access::read));
    EXPECT_FALSE(machine.iommu.reachable(out, Access::write));
}

TEST_F(ContiguousTest, TheTimeBoundUnmapsWhatIsDoneAndNothingElse) {
    std::vector<Iova> buffers;
    for (std::uint64_t page = 0; page < 10; ++page) {
        buffers.push_back(map(page));
        ASSERT_TRUE(device_reads(buffers.back(), page));
    }
    EXPECT_EQ(machine.alarm.settings, 0u);
    for (const std::uint64_t page : {2u, 3u, 4u, 7u}) unmap(buffers[page]);
    EXPECT_EQ(machine.alarm.settings, 1u);
    EXPECT_EQ(machine.alarm.pending_ns, 10'000'000u);
    machine.platform.advance_ns(9'999'999);
    mapper.flush_if_due();
    EXPECT_EQ(mapper.waiting(), 4u);
    pass(1);
    EXPECT_EQ(mapper.waiting(), 0u);
    EXPECT_EQ(mapper.counters().unmap_calls, 2u) << "two runs";
    EXPECT_EQ(mapper.counters().unmaps, 4u);
    for (std::uint64_t page = 0; page < 10; ++page) {
        const bool gone = (page >= 2 && page <= 4) || page == 7;
        EXPECT_EQ(device_reads(buffers[page], page), !gone) << page;
    }
    // Its IOVAs are not used again as long as others of the block are.
    for (std::uint64_t page = 10; page < 64; ++page) {
        const Iova iova = map(page);
        ASSERT_EQ(iova, buffers[0] + page * page_bytes);
        unmap(iova);
    }
    for (const std::uint64_t page : {0u, 1u, 5u, 6u, 8u}) unmap(buffers[page]);
    EXPECT_NE(mapper.waiting(), 0u);
    unmap(buffers[9]);
    EXPECT_EQ(mapper.waiting(), 0u);
    EXPECT_EQ(machine.domain.live(), 0u);
}

TEST_F(ContiguousTest, AnAlarmForABlockThatIsGoneIsSetAgainForTheYounger) {
    for (std::uint64_t page = 0; page < 64; ++page) unmap(map(page));
    EXPECT_EQ(machine.alarm.settings, 1u);
    machine.platform.advance_ns(7'000'000);
    const Iova young = map(0);
    unmap(young);
    EXPECT_EQ(machine.alarm.settings, 1u);
    pass(3'000'000);
    EXPECT_TRUE(device_reads(young, 0));
    ASSERT_EQ(machine.alarm.settings, 2u);
    EXPECT_EQ(machine.alarm.pending_ns, 7'000'000u);
    pass(7'000'000);
    EXPECT_FALSE(device_reads(young, 0));
}

TEST_F(ContiguousTest, ALostUnmappingKeepsItsBlocksIovas) {
    const Iova lost = map(0, 64);
    machine.iommu.refuse_unmaps(0);
    unmap(lost, 64);
    EXPECT_EQ(machine.domain.quarantined(), 1u);
    for (int i = 0; i < 20; ++i) {
        const Iova iova = map(0, 64);
        ASSERT_NE(iova, lost);
        unmap(iova, 64);
    }
    lost_pages = 64;
}

TEST_F(ContiguousTest, ARefusedMappingLeavesItsPagesForTheNext) {
    const Iova first = map(0);
    machine.iommu.refuse_maps(1);
    const std::array<Segment, 2> segments{{{pages, 4096}, {pages + 8192, 4096}}};
    std::array<DeviceSegment, 2> room{};
    EXPECT_EQ(mapper.map_list(segments, Direction::to_device, room).error(), Error::mapping_failed);
    EXPECT_EQ(machine.iommu.mapped_pages(), 1u);
    EXPECT_EQ(mapper.counters().failures, 1u);
    EXPECT_EQ(map(2), first + page_bytes);
}

TEST_F(ContiguousTest, ExhaustedSpaceAndTooManyBlocksAreErrors) {
    mapper.release_all();
    EXPECT_EQ(mapper.set_up(0).error(), Error::invalid_argument);
    EXPECT_EQ(mapper.set_up(1001).error(), Error::invalid_argument);
    EXPECT_EQ(mapper.set_up(10, 2).error(), Error::invalid_argument);
    machine.platform.refuse_allocation(0);
    EXPECT_EQ(mapper.set_up(10).error(), Error::no_memory);
    ASSERT_TRUE(mapper.set_up(10, 4).ok());
    EXPECT_EQ(mapper.set_up(10).error(), Error::invalid_argument) << "twice";
    std::vector<Iova> blocks;
    for (int i = 0; i < 4; ++i) blocks.push_back(map(0, 64));
    EXPECT_EQ(mapper.map(pages, 1, Direction::to_device).error(), Error::no_memory);
    EXPECT_EQ(mapper.counters().failures, 1u);
    unmap(blocks[2], 64);
    EXPECT_TRUE(mapper.map(pages, 1, Direction::to_device).ok());
}

// Buffers of all sizes, come back in any order, under alarms: each reaches its own memory as long as it is
// with the device.
TEST_F(ContiguousTest, EveryBufferReachesItsMemoryAsLongAsItIsOut) {
    std::mt19937 random{23};
    struct Use {
        Iova iova;
        std::uint64_t page, count;
    };
    std::vector<Use> uses;
    for (int step = 0; step < 20'000; ++step) {
        if (uses.empty() || (uses.size() < 100 && random() % 2 == 0)) {
            const std::uint64_t count = random() % 50 == 0 ? 1 + random() % 80 : 1 + random() % 5;
            const std::uint64_t page = random() % (page_count - count);
            uses.push_back({map(page, count), page, count});
        } else {
            std::swap(uses[random() % uses.size()], uses.back());
            const Use use = uses.back();
            ASSERT_TRUE(device_reads(use.iova, use.page));
            ASSERT_TRUE(device_reads(use.iova + (use.count - 1) * page_bytes, use.page + use.count - 1));
            unmap(use.iova, use.count);
            uses.pop_back();
        }
        if (step % 50 == 0) pass(3'000'000);
    }
    for (const Use& use : uses) unmap(use.iova, use.count);
    EXPECT_EQ(mapper.counters().failures, 0u);
}

TEST_F(ContiguousTest, SeveralCpusFillAndEmptyItsBlocks) {
    std::atomic<bool> done = false;
    std::atomic<std::uint64_t> unreachable = 0;
    std::vector<std::thread> cpus;
    for (unsigned cpu = 0; cpu < 4; ++cpu) {
        cpus.emplace_back([&, cpu] {
            std::mt19937 random{cpu};
            std::vector<std::pair<Iova, std::uint64_t>> uses;
            for (int step = 0; step < 4'000; ++step) {
                if (uses.size() < 16) {
                    const std::uint64_t page = random() % page_count;
                    uses.emplace_back(map(page), page);
                } else {
                    std::swap(uses[random() % uses.size()], uses.back());
                    unreachable += device_reads(uses.back().first, uses.back().second) ? 0 : 1;
                    unmap(uses.back().first);
                    uses.pop_back();
                }
            }
            for (const auto& [iova, page] : uses) unmap(iova);
        });
    }
    std::thread alarm{[&] {
        while (!done) pass(10'000'000);
    }};
    for (std::thread& cpu : cpus) cpu.join();
    done = true;
    alarm.join();
    EXPECT_EQ(unreachable, 0u);
}

}  // namespace
}  // namespace dmatoll::test
