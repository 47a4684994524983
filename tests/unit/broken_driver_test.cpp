// SPDX-License-Identifier: BSD-2-Clause
// The model must catch drivers and strategies that are wrong. Each test takes one that is broken in a stated
// way and sees it noticed, beside the unbroken one, which is not.
#include <gtest/gtest.h>

#include <functional>
#include <vector>

#include "machine.hpp"

namespace dmatoll::test {

// What the tests below do to a mapper that works.
enum class Breakage : std::uint8_t {
    none,
    unmaps_early,            // at once: the device uses the buffer after the unmapping
    maps_late,               // after the doorbell: the descriptor is handed over too early
    wrong_direction,         // to_device and from_device exchanged
    maps_one_page_too_few,   // of a buffer that spans several
    never_unmaps,            // the buffer stays in reach
    frees_before_unmapping,  // what unmap() unmaps is the next one's
};

// A mapper of its own over the software IOMMU, one page range a mapping.
class BrokenMapper {
  public:
    static constexpr const Strategy& strategy = strategies::strict;
    inline static Breakage breakage = Breakage::none;
    inline static Invalidate when = Invalidate::now;

    explicit BrokenMapper(Machine& machine) : machine_{machine} {}

    std::uint32_t extent(Memory, std::uint32_t length, Direction) const { return length; }

    Result<Iova> map(Memory memory, std::uint32_t length, Direction direction) {
        std::uint64_t pages = pages_spanned(memory.address, length);
        const Iova iova = machine_.allocator.usual().allocate(pages).value();
        if (breakage == Breakage::wrong_direction) {
            direction = direction == Direction::to_device ? Direction::from_device : Direction::to_device;
        }
        if (breakage == Breakage::maps_one_page_too_few && pages > 1) --pages;
        const auto establish = [this, iova, memory, pages, direction] {
            return machine_.iommu.map(iova, Memory{page_floor(memory.address)}, pages * page_bytes,
                                      direction);
        };
        if (breakage == Breakage::maps_late) {
            late.push_back(establish);
        } else {
            EXPECT_TRUE(establish().ok());
        }
        if (breakage == Breakage::unmaps_early) {
            EXPECT_TRUE(machine_.iommu.unmap(iova, pages * page_bytes, Invalidate::now).ok());
        }
        return iova + offset_in_page(memory.address);
    }

    void unmap(Iova iova, std::uint32_t length, Direction, std::uint32_t) {
        if (breakage == Breakage::never_unmaps || breakage == Breakage::unmaps_early) return;
        const std::uint64_t pages = pages_spanned(iova.value, length);
        static_cast<void>(machine_.iommu.unmap(Iova{page_floor(iova.value)}, pages * page_bytes, when));
        machine_.allocator.usual().free(Iova{page_floor(iova.value)}, pages);
    }

    void release_all() {}
    [[nodiscard]] MappingCounters counters() const { return {}; }

    std::vector<std::function<Status()>> late;

  private:
    Machine& machine_;
};

std::unique_ptr<BrokenMapper> make_mapper(Machine& machine, BrokenMapper*) {
    return std::make_unique<BrokenMapper>(machine);
}

// Surroundings that tell the device of one descriptor more than there is.
class EagerDoorbell {
  public:
    inline static bool eager = true;
    explicit EagerDoorbell(ModelPlatform& platform) : platform_{platform} {}
    std::uint32_t read32(std::uint32_t offset) { return platform_.read32(offset); }
    void write32(std::uint32_t offset, std::uint32_t value) {
        const bool is_tail = offset == model::datasheet::TDT && value != 0;
        platform_.write32(offset, eager && is_tail ? value + 1 : value);
    }
    Result<RingMemory> allocate_ring(std::uint32_t bytes) { return platform_.allocate_ring(bytes); }
    Result<PageMemory> allocate_pages(std::uint32_t bytes) { return platform_.allocate_pages(bytes); }
    Result<PageMemory> allocate_large_page() { return platform_.allocate_large_page(); }
    void free_pages(const PageMemory& pages) { platform_.free_pages(pages); }
    void free_ring(const RingMemory& ring) { platform_.free_ring(ring); }
    Result<void*> allocate(std::size_t bytes) { return platform_.allocate(bytes); }
    void free(void* memory, std::size_t bytes) { platform_.free(memory, bytes); }
    void* cpu_address(Memory buffer) { return platform_.cpu_address(buffer); }
    std::uint64_t now_ns() { return platform_.now_ns(); }
    void delay_us(std::uint32_t microseconds) { platform_.delay_us(microseconds); }
    void log(LogLevel level, const char* message) { platform_.log(level, message); }

