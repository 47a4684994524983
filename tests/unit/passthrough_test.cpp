// SPDX-License-Identifier: BSD-2-Clause
// Strategy `passthrough`: everything is reachable at its own address but what the IOMMU has reserved, and
// nothing is left behind.
#include <gtest/gtest.h>

#include <array>

#include "machine.hpp"
#include "mapping/passthrough.hpp"

namespace dmatoll::test {
namespace {

using model::Access;

class PassthroughTest : public testing::Test {
  protected:
    static constexpr std::uint64_t memory_bytes = std::uint64_t{16} << 20;
    const Memory last{memory_bytes - 1};

    void allow_iovas(std::uint32_t address_bits) {
        const IovaRange all{0, ~std::uint64_t{0} >> (64 - address_bits)};
        const IovaRange own{0, last.address};
        ASSERT_TRUE(allocator.set_up(platform, {&all, 1}, {&own, 1}, address_bits, 64).ok());
    }
    void TearDown() override {
        mapper.release_all();
        EXPECT_EQ(domain.live(), 0u);
        EXPECT_EQ(iommu.mapped_pages(), 0u);
        allocator.tear_down(platform);
    }

    model::PhysicalMemory memory{memory_bytes};
    model::SoftwareIommu iommu{memory};
    IovaAllocator allocator;
    ModelDomain domain{iommu, allocator};
    model::E1000Device device{iommu, {}};
    ModelPlatform platform{device, memory, domain};
    Passthrough<ModelDomain> mapper{domain};
};

TEST_F(PassthroughTest, AnAddressIsItsOwnAndNothingIsDoneForABuffer) {
    allow_iovas(39);
    ASSERT_TRUE(mapper.set_up(last, {}, 39).ok());
    const MappingCounters before = mapper.counters();
    const Memory pages = memory.allocate_pages(3);
    const Result<Iova> iova = mapper.map(pages + 100, 2 * page_bytes, Direction::to_device);
    ASSERT_TRUE(iova.ok());
    EXPECT_EQ(iova.value().value, pages.address + 100);
    EXPECT_EQ(mapper.extent(pages, 70000, Direction::to_device), 70000u);
    Bytes bytes(2 * page_bytes);
    EXPECT_TRUE(iommu.read(iova.value(), bytes));
    EXPECT_TRUE(iommu.write(iova.value(), bytes)) << "in both directions, whatever was asked for";
    mapper.unmap(iova.value(), 2 * page_bytes, Direction::to_device, 0);
    EXPECT_TRUE(iommu.reachable(iova.value(), Access::write)) << "it protects nothing";
    EXPECT_EQ(mapper.counters().maps, before.maps);
    EXPECT_EQ(mapper.counters().unmaps, before.unmaps);
    memory.free_pages(pages, 3);
}

TEST_F(PassthroughTest, RingsGetAddressesBeyondMemory) {
    allow_iovas(39);
    ASSERT_TRUE(mapper.set_up(last, {}, 39).ok());
    const Result<RingMemory> ring = platform.allocate_ring(page_bytes);
    ASSERT_TRUE(ring.ok());
    EXPECT_GT(ring.value().iova.value, last.address);
    platform.free_ring(ring.value());
}

TEST_F(PassthroughTest, WhatIsReservedIsNotMapped) {
    allow_iovas(39);
    // Overlapping, unordered, not on page boundaries, and one beyond memory.
    const std::array reserved{IovaRange{0x80'0000, 0x8f'ffff}, IovaRange{0x20'0800, 0x20'0fff},
                              IovaRange{0x88'0000, 0x9f'ffff}, IovaRange{0xfee0'0000, ~std::uint64_t{0}}};
    ASSERT_TRUE(mapper.set_up(last, reserved, 39).ok());
    for (std::uint64_t page = 0; page < memory_bytes; page += page_bytes) {
        const bool expected = page != 0 && page != 0x20'0000 && (page < 0x80'0000 || page >= 0xa0'0000);
        EXPECT_EQ(iommu.reachable(Iova{page}, Access::read), expected) << std::hex << page;
    }
    mapper.release_all();  // while what is reserved is still known
}

TEST_F(PassthroughTest, MemoryBeyondTheAddressWidthIsRefused) {
    allow_iovas(39);
    EXPECT_EQ(mapper.set_up(Memory{std::uint64_t{1} << 39}, {}, 39).error(), Error::invalid_argument);
    EXPECT_EQ(iommu.mapped_pages(), 0u);
}

// The surroundings hear of it before that, from the allocator, and tell it by that.
TEST_F(PassthroughTest, MemoryBeyondTheAddressWidthLeavesNoIovas) {
    const IovaRange all{0, ~std::uint64_t{0}};
    for (const std::uint64_t end : {std::uint64_t{1} << 39, std::uint64_t{1} << 40}) {
        const IovaRange own{0, end - 1};
        EXPECT_EQ(allocator.set_up(platform, {&all, 1}, {&own, 1}, 39, 64).error(), Error::invalid_argument);
    }
}

TEST_F(PassthroughTest, WhatIsNotMemoryIsRefused) {
    allow_iovas(48);
    ASSERT_TRUE(mapper.set_up(last, {}, 48).ok());
    EXPECT_EQ(mapper.map(last, 2, Direction::to_device).error(), Error::mapping_failed);
    EXPECT_EQ(mapper.map(last + 1, 1, Direction::to_device).error(), Error::mapping_failed);
    EXPECT_EQ(mapper.map(Memory{0}, 1, Direction::to_device).error(), Error::mapping_failed);
    EXPECT_TRUE(mapper.map(last, 1, Direction::to_device).ok());
}

}  // namespace
}  // namespace dmatoll::test
