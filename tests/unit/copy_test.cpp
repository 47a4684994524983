// SPDX-License-Identifier: BSD-2-Clause
// Strategy `copy`: by the byte, and without a window.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "core/copy.hpp"
#include "machine.hpp"

namespace dmatoll::test {
namespace {

using model::Access;

TEST(CopyBytes, CopiesEachLengthAndNothingBeside) {
    for (std::size_t length = 0; length < 70; ++length) {
        for (const std::size_t offset : {0u, 1u, 7u}) {
            Bytes from(96);
            for (std::size_t i = 0; i < from.size(); ++i) from[i] = static_cast<std::byte>(i + 1);
            Bytes to(96, std::byte{0xee});
            copy_bytes(to.data() + 8 + offset, from.data() + offset, length);
            for (std::size_t i = 0; i < to.size(); ++i) {
                const bool copied = i >= 8 + offset && i < 8 + offset + length;
                ASSERT_EQ(to[i], copied ? from[i - 8] : std::byte{0xee}) << length << " at " << i;
            }
            clear_bytes(to.data() + 8 + offset, length);
            for (std::size_t i = 0; i < to.size(); ++i) {
                const bool cleared = i >= 8 + offset && i < 8 + offset + length;
                ASSERT_EQ(to[i], cleared ? std::byte{0} : std::byte{0xee}) << length << " at " << i;
            }
        }
    }
}

class CopyTest : public testing::Test {
  protected:
    CopyTest() {
        EXPECT_TRUE(mapper.set_up({.to_device = 300, .from_device = 4}).ok());
        std::fill_n(machine.at(pages, 4 * page_bytes), 4 * page_bytes, std::byte{0x55});
    }
    ~CopyTest() override {
        mapper.release_all();
        EXPECT_EQ(machine.iommu.mapped_pages(), 0u);
        EXPECT_EQ(machine.domain.live(), 0u);
        EXPECT_EQ(machine.platform.pages_out(), 0u);
        EXPECT_EQ(machine.platform.tables_out(), machine.tables_at_start);
        EXPECT_EQ(machine.platform.misuses(), 0u);
    }

