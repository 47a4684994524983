// SPDX-License-Identifier: BSD-2-Clause
// Strategy `deferred`, over an IOMMU that can clear entries ahead of the invalidation, and over one that
// cannot.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>
#include <set>
#include <thread>
#include <utility>
#include <vector>

#include "machine.hpp"
#include "mapping/page_range.hpp"

namespace dmatoll::test {
namespace {

using model::Access;

class DeferredTest : public testing::Test {
  protected:
    void set_up(const DeferredLimits& limits) { ASSERT_TRUE(mapper.set_up(limits).ok()); }
    Iova map(std::uint64_t page, Direction direction = Direction::to_device) {
        const Result<Iova> iova = mapper.map(pages + page * page_bytes, page_bytes, direction);
        EXPECT_TRUE(iova.ok());
        return iova.value();
    }
    void unmap(Iova iova) { mapper.unmap(iova, page_bytes, Direction::to_device, 0); }
    bool device_reads(Iova iova) {
        Bytes bytes(8);
        return machine.iommu.read(iova, bytes);
    }
    ~DeferredTest() override {
        mapper.release_all();
        EXPECT_EQ(machine.iommu.mapped_pages(), 0u);
        EXPECT_EQ(machine.domain.live(), machine.domain.quarantined());
        EXPECT_EQ(machine.platform.tables_out(), machine.tables_at_start);
        EXPECT_EQ(machine.platform.misuses(), 0u);
    }

