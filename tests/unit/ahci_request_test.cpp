// SPDX-License-Identifier: BSD-2-Clause
// Requests of the AHCI driver: what is asked for happens, by every strategy, in an order that keeps its
// promises.
#include <gtest/gtest.h>

#include <random>

#include "ahci_machine.hpp"

namespace dmatoll::test {

// Counts what the driver asks of the device.
class CountingPlatform : public ForwardingPlatform {
  public:
    using ForwardingPlatform::ForwardingPlatform;
    std::uint32_t read32(std::uint32_t offset) {
        ++reads;
        return ForwardingPlatform::read32(offset);
    }
    void write32(std::uint32_t offset, std::uint32_t value) {
        ++writes;
        ForwardingPlatform::write32(offset, value);
    }

    std::uint64_t reads = 0;
    std::uint64_t writes = 0;
};

namespace {

using Bench = DiskBench<StrictMapper>;

template <class M>
using DiskRequests = EveryStrategy<M>;
TYPED_TEST_SUITE(DiskRequests, EveryDiskMapper, StrategyNames);

TYPED_TEST(DiskRequests, WritesAndReadsBlocks) {
    DiskBench<TypeParam> bench;
    ASSERT_TRUE(bench.start().ok());
    std::uint64_t seed = 1;
    for (const std::uint32_t blocks : {1u, 3u, 8u, 9u, 64u, 2048u}) {
        const Content content = pattern(seed++, blocks * 512);
        ASSERT_EQ(bench.write(blocks * 7, content), Outcome::done);
        EXPECT_EQ(bench.on_disk(blocks * 7, blocks), content);
        EXPECT_EQ(bench.read(blocks * 7, blocks), content);
    }
    bench.stop_and_expect_nothing_left();
}

TYPED_TEST(DiskRequests, TakesMemoryThatBeginsInsideAPage) {
    DiskBench<TypeParam> bench;
    ASSERT_TRUE(bench.start().ok());
    std::uint64_t seed = 1;
    for (const std::uint32_t offset : {2u, 512u, 3584u, 4094u}) {
        for (const std::uint32_t blocks : {1u, 8u, 2040u, 2048u}) {
            const Content content = pattern(seed++, blocks * 512);
            ASSERT_EQ(bench.run(Operation::write,
                                {.first = seed, .blocks = blocks, .content = &content, .offset = offset}),
                      Outcome::done);
            EXPECT_EQ(bench.on_disk(seed, blocks), content);
            EXPECT_EQ(bench.read(seed, blocks, offset), content) << offset << ' ' << blocks;
        }
    }
    bench.stop_and_expect_nothing_left();
}

// Random mixed requests at full depth, ended by the disk in any order, against what a simple array says.
TYPED_TEST(DiskRequests, KeepsItsDataUnderRandomLoad) {
    for (const std::uint32_t disk_depth : {32u, 3u, 0u}) {
        DiskBench<TypeParam> bench{
            {.disks = {{0, {.blocks = 4096, .queue_depth = disk_depth}}}, .order_seed = 7}};
        ASSERT_TRUE(bench.start().ok());
        const std::uint32_t depth = bench.driver->disk(0).queue_depth;
        std::mt19937_64 random{disk_depth};
        Content expected(4096 * 512);
        std::map<std::uint32_t, std::pair<std::uint64_t, std::uint32_t>> busy;  // tag: blocks that it uses
        std::map<std::uint32_t, Content> reads;
        std::uint32_t taken = 0;
        std::size_t seen = 0;
        while (taken < 600 || !busy.empty()) {
            for (std::uint32_t tag = 0; tag < depth && taken < 600; ++tag) {
                if (busy.contains(tag)) continue;
                const std::uint32_t blocks = 1 + random() % 40;
                const std::uint64_t first = random() % (4096 - blocks);
                bool overlaps = false;
                for (const auto& [other, range] : busy)
                    overlaps |= first < range.first + range.second && range.first < first + blocks;
                if (overlaps) continue;
                const auto at = expected.begin() + static_cast<std::ptrdiff_t>(first * 512);
                const std::uint64_t kind = random() % 16;
                if (kind == 0) {
                    ASSERT_TRUE(bench.submit(tag, Operation::flush).ok());
                    busy[tag] = {0, 0};
                } else if (kind == 1) {
                    ASSERT_TRUE(bench.submit(tag, Operation::trim, {.ranges = {{first, blocks}}}).ok());
                    std::fill(at, at + blocks * 512, std::byte{0});
                    busy[tag] = {first, blocks};
                } else if (kind < 9) {
                    const Content content = pattern(random(), blocks * 512);
                    ASSERT_TRUE(bench
                                    .submit(tag, Operation::write,
                                            {.first = first,
                                             .blocks = blocks,
                                             .content = &content,
                                             .force_unit_access = kind == 2})
                                    .ok());
                    std::copy(content.begin(), content.end(), at);
                    busy[tag] = {first, blocks};
                } else {
                    ASSERT_TRUE(bench.submit(tag, Operation::read, {.first = first, .blocks = blocks}).ok());
                    reads[tag] = Content(at, at + blocks * 512);
                    busy[tag] = {first, blocks};
                }
                ++taken;
            }
            bench.machine.platform.advance_ns(10'000);
            bench.serve();
            for (; seen < bench.ended.size(); ++seen) {
                const Ended& one = bench.ended[seen];
                ASSERT_EQ(one.outcome, Outcome::done);
                if (const auto read = reads.find(one.tag); read != reads.end()) {
                    ASSERT_EQ(one.content, read->second);
                    reads.erase(read);
                }
                busy.erase(one.tag);
            }
        }
        EXPECT_EQ(bench.on_disk(0, 4096), expected);
        const StorageCounters counters = bench.driver->counters();
        EXPECT_EQ(counters.read_requests + counters.write_requests + counters.flush_requests +
                      counters.trim_requests,
                  600u);
        EXPECT_EQ(counters.request_errors + counters.recoveries + counters.lost_interrupts, 0u);
        bench.stop_and_expect_nothing_left();
    }
}

TEST(AhciRequests, RunSideBySideAtFullDepth) {
    Bench bench;
    ASSERT_TRUE(bench.start().ok());
    bench.machine.device.defer(true);
    std::vector<Content> contents;
    for (std::uint32_t tag = 0; tag < 32; ++tag) {
        contents.push_back(pattern(tag, 4096));
        ASSERT_TRUE(
            bench.submit(tag, Operation::write, {.first = tag * 8, .blocks = 8, .content = &contents[tag]})
                .ok());
    }
    EXPECT_EQ(bench.outstanding(), 32u);
    EXPECT_EQ(bench.machine.device.peek(bench.port_register(sheet::SACT)), ~0u);
    EXPECT_EQ(bench.driver->complete(0, bench.sink()), 0u) << "all ones are no sign of a device that is gone";
    EXPECT_FALSE(bench.driver->needs_recovery(0));
    // In an order of the disk's own.
    for (std::uint32_t i = 0; i < 32; ++i) {
        const std::uint32_t tag = (i * 5 + 3) % 32;
        ASSERT_TRUE(bench.machine.device.execute(0, tag));
        ASSERT_TRUE(bench.serve());
        ASSERT_EQ(bench.ended.size(), i + 1);
        EXPECT_EQ(bench.ended.back().tag, tag);
    }
    for (std::uint32_t tag = 0; tag < 32; ++tag) EXPECT_EQ(bench.on_disk(tag * 8, 8), contents[tag]);
    EXPECT_EQ(bench.commands(ahci::Command::write_fpdma_queued), 32u);
    bench.stop_and_expect_nothing_left();
}

TEST(AhciRequests, CostFewAccessesToTheDevice) {
    DiskBench<StrictMapper, CountingPlatform> bench;
    ASSERT_TRUE(bench.start().ok());
    bench.machine.device.defer(true);
    CountingPlatform& platform = *bench.platform;
    platform.reads = platform.writes = 0;
    ASSERT_TRUE(bench.submit(7, Operation::read, {.blocks = 8}).ok());
    EXPECT_EQ(platform.reads, 0u);
    EXPECT_EQ(platform.writes, 2u) << "PxSACT and PxCI";
    EXPECT_EQ(bench.machine.device.step(), 1u);
    platform.reads = platform.writes = 0;
    EXPECT_EQ(bench.driver->take_interrupt(), 1u);
    EXPECT_EQ(platform.reads, 2u) << "IS and PxIS";
    EXPECT_EQ(platform.writes, 2u);
    platform.reads = platform.writes = 0;
    EXPECT_EQ(bench.driver->complete(0, bench.sink()), 1u);
    EXPECT_EQ(platform.reads, 1u) << "PxSACT";
    EXPECT_EQ(platform.writes, 0u);
    EXPECT_EQ(bench.driver->complete(0, bench.sink()), 0u);
    EXPECT_EQ(platform.reads, 1u) << "nothing is outstanding: nothing is asked";
    EXPECT_EQ(bench.driver->take_interrupt(), 0u);
    bench.stop_and_expect_nothing_left();
}

TEST(AhciRequests, AreRefusedWhenTheyCannotBeRight) {
    Bench bench{{.disks = {{0, {.blocks = 100}}}}};
    ASSERT_TRUE(bench.start().ok());
    const Memory page = bench.machine.memory.allocate_pages(300);
    const std::uint64_t mapped = bench.machine.domain.live();
    const Segment block{page, 512};
    const auto refused = [&](std::uint32_t tag, const ahci::Request& request) {
        const Error error = bench.driver->submit(0, tag, request).error();
        EXPECT_EQ(bench.machine.domain.live(), mapped) << "nothing stays mapped";
        return error;
    };
    EXPECT_EQ(refused(0, {.first_block = 100, .blocks = 1, .segments = {&block, 1}}),
              Error::invalid_argument);
    EXPECT_EQ(refused(0, {.first_block = 99, .blocks = 2, .segments = {&block, 1}}), Error::invalid_argument);
    EXPECT_EQ(refused(0, {.first_block = ~std::uint64_t{0}, .blocks = 2, .segments = {&block, 1}}),
              Error::invalid_argument);
    EXPECT_EQ(refused(0, {.blocks = 0, .segments = {&block, 1}}), Error::invalid_argument);
    EXPECT_EQ(refused(0, {.blocks = 2049, .segments = {&block, 1}}), Error::invalid_argument);
    EXPECT_EQ(refused(0, {.blocks = 1}), Error::invalid_argument) << "no memory";
    EXPECT_EQ(refused(0, {.blocks = 2, .segments = {&block, 1}}), Error::invalid_argument)
        << "too little memory";
    const Segment two[2]{{page, 512}, {page + 4096, 512}};
    EXPECT_EQ(refused(0, {.blocks = 1, .segments = two}), Error::invalid_argument) << "too much memory";
    const Segment odd_address[2]{{page + 1, 256}, {page + 4096, 256}};
    EXPECT_EQ(refused(0, {.blocks = 1, .segments = odd_address}), Error::invalid_argument);
    const Segment odd_length[2]{{page, 255}, {page + 4096, 257}};
    EXPECT_EQ(refused(0, {.blocks = 1, .segments = odd_length}), Error::invalid_argument);
    const std::vector<Segment> many(258, Segment{page, 2});
    EXPECT_EQ(refused(0, {.blocks = 1, .segments = many}), Error::invalid_argument);
    EXPECT_EQ(refused(0, {.force_unit_access = true, .blocks = 1, .segments = {&block, 1}}),
              Error::invalid_argument)
        << "a read";
    EXPECT_EQ(refused(32, {.blocks = 1, .segments = {&block, 1}}), Error::invalid_argument);
    EXPECT_EQ(bench.driver->submit(1, 0, {.blocks = 1, .segments = {&block, 1}}).error(),
              Error::invalid_argument);
    const ahci::BlockRange none{5, 0};
    const ahci::BlockRange beyond{99, 2};
    EXPECT_EQ(refused(0, {.operation = Operation::trim}), Error::invalid_argument);
    EXPECT_EQ(refused(0, {.operation = Operation::trim, .ranges = {&none, 1}}), Error::invalid_argument);
    EXPECT_EQ(refused(0, {.operation = Operation::trim, .ranges = {&beyond, 1}}), Error::invalid_argument);
    const std::vector<ahci::BlockRange> too_many(65, ahci::BlockRange{1, 1});
    EXPECT_EQ(refused(0, {.operation = Operation::trim, .ranges = too_many}), Error::invalid_argument);

    bench.machine.device.defer(true);
    EXPECT_TRUE(bench.submit(3, Operation::read).ok());
    EXPECT_EQ(bench.driver->submit(0, 3, {.blocks = 1, .segments = {&block, 1}}).error(),
              Error::invalid_argument)
        << "the tag is in use";
    bench.machine.device.defer(false);
    bench.settle();
    EXPECT_EQ(bench.outcomes().at(3), Outcome::done);
    EXPECT_EQ(bench.driver->counters().read_requests, 1u);
    bench.machine.memory.free_pages(page, 300);
    bench.stop_and_expect_nothing_left();
}

TEST(AhciRequests, AreTakenAgainWhenThereIsRoomForTheirMapping) {
    // Room for the port's memory, and for one request.
    Bench bench{{}, {}, {1 << 20, (3 << 20) - 1}};
    ASSERT_TRUE(bench.start().ok());
    bench.machine.device.defer(true);
    const Content content = pattern(3, 1 << 20);
    ASSERT_TRUE(bench.submit(0, Operation::write, {.blocks = 2048, .content = &content}).ok());
    EXPECT_EQ(bench.submit(1, Operation::write, {.blocks = 2048, .content = &content}).error(),
              Error::no_iova_space);
    bench.machine.device.defer(false);
    bench.settle();
    EXPECT_TRUE(bench.submit(1, Operation::write, {.first = 2048, .blocks = 2048, .content = &content}).ok());
    bench.settle();
    EXPECT_EQ(bench.on_disk(2048, 2048), content);
    EXPECT_EQ(bench.driver->counters().write_requests, 2u);
    bench.stop_and_expect_nothing_left();
}

TEST(AhciRequests, WorkOnDisksWithLargeBlocks) {
    Bench bench{{.disks = {{0, {.blocks = 1024, .block_bytes = 4096, .physical_block_bytes = 4096}}}}};
    ASSERT_TRUE(bench.start().ok());
    const Content content = pattern(1, 1 << 20);
    EXPECT_EQ(bench.write(768, content), Outcome::done);
    EXPECT_EQ(bench.on_disk(768, 256), content);
    EXPECT_EQ(bench.read(768, 256), content);
    EXPECT_EQ(bench.driver->submit(0, 0, {.first_block = 0, .blocks = 257}).error(), Error::invalid_argument);
    bench.stop_and_expect_nothing_left();
}

TEST(AhciRequests, GoOneByOneWhereThereIsNoQueueing) {
    for (const bool adapter : {true, false}) {
        Bench bench{{.disks = {{0, {.queue_depth = adapter ? 0u : 32u}}}, .native_queueing = adapter}};
        ASSERT_TRUE(bench.start().ok());
        EXPECT_FALSE(bench.driver->disk(0).native_queueing);
        EXPECT_EQ(bench.driver->disk(0).queue_depth, 32u) << "they wait in the driver";
        bench.machine.device.defer(true);
        std::vector<Content> contents;
        for (std::uint32_t tag = 0; tag < 32; ++tag) {
            contents.push_back(pattern(tag, 1024));
            ASSERT_TRUE(
                bench
                    .submit(tag, Operation::write, {.first = tag * 2, .blocks = 2, .content = &contents[tag]})
                    .ok());
        }
        EXPECT_EQ(bench.outstanding(), 1u);
        bench.machine.device.defer(false);
        bench.settle();
        EXPECT_EQ(bench.ended.size(), 32u);
        for (std::uint32_t tag = 0; tag < 32; ++tag) EXPECT_EQ(bench.on_disk(tag * 2, 2), contents[tag]);
        EXPECT_EQ(bench.read(4, 2), contents[2]);
        EXPECT_EQ(bench.commands(ahci::Command::write_dma_ext), 32u);
        EXPECT_EQ(bench.commands(ahci::Command::read_dma_ext), 1u);
        EXPECT_EQ(bench.commands(ahci::Command::write_fpdma_queued), 0u);
        bench.stop_and_expect_nothing_left();
    }
}

TEST(AhciRequests, OfSeveralPortsDoNotMeet) {
    Bench bench{{.disks = {{0, {}}, {2, {}}, {5, {.queue_depth = 0}}}}};
    ASSERT_TRUE(bench.start().ok());
    const auto contents = bench.submit_writes({0, 2, 5});
    bench.settle();
    bench.expect_all_ended(24, Outcome::done);
    for (const auto& [port, content] : contents) EXPECT_EQ(bench.on_disk(0, 64, port), content);
    bench.stop_and_expect_nothing_left();
}

TEST(AhciPolling, NeedsNoInterrupts) {
    Bench bench;
    ASSERT_TRUE(bench.start().ok());
    bench.driver->disable_interrupts();
    const Content content = pattern(9, 4096);
    ASSERT_TRUE(bench.submit(0, Operation::write, {.blocks = 8, .content = &content}).ok());
    std::uint32_t idle = 0;
    while (bench.driver->complete(0, bench.sink()) == 0 && idle < 100'000) ++idle;
    EXPECT_EQ(bench.outcomes().at(0), Outcome::done);
    EXPECT_FALSE(bench.machine.device.interrupt_line());
    const StorageCounters counters = bench.driver->counters();
    EXPECT_EQ(counters.polls, idle + 1);
    EXPECT_EQ(counters.idle_polls, idle);
    EXPECT_EQ(counters.interrupts, 0u);
    // watch() gives back at once where nobody else would.
    ASSERT_TRUE(bench.submit(0, Operation::read).ok());
    bench.machine.platform.advance_ns(1'000'000);
    EXPECT_FALSE(bench.driver->watch(0, bench.sink()));
    EXPECT_EQ(bench.ended.size(), 2u);
    EXPECT_EQ(bench.driver->counters().lost_interrupts, 0u) << "there are none";
    bench.stop_and_expect_nothing_left();
}

TEST(AhciOrder, AFlushComesAfterWhatWasThereAndBeforeWhatFollows) {
    Bench bench;
    ASSERT_TRUE(bench.start().ok());
    bench.machine.device.defer(true);
    const Content content = pattern(1, 512);
    ASSERT_TRUE(bench.submit(0, Operation::write, {.first = 0, .content = &content}).ok());
    ASSERT_TRUE(bench.submit(1, Operation::write, {.first = 1, .content = &content}).ok());
    ASSERT_TRUE(bench.submit(2, Operation::flush).ok());
    ASSERT_TRUE(bench.submit(3, Operation::write, {.first = 3, .content = &content}).ok());
    EXPECT_EQ(bench.outstanding(), 2u) << "the flush and what follows wait";
    EXPECT_EQ(bench.machine.device.step(1), 1u);
    bench.serve();
    EXPECT_EQ(bench.outstanding(), 1u);
    EXPECT_EQ(bench.machine.device.step(1), 1u);
    bench.serve();
    EXPECT_EQ(bench.outstanding(), 1u) << "the flush, alone";
    EXPECT_EQ(bench.commands(ahci::Command::flush_cache_ext), 1u);
    EXPECT_EQ(bench.commands(ahci::Command::write_fpdma_queued), 2u);
    EXPECT_EQ(bench.machine.device.step(1), 1u);
    EXPECT_EQ(bench.machine.device.disk(0).blocks_in_cache(), 0u);
    bench.serve();
    EXPECT_EQ(bench.commands(ahci::Command::write_fpdma_queued), 3u);
    bench.machine.device.defer(false);
    bench.settle();
    EXPECT_EQ(bench.ended.size(), 4u);
    bench.stop_and_expect_nothing_left();
}

// Whatever comes in between, a request is issued after a bounded number of others.
TEST(AhciOrder, NeitherReadsNorFlushesStarve) {
    Bench bench;
    ASSERT_TRUE(bench.start().ok());
    bench.machine.device.defer(true);
    // Tags 0 to 15 flush all the time, 16 to 31 read all the time.
    const auto submit = [&](std::uint32_t tag) {
        ASSERT_TRUE(bench.submit(tag, tag < 16 ? Operation::flush : Operation::read).ok());
    };
    for (std::uint32_t tag = 0; tag < 32; ++tag) submit(tag);
    std::map<std::uint32_t, std::uint32_t> ends;
    std::size_t seen = 0;
    for (int round = 0; round < 1000; ++round) {
        ASSERT_EQ(bench.machine.device.step(1), 1u) << "something is always with the disk";
        bench.serve();
        for (; seen < bench.ended.size(); ++seen) {
            ++ends[bench.ended[seen].tag];
            submit(bench.ended[seen].tag);
        }
    }
    for (std::uint32_t tag = 0; tag < 32; ++tag) EXPECT_GE(ends[tag], 3u) << "tag " << tag;
    bench.stop();
    bench.expect_nothing_left();
    bench.expect_clean_device();
}

TEST(AhciOrder, QueuedAndOtherCommandsNeverMeetAtTheDisk) {
    Bench bench{{.command_ns = 5'000}};
    ASSERT_TRUE(bench.start().ok());
    std::mt19937_64 random{4};
    for (int i = 0; i < 2000; ++i) {
        const auto tag = static_cast<std::uint32_t>(random() % 32);
        if (!bench.flights.contains({0, tag})) {
            ASSERT_TRUE(bench.submit(tag, random() % 4 == 0 ? Operation::flush : Operation::read).ok());
        }
        bench.machine.platform.advance_ns(random() % 8000);
        bench.serve();
    }
    bench.settle();
    bench.stop_and_expect_nothing_left();  // the model calls a mixture a violation
}

TEST(AhciTrim, ClearsRanges) {
    Bench bench;
    ASSERT_TRUE(bench.start().ok());
    const Content content = pattern(1, 32 * 512);
    EXPECT_EQ(bench.write(0, content), Outcome::done);
    EXPECT_EQ(bench.run(Operation::trim, {.ranges = {{2, 3}, {10, 1}, {31, 1}}}), Outcome::done);
    for (std::uint64_t block = 0; block < 32; ++block) {
        const bool cleared = (block >= 2 && block < 5) || block == 10 || block == 31;
        EXPECT_EQ(bench.on_disk(block, 1) == Content(512), cleared) << block;
    }
    EXPECT_EQ(bench.driver->counters().trim_requests, 1u);
    bench.stop_and_expect_nothing_left();
}

TEST(AhciTrim, CutsLongRangesIntoEntries) {
    Bench bench{{.disks = {{0, {.blocks = 0x80'0000}}}}};
    ASSERT_TRUE(bench.start().ok());
    const std::uint32_t most = bench.driver->disk(0).most_trim_ranges;
    const std::uint32_t blocks = most * ahci::most_trim_blocks;
    const Content content = pattern(1, 512);
    for (const std::uint64_t block :
         {0u, ahci::most_trim_blocks - 1, ahci::most_trim_blocks, blocks - 1, blocks})
        EXPECT_EQ(bench.write(block, content), Outcome::done);
    EXPECT_EQ(bench.submit(0, Operation::trim, {.ranges = {{0, blocks + 1}}}).error(),
              Error::invalid_argument);
    EXPECT_EQ(bench.run(Operation::trim, {.ranges = {{0, blocks}}}), Outcome::done);
    for (const std::uint64_t block : {0u, ahci::most_trim_blocks - 1, ahci::most_trim_blocks, blocks - 1})
        EXPECT_EQ(bench.on_disk(block, 1), Content(512)) << block;
    EXPECT_EQ(bench.on_disk(blocks, 1), content);
    bench.stop_and_expect_nothing_left();
}

// ---- durability ----

// What a file system relies on: after a flush, or with forced unit access, what was written before is there
// whatever happens to the power. Returns whether it was.
bool survives_power_loss(std::uint32_t disk_depth, bool flush, bool force_unit_access) {
    Bench bench{{.disks = {{0, {.queue_depth = disk_depth}}}}};
    EXPECT_TRUE(bench.start().ok());
    const Content before = pattern(1, 64 * 512);
    const Content after = pattern(2, 64 * 512);
    EXPECT_EQ(bench.write(100, before), Outcome::done);
    EXPECT_EQ(bench.run(Operation::flush), Outcome::done);
    EXPECT_EQ(bench.write(100, after, force_unit_access), Outcome::done);
    if (flush) {
        EXPECT_EQ(bench.run(Operation::flush), Outcome::done);
    }
    bench.machine.device.power_loss(0);
    bench.stop();
    EXPECT_TRUE(bench.start().ok());
    const Content found = bench.read(100, 64);
    EXPECT_TRUE(found == before || found == after);
    bench.stop();
    bench.expect_nothing_left();
    return found == after;
}

TEST(AhciDurability, AFlushBringsWritesThroughAPowerLoss) {
    for (const std::uint32_t depth : {32u, 0u}) {
        EXPECT_TRUE(survives_power_loss(depth, true, false));
        EXPECT_TRUE(survives_power_loss(depth, false, true)) << "forced unit access";
        EXPECT_FALSE(survives_power_loss(depth, false, false)) << "or this test could not fail";
    }
}

TEST(AhciDurability, EveryWriteThatEndedBeforeAFlushIsInIt) {
    for (std::uint64_t seed = 1; seed <= 20; ++seed) {
        Bench bench{{.order_seed = seed}};
        ASSERT_TRUE(bench.start().ok());
        std::mt19937_64 random{seed};
        std::map<std::uint64_t, Content> promised;  // by block
        std::map<std::uint64_t, Content> written;   // ended, and not yet flushed
        std::map<std::uint32_t, std::pair<std::uint64_t, Content>> writes;
        std::map<std::uint32_t, std::map<std::uint64_t, Content>> flushes;  // what each promises
        std::uint64_t next_block = 0;
        std::size_t seen = 0;
        for (int i = 0; i < 300; ++i) {
            const auto tag = static_cast<std::uint32_t>(random() % 32);
            if (!bench.flights.contains({0, tag})) {
                if (random() % 8 == 0) {
                    flushes[tag] = written;
                    ASSERT_TRUE(bench.submit(tag, Operation::flush).ok());
                } else {
                    const Content content = pattern(random(), 512);
                    writes[tag] = {next_block, content};
                    ASSERT_TRUE(
                        bench.submit(tag, Operation::write, {.first = next_block++, .content = &content})
                            .ok());
                }
            }
            bench.machine.platform.advance_ns(random() % 60'000);
            bench.serve();
            for (; seen < bench.ended.size(); ++seen) {
                const std::uint32_t done = bench.ended[seen].tag;
                if (const auto flush = flushes.find(done); flush != flushes.end()) {
                    promised.merge(flush->second);
                    flushes.erase(flush);
                } else {
                    written[writes.at(done).first] = writes.at(done).second;
                }
            }
        }
        bench.machine.device.power_loss(random());
        ASSERT_GT(promised.size(), 20u);
        for (const auto& [block, content] : promised) ASSERT_EQ(bench.on_disk(block, 1), content) << block;
        bench.stop();
        bench.expect_nothing_left();
    }
}

}  // namespace
}  // namespace dmatoll::test
