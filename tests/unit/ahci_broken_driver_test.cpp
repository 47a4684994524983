// SPDX-License-Identifier: BSD-2-Clause
// The model must catch disk drivers and strategies that are wrong. Each test takes one that is broken in a
// stated way and sees it noticed, beside the unbroken one, which is not.
#include <gtest/gtest.h>

#include <functional>
#include <vector>

#include "ahci_machine.hpp"

namespace dmatoll::test {

enum class DiskBreakage : std::uint8_t {
    none,
    unmaps_early,           // at once: the device uses the memory after the unmapping
    maps_late,              // after the command was issued: it is handed over too early
    wrong_direction,        // to_device and from_device exchanged
    maps_one_page_too_few,  // of the last segment
    never_unmaps,           // the memory stays in reach
};

// A mapper of its own over the software IOMMU, one IOVA range a segment.
class BrokenDiskMapper {
  public:
    static constexpr const Strategy& strategy = strategies::strict;
    inline static DiskBreakage breakage = DiskBreakage::none;

    explicit BrokenDiskMapper(DiskMachine& machine) : machine_{machine} {}

    std::uint32_t extent(Memory, std::uint32_t length, Direction) const { return length; }

    Result<Iova> map(Memory memory, std::uint32_t length, Direction direction) {
        std::uint64_t pages = pages_spanned(memory.address, length);
        const Iova iova = machine_.allocator.usual().allocate(pages).value();
        if (breakage == DiskBreakage::wrong_direction)
            direction = direction == Direction::to_device ? Direction::from_device : Direction::to_device;
        if (breakage == DiskBreakage::maps_one_page_too_few && --pages == 0)
            return iova + offset_in_page(memory.address);
        const auto establish = [this, iova, memory, pages, direction] {
            return machine_.iommu.map(iova, Memory{page_floor(memory.address)}, pages * page_bytes,
                                      direction);
        };
        if (breakage == DiskBreakage::maps_late) {
            late.push_back(establish);
        } else {
            EXPECT_TRUE(establish().ok());
        }
        if (breakage == DiskBreakage::unmaps_early) {
            EXPECT_TRUE(machine_.iommu.unmap(iova, pages * page_bytes, Invalidate::now).ok());
        }
        return iova + offset_in_page(memory.address);
    }
    void unmap(Iova iova, std::uint32_t length, Direction, std::uint32_t) {
        if (breakage == DiskBreakage::never_unmaps || breakage == DiskBreakage::unmaps_early) return;
        const std::uint64_t pages = pages_spanned(iova.value, length);
        static_cast<void>(
            machine_.iommu.unmap(Iova{page_floor(iova.value)}, pages * page_bytes, Invalidate::now));
        machine_.allocator.usual().free(Iova{page_floor(iova.value)}, pages);
    }

    Result<std::uint32_t> map_list(std::span<const Segment> segments, Direction direction,
                                   std::span<DeviceSegment> room) {
        for (std::size_t i = 0; i < segments.size(); ++i)
            room[i] = {map(segments[i].memory, segments[i].length, direction).value(), segments[i].length};
        return static_cast<std::uint32_t>(segments.size());
    }
    void unmap_list(std::span<const DeviceSegment> mapped, Direction direction, std::uint32_t) {
        for (const DeviceSegment& segment : mapped) unmap(segment.iova, segment.length, direction, 0);
    }

    void release_all() {}
    [[nodiscard]] MappingCounters counters() const { return {}; }

    std::vector<std::function<Status()>> late;

  private:
    DiskMachine& machine_;
};

std::unique_ptr<BrokenDiskMapper> make_disk_mapper(DiskMachine& machine, BrokenDiskMapper*) {
    return std::make_unique<BrokenDiskMapper>(machine);
}

// Issues one command more than there is: its table was never written, or is another's of long ago.
class EagerIssue : public ForwardingPlatform {
  public:
    inline static bool eager = false;
    using ForwardingPlatform::ForwardingPlatform;
    void write32(std::uint32_t offset, std::uint32_t value) {
        const std::uint32_t one_port = offset % ahci::port_stride;
        const bool issues =
            offset >= ahci::first_port_offset && (one_port == sheet::SACT || one_port == sheet::CI);
        ForwardingPlatform::write32(offset, eager && issues ? value | value << 1 : value);
    }
};

// Tells the device of a command before the list does: as a driver whose stores may be reordered.
class EarlyIssue : public ForwardingPlatform {
  public:
    inline static bool early = false;
    explicit EarlyIssue(DiskPlatform& platform) : ForwardingPlatform{platform} {}
    Result<RingMemory> allocate_ring(std::uint32_t bytes) {
        const Result<RingMemory> ring = ForwardingPlatform::allocate_ring(bytes);
        if (ring.ok()) ring_ = ring.value();
        return ring;
    }
    void write32(std::uint32_t offset, std::uint32_t value) {
        if (early && offset == ahci::first_port_offset + sheet::CI) {
            // What was stored last arrives after the register write.
            std::byte* const fis = static_cast<std::byte*>(ring_.cpu) + ahci::PortMemoryLayout::tables;
            std::byte kept[20];
            std::memcpy(kept, fis, sizeof(kept));
            std::memset(fis, 0, sizeof(kept));
            ForwardingPlatform::write32(offset, value);
            std::memcpy(fis, kept, sizeof(kept));
            return;
        }
        ForwardingPlatform::write32(offset, value);
    }