    Machine machine;
    DeferredMapper mapper{machine.domain, machine.platform, machine.alarm};
    Memory pages = machine.memory.allocate_pages(1024);
};

TEST_F(DeferredTest, ClearsAtOnceAndInvalidatesLater) {
    set_up({.entries = 4});
    const Iova cached = map(0);
    const Iova unseen = map(1);
    ASSERT_TRUE(device_reads(cached));
    unmap(cached);
    unmap(unseen);
    EXPECT_EQ(machine.iommu.mapped_pages(), 0u);
    EXPECT_EQ(machine.iommu.counts().invalidations, 0u);
    // The window: what the IOTLB holds, and nothing else.
    EXPECT_TRUE(device_reads(cached));
    EXPECT_EQ(machine.iommu.stale_accesses().size(), 1u);
    EXPECT_FALSE(device_reads(unseen));

    unmap(map(2));
    unmap(map(3));
    EXPECT_EQ(machine.iommu.counts().invalidations, 1u);
    EXPECT_EQ(mapper.counters().invalidations, 1u);
    EXPECT_EQ(mapper.counters().unmaps, 4u);
    EXPECT_FALSE(device_reads(cached));
}

TEST_F(DeferredTest, NoIovaIsUsedAgainAheadOfAnInvalidation) {
    set_up({.entries = 64});
    std::set<Iova> waiting;
    std::uint64_t invalidations = 0;
    for (std::uint64_t i = 0; i < 1000; ++i) {
        const Iova iova = map(i % 1024);
        ASSERT_FALSE(waiting.contains(iova)) << "at " << i;
        // The device uses it, and its IOTLB goes on doing so.
        ASSERT_TRUE(device_reads(iova));
        unmap(iova);
        waiting.insert(iova);
        if (machine.iommu.counts().invalidations != invalidations) {
            invalidations = machine.iommu.counts().invalidations;
            for (const Iova& flushed : waiting) ASSERT_FALSE(machine.iommu.reachable(flushed, Access::read));
            waiting.clear();
        }
    }
    EXPECT_EQ(invalidations, 1000u / 64);
    EXPECT_LE(machine.allocator.usual().carved(), 64u + 1);
    EXPECT_TRUE(machine.iommu.stale_accesses().empty()) << "no access ended in the buffer before";
}

TEST_F(DeferredTest, WhatAnInvalidationThatTimedOutWasForIsNeverUsedAgain) {
    set_up({.entries = 4});
    std::set<Iova> lost;
    for (std::uint64_t i = 0; i < 4; ++i) lost.insert(map(i));
    machine.iommu.time_out_invalidations(0);
    for (const Iova& iova : lost) unmap(iova);
    EXPECT_EQ(machine.domain.quarantined(), 4u);
    EXPECT_EQ(mapper.counters().failures, 4u);
    for (std::uint64_t i = 0; i < 100; ++i) {
        const Iova iova = map(i);
        ASSERT_FALSE(lost.contains(iova));
        unmap(iova);
    }
    EXPECT_EQ(mapper.counters().failures, 4u);
}

TEST_F(DeferredTest, TheTimeBoundHoldsWithoutTraffic) {
    set_up({.entries = 256, .milliseconds = 10});
    const Iova iova = map(0);
    ASSERT_TRUE(device_reads(iova));
    EXPECT_EQ(machine.alarm.settings, 0u) << "nothing is queued yet";
    unmap(iova);
    ASSERT_EQ(machine.alarm.settings, 1u);
    EXPECT_EQ(machine.alarm.pending_ns, 10'000'000u);
    unmap(map(1));
    EXPECT_EQ(machine.alarm.settings, 1u) << "one alarm serves the whole queue";

    machine.platform.advance_ns(machine.alarm.pending_ns);
    mapper.on_alarm();
    EXPECT_FALSE(device_reads(iova));
    EXPECT_EQ(mapper.queued(), 0u);
    EXPECT_EQ(mapper.counters().invalidations, 1u);
    EXPECT_EQ(machine.alarm.settings, 1u) << "nothing is queued any more";

    unmap(map(2));
    EXPECT_EQ(machine.alarm.settings, 2u);
}

TEST_F(DeferredTest, AnAlarmForAFlushedRangeIsSetAgainForTheYoungerOne) {
    set_up({.entries = 2, .milliseconds = 10});
    unmap(map(0));
    unmap(map(1));  // full: flushed
    machine.platform.advance_ns(7'000'000);
    const Iova young = map(2);
    ASSERT_TRUE(device_reads(young));
    unmap(young);
    EXPECT_EQ(machine.alarm.settings, 1u);
    machine.platform.advance_ns(3'000'000);
    mapper.on_alarm();
    EXPECT_EQ(mapper.queued(), 1u);
    ASSERT_EQ(machine.alarm.settings, 2u);
    EXPECT_EQ(machine.alarm.pending_ns, 7'000'000u);
    machine.platform.advance_ns(7'000'000);
    mapper.on_alarm();
    EXPECT_FALSE(machine.iommu.reachable(young, Access::read));
}

TEST_F(DeferredTest, AnAlarmWithNothingQueuedInvalidatesNothing) {
    set_up({.entries = 1});
    unmap(map(0));
    EXPECT_EQ(mapper.counters().invalidations, 1u) << "a queue of one is full at once";
    mapper.on_alarm();
    EXPECT_EQ(mapper.counters().invalidations, 1u);
}

TEST_F(DeferredTest, WhoPollsKeepsTheBoundThoughTheAlarmIsNotLookedAt) {
    set_up({.entries = 8, .milliseconds = 10});
    const Iova iova = map(0);
    unmap(iova);
    machine.platform.advance_ns(9'999'999);
    mapper.flush_if_due();
    EXPECT_EQ(mapper.queued(), 1u);
    machine.platform.advance_ns(1);
    mapper.flush_if_due();
    EXPECT_EQ(mapper.queued(), 0u);
    EXPECT_EQ(mapper.counters().invalidations, 1u);
    mapper.flush_if_due();
    mapper.on_alarm();
    EXPECT_EQ(mapper.counters().invalidations, 1u) << "nothing is left to flush";
    unmap(map(1));
    EXPECT_EQ(machine.alarm.settings, 2u) << "the next range sets an alarm of its own";
    mapper.release_all();
}

TEST_F(DeferredTest, ARefusedUnmappingIsNotQueuedAndItsIovaNotUsedAgain) {
    set_up({.entries = 8});
    const Iova lost = map(0);
    machine.iommu.refuse_unmaps(0);
    unmap(lost);
    EXPECT_EQ(mapper.queued(), 0u);
    EXPECT_EQ(machine.domain.quarantined(), 1u);
    for (std::uint64_t i = 0; i < 40; ++i) {
        const Iova iova = map(i);
        ASSERT_NE(iova, lost);
        unmap(iova);
    }
    // The machine is asked for an empty table at its end.
    ASSERT_TRUE(machine.iommu.unmap(lost, page_bytes, Invalidate::now).ok());
}

TEST_F(DeferredTest, LimitsOutOfRangeAreRefused) {
    EXPECT_EQ(mapper.set_up({.entries = 0}).error(), Error::invalid_argument);
    EXPECT_EQ(mapper.set_up({.entries = parameters::deferred_entries.most + 1}).error(), Error::invalid_argument);
    EXPECT_EQ(mapper.set_up({.milliseconds = 0}).error(), Error::invalid_argument);
    EXPECT_EQ(mapper.set_up({.milliseconds = 1001}).error(), Error::invalid_argument);
    machine.platform.refuse_allocation(0);
    EXPECT_EQ(mapper.set_up({}).error(), Error::no_memory);
}

TEST(DeferredDriver, ARingOfFullSizeGoesThroughTheQueue) {
    Bench<DeferredMapper> bench{{.receive_descriptors = 256, .transmit_descriptors = 256}};
    ASSERT_TRUE(bench.start().ok());
    for (std::uint32_t i = 0; i < 600; ++i) {
        ASSERT_TRUE(bench.transmit(Bytes(200, std::byte{1})).ok());
        bench.reclaim();
    }
    const MappingCounters counters = bench.mapper->counters();
    EXPECT_EQ(counters.invalidations, 600u / 32);
    bench.stop_and_expect_nothing_left();
}

// An IOMMU that invalidates with every unmapping, as VFIO's type 1 does.
struct ImmediateIommu : model::SoftwareIommu {
    using SoftwareIommu::SoftwareIommu;
    static constexpr bool clears_without_invalidating = false;
};

class DelayedUnmapTest : public testing::Test {
  protected:
    using ImmediateDomain = Domain<ImmediateIommu, IovaAllocator>;

