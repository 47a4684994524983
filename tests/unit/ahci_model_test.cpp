// SPDX-License-Identifier: BSD-2-Clause
// The AHCI model itself, programmed by hand: registers, links, commands and completions.
#include <gtest/gtest.h>

#include <bit>
#include <cstring>
#include <string>

#include "ahci_model_machine.hpp"

namespace dmatoll::test {
namespace {

using namespace model::ahci_datasheet;

TEST(AhciModelRegisters, SayWhatTheControllerIs) {
    AhciModel machine{{.disks = {{0, {}}, {3, {}}}, .ports = 0b1000'0011, .slots = 16}};
    const std::uint32_t cap = machine.device.read32(CAP);
    EXPECT_EQ(cap & 0x1f, 3u) << "ports less one";
    EXPECT_EQ(cap >> 8 & 0x1f, 15u) << "slots less one";
    EXPECT_EQ(cap >> 30, 3u) << "native queueing and wide addresses";
    EXPECT_EQ(machine.device.read32(PI), 0b1000'1011u);
    EXPECT_EQ(machine.device.read32(VS), 0x0001'0301u);
    machine.device.write32(GHC, ghc_ae);
    machine.pass(100'000'000);
    EXPECT_EQ(machine.device.read32(0x128), 0x133u);
    EXPECT_EQ(machine.device.read32(0x124), 0x101u);
    EXPECT_EQ(machine.device.read32(0x120), 0x150u);
    EXPECT_EQ(machine.device.read32(0x1a8), 0u) << "no disk";
    EXPECT_EQ(machine.device.read32(0x1a4), 0xffff'ffffu);
    EXPECT_EQ(machine.device.read32(0x1a0), 0x7fu);
    machine.expect_no_violations();
}

TEST(AhciModelCommands, IdentifiesByProgrammedIo) {
    AhciModel machine{{.disks = {{0, {.blocks = 0x1'2345'6789, .model = "a model", .serial = "42"}}}}};
    machine.bring_up();
    machine.prepare(0, machine.identifying());
    machine.issue(1);
    EXPECT_EQ(machine.read(CI), 1u);
    EXPECT_NE(machine.read(TFD) & 0x80, 0u);
    EXPECT_FALSE(machine.device.interrupt_line());
    machine.pass(1'000'000);
    EXPECT_EQ(machine.read(CI), 0u);
    EXPECT_EQ(machine.read(TFD), 0x50u);
    EXPECT_EQ(machine.read(PXIS), 1u << 1) << "PIO setup";
    EXPECT_TRUE(machine.device.interrupt_line());
    EXPECT_EQ(machine.header(0, 1), 512u) << "PRDBC";
    EXPECT_EQ(machine.received_byte(0x20), 0x5f);
    const auto word = [&](std::size_t index) {
        return std::to_integer<unsigned>(*machine.at(2 * index)) |
               std::to_integer<unsigned>(*machine.at(2 * index + 1)) << 8;
    };
    EXPECT_EQ(word(100) | word(101) << 16, 0x2345'6789u);
    EXPECT_EQ(word(102), 1u);
    EXPECT_EQ(word(60) | word(61) << 16, 0x0fff'ffffu);
    EXPECT_EQ(word(75), 31u);
    EXPECT_EQ(std::string(reinterpret_cast<const char*>(machine.at(54)), 8), " aomed l");
    unsigned sum = 0;
    for (std::size_t i = 0; i < 512; ++i) sum += std::to_integer<unsigned>(*machine.at(i));
    EXPECT_EQ(sum & 0xff, 0u);
    EXPECT_EQ(word(255) & 0xff, 0xa5u);
    machine.expect_no_violations();
}

TEST(AhciModelCommands, WritesAndReadsThroughPrds) {
    AhciModel machine;
    machine.bring_up();
    for (std::uint32_t i = 0; i < 2048; ++i) *machine.at(i) = static_cast<std::byte>(i * 7);
    RawCommand write = machine.writing(100, 4);
    write.prds = {{machine.data, 512}, {machine.data + 512, 1024}, {machine.data + 1536, 512}};
    machine.run(write);
    EXPECT_EQ(machine.read(CI), 0u);
    EXPECT_EQ(machine.read(PXIS), 1u << 0) << "device-to-host register FIS";
    EXPECT_EQ(machine.received_byte(0x40), 0x34);
    EXPECT_EQ(machine.header(0, 1), 2048u);
    EXPECT_EQ(machine.device.disk(0).read(101)[0], static_cast<std::byte>(512 * 7));
    machine.run(machine.reading(99, 6, 8192));
    EXPECT_EQ(std::memcmp(machine.at(8192 + 512, 2048), machine.at(0, 2048), 2048), 0);
    EXPECT_EQ(*machine.at(8192), std::byte{0});
    EXPECT_EQ(*machine.at(8192 + 5 * 512), std::byte{0});
    machine.expect_no_violations();
    EXPECT_TRUE(machine.iommu.faults().empty());
}

TEST(AhciModelCommands, QueuedCommandsAreOutstandingTogether) {
    AhciModel machine;
    machine.bring_up();
    machine.device.defer(true);
    for (std::uint32_t slot = 0; slot < 4; ++slot) {
        machine.fill(slot * 512, 512, static_cast<std::uint8_t>(0x10 + slot));
        machine.prepare(slot, machine.queued(machine.writing(slot, 1, slot * 512)), true);
    }
    machine.issue_queued(0xf);
    EXPECT_EQ(machine.read(CI), 0u) << "the disk has taken them";
    EXPECT_EQ(machine.read(SACT), 0xfu);
    machine.pass(1'000'000'000);
    EXPECT_EQ(machine.read(SACT), 0xfu) << "deferred";
    EXPECT_TRUE(machine.device.execute(0, 2));
    EXPECT_EQ(machine.read(SACT), 0xbu);
    EXPECT_EQ(machine.read(PXIS), 1u << 3) << "set device bits";
    EXPECT_EQ(machine.received_byte(0x58), 0xa1);
    EXPECT_EQ(machine.received_byte(0x5c), 0x04);
    EXPECT_EQ(machine.device.step(2), 2u);
    EXPECT_EQ(machine.read(SACT), 0x8u) << "in the order of issue";
    EXPECT_EQ(machine.device.step(), 1u);
    EXPECT_EQ(machine.read(SACT), 0u);
    EXPECT_EQ(machine.device.disk(0).read(3)[7], std::byte{0x13});
    machine.expect_no_violations();
}

TEST(AhciModelCommands, QueuedCommandsEndInAnOrderThatTheSeedChooses) {
    const auto order = [](std::uint64_t seed) {
        AhciModel machine{{.order_seed = seed}};
        machine.bring_up();
        machine.device.defer(true);
        for (std::uint32_t slot = 0; slot < 8; ++slot)
            machine.prepare(slot, machine.queued(machine.reading(slot, 1, slot * 512)), true);
        machine.issue_queued(0xff);
        std::string order;
        for (std::uint32_t before = 0xff; before != 0;) {
            const std::uint32_t done = machine.device.step(1);
            EXPECT_EQ(done, 1u);
            if (done == 0) break;
            const std::uint32_t after = machine.read(SACT);
            order += std::to_string(std::countr_zero(before ^ after));
            before = after;
        }
        machine.expect_no_violations();
        return order;
    };
    EXPECT_EQ(order(0), "01234567");
    EXPECT_NE(order(1), order(0));
    EXPECT_NE(order(1), order(2));
    EXPECT_EQ(order(1), order(1));
}

TEST(AhciModelCommands, OthersAreExecutedOneByOneFromTheLowestSlot) {
    AhciModel machine;
    machine.bring_up();
    machine.device.defer(true);
    machine.prepare(0, machine.writing(0, 1));
    machine.prepare(1, machine.writing(1, 1));
    machine.prepare(2, AhciModel::flushing());
    machine.issue(0b111);
    EXPECT_EQ(machine.read(CMD) >> 8 & 0x1f, 0u) << "the current slot";
    EXPECT_FALSE(machine.device.execute(0, 1)) << "the disk has one only";
    EXPECT_EQ(machine.device.step(1), 1u);
    EXPECT_EQ(machine.read(CI), 0b110u);
    EXPECT_EQ(machine.read(CMD) >> 8 & 0x1f, 1u);
    EXPECT_EQ(machine.device.step(1), 1u);
    EXPECT_EQ(machine.device.disk(0).blocks_in_cache(), 2u);
    EXPECT_EQ(machine.device.step(1), 1u);
    EXPECT_EQ(machine.device.disk(0).blocks_in_cache(), 0u);
    EXPECT_EQ(machine.read(CI), 0u);
    EXPECT_EQ(machine.device.commands(flush_cache_ext), 1u);
    machine.expect_no_violations();
}

TEST(AhciModelCommands, AreTakenRoundAndRound) {
    AhciModel machine;
    machine.bring_up();
    machine.device.defer(true);
    for (std::uint32_t slot = 0; slot < 3; ++slot) machine.prepare(slot, machine.reading(slot, 1));
    machine.issue(0b111);
    EXPECT_EQ(machine.device.step(1), 1u);
    machine.issue(0b001);
    EXPECT_EQ(machine.device.step(2), 2u);
    EXPECT_EQ(machine.read(CI), 0b001u) << "the later one does not overtake";
    machine.expect_no_violations();
}

TEST(AhciModelCommands, TakeTimeUnlessToldNotTo) {
    AhciModel slow{{.command_ns = 500'000}};
    slow.bring_up();
    slow.prepare(0, slow.reading(0, 1));
    slow.issue(1);
    slow.pass(499'000);
    EXPECT_EQ(slow.read(CI), 1u);
    slow.pass(1'000);
    EXPECT_EQ(slow.read(CI), 0u);

    AhciModel instant{{.command_ns = 0}};
    instant.bring_up();
    for (std::uint32_t slot = 0; slot < 3; ++slot)
        instant.prepare(slot, instant.queued(instant.reading(slot, 1)), true);
    instant.issue_queued(0b111);
    EXPECT_EQ(instant.read(SACT), 0u);
    instant.prepare(4, instant.reading(0, 1));
    instant.prepare(5, instant.reading(0, 1));
    instant.issue(0b11'0000);
    EXPECT_EQ(instant.read(CI), 0u);
    instant.expect_no_violations();
}

TEST(AhciModelCommands, AreRefusedIfTheDiskDoesNotKnowThem) {
    AhciModel machine{{.disks = {{0,
                                  {.queue_depth = 0,
                                   .flush = false,
                                   .force_unit_access = false,
                                   .trim = false,
                                   .error_log = false}}}}};
    machine.bring_up();
    RawCommand fua = machine.writing(0, 1);
    fua.code = write_dma_fua_ext;
    const RawCommand trim{.code = data_set_management,
                          .count = 1,
                          .features = 1,
                          .device = 0x40,
                          .writes = true,
                          .prds = {{machine.data, 512}}};
    const RawCommand unknown{.code = 0x99, .device = 0x40};
    for (const RawCommand& command :
         {fua, trim, unknown, AhciModel::flushing(), machine.reading_error_log()}) {
        machine.run(command);
        EXPECT_EQ(machine.read(TFD), 0x0451u) << "aborted: " << int{command.code};
        EXPECT_EQ(machine.read(PXIS), 1u << 30);
        EXPECT_EQ(machine.read(CI), 1u);
        machine.start_again();
    }
    machine.prepare(0, machine.queued(machine.reading(0, 1)), true);
    machine.issue_queued(1);
    machine.pass(1'000'000);
    EXPECT_EQ(machine.read(TFD) & 0xff01, 0x0401u);
    EXPECT_EQ(machine.device.disk(0).identify()[76] >> 8 & 1, 0);
    EXPECT_EQ(machine.device.disk(0).identify()[83] >> 13 & 1, 0);
    EXPECT_EQ(machine.device.disk(0).identify()[84] >> 6 & 1, 0);
    EXPECT_EQ(machine.device.disk(0).identify()[169], 0);
    machine.expect_no_violations();
}

TEST(AhciModelCommands, HaveShortFormsWith28Bits) {
    AhciModel machine{{.disks = {{0, {.blocks = 0x1000'0000}}}}};
    machine.bring_up();
    machine.fill(0, 512, 0x5a);
    RawCommand write = machine.writing(0x23'4567, 1);
    write.code = write_dma;
    write.device = 0x41;
    machine.run(write);
    EXPECT_EQ(machine.device.disk(0).read(0x123'4567)[0], std::byte{0x5a});
    RawCommand read = machine.reading(0x23'4567, 1, 512);
    read.code = read_dma;
    read.device = 0x41;
    machine.run(read);
    EXPECT_EQ(*machine.at(512), std::byte{0x5a});
    machine.expect_no_violations();
}

TEST(AhciModelCommands, TrimSeveralRanges) {
    AhciModel machine;
    machine.bring_up();
    machine.fill(0, 8 * 512, 0x77);
    machine.run(machine.writing(0, 8));
    machine.run(AhciModel::flushing());
    const std::uint64_t ranges[]{1 | std::uint64_t{2} << 48, 0, 5 | std::uint64_t{1} << 48};
    machine.fill(0, 512, 0);
    std::memcpy(machine.at(0, 24), ranges, 24);
    const RawCommand trim{.code = data_set_management,
                          .count = 1,
                          .features = 1,
                          .device = 0x40,
                          .writes = true,
                          .prds = {{machine.data, 512}}};
    machine.run(trim);
    EXPECT_EQ(machine.read(TFD), 0x50u);
    std::string zeros;
    for (std::uint64_t block = 0; block < 8; ++block)
        zeros += machine.device.disk(0).read(block)[0] == std::byte{0} ? '0' : '1';
    EXPECT_EQ(zeros, "10011011");
    EXPECT_EQ(machine.device.disk(0).on_medium(1)[0], std::byte{0x77}) << "volatile as a write is";
    const std::uint64_t beyond[]{7 | std::uint64_t{1} << 48, 65536 | std::uint64_t{1} << 48};
    std::memcpy(machine.at(0, 16), beyond, 16);
    machine.run(trim);
    EXPECT_EQ(machine.read(TFD), 0x0451u);
    EXPECT_EQ(machine.device.disk(0).read(7)[0], std::byte{0x77}) << "all of it or nothing";
    machine.expect_no_violations();
}

TEST(AhciModelCommands, SetFeaturesSwitchesTheWriteCache) {
    AhciModel machine;
    machine.bring_up();
    machine.run(machine.writing(3, 1));
    EXPECT_EQ(machine.device.disk(0).blocks_in_cache(), 1u);
    machine.run({.code = set_features, .features = feature_disable_write_cache, .device = 0});
    EXPECT_EQ(machine.device.disk(0).blocks_in_cache(), 0u);
    EXPECT_EQ(machine.device.disk(0).identify()[85] >> 5 & 1, 0);
    machine.fill(0, 512, 1);
    machine.run(machine.writing(3, 1));
    EXPECT_EQ(machine.device.disk(0).on_medium(3)[0], std::byte{1});
    machine.run({.code = set_features, .features = feature_enable_write_cache, .device = 0});
    EXPECT_EQ(machine.device.disk(0).identify()[85] >> 5 & 1, 1);
    machine.run({.code = set_features, .features = 0x55, .device = 0});
    EXPECT_EQ(machine.read(TFD), 0x0451u);
    machine.expect_no_violations();
}

TEST(AhciModelCommands, OfTwoPortsDoNotMeet) {
    AhciModel first{{.disks = {{0, {}}, {5, {.block_bytes = 4096, .physical_block_bytes = 4096}}}}};
    first.bring_up();
    first.device.defer(true);
    first.prepare(0, first.queued(first.writing(0, 1)), true);
    first.issue_queued(1);
    // The other port, with structures of its own in the data pages.
    first.port = 5;
    EXPECT_EQ(first.read(SSTS), 0x133u);
    const std::uint32_t structures = 0x40'8000;
    first.write(CLB, structures);
    first.write(FB, structures + 0x400);
    first.write(SERR, ~0u);
    first.write(CMD, first.read(CMD) | cmd_fre);
    first.write(CMD, first.read(CMD) | cmd_st);
    const std::uint32_t header[8]{5u | 1u << 16, 0, structures + 0x1000};
    const std::uint32_t table[4]{0xec'8027};
    const std::uint32_t prd[4]{0x40'0000, 0, 0, 511};
    std::memcpy(first.at(0x8000, 32), header, 32);
    std::memcpy(first.at(0x9000, 16), table, 16);
    std::memcpy(first.at(0x9080, 16), prd, 16);
    first.issue(1);
    EXPECT_EQ(first.device.outstanding(0), 1u);
    EXPECT_EQ(first.device.outstanding(5), 1u);
    EXPECT_TRUE(first.device.execute(5, 0));
    EXPECT_EQ(first.read(CI), 0u);
    EXPECT_EQ(*first.at(2 * 117 + 1), std::byte{8}) << "2048 words a block";
    EXPECT_EQ(first.device.outstanding(0), 1u);
    first.write(PXIE, is_pss);
    EXPECT_EQ(first.device.read32(IS), 1u << 5);
    EXPECT_TRUE(first.device.interrupt_line());
    first.expect_no_violations();
}

TEST(AhciModelInterrupts, FollowTheThreeLevels) {
    AhciModel machine;
    machine.bring_up();
    machine.run(machine.reading(0, 1));
    EXPECT_TRUE(machine.device.interrupt_line());
    EXPECT_EQ(machine.device.interrupts_raised(), 1u);
    machine.device.write32(IS, 1);
    EXPECT_TRUE(machine.device.interrupt_line()) << "the port's cause is still there";
    EXPECT_EQ(machine.device.read32(IS), 1u);
    machine.write(PXIS, is_dhrs);
    EXPECT_TRUE(machine.device.interrupt_line()) << "the controller's bit is still there";
    machine.device.write32(IS, 1);
    EXPECT_FALSE(machine.device.interrupt_line());
    EXPECT_EQ(machine.device.interrupts_raised(), 2u);
    machine.write(PXIE, 0);
    machine.run(machine.reading(0, 1));
    EXPECT_FALSE(machine.device.interrupt_line());
    EXPECT_EQ(machine.device.read32(IS), 0u);
    machine.write(PXIE, is_dhrs);
    EXPECT_TRUE(machine.device.interrupt_line());
    machine.device.write32(GHC, ghc_ae);
    EXPECT_FALSE(machine.device.interrupt_line());
    machine.expect_no_violations();
}

TEST(AhciModelInterrupts, ALostOneComesWithTheNextCause) {
    AhciModel machine;
    machine.bring_up();
    machine.device.inject(AhciFault::lost_interrupt);
    machine.run(machine.reading(0, 1));
    EXPECT_FALSE(machine.device.interrupt_line());
    EXPECT_EQ(machine.device.happened(AhciFault::lost_interrupt), 1u);
    EXPECT_NE(machine.read(PXIS), 0u) << "the cause is there";
    machine.run(machine.reading(0, 1));
    EXPECT_TRUE(machine.device.interrupt_line());
}

TEST(AhciModelInterrupts, TellOfADescriptorProcessed) {
    AhciModel machine;
    machine.bring_up();
    machine.prepare(0, machine.reading(0, 1));
    machine.put(0, 0x8c, 511u | 1u << 31);
    machine.issue(1);
    machine.pass(1'000'000);
    EXPECT_EQ(machine.read(PXIS), is_dps | is_dhrs);
    machine.expect_no_violations();
}

}  // namespace
}  // namespace dmatoll::test
