// SPDX-License-Identifier: BSD-2-Clause
// A disk that copies memory on command, on the model: what it reaches under every strategy, that a strategy which
// protects less than it says is found out, and when things go wrong.
#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <type_traits>
#include <vector>

#include "ahci/disk_copy.hpp"
#include "ahci_machine.hpp"
#include "copy_bench.hpp"

namespace dmatoll::test {
namespace {

using DiskEngine = ahci::DiskCopy<DiskPlatform>;

template <class M>
class DiskCopyBench : public CopyBenchOf<M, DiskMachine, DiskPlatform, DiskEngine> {
  public:
    explicit DiskCopyBench(const model::AhciOptions& options = {})
        : CopyBenchOf<M, DiskMachine, DiskPlatform, DiskEngine>{options} {
        this->mapper = make_disk_mapper(this->machine, static_cast<M*>(nullptr));
        this->driver = std::make_unique<typename DiskCopyBench::Driver>(this->machine.platform, *this->mapper,
                                                                        ahci::Settings{.queue_depth = 1});
    }
};

// Of a disk as the model has it.
constexpr std::uint64_t blocks = 1 << 16;
constexpr std::uint64_t first_mark = blocks - 10;
constexpr std::uint64_t last_mark = blocks - 1;

std::uint64_t number(const Answer& answer, const std::string& name) { return std::stoull(answer.at(name)); }

// ---- copies ----

template <class M>
class EveryDiskCopy : public testing::Test {};
TYPED_TEST_SUITE(EveryDiskCopy, EveryDiskMapper, DiskStrategyNames);

TYPED_TEST(EveryDiskCopy, CopiesWhatItWasAskedTo) {
    DiskCopyBench<TypeParam> bench;
    ASSERT_TRUE(bench.start().ok());
    for (const char* plan : {"begin bytes=512 working_set=1 batch=1", "begin working_set=32 batch=8",
                             "begin working_set=20 batch=20 lifetime=0"}) {
        bench.follow(plan);
        const Answer answer = bench.run(100);
        EXPECT_EQ(answer.at("copies"), "100") << plan;
        EXPECT_EQ(answer.at("copies_bad"), "0") << plan;
        EXPECT_EQ(bench.follow("end").at("copies_bad"), "0") << plan;
        EXPECT_TRUE(bench.pages_out.empty());
    }
    EXPECT_EQ(bench.driver->counters().bytes_copied, 100u * (512 + 4096 + 4096));
    bench.expect_no_fault();
    bench.stop_and_expect_nothing_left();
}

TEST(DiskCopy, IsOfWholeBlocks) {
    DiskCopyBench<StrictDisk> bench;
    ASSERT_TRUE(bench.start().ok());
    EXPECT_EQ(bench.execute("begin bytes=1514").error(), Error::not_supported);
    EXPECT_TRUE(bench.execute("begin bytes=1536").ok());
    bench.follow("end");
    bench.stop_and_expect_nothing_left();
}

// ---- the disk that it goes over ----

TEST(DiskCopy, LeavesADiskAloneThatHasDataAtItsEnd) {
    for (const std::uint64_t used : {last_mark, blocks - 8, first_mark}) {
        DiskCopyBench<StrictDisk> bench{{.disks = {{0, {}}, {2, {}}}}};
        const Content data = pattern(7, 512);
        bench.machine.device.disk(0).write(used, data, true);
        ASSERT_TRUE(bench.start().ok());
        bench.follow("begin");
        EXPECT_EQ(bench.run(64).at("copies_bad"), "0");
        for (std::uint64_t block = blocks - 16; block < blocks; ++block)
            EXPECT_EQ(bench.machine.device.disk(0).read(block), block == used ? data : Content(512)) << block;
        EXPECT_NE(bench.machine.device.disk(2).read(first_mark), Content(512));
        EXPECT_EQ(bench.machine.device.disk(2).read(last_mark), bench.machine.device.disk(2).read(first_mark));
        // Nothing in front of the marks.
        EXPECT_EQ(bench.machine.device.disk(2).read(first_mark - 1), Content(512));
        bench.stop_and_expect_nothing_left();
    }
}

TEST(DiskCopy, TakesBlocksAgainThatItTookBefore) {
    DiskCopyBench<StrictDisk> bench;
    for (int life = 0; life < 2; ++life) {
        ASSERT_TRUE(bench.start().ok());
        bench.follow("begin");
        EXPECT_EQ(bench.run(64).at("copies_bad"), "0");
        EXPECT_NE(bench.machine.device.disk(0).read(first_mark + 1), Content(512));
        bench.driver->stop(bench.give_back());
        bench.machine.device.set_bus_master(false);
    }
    bench.stop_and_expect_nothing_left();
}

// Of an engine that was cut off: what it left of its own between the marks, or only one of them.
TEST(DiskCopy, TakesBlocksThatAreMarkedWhateverIsBetween) {
    DiskCopyBench<StrictDisk> bench;
    ASSERT_TRUE(bench.start().ok());
    auto& disk = bench.machine.device.disk(0);
    bench.driver->stop(bench.give_back());
    bench.machine.device.set_bus_master(false);
    disk.write(blocks - 5, pattern(7, 512), true);
    ASSERT_TRUE(bench.start().ok());
    bench.driver->stop(bench.give_back());
    bench.machine.device.set_bus_master(false);
    EXPECT_EQ(disk.read(blocks - 5), pattern(7, 512));
    for (const std::uint64_t block : {first_mark + 1, blocks - 5}) disk.write(block, Content(512), true);
    disk.write(last_mark, Content(512), true);
    ASSERT_TRUE(bench.start().ok());
    EXPECT_EQ(disk.read(last_mark), disk.read(first_mark));
    bench.stop_and_expect_nothing_left();
}

// Somebody else came to use them: by 4 KiB, of which the last begins behind the first mark.
TEST(DiskCopy, LeavesBlocksAloneThatSomebodyElseUsesSinceTheyWereMarked) {
    for (const std::uint64_t used : {first_mark, last_mark}) {
        DiskCopyBench<StrictDisk> bench;
        ASSERT_TRUE(bench.start().ok());
        bench.driver->stop(bench.give_back());
        bench.machine.device.set_bus_master(false);
        auto& disk = bench.machine.device.disk(0);
        // The mark's first word is still there.
        Content data = disk.read(used);
        data[17] = std::byte{1};
        disk.write(used, data, true);
        disk.write(blocks - 5, pattern(7, 512), true);
        EXPECT_EQ(bench.start().error(), Error::not_supported);
        EXPECT_EQ(disk.read(used), data);
        EXPECT_EQ(disk.read(blocks - 5), pattern(7, 512));
        bench.stop_and_expect_nothing_left();
    }
}

TEST(DiskCopy, SaysSoWhereNoDiskWillDo) {
    for (const model::AhciOptions& options :
         {model::AhciOptions{.disks = {{0, {.block_bytes = 4096, .physical_block_bytes = 4096}}}},
          model::AhciOptions{.disks = {}}}) {
        DiskCopyBench<StrictDisk> bench{options};
        EXPECT_EQ(bench.start().error(), Error::not_supported);
        ASSERT_FALSE(bench.machine.platform.log_lines().empty());
        EXPECT_NE(bench.machine.platform.log_lines().back().text.find("no disk of this adapter will do"),
                  std::string::npos);
        bench.stop_and_expect_nothing_left();
    }
}

// ---- stray accesses ----

TEST(DiskStrayAccess, ToWhatWasNeverMappedIsRefusedAndRecoveredFrom) {
    DiskCopyBench<StrictDisk> bench;
    ASSERT_TRUE(bench.start().ok());
    bench.follow("begin");
    bench.run(64);
    const Answer written = bench.follow("stray_write iova=0x70000000");
    EXPECT_EQ(written.at("found"), "nowhere");
    EXPECT_EQ(written.at("restarted"), "1");
    const std::size_t faults = bench.machine.iommu.faults().size();
    EXPECT_GE(faults, 1u);
    const Answer read = bench.follow("stray_read iova=0x70000000");
    EXPECT_EQ(read.at("reached"), "0");
    EXPECT_EQ(read.at("content"), "nothing");
    EXPECT_EQ(read.at("restarted"), "1");
    EXPECT_GT(bench.machine.iommu.faults().size(), faults);
    EXPECT_EQ(bench.run(64).at("copies_bad"), "0");
    bench.stop_and_expect_nothing_left();
}

// An adapter that reports what the IOMMU refused as done.
TEST(DiskStrayAccess, IsJudgedByMemoryAndNotByTheDevice) {
    DiskCopyBench<StrictDisk> bench;
    ASSERT_TRUE(bench.start().ok());
    bench.follow("begin working_set=8 batch=1 lifetime=0");
    bench.run(8);
    const Answer place = bench.follow("look pair=3");
    bench.machine.device.inject(AhciFault::completes_without_data);
    EXPECT_EQ(bench.follow("stray_write iova=" + place.at("destination_iova")).at("found"), "nowhere");
    EXPECT_EQ(bench.machine.device.happened(AhciFault::completes_without_data), 1u);
    EXPECT_EQ(bench.follow("stray_write iova=" + place.at("destination_iova")).at("found"), "destination");
    bench.stop_and_expect_nothing_left();
}

TEST(DiskStrayAccess, InTheWrongDirectionIsRefused) {
    DiskCopyBench<StrictDisk> bench;
    ASSERT_TRUE(bench.start().ok());
    bench.follow("begin working_set=8 batch=1 lifetime=0");
    bench.run(8);
    const Answer place = bench.follow("look pair=3");
    EXPECT_EQ(bench.follow("stray_write iova=" + place.at("source_iova")).at("found"), "nowhere");
    EXPECT_EQ(bench.follow("stray_read iova=" + place.at("destination_iova")).at("reached"), "0");
    // ... and in the right one it is not.
    EXPECT_EQ(bench.follow("stray_write iova=" + place.at("destination_iova")).at("found"), "destination");
    const Answer read = bench.follow("stray_read iova=" + place.at("source_iova"));
    EXPECT_EQ(read.at("reached"), "1");
    // What it strayed to does not stay on the disk.
    std::uint64_t kept = 0;
    std::memcpy(&kept, bench.machine.device.disk(0).read(first_mark + 1).data(), sizeof kept);
    EXPECT_NE(kept, number(read, "first"));
    EXPECT_EQ(bench.follow("end").at("copies_bad"), "0");
    bench.stop_and_expect_nothing_left();
}

TEST(DiskStrayAccess, LeavesTheEnginesOwnPagesAlone) {
    DiskCopyBench<StrictDisk> bench{{.disks = {{0, {}}, {3, {}}}}};
    ASSERT_TRUE(bench.start().ok());
    for (const std::uint32_t port : {0u, 3u}) {
        const std::uint64_t list = bench.machine.device.peek(model::AhciDevice::at_port(port, sheet::CLB));
        for (const std::uint64_t own : {list, list + page_bytes}) {
            EXPECT_EQ(bench.execute("stray_write iova=" + std::to_string(own)).error(), Error::invalid_argument);
            EXPECT_NE(bench.answer().at("error").find("works by"), std::string::npos);
        }
    }
    bench.stop_and_expect_nothing_left();
}

TEST(DiskStrayAccess, ToAnAddressThatNoTableCanNameIsRefused) {
    DiskCopyBench<StrictDisk> bench{{.wide_addresses = false}};
    ASSERT_TRUE(bench.start().ok());
    EXPECT_FALSE(bench.execute("stray_read iova=0x1000000000").ok());
    EXPECT_FALSE(bench.execute("stray_read iova=0x70000001").ok());
    bench.follow("begin");
    EXPECT_EQ(bench.run(8).at("copies_bad"), "0");
    bench.stop_and_expect_nothing_left();
}

// Neither the device hangs in the end nor the run.
TEST(DiskCopy, ThatNeverEndsIsGivenUp) {
    DiskCopyBench<StrictDisk> bench;
    ASSERT_TRUE(bench.start().ok());
    bench.follow("begin");
    bench.machine.device.inject(AhciFault::command_never_completes);
    const std::uint64_t begun_ns = bench.machine.platform.now_ns();
    EXPECT_NE(bench.run(64).at("copies_bad"), "0");
    EXPECT_EQ(bench.machine.device.happened(AhciFault::command_never_completes), 1u);
    EXPECT_LT(bench.machine.platform.now_ns() - begun_ns, 4'000'000'000u);
    EXPECT_EQ(bench.run(64).at("copies_bad"), "0");
    bench.stop_and_expect_nothing_left();
}

TEST(DiskStrayAccess, ADiskIsWaitedForAsLongAsItMayTake) {
    DiskCopyBench<StrictDisk> bench;
    ASSERT_TRUE(bench.start().ok());
    for (const AhciFault slow : {AhciFault::command_never_completes, AhciFault::interface_error}) {
        bench.machine.device.inject(slow);
        EXPECT_EQ(bench.follow("stray_write iova=0x70000000").at("restarted"), "1");
        EXPECT_EQ(bench.machine.device.happened(slow), 1u);
    }
    bench.stop_and_expect_nothing_left();
}

// The way between the disk and the engine's own pages is no stray access.
TEST(DiskStrayAccess, WhatFailsBesideItIsNoRefusal) {
    DiskCopyBench<StrictDisk> bench;
    ASSERT_TRUE(bench.start().ok());
    auto& disk = bench.machine.device.disk(0);
    // A stray write's block does not get to the disk, a stray read's not back from it.
    for (const bool writing : {true, false}) {
        const std::string access = writing ? "stray_write" : "stray_read";
        disk.fail(first_mark + 1, {.on_read = !writing, .on_write = writing});
        EXPECT_EQ(bench.execute(access + " iova=0x70000000").error(), Error::device_misbehaves) << access;
        disk.heal(first_mark + 1);
        EXPECT_EQ(bench.follow(access + " iova=0x70000000").at("restarted"), "1");
    }
    bench.stop_and_expect_nothing_left();
}

TEST(DiskCopy, ADeviceThatIsGoneEndsTheRun) {
    DiskCopyBench<StrictDisk> bench;
    ASSERT_TRUE(bench.start().ok());
    bench.machine.device.inject(AhciFault::gone);
    EXPECT_EQ(bench.execute("stray_read iova=0x70000000").error(), Error::device_gone);
    bench.machine.device.clear(AhciFault::gone);
    bench.follow("begin");
    bench.machine.device.inject(AhciFault::gone);
    const Answer answer = bench.run(0);
    EXPECT_EQ(answer.at("failure"), describe(Error::device_gone));
    EXPECT_LT(number(answer, "copies"), 64u);
    bench.machine.device.clear(AhciFault::gone);
    bench.driver->stop(bench.give_back());
    EXPECT_TRUE(bench.pages_out.empty());
}

// ---- what is reached of the driver's own buffers ----

template <class M>
constexpr WindowKind window_of = M::strategy.kernel.driver_from_device.window.kind;

TYPED_TEST(EveryDiskCopy, EachAccessReachesWhatItsStrategyLetsIt) {
    constexpr bool by_bytes = std::is_same_v<TypeParam, CopyDisk> || std::is_same_v<TypeParam, HybridCopyDisk>;
    DiskCopyBench<TypeParam> bench;
    ASSERT_TRUE(bench.start().ok());
    const Answer answer = bench.reach("rounds=3 patience_ms=20");
    for (const std::string live : {"neighbour_write", "neighbour_read", "backward_write", "backward_read"})
        EXPECT_EQ(answer.at(live + "_accesses"), "6") << live;
    // Whoever shares a page with a buffer shares its mapping, unless the buffer itself is not mapped.
    EXPECT_EQ(answer.at("neighbour_write"), by_bytes ? "0" : "6");
    EXPECT_EQ(answer.at("neighbour_read"), by_bytes ? "0" : "6");
    EXPECT_EQ(answer.at("backward_write"), "0");
    for (const std::string stale : {"stale_write", "stale_read"}) {
        EXPECT_EQ(answer.at(stale) != "0", window_of<TypeParam> != WindowKind::zero) << stale;
        EXPECT_EQ(answer.at(stale + "_open"), window_of<TypeParam> == WindowKind::unbounded ? "3" : "0") << stale;
        if (window_of<TypeParam> == WindowKind::bounded) {
            // An alarm rings when the access that is under way has ended.
            EXPECT_LE(number(answer, stale + "_longest_ns"), 11'000'000u);
        }
    }
    bench.stop_and_expect_nothing_left();
}

// What a strategy that says that it is strict may do instead.
enum class Breach : std::uint8_t { none, unmaps_nothing, unmaps_without_invalidation, maps_both_ways };

class UntrueDisk {
  public:
    static constexpr const Strategy& strategy = strategies::strict;

    explicit UntrueDisk(DiskMachine& machine) : machine_{machine} {}

    std::uint32_t extent(Memory, std::uint32_t length, Direction) const { return length; }
    Result<Iova> map(Memory memory, std::uint32_t length, Direction direction) {
        const std::uint64_t bytes = pages_spanned(memory.address, length) * page_bytes;
        return machine_.domain.map_pages(Memory{page_floor(memory.address)}, bytes,
                                         breach == Breach::maps_both_ways ? Direction::bidirectional : direction);
    }
    void unmap(Iova iova, std::uint32_t length, Direction, std::uint32_t) {
        const Iova first{page_floor(iova.value)};
        const std::uint64_t bytes = pages_spanned(iova.value, length) * page_bytes;
        if (breach == Breach::unmaps_nothing) {
            left_.push_back({first, bytes});
        } else if (breach == Breach::unmaps_without_invalidation) {
            EXPECT_TRUE(machine_.iommu.unmap(first, bytes, Invalidate::later).ok());
        } else {
            EXPECT_TRUE(machine_.domain.unmap_pages(first, bytes).ok());
        }
    }
    [[nodiscard]] MappingCounters counters() const { return {}; }
    void release_all() {
        for (const auto& [first, bytes] : left_) EXPECT_TRUE(machine_.domain.unmap_pages(first, bytes).ok());
        left_.clear();
    }

    Breach breach = Breach::none;

  private:
    DiskMachine& machine_;
    std::vector<std::pair<Iova, std::uint64_t>> left_;
};

std::unique_ptr<UntrueDisk> make_disk_mapper(DiskMachine& machine, UntrueDisk*) {
    return std::make_unique<UntrueDisk>(machine);
}

Answer reached_under(Breach breach) {
    DiskCopyBench<UntrueDisk> bench;
    bench.mapper->breach = breach;
    EXPECT_TRUE(bench.start().ok());
    const Answer answer = bench.reach("rounds=2 patience_ms=5");
    bench.driver->stop(bench.give_back());
    bench.mapper->release_all();
    return answer;
}

TEST(DiskReach, FindsOutAStrategyThatProtectsLessThanItSays) {
    const Answer strict = reached_under(Breach::none);
    for (const char* access : {"backward_write", "backward_read", "stale_write", "stale_read"})
        EXPECT_EQ(strict.at(access), "0") << access;
    const Answer kept = reached_under(Breach::unmaps_nothing);
    const Answer cached = reached_under(Breach::unmaps_without_invalidation);
    for (const std::string stale : {"stale_write", "stale_read"}) {
        EXPECT_EQ(kept.at(stale + "_open"), "2") << stale;
        EXPECT_GE(number(kept, stale + "_longest_ns"), 5'000'000u) << stale;
        EXPECT_NE(cached.at(stale), "0") << stale;
    }
    const Answer both = reached_under(Breach::maps_both_ways);
    EXPECT_EQ(both.at("backward_write"), "4");
    EXPECT_EQ(both.at("backward_read"), "4");
    EXPECT_EQ(both.at("stale_write"), "0");
}

}  // namespace
}  // namespace dmatoll::test