    Machine machine;
    CopyMapper mapper{machine.domain, machine.platform};
    Memory pages = machine.memory.allocate_pages(4);
};

TEST_F(CopyTest, TheDeviceReadsTheBytesAndZeroBeside) {
    const Iova iova = mapper.map(pages + 100, 50, Direction::to_device).value();
    EXPECT_EQ(offset_in_page(iova.value), 100u);
    Bytes seen(page_bytes);
    ASSERT_TRUE(machine.iommu.read(Iova{page_floor(iova.value)}, seen));
    for (std::size_t i = 0; i < seen.size(); ++i) {
        ASSERT_EQ(seen[i], i >= 100 && i < 150 ? std::byte{0x55} : std::byte{0}) << i;
    }
    EXPECT_FALSE(machine.iommu.write(iova, seen)) << "read only";
    EXPECT_FALSE(machine.iommu.exposed(pages, Access::read));
    EXPECT_FALSE(machine.iommu.exposed(pages, Access::write));
    mapper.unmap(iova, 50, Direction::to_device, 0);
}

TEST_F(CopyTest, NothingOfAnEarlierFrameStandsBehindALaterOne) {
    const std::pair<std::uint32_t, std::uint32_t> frames[] = {{0, 4096},  {10, 20},  {2000, 96}, {5, 15},
                                                              {4000, 96}, {0, 1},    {300, 300}, {200, 500},
                                                              {200, 500}, {250, 100}};
    for (const auto& [offset, length] : frames) {
        const Iova iova = mapper.map(pages + offset, length, Direction::to_device).value();
        Bytes seen(page_bytes);
        ASSERT_TRUE(machine.iommu.read(Iova{page_floor(iova.value)}, seen));
        for (std::size_t i = 0; i < seen.size(); ++i) {
            ASSERT_EQ(seen[i], i >= offset && i < offset + length ? std::byte{0x55} : std::byte{0})
                << length << " from " << offset << " at " << i;
        }
        mapper.unmap(iova, length, Direction::to_device, 0);
    }
}

TEST_F(CopyTest, OnlyWhatTheDeviceSaysToHaveWrittenArrives) {
    const Iova iova = mapper.map(pages + 64, 2048, Direction::from_device).value();
    // More than it says, in front of the buffer, and behind it.
    ASSERT_TRUE(machine.iommu.write(Iova{page_floor(iova.value)}, Bytes(page_bytes, std::byte{0xaa})));
    Bytes seen(1);
    EXPECT_FALSE(machine.iommu.read(iova, seen)) << "write only";
    EXPECT_EQ(*machine.at(pages + 64), std::byte{0x55}) << "nothing arrives before unmap()";
    mapper.unmap(iova, 2048, Direction::from_device, 100);
    for (std::size_t i = 0; i < page_bytes; ++i) {
        ASSERT_EQ(*machine.at(pages + i), i >= 64 && i < 164 ? std::byte{0xaa} : std::byte{0x55}) << i;
    }
    // Window zero.
    ASSERT_TRUE(machine.iommu.write(iova, Bytes(100, std::byte{0xbb})));
    EXPECT_EQ(*machine.at(pages + 64), std::byte{0xaa});
}

TEST_F(CopyTest, WrittenIsHeldToTheLengthThatWasMapped) {
    const Iova iova = mapper.map(pages, 10, Direction::from_device).value();
    ASSERT_TRUE(machine.iommu.write(iova, Bytes(1000, std::byte{0xaa})));
    mapper.unmap(iova, 10, Direction::from_device, 1000);
    EXPECT_EQ(*machine.at(pages + 9), std::byte{0xaa});
    EXPECT_EQ(*machine.at(pages + 10), std::byte{0x55});
}

TEST_F(CopyTest, ExhaustionIsAnErrorThatIsCountedAndPasses) {
    std::vector<Iova> out;
    for (int i = 0; i < 4; ++i) out.push_back(mapper.map(pages, 100, Direction::from_device).value());
    EXPECT_EQ(mapper.map(pages, 100, Direction::from_device).error(), Error::no_memory);
    EXPECT_EQ(mapper.counters().failures, 1u);
    mapper.unmap(out[2], 100, Direction::from_device, 0);
    EXPECT_EQ(mapper.map(pages, 100, Direction::from_device).value(), out[2]);
    EXPECT_TRUE(mapper.map(pages, 100, Direction::to_device).ok()) << "each direction has a pool of its own";
}

TEST_F(CopyTest, EverySlotIsAnotherPageAndNothingIsMappedOnTheWay) {
    const std::uint64_t maps = machine.iommu.counts().maps;
    std::vector<std::uint64_t> slots;
    for (std::uint32_t i = 0; i < 300; ++i) {
        const Iova iova = mapper.map(pages + i, 1, Direction::to_device).value();
        slots.push_back(page_floor(iova.value));
        *machine.at(pages + i) = static_cast<std::byte>(i);
    }
    std::vector<std::uint64_t> sorted = slots;
    std::sort(sorted.begin(), sorted.end());
    EXPECT_EQ(std::unique(sorted.begin(), sorted.end()), sorted.end());
    for (std::uint32_t i = 0; i < 300; ++i) mapper.unmap(Iova{slots[i] + i}, 1, Direction::to_device, 0);
    EXPECT_EQ(machine.iommu.counts().maps, maps);
    EXPECT_EQ(machine.iommu.counts().invalidations, 0u);
}

TEST_F(CopyTest, ExtentEndsWithThePage) {
    EXPECT_EQ(mapper.extent(pages + 4000, 500, Direction::to_device), 96u);
    EXPECT_EQ(mapper.extent(pages, 500, Direction::to_device), 500u);
    EXPECT_EQ(mapper.map(pages + 4000, 97, Direction::to_device).error(), Error::invalid_argument);
    EXPECT_EQ(mapper.map(pages, 1, Direction::bidirectional).error(), Error::invalid_argument);
}

TEST(CopySetUp, OfLargePagesAPoolIsAsManyAsItTakes) {
    Machine machine;
    CopyMapper mapper{machine.domain, machine.platform};
    EXPECT_EQ(mapper.set_up({.to_device = 1, .from_device = 1, .page_size = 65536}).error(), Error::invalid_argument);
    ASSERT_TRUE(mapper.set_up({.to_device = 513, .from_device = 4, .page_size = large_page_bytes}).ok());
    EXPECT_EQ(machine.iommu.counts().maps, 3u);
    EXPECT_EQ(machine.iommu.mapped_pages(), 3u * 512);
    const Memory buffer = machine.memory.allocate_pages(1);
    std::vector<Iova> slots;
    for (std::uint32_t i = 0; i < 513; ++i) {
        std::memcpy(machine.at(buffer, sizeof(i)), &i, sizeof(i));
        slots.push_back(mapper.map(buffer, sizeof(i), Direction::to_device).value());
    }
    EXPECT_EQ(mapper.map(buffer, 1, Direction::to_device).error(), Error::no_memory) << "not as many as fit";
    // Each has its own, after all others were filled.
    for (std::uint32_t i = 0; i < 513; ++i) {
        Bytes seen(sizeof(i));
        ASSERT_TRUE(machine.iommu.read(slots[i], seen));
        EXPECT_EQ(std::memcmp(seen.data(), &i, sizeof(i)), 0) << "slot " << i;
    }
    EXPECT_EQ(std::count_if(slots.begin(), slots.end(), [](Iova slot) { return slot.value % large_page_bytes == 0; }),
              2);

    // The pool has one slot of its second large page: what lies behind that is none that could be given back.
    ASSERT_EQ(slots[512].value % large_page_bytes, 0u);
    mapper.unmap(slots[7], sizeof(std::uint32_t), Direction::to_device, 0);
    mapper.unmap(slots[512] + page_bytes, 1, Direction::to_device, 0);
    EXPECT_EQ(mapper.map(buffer, 1, Direction::to_device).value(), slots[7]);
    EXPECT_EQ(mapper.map(buffer, 1, Direction::to_device).error(), Error::no_memory);
    for (const Iova& slot : slots) mapper.unmap(slot, sizeof(std::uint32_t), Direction::to_device, 0);

    const Iova first = mapper.map(buffer, 64, Direction::from_device).value();
    const Iova second = mapper.map(buffer + 64, 64, Direction::from_device).value();
    ASSERT_TRUE(machine.iommu.write(first, Bytes(64, std::byte{0xaa})));
    ASSERT_TRUE(machine.iommu.write(second, Bytes(64, std::byte{0xbb})));
    mapper.unmap(second, 64, Direction::from_device, 64);
    mapper.unmap(first, 64, Direction::from_device, 64);
    for (std::uint64_t i = 0; i < 128; ++i) {
        ASSERT_EQ(*machine.at(buffer + i), i < 64 ? std::byte{0xaa} : std::byte{0xbb}) << i;
    }
    mapper.release_all();
    EXPECT_EQ(machine.iommu.mapped_pages(), 0u);
    EXPECT_EQ(machine.platform.pages_out(), 0u);
}

TEST(CopySetUp, GivesEverythingBackWhenSomethingIsRefused) {
    Machine machine;
    CopyMapper mapper{machine.domain, machine.platform};
    EXPECT_EQ(mapper.set_up({.to_device = 0, .from_device = 1}).error(), Error::invalid_argument);
    EXPECT_EQ(mapper.set_up({.to_device = 1, .from_device = CopySlots::most + 1}).error(),
              Error::invalid_argument);
    for (std::uint64_t after = 0; after < 3; ++after) {
        machine.platform.refuse_pages(after);
        EXPECT_EQ(mapper.set_up({.to_device = 300, .from_device = 200}).error(), Error::no_memory);
        machine.iommu.refuse_maps(after);
        EXPECT_EQ(mapper.set_up({.to_device = 300, .from_device = 200}).error(), Error::mapping_failed);
    }
    for (std::uint64_t after = 0; after < 4; ++after) {
        machine.platform.refuse_allocation(after);
        EXPECT_EQ(mapper.set_up({.to_device = 300, .from_device = 200}).error(), Error::no_memory);
    }
    EXPECT_EQ(machine.platform.pages_out(), 0u);
    EXPECT_EQ(machine.platform.tables_out(), machine.tables_at_start);
    EXPECT_EQ(machine.domain.live(), 0u);
}

TEST(CopyDriver, AFrameForWhichThereAreTooFewSlotsIsRefusedAndGivesBackWhatItTook) {
    Bench<CopyMapper> bench;
    bench.mapper->release_all();
    ASSERT_TRUE(bench.mapper->set_up({.to_device = 3, .from_device = 256}).ok());
    ASSERT_TRUE(bench.start().ok());
    const FrameShape shape{.payload = 16000};
    Bytes frame = make_frame(shape);
    ASSERT_TRUE(e1000::prepare_segmentation(frame, segmentation_offload(shape, 1448)).ok());
    const std::uint32_t room = bench.driver->transmit_room();
    EXPECT_EQ(bench.transmit(frame, segmentation_offload(shape, 1448)).error(), Error::no_memory);
    EXPECT_EQ(bench.driver->transmit_room(), room);
    EXPECT_EQ(bench.mapper->counters().failures, 1u);
    EXPECT_TRUE(bench.machine.device.take_wire().empty());
    // All three slots are back.
    ASSERT_TRUE(bench.transmit(Bytes(2 * page_bytes, std::byte{1}), segmentation_offload(shape, 1448)).ok());
    bench.stop_and_expect_nothing_left();
}

}  // namespace
}  // namespace dmatoll::test
