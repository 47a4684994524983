// SPDX-License-Identifier: BSD-2-Clause
// The AHCI model itself, programmed by hand: registers, links, commands and completions.
#include <gtest/gtest.h>

#include <algorithm>

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

}  // namespace
}  // namespace dmatoll::test