  private:
    ModelPlatform& platform_;
};

namespace {

using model::FaultReason;

class Caught : public testing::Test {
  protected:
    void SetUp() override {
        BrokenMapper::breakage = Breakage::none;
        BrokenMapper::when = Invalidate::now;
        EagerDoorbell::eager = true;
    }
    static bool faulted(const Machine& machine, model::Access access, FaultReason reason) {
        for (const model::DmaFault& fault : machine.iommu.faults()) {
            if (fault.access == access && fault.reason == reason) return true;
        }
        return false;
    }
};

TEST_F(Caught, NothingWhenNothingIsBroken) {
    Bench<BrokenMapper> bench;
    ASSERT_TRUE(bench.start().ok());
    bench.transmit_offset = 4000;
    for (int i = 0; i < 10; ++i) {
        ASSERT_TRUE(bench.transmit(make_frame({.payload = 500})).ok());
        EXPECT_EQ(bench.machine.device.take_wire().size(), 1u);
        EXPECT_EQ(bench.reclaim(), 1u);
        EXPECT_EQ(bench.machine.device.receive_frame(make_frame({})), model::Arrival::stored);
        EXPECT_EQ(bench.receive(), 1u);
        bench.refill();
    }
    bench.stop();
    EXPECT_EQ(bench.machine.iommu.mapped_pages(), 0u);
    bench.expect_clean_device();
}

TEST_F(Caught, UseAfterUnmapWhenTransmitting) {
    Bench<BrokenMapper> bench;
    ASSERT_TRUE(bench.start().ok());
    BrokenMapper::breakage = Breakage::unmaps_early;
    ASSERT_TRUE(bench.transmit(make_frame({})).ok());
    EXPECT_TRUE(faulted(bench.machine, model::Access::read, FaultReason::not_mapped));
    EXPECT_TRUE(bench.machine.device.take_wire().empty()) << "nothing of it left the machine";
    EXPECT_EQ(bench.reclaim(), 0u);
    bench.stop();
}

TEST_F(Caught, UseAfterUnmapWhenReceiving) {
    BrokenMapper::breakage = Breakage::unmaps_early;
    Bench<BrokenMapper> bench;
    ASSERT_TRUE(bench.start().ok());
    bench.machine.device.receive_frame(make_frame({}));
    EXPECT_TRUE(faulted(bench.machine, model::Access::write, FaultReason::not_mapped));
    EXPECT_EQ(bench.machine.device.aborted_accesses(), 1u);
    bench.stop();
}

TEST_F(Caught, WrongDirection) {
    BrokenMapper::breakage = Breakage::wrong_direction;
    Bench<BrokenMapper> bench;
    ASSERT_TRUE(bench.start().ok());
    bench.machine.device.receive_frame(make_frame({}));
    EXPECT_TRUE(faulted(bench.machine, model::Access::write, FaultReason::wrong_direction));
    bench.machine.iommu.forget_events();
    ASSERT_TRUE(bench.transmit(make_frame({})).ok());
    EXPECT_TRUE(faulted(bench.machine, model::Access::read, FaultReason::wrong_direction));
    EXPECT_TRUE(bench.machine.device.take_wire().empty());
    bench.stop();
}

TEST_F(Caught, AMappingThatEndsBeforeItsBuffer) {
    Bench<BrokenMapper> bench;
    ASSERT_TRUE(bench.start().ok());
    BrokenMapper::breakage = Breakage::maps_one_page_too_few;
    bench.transmit_offset = 4000;
    ASSERT_TRUE(bench.transmit(make_frame({.payload = 500})).ok());
    EXPECT_TRUE(faulted(bench.machine, model::Access::read, FaultReason::not_mapped));
    EXPECT_EQ(offset_in_page(bench.machine.iommu.faults().at(0).iova.value), 0u) << "at the page border";
    bench.stop();
}

TEST_F(Caught, ADescriptorHandedOverBeforeItsBufferIsMapped) {
    Bench<BrokenMapper> bench;
    ASSERT_TRUE(bench.start().ok());
    BrokenMapper::breakage = Breakage::maps_late;
    ASSERT_TRUE(bench.transmit(make_frame({})).ok());
    for (const auto& establish : bench.mapper->late) EXPECT_TRUE(establish().ok());
    EXPECT_TRUE(faulted(bench.machine, model::Access::read, FaultReason::not_mapped));
    EXPECT_TRUE(bench.machine.device.take_wire().empty());
    bench.stop();
}

TEST_F(Caught, ADescriptorHandedOverBeforeItIsWritten) {
    Bench<StrictMapper, EagerDoorbell> bench;
    ASSERT_TRUE(bench.start().ok());
    ASSERT_TRUE(bench.transmit(make_frame({})).ok());
    const std::vector<std::string> violations = bench.machine.device.violations();
    ASSERT_FALSE(violations.empty());
    EXPECT_NE(violations[0].find("empty transmit descriptor"), std::string::npos) << violations[0];
    bench.stop();
}

TEST_F(Caught, ADescriptorOfTheLastRoundHandedOverAgain) {
    EagerDoorbell::eager = false;
    Bench<StrictMapper, EagerDoorbell> bench{{.transmit_descriptors = 64}};
    ASSERT_TRUE(bench.start().ok());
    for (int i = 0; i < 70; ++i) {
        ASSERT_TRUE(bench.transmit(make_frame({})).ok());
        ASSERT_EQ(bench.reclaim(), 1u);
    }
    bench.expect_clean_device();
    EagerDoorbell::eager = true;
    // Both frames' IOVAs are in use at once, so that the leftover's buffer is not mapped again by accident.
    ASSERT_TRUE(bench.transmit(make_frame({.payload = 1000}), {}, 10'000).ok());
    const bool refused = faulted(bench.machine, model::Access::read, FaultReason::not_mapped);
    const bool sent_twice = bench.machine.device.take_wire().size() > 71;
    EXPECT_TRUE(refused || sent_twice) << "the leftover was fetched";
    bench.stop();
}

TEST_F(Caught, AnUnmappingWithoutInvalidation) {
    BrokenMapper::when = Invalidate::later;  // and nobody ever invalidates
    Bench<BrokenMapper> bench;
    ASSERT_TRUE(bench.start().ok());
    bench.machine.device.receive_frame(make_frame({}));
    const Iova buffer = bench.machine.device.last_receive_buffer();
    ASSERT_EQ(bench.receive(), 1u);
    EXPECT_TRUE(bench.machine.iommu.reachable(buffer, model::Access::write)) << "the IOTLB still leads there";
    EXPECT_TRUE(bench.machine.device.stray_write(buffer, 64, std::byte{0x66}));
    ASSERT_EQ(bench.machine.iommu.stale_accesses().size(), 1u);
    EXPECT_EQ(bench.machine.iommu.stale_accesses()[0].access, model::Access::write);
    EXPECT_TRUE(bench.machine.iommu.invalidate_all().ok());
    EXPECT_FALSE(bench.machine.device.stray_write(buffer, 64, std::byte{0x66}));
    bench.stop();
}

// The same for our own strategy over an IOMMU whose invalidation does nothing.
TEST_F(Caught, AnInvalidationThatIsLost) {
    Bench<StrictMapper> bench;
    ASSERT_TRUE(bench.start().ok());
    bench.machine.iommu.lose_invalidations(true);
    bench.machine.device.receive_frame(make_frame({.seed = 1}));
    const Iova buffer = bench.machine.device.last_receive_buffer();
    ASSERT_EQ(bench.receive(), 1u);
    EXPECT_TRUE(bench.machine.device.stray_write(buffer, 64, std::byte{0x66}));
    EXPECT_EQ(bench.machine.iommu.stale_accesses().size(), 1u);
    EXPECT_EQ(*bench.machine.at(bench.buffers[bench.free_buffers.back()]), std::byte{0x66})
        << "memory that was given back was overwritten";
    bench.stop();
}

TEST_F(Caught, ABufferThatIsNeverUnmapped) {
    Bench<BrokenMapper> bench;
    ASSERT_TRUE(bench.start().ok());
    BrokenMapper::breakage = Breakage::never_unmaps;
    bench.machine.device.receive_frame(make_frame({}));
    const Iova buffer = bench.machine.device.last_receive_buffer();
    ASSERT_EQ(bench.receive(), 1u);
    EXPECT_TRUE(bench.machine.iommu.reachable(buffer, model::Access::write));
    bench.stop();
    EXPECT_NE(bench.machine.iommu.mapped_pages(), 0u) << "the domain is not empty";
}

TEST_F(Caught, StrayAccessesAreRefusedEverywhereButInWhatIsMapped) {
    Bench<StrictMapper> bench;
    ASSERT_TRUE(bench.start().ok());
    for (const std::uint64_t iova :
         {std::uint64_t{0}, std::uint64_t{0xfee0'0000}, std::uint64_t{1} << 38, std::uint64_t{1} << 50}) {
        EXPECT_FALSE(bench.machine.device.stray_read(Iova{iova}, 4));
        EXPECT_FALSE(bench.machine.device.stray_write(Iova{iova}, 4, std::byte{1}));
    }
    EXPECT_EQ(bench.machine.iommu.faults().size(), 8u);
    bench.stop();
}

}  // namespace
}  // namespace dmatoll::test
