// SPDX-License-Identifier: BSD-2-Clause
// The modelled disk: what its cache loses, and what it says of itself.
#include <gtest/gtest.h>

#include <set>
#include <stdexcept>
#include <vector>

#include "ahci_model_machine.hpp"

namespace dmatoll::test {
namespace {

using namespace model::ahci_datasheet;
using model::AhciDisk;

std::vector<std::byte> block_of(std::uint8_t value) { return std::vector<std::byte>(512, std::byte{value}); }

std::uint8_t first_byte(const AhciDisk::Block& block) { return std::to_integer<std::uint8_t>(block.at(0)); }

TEST(AhciDiskCache, LosesWhatWasNotFlushed) {
    AhciDisk disk{{}};
    disk.write(1, block_of(1), false);
    disk.flush();
    disk.write(1, block_of(2), false);
    disk.write(2, block_of(3), false);
    disk.write(3, block_of(4), true);
    EXPECT_EQ(first_byte(disk.read(1)), 2);
    EXPECT_EQ(first_byte(disk.on_medium(1)), 1);
    disk.power_loss(0);
    EXPECT_EQ(first_byte(disk.read(1)), 1) << "the flushed one";
    EXPECT_EQ(first_byte(disk.read(2)), 0);
    EXPECT_EQ(first_byte(disk.read(3)), 4) << "forced";
}

TEST(AhciDiskCache, ForcedWritesOfABlockAreNotOvertakenByTheCache) {
    AhciDisk disk{{}};
    disk.write(1, block_of(1), false);
    disk.write(1, block_of(2), true);
    EXPECT_EQ(first_byte(disk.read(1)), 2);
    disk.flush();
    EXPECT_EQ(first_byte(disk.read(1)), 2);
}

TEST(AhciDiskCache, MayHaveWrittenAnyOfTheVersionsInAnyOrder) {
    std::set<std::uint8_t> first;
    std::set<std::pair<bool, bool>> kept;
    for (std::uint64_t seed = 0; seed < 64; ++seed) {
        AhciDisk disk{{}};
        disk.write(1, block_of(1), true);
        disk.write(1, block_of(2), false);
        disk.write(1, block_of(3), false);
        disk.write(2, block_of(1), false);
        disk.power_loss(seed);
        first.insert(first_byte(disk.read(1)));
        kept.insert({first_byte(disk.read(1)) == 3, first_byte(disk.read(2)) == 1});
        EXPECT_EQ(disk.blocks_in_cache(), 0u);
    }
    EXPECT_EQ(first, (std::set<std::uint8_t>{1, 2, 3}));
    EXPECT_EQ(kept.size(), 4u) << "the later write may be there without the earlier one";
}

TEST(AhciDiskCache, TrimsAreVolatileToo) {
    AhciDisk disk{{}};
    disk.write(1, block_of(1), true);
    disk.trim(0, 100);
    EXPECT_EQ(first_byte(disk.read(1)), 0);
    disk.power_loss(0);
    EXPECT_EQ(first_byte(disk.read(1)), 1);
    disk.trim(1, 1);
    disk.flush();
    disk.power_loss(0);
    EXPECT_EQ(first_byte(disk.read(1)), 0);
    EXPECT_THROW(disk.trim(65535, 2), std::out_of_range);
}

TEST(AhciDiskCache, IsNotThereIfTheDiskHasNone) {
    AhciDisk disk{{.write_cache = false}};
    disk.write(1, block_of(1), false);
    disk.power_loss(0);
    EXPECT_EQ(first_byte(disk.read(1)), 1);
    EXPECT_EQ(disk.identify()[82] >> 5 & 1, 0);
}

TEST(AhciDiskCache, PowerLossOfTheMachineLosesCommandsAndSettings) {
    AhciModel machine;
    machine.bring_up();
    machine.fill(0, 512, 9);
    machine.run(machine.writing(1, 1));
    RawCommand forced = machine.writing(2, 1);
    forced.code = write_dma_fua_ext;
    machine.run(forced);
    RawCommand queued = machine.queued(machine.writing(3, 1));
    queued.device |= device_fua;
    machine.prepare(0, queued, true);
    machine.issue_queued(1);
    machine.pass(1'000'000);
    EXPECT_EQ(machine.device.forced_writes(), 2u);
    machine.prepare(0, machine.queued(machine.writing(4, 1)), true);
    machine.issue_queued(1);
    machine.device.power_loss(0);
    EXPECT_EQ(machine.device.outstanding(0), 0u);
    AhciDisk& disk = machine.device.disk(0);
    EXPECT_EQ(first_byte(disk.read(1)), 0);
    EXPECT_EQ(first_byte(disk.read(2)), 9);
    EXPECT_EQ(first_byte(disk.read(3)), 9);
    EXPECT_EQ(first_byte(disk.read(4)), 0);
    EXPECT_EQ(machine.device.read32(GHC), 0u);
    EXPECT_EQ(machine.device.peek(model::AhciDevice::at_port(0, CLB)), 0u);
    machine.device.set_bus_master(true);
    machine.bring_up();
    machine.run(machine.reading(2, 1, 4096));
    EXPECT_EQ(*machine.at(4096), std::byte{9});
    machine.expect_no_violations();
}

TEST(AhciDiskCache, PowerLossByASeedKeepsSomeOfItAndSomeOfWhatWasUnderWay) {
    std::set<std::size_t> cached;
    std::set<std::size_t> under_way;
    for (std::uint64_t seed = 0; seed < 16; ++seed) {
        AhciModel machine;
        machine.bring_up();
        machine.fill(0, 4096, 9);
        machine.run(machine.writing(0, 8));
        machine.device.defer(true);
        for (std::uint32_t slot = 0; slot < 8; ++slot) {
            RawCommand write = machine.queued(machine.writing(100 + slot, 1));
            write.device |= device_fua;  // not into the cache
            machine.prepare(slot, write, true);
        }
        machine.issue_queued(0xff);
        machine.device.power_loss(seed);
        const auto kept = [&](std::uint64_t first) {
            std::size_t count = 0;
            for (std::uint64_t block = first; block < first + 8; ++block)
                count += first_byte(machine.device.disk(0).read(block)) == 9 ? 1 : 0;
            return count;
        };
        if (seed == 0) {
            EXPECT_EQ(kept(0) + kept(100), 0u);
        } else {
            cached.insert(kept(0));
            under_way.insert(kept(100));
        }
        machine.expect_no_violations();
    }
    EXPECT_GE(cached.size(), 3u);
    EXPECT_GE(under_way.size(), 3u);
    EXPECT_GT(*cached.rbegin(), 0u);
    EXPECT_GT(*under_way.rbegin(), 0u);
}

TEST(AhciDiskIdentity, SaysWhatTheOptionsSay) {
    const AhciDisk disk{{.blocks = 0x1234'5678'9abc,
                         .block_bytes = 512,
                         .physical_block_bytes = 4096,
                         .queue_depth = 8,
                         .most_trim_pages = 3,
                         .rotational = true}};
    const AhciDisk::Identity words = disk.identify();
    EXPECT_EQ(words[100], 0x9abc);
    EXPECT_EQ(words[101], 0x5678);
    EXPECT_EQ(words[102], 0x1234);
    EXPECT_EQ(words[103], 0);
    EXPECT_EQ(words[75], 7);
    EXPECT_EQ(words[76] >> 8 & 1, 1);
    EXPECT_EQ(words[105], 3);
    EXPECT_EQ(words[106], 1u << 14 | 1u << 13 | 3);
    EXPECT_EQ(words[169] & 1, 1);
    EXPECT_EQ(words[217], 7200);
    EXPECT_EQ(words[83] >> 14, 1);
    EXPECT_EQ(words[87] >> 14, 1);
    EXPECT_THROW(AhciDisk{{.blocks = 0}}, std::invalid_argument);
}

TEST(AhciDiskIdentity, MayBeReplacedWordByWord) {
    AhciDisk disk{{}};
    const auto sum = [&] {
        unsigned sum = 0;
        for (const std::uint16_t word : disk.identify()) sum += (word & 0xffu) + (word >> 8);
        return sum & 0xff;
    };
    for (std::uint32_t word = 100; word < 104; ++word) disk.set_identify_word(word, 0);
    EXPECT_EQ(disk.identify()[101], 0);
    EXPECT_EQ(sum(), 0u) << "the checksum is right";
    disk.set_identify_word(101, std::nullopt);
    EXPECT_EQ(disk.identify()[101], 1);
    disk.set_identify_checksum_wrong(true);
    EXPECT_NE(sum(), 0u);
    EXPECT_THROW(disk.set_identify_word(256, 0), std::out_of_range);
}

}  // namespace
}  // namespace dmatoll::test