  private:
    RingMemory ring_{};
};

namespace {

using model::FaultReason;

class DiskCaught : public testing::Test {
  protected:
    void SetUp() override {
        BrokenDiskMapper::breakage = DiskBreakage::none;
        EagerIssue::eager = false;
        EarlyIssue::early = false;
    }
    static bool faulted(const DiskMachine& machine, model::Access access, FaultReason reason) {
        return std::ranges::any_of(machine.iommu.faults(), [&](const model::DmaFault& fault) {
            return fault.access == access && fault.reason == reason;
        });
    }
    // With the memory of two requests, one each way.
    template <class B>
    static void write_and_read(B& bench) {
        const Content content = pattern(1, 4 * 4096);
        ASSERT_TRUE(bench.submit(0, Operation::write, {.blocks = 32, .content = &content}).ok());
        ASSERT_TRUE(bench.submit(1, Operation::read, {.first = 64, .blocks = 32}).ok());
        bench.machine.platform.advance_ns(1'000'000);
    }
};

TEST_F(DiskCaught, NothingWhenNothingIsBroken) {
    DiskBench<BrokenDiskMapper> bench;
    ASSERT_TRUE(bench.start().ok());
    for (int i = 0; i < 10; ++i) {
        write_and_read(bench);
        bench.settle();
    }
    bench.stop_and_expect_nothing_left();
    EXPECT_EQ(bench.ended.size(), 20u);

    DiskBench<StrictDisk, EagerIssue> other;
    ASSERT_TRUE(other.start().ok());
    write_and_read(other);
    other.settle();
    other.stop_and_expect_nothing_left();
}

TEST_F(DiskCaught, UseAfterUnmap) {
    DiskBench<BrokenDiskMapper> bench;
    ASSERT_TRUE(bench.start().ok());
    BrokenDiskMapper::breakage = DiskBreakage::unmaps_early;
    write_and_read(bench);
    EXPECT_TRUE(faulted(bench.machine, model::Access::read, FaultReason::not_mapped));
    EXPECT_EQ(bench.on_disk(0, 32), Content(32 * 512)) << "nothing of it left the machine";
    bench.stop();
}

TEST_F(DiskCaught, WrongDirection) {
    DiskBench<BrokenDiskMapper> writing;
    ASSERT_TRUE(writing.start().ok());
    BrokenDiskMapper::breakage = DiskBreakage::wrong_direction;
    const Content content = pattern(1, 4096);
    ASSERT_TRUE(writing.submit(0, Operation::write, {.blocks = 8, .content = &content}).ok());
    writing.machine.platform.advance_ns(1'000'000);
    EXPECT_TRUE(faulted(writing.machine, model::Access::read, FaultReason::wrong_direction));
    writing.stop();

    BrokenDiskMapper::breakage = DiskBreakage::none;
    DiskBench<BrokenDiskMapper> reading;
    ASSERT_TRUE(reading.start().ok());
    BrokenDiskMapper::breakage = DiskBreakage::wrong_direction;
    ASSERT_TRUE(reading.submit(0, Operation::read, {.blocks = 8}).ok());
    reading.machine.platform.advance_ns(1'000'000);
    EXPECT_TRUE(faulted(reading.machine, model::Access::write, FaultReason::wrong_direction));
    reading.stop();
}

TEST_F(DiskCaught, AMappingThatEndsBeforeItsMemory) {
    DiskBench<BrokenDiskMapper> bench;
    ASSERT_TRUE(bench.start().ok());
    BrokenDiskMapper::breakage = DiskBreakage::maps_one_page_too_few;
    write_and_read(bench);
    EXPECT_TRUE(faulted(bench.machine, model::Access::read, FaultReason::not_mapped));
    bench.stop();
}

TEST_F(DiskCaught, ACommandHandedOverBeforeItsMemoryIsMapped) {
    DiskBench<BrokenDiskMapper> bench{{.command_ns = 0}};
    ASSERT_TRUE(bench.start().ok());
    BrokenDiskMapper::breakage = DiskBreakage::maps_late;
    write_and_read(bench);
    for (const auto& establish : bench.mapper->late) EXPECT_TRUE(establish().ok());
    EXPECT_TRUE(faulted(bench.machine, model::Access::read, FaultReason::not_mapped));
    bench.stop();
}

TEST_F(DiskCaught, MemoryThatIsNeverUnmapped) {
    DiskBench<BrokenDiskMapper> bench;
    ASSERT_TRUE(bench.start().ok());
    BrokenDiskMapper::breakage = DiskBreakage::never_unmaps;
    EXPECT_EQ(bench.run(Operation::read, {.blocks = 8}), Outcome::done);
    EXPECT_TRUE(bench.machine.iommu.reachable(bench.machine.device.last_data(), model::Access::write));
    bench.stop();
    EXPECT_NE(bench.machine.iommu.mapped_pages(), 0u) << "the domain is not empty";
}

TEST_F(DiskCaught, MemoryIsOutOfReachOnceTheRequestEnded) {
    DiskBench<StrictDisk> bench;
    ASSERT_TRUE(bench.start().ok());
    EXPECT_EQ(bench.run(Operation::read, {.blocks = 8}), Outcome::done);
    EXPECT_FALSE(bench.machine.device.stray_write(bench.machine.device.last_data(), 64, std::byte{0x66}));
    // Of a request that failed, too.
    const std::uint64_t before = bench.machine.iommu.mapped_pages();
    bench.machine.device.disk(0).fail(0, {});
    EXPECT_EQ(bench.run(Operation::read, {.first = 0, .blocks = 8}), Outcome::medium_error);
    EXPECT_EQ(bench.machine.iommu.mapped_pages(), before);
    bench.stop();
}

TEST_F(DiskCaught, AnInvalidationThatIsLost) {
    DiskBench<StrictDisk> bench;
    ASSERT_TRUE(bench.start().ok());
    bench.machine.iommu.lose_invalidations(true);
    // Memory that stays the test's when the request has ended.
    const Segment segment{bench.machine.memory.allocate_pages(1), page_bytes};
    ASSERT_TRUE(bench.driver->submit(0, 0, {.operation = Operation::read, .blocks = 8, .segments = {&segment, 1}}).ok());
    bench.machine.platform.advance_ns(1'000'000);
    EXPECT_EQ(bench.driver->complete(0, [](std::uint32_t, Outcome) {}), 1u);
    EXPECT_TRUE(bench.machine.device.stray_write(bench.machine.device.last_data(), 64, std::byte{0x66}));
    EXPECT_EQ(bench.machine.iommu.stale_accesses().size(), 1u);
    EXPECT_EQ(*bench.machine.memory.at(segment.memory, 1), std::byte{0x66}) << "memory that was given back was overwritten";
    bench.machine.iommu.lose_invalidations(false);
    bench.stop();
}

TEST_F(DiskCaught, ACommandThatWasNeverWritten) {
    DiskBench<StrictDisk, EagerIssue> bench;
    ASSERT_TRUE(bench.start().ok());
    EagerIssue::eager = true;
    ASSERT_TRUE(bench.submit(0, Operation::read).ok());
    bench.machine.platform.advance_ns(1'000'000);
    EXPECT_FALSE(bench.machine.device.violations().empty()) << "slot 1 has nothing";
    bench.stop();
}

TEST_F(DiskCaught, ACommandOfLongAgoIssuedAgain) {
    DiskBench<StrictDisk, EagerIssue> bench;
    ASSERT_TRUE(bench.start().ok());
    ASSERT_TRUE(bench.submit(1, Operation::read).ok());
    bench.settle();
    ASSERT_EQ(bench.ended.size(), 1u);
    EXPECT_TRUE(bench.machine.iommu.faults().empty());
    EagerIssue::eager = true;
    // Two pages: its IOVAs are not the leftover's by accident.
    ASSERT_TRUE(bench.submit(0, Operation::read, {.blocks = 16}).ok());
    bench.machine.platform.advance_ns(1'000'000);
    EXPECT_TRUE(faulted(bench.machine, model::Access::write, FaultReason::not_mapped));
    bench.stop();
}

TEST_F(DiskCaught, ACommandThatIsIssuedBeforeItsTableIsWritten) {
    DiskBench<StrictDisk, EarlyIssue> bench;
    ASSERT_TRUE(bench.start().ok());
    EarlyIssue::early = true;
    ASSERT_TRUE(bench.submit(0, Operation::read).ok());
    bench.machine.platform.advance_ns(1'000'000);
    EXPECT_FALSE(bench.machine.device.violations().empty());
    EarlyIssue::early = false;
    bench.stop();
}

TEST_F(DiskCaught, StrayAccessesAreRefusedEverywhereButInWhatIsMapped) {
    DiskBench<StrictDisk> bench;
    ASSERT_TRUE(bench.start().ok());
    for (const std::uint64_t iova :
         {std::uint64_t{0}, std::uint64_t{0xfee0'0000}, std::uint64_t{1} << 38, std::uint64_t{1} << 50}) {
        EXPECT_FALSE(bench.machine.device.stray_read(Iova{iova}, 4));
        EXPECT_FALSE(bench.machine.device.stray_write(Iova{iova}, 4, std::byte{1}));
    }
    bench.stop();
}

}  // namespace
}  // namespace dmatoll::test