    DelayedUnmapTest() { EXPECT_TRUE(mapper.set_up({.entries = 64}).ok()); }

    Machine machine;
    ImmediateIommu iommu{machine.memory};
    ImmediateDomain domain{iommu, machine.allocator};
    Deferred<ImmediateDomain, ModelPlatform, ModelAlarm> mapper{domain, machine.platform, machine.alarm};
    Memory pages = machine.memory.allocate_pages(64);
};

TEST_F(DelayedUnmapTest, ARingIsUnmappedInFewCallsForever) {
    std::vector<Iova> ring;
    for (std::uint64_t i = 0; i < 32; ++i) {
        ring.push_back(mapper.map(pages + i * page_bytes, page_bytes, Direction::from_device).value());
    }
    for (std::uint64_t i = 0; i < 64 * 100; ++i) {
        Iova& slot = ring[i % ring.size()];
        mapper.unmap(slot, page_bytes, Direction::from_device, 0);
        slot = mapper.map(pages + i % 32 * page_bytes, page_bytes, Direction::from_device).value();
    }
    const MappingCounters counters = mapper.counters();
    EXPECT_EQ(counters.unmaps, 64u * 100);
    EXPECT_EQ(counters.unmap_calls, iommu.counts().unmaps);
    // Joined at least by four on the average.
    EXPECT_LE(counters.unmap_calls, counters.unmaps / 4);
    EXPECT_EQ(counters.invalidations, counters.unmaps) << "type 1 invalidates mapping by mapping";
    for (const Iova& iova : ring) mapper.unmap(iova, page_bytes, Direction::from_device, 0);
    mapper.release_all();
    EXPECT_EQ(iommu.mapped_pages(), 0u);
    EXPECT_EQ(domain.live(), 0u);
}

TEST_F(DelayedUnmapTest, TheMappingStaysUntilTheFlushAndItsIovaWithIt) {
    const Iova first = mapper.map(pages, page_bytes, Direction::to_device).value();
    mapper.unmap(first, page_bytes, Direction::to_device, 0);
    EXPECT_TRUE(iommu.reachable(first, Access::read));
    const Iova second = mapper.map(pages, page_bytes, Direction::to_device).value();
    EXPECT_NE(first, second);
    machine.platform.advance_ns(10'000'000);
    mapper.on_alarm();
    EXPECT_FALSE(iommu.reachable(first, Access::read));
    EXPECT_TRUE(iommu.reachable(second, Access::read));
    mapper.unmap(second, page_bytes, Direction::to_device, 0);
    mapper.release_all();
    EXPECT_EQ(iommu.mapped_pages(), 0u);
}

TEST_F(DelayedUnmapTest, RangesOfOddSizesAreNotJoinedAcrossTheGapsBetweenThem) {
    std::vector<std::pair<Iova, std::uint32_t>> mapped;
    for (const std::uint32_t count : {3u, 4u, 1u, 1u, 3u, 2u, 7u}) {
        mapped.emplace_back(mapper.map(pages, count * page_bytes, Direction::to_device).value(), count);
    }
    for (const auto& [iova, count] : mapped) mapper.unmap(iova, count * page_bytes, Direction::to_device, 0);
    mapper.release_all();
    EXPECT_EQ(iommu.mapped_pages(), 0u);
    EXPECT_EQ(domain.quarantined(), 0u);
}

TEST_F(DelayedUnmapTest, ARefusedRunIsGivenUpAsAWhole) {
    std::vector<Iova> run;
    for (int i = 0; i < 4; ++i) run.push_back(mapper.map(pages, page_bytes, Direction::to_device).value());
    for (const Iova& iova : run) mapper.unmap(iova, page_bytes, Direction::to_device, 0);
    iommu.refuse_unmaps(0);
    machine.platform.advance_ns(10'000'000);
    mapper.on_alarm();
    EXPECT_EQ(domain.quarantined(), 4u);
    const Iova next = mapper.map(pages, page_bytes, Direction::to_device).value();
    EXPECT_EQ(std::count(run.begin(), run.end(), next), 0);
    mapper.unmap(next, page_bytes, Direction::to_device, 0);
    mapper.release_all();
}

// An IOMMU that lets something happen in the midst of an invalidation.
struct InterruptedIommu : model::SoftwareIommu {
    using SoftwareIommu::SoftwareIommu;
    Status invalidate_all() {
        if (meanwhile) std::exchange(meanwhile, nullptr)();
        return SoftwareIommu::invalidate_all();
    }
    std::function<void()> meanwhile;
};

// Taken into the queue during the flush, the range would be forgotten with what was flushed.
TEST(DeferredAlarm, WhatIsUnmappedDuringItsInvalidationWaitsForTheNext) {
    Machine machine;
    InterruptedIommu iommu{machine.memory};
    Domain<InterruptedIommu, IovaAllocator> domain{iommu, machine.allocator};
    Deferred<Domain<InterruptedIommu, IovaAllocator>, ModelPlatform, ModelAlarm> mapper{
        domain, machine.platform, machine.alarm};
    ASSERT_TRUE(mapper.set_up({.entries = 8}).ok());
    const Memory page = machine.memory.allocate_pages(1);
    const Iova first = mapper.map(page, page_bytes, Direction::to_device).value();
    const Iova second = mapper.map(page, page_bytes, Direction::to_device).value();
    mapper.unmap(first, page_bytes, Direction::to_device, 0);

    std::atomic<bool> done = false;
    std::thread other;
    iommu.meanwhile = [&] {
        other = std::thread{[&] {
            mapper.unmap(second, page_bytes, Direction::to_device, 0);
            done = true;
        }};
        // Enough for it to go wrong; held back, it never ends in here.
        for (int i = 0; i < 100 && !done; ++i) std::this_thread::sleep_for(std::chrono::milliseconds{1});
    };
    machine.platform.advance_ns(10'000'000);
    mapper.on_alarm();
    other.join();
    EXPECT_EQ(mapper.queued(), 1u);
    mapper.release_all();
    EXPECT_EQ(domain.live(), 0u);
}

// ---- a queue for each CPU ----

class PerCpuDeferredTest : public DeferredTest {
  protected:
    ~PerCpuDeferredTest() override { model::this_cpu = 0; }
    void unmap_on(std::uint32_t cpu, Iova iova) {
        model::this_cpu = cpu;
        unmap(iova);
    }
};

TEST_F(PerCpuDeferredTest, EachCpuFillsItsOwnQueue) {
    set_up({.entries = 4, .per_cpu = true});
    std::vector<Iova> other;
    for (std::uint64_t page = 0; page < 3; ++page) {
        other.push_back(map(page));
        ASSERT_TRUE(device_reads(other.back()));
        unmap_on(1, other.back());
    }
    for (std::uint64_t page = 3; page < 6; ++page) unmap_on(2, map(page));
    EXPECT_EQ(mapper.queued(), 6u);
    EXPECT_EQ(mapper.counters().invalidations, 0u);
    unmap_on(2, map(6));
    EXPECT_EQ(mapper.counters().invalidations, 1u);
    EXPECT_EQ(mapper.queued(), 3u) << "the other CPU's wait on";
    EXPECT_FALSE(device_reads(other[0])) << "though the device does not reach them: all was invalidated";
    for (int i = 0; i < 20; ++i) {
        const Iova fresh = map(7);
        EXPECT_EQ(std::count(other.begin(), other.end(), fresh), 0) << "nor are their IOVAs free";
        unmap_on(3, fresh);
    }
}

TEST_F(PerCpuDeferredTest, TheBoundHoldsForTheOldestOfEach) {
    set_up({.entries = 64, .milliseconds = 10, .per_cpu = true});
    std::vector<Iova> iovas;
    for (std::uint32_t cpu = 0; cpu < model::cpu_count; ++cpu) {
        iovas.push_back(map(cpu));
        ASSERT_TRUE(device_reads(iovas.back()));
        unmap_on(cpu, iovas.back());
        machine.platform.advance_ns(2'000'000);
    }
    EXPECT_EQ(machine.alarm.settings, 1u);
    for (std::uint32_t cpu = 0; cpu < model::cpu_count; ++cpu) {
        machine.platform.advance_ns(2'000'000);
        mapper.on_alarm();
        EXPECT_EQ(mapper.queued(), model::cpu_count - 1 - cpu);
        EXPECT_FALSE(machine.iommu.reachable(iovas[cpu], Access::read));
        EXPECT_EQ(machine.alarm.pending_ns, 2'000'000u) << "until the next one's";
    }
    EXPECT_EQ(machine.alarm.settings, model::cpu_count);
}

TEST_F(PerCpuDeferredTest, TheEarlierOfTwoAlarmsHolds) {
    set_up({.entries = 2, .milliseconds = 10, .per_cpu = true});
    unmap_on(0, map(0));
    machine.platform.advance_ns(6'000'000);
    unmap_on(1, map(1));
    unmap_on(0, map(2));  // full: flushed
    machine.platform.advance_ns(4'000'000);
    mapper.on_alarm();
    EXPECT_EQ(machine.alarm.pending_ns, 6'000'000u) << "of the other queue's";
    machine.platform.advance_ns(1'000'000);
    unmap_on(0, map(3));
    EXPECT_EQ(machine.alarm.settings, 2u) << "a later one changes nothing";
    machine.platform.advance_ns(5'000'000);
    mapper.on_alarm();
    EXPECT_EQ(mapper.queued(), 1u);
    EXPECT_EQ(machine.alarm.pending_ns, 5'000'000u);
}

TEST_F(PerCpuDeferredTest, SeveralCpusAtOnceLoseNothing) {
    set_up({.entries = 16, .milliseconds = 1, .per_cpu = true});
    std::atomic<bool> done = false;
    std::vector<std::thread> cpus;
    for (std::uint32_t cpu = 0; cpu < model::cpu_count; ++cpu) {
        cpus.emplace_back([&, cpu] {
            for (std::uint64_t i = 0; i < 5'000; ++i) {
                // Now and then another CPU's work, as if it had moved in between.
                model::this_cpu = i % 100 == 0 ? (cpu + 1) % model::cpu_count : cpu;
                const Iova iova = map(i % 1024);
                EXPECT_TRUE(device_reads(iova));
                unmap(iova);
            }
        });
    }
    std::thread alarm{[&] {
        while (!done) {
            machine.platform.advance_ns(1'000'000);
            mapper.on_alarm();
        }
    }};
    for (std::thread& cpu : cpus) cpu.join();
    done = true;
    alarm.join();
    EXPECT_TRUE(machine.iommu.stale_accesses().empty()) << "no IOVA was used again ahead of its invalidation";
    EXPECT_EQ(mapper.counters().maps, 20'000u);
    mapper.release_all();
    EXPECT_EQ(machine.domain.live(), 0u);
}

// Surroundings with one thread, as a process has.
TEST(PerCpuDeferred, IsRefusedWhereThereIsOneCpu) {
    Machine machine;
    struct OneThread {
        explicit OneThread(ModelPlatform& platform) : all{platform} {}
        std::uint32_t read32(std::uint32_t offset) { return all.read32(offset); }
        void write32(std::uint32_t offset, std::uint32_t value) { all.write32(offset, value); }
        Result<RingMemory> allocate_ring(std::uint32_t bytes) { return all.allocate_ring(bytes); }
        void free_ring(const RingMemory& ring) { all.free_ring(ring); }
        Result<PageMemory> allocate_pages(std::uint32_t bytes) { return all.allocate_pages(bytes); }
        Result<PageMemory> allocate_large_page() { return all.allocate_large_page(); }
        void free_pages(const PageMemory& pages) { all.free_pages(pages); }
        Result<void*> allocate(std::size_t bytes) { return all.allocate(bytes); }
        void free(void* memory, std::size_t bytes) { all.free(memory, bytes); }
        void* cpu_address(Memory buffer) { return all.cpu_address(buffer); }
        std::uint64_t now_ns() { return all.now_ns(); }
        void delay_us(std::uint32_t microseconds) { all.delay_us(microseconds); }
        void log(LogLevel level, const char* message) { all.log(level, message); }
        ModelPlatform& all;
    } platform{machine.platform};
    Deferred<ModelDomain, OneThread, ModelAlarm> mapper{machine.domain, platform, machine.alarm};
    EXPECT_EQ(mapper.set_up({.per_cpu = true}).error(), Error::not_supported);
    EXPECT_TRUE(mapper.set_up({}).ok());
    mapper.release_all();
}

TEST(PageRanges, AreSortedAndRunsFound) {
    std::vector<PageRange> ranges;
    for (std::uint64_t i = 0; i < 1000; ++i)
        ranges.push_back({Iova{(i * 7919 % 1000 + 1) * page_bytes}, page_bytes});
    sort_by_iova(ranges);
    for (std::uint64_t i = 0; i < 1000; ++i) ASSERT_EQ(ranges[i].iova.value, (i + 1) * page_bytes);
    EXPECT_EQ(run_length_at_end(ranges), 1000u);
    ranges[989].bytes = 0;
    EXPECT_EQ(run_length_at_end(ranges), 10u);
}

}  // namespace
}  // namespace dmatoll::test
