// SPDX-License-Identifier: BSD-2-Clause
// What the AHCI model notices of a driver that does not keep to the specification.
#include <gtest/gtest.h>

#include <functional>
#include <string>

#include "ahci_model_machine.hpp"

namespace dmatoll::test {
namespace {

using namespace model::ahci_datasheet;

struct Misuse {
    const char* said;
    std::function<void(AhciModel&)> act;
    model::AhciOptions options{};
    bool running = true;  // brought up before
};

void PrintTo(const Misuse& misuse, std::ostream* out) { *out << misuse.said; }

class AhciModelMisuse : public testing::TestWithParam<Misuse> {};

TEST_P(AhciModelMisuse, IsNoticed) {
    const Misuse& misuse = GetParam();
    AhciModel machine{misuse.options};
    if (misuse.running) machine.bring_up();
    machine.expect_no_violations();
    misuse.act(machine);
    EXPECT_TRUE(machine.said(misuse.said));
    if (!machine.said(misuse.said)) machine.expect_no_violations();  // what it says instead
}

void issue_with_header(AhciModel& machine, std::uint32_t flags) {
    machine.prepare(0, machine.reading(0, 1));
    machine.put_header(0, 0, machine.header(0, 0) ^ flags);
    machine.issue(1);
}

void issue_with_table(AhciModel& machine, std::uint64_t offset, std::uint32_t value) {
    machine.prepare(0, machine.reading(0, 1));
    machine.put(0, offset, value);
    machine.issue(1);
    machine.pass(1'000'000);
}

INSTANTIATE_TEST_SUITE_P(
    Registers, AhciModelMisuse,
    testing::Values(
        Misuse{"unknown register, offset 44", [](AhciModel& m) { m.device.read32(0x2c); }},
        Misuse{"unknown register, offset 284", [](AhciModel& m) { m.device.write32(0x11c, 1); }},
        Misuse{"unknown register, offset 424", [](AhciModel& m) { m.device.read32(0x1a8); }},
        Misuse{"write to a read-only register", [](AhciModel& m) { m.device.write32(CAP, 1); }},
        Misuse{"a feature that is not offered", [](AhciModel& m) { m.device.write32(CCC_CTL, 1); }},
        Misuse{"read-only or absent register", [](AhciModel& m) { m.write(SSTS, 1); }},
        Misuse{"no hand-over", [](AhciModel& m) { m.device.write32(BOHC, bohc_oos); }},
        Misuse{"while GHC.AE is clear", [](AhciModel& m) { m.read(SSTS); }, {}, false},
        Misuse{"write to offset 8 while GHC.AE", [](AhciModel& m) { m.device.write32(IS, 1); }, {}, false},
        Misuse{"reset while GHC.AE is clear", [](AhciModel& m) { m.device.write32(GHC, ghc_hr); }, {}, false},
        Misuse{"while the HBA is in reset",
               [](AhciModel& m) {
                   m.device.write32(GHC, ghc_ae | ghc_hr);
                   m.read(CMD);
               }},
        Misuse{"reserved bits of PxIE", [](AhciModel& m) { m.write(PXIE, 1u << 8); }},
        Misuse{"reserved bits of PxSCTL", [](AhciModel& m) { m.write(SCTL, 1u << 12); }},
        Misuse{"reserved value", [](AhciModel& m) { m.write(SCTL, 2); }}));

INSTANTIATE_TEST_SUITE_P(
    Ports, AhciModelMisuse,
    testing::Values(Misuse{"command list moved", [](AhciModel& m) { m.write(CLB, 0x10'0000); }},
                    Misuse{"received FIS area moved", [](AhciModel& m) { m.write(FB, 0x10'0000); }},
                    Misuse{"not aligned to 1024",
                           [](AhciModel& m) {
                               m.device.write32(GHC, ghc_ae);
                               m.write(CLB, 0x10'0200);
                           },
                           {},
                           false},
                    Misuse{"not aligned to 256",
                           [](AhciModel& m) {
                               m.device.write32(GHC, ghc_ae);
                               m.write(FB, 0x10'0080);
                           },
                           {},
                           false},
                    Misuse{"above 4 GiB given",
                           [](AhciModel& m) {
                               m.stop();
                               m.write(CLBU, 1);
                           },
                           {.wide_addresses = false}},
                    Misuse{"ST set before PxCMD.FRE",
                           [](AhciModel& m) {
                               m.device.write32(GHC, ghc_ae);
                               m.pass(100'000'000);
                               m.write(CMD, cmd_sud | cmd_st);
                           },
                           {},
                           false},
                    Misuse{"ST set before PxCLB",
                           [](AhciModel& m) {
                               m.device.write32(GHC, ghc_ae);
                               m.pass(100'000'000);
                               m.write(FB, 0x10'0400);
                               m.write(CMD, cmd_fre);
                               m.write(CMD, cmd_fre | cmd_st);
                           },
                           {},
                           false},
                    Misuse{"FRE set before PxFB",
                           [](AhciModel& m) {
                               m.device.write32(GHC, ghc_ae);
                               m.write(CMD, cmd_fre);
                           },
                           {},
                           false},
                    Misuse{"ST set while PxCMD.CR still is",
                           [](AhciModel& m) {
                               m.write(CMD, m.read(CMD) & ~cmd_st);
                               m.write(CMD, m.read(CMD) | cmd_st);
                           }},
                    Misuse{"ST set without a disk",
                           [](AhciModel& m) {
                               m.device.write32(GHC, ghc_ae);
                               m.start();
                           },
                           {.disks = {}},
                           false},
                    Misuse{"ST set with an old error",
                           [](AhciModel& m) {
                               m.device.inject(AhciFault::command_aborted);
                               m.run(m.reading(0, 1));
                               m.stop();
                               m.write(CMD, m.read(CMD) | cmd_st);
                           }},
                    Misuse{"FRE cleared while", [](AhciModel& m) { m.write(CMD, m.read(CMD) & ~cmd_fre); }},
                    Misuse{"FRE set while PxCMD.FR",
                           [](AhciModel& m) {
                               m.stop();
                               m.write(CMD, m.read(CMD) & ~cmd_fre);
                               m.write(CMD, m.read(CMD) | cmd_fre);
                           }},
                    Misuse{"CLO set while the port runs",
                           [](AhciModel& m) { m.write(CMD, m.read(CMD) | cmd_clo); }},
                    Misuse{"without CAP.SCLO",
                           [](AhciModel& m) {
                               m.stop();
                               m.write(CMD, m.read(CMD) | cmd_clo);
                           },
                           {.overrides_busy = false}},
                    Misuse{"ATAPI", [](AhciModel& m) { m.write(CMD, m.read(CMD) | cmd_atapi); }},
                    Misuse{"DET changed while", [](AhciModel& m) { m.write(SCTL, 1); }},
                    Misuse{"less than 1 ms",
                           [](AhciModel& m) {
                               m.stop();
                               m.write(SCTL, 1);
                               m.pass(999'000);
                               m.write(SCTL, 0);
                           }},
                    Misuse{"before bus mastering", [](AhciModel& m) {
                               m.device.set_bus_master(false);
                               m.run(m.reading(0, 1));
                           }}));

INSTANTIATE_TEST_SUITE_P(
    Commands, AhciModelMisuse,
    testing::Values(
        Misuse{"PxCI written while",
               [](AhciModel& m) {
                   m.stop();
                   m.issue(1);
               }},
        Misuse{"PxSACT written while",
               [](AhciModel& m) {
                   m.stop();
                   m.write(SACT, 1);
               }},
        Misuse{"slot 0 issued while it is still in use",
               [](AhciModel& m) {
                   m.prepare(0, m.reading(0, 1));
                   m.issue(1);
                   m.issue(1);
               }},
        Misuse{"slot 0 issued while it is still in use",  // PxCI is clear already
               [](AhciModel& m) {
                   m.prepare(0, m.queued(m.reading(0, 1)), true);
                   m.issue_queued(1);
                   m.issue(1);
               }},
        Misuse{"a tag made active twice",
               [](AhciModel& m) {
                   m.prepare(0, m.queued(m.reading(0, 1)), true);
                   m.issue_queued(1);
                   m.write(SACT, 1);
               }},
        Misuse{"slot 16 issued, which", [](AhciModel& m) { m.issue(1u << 16); }, {.slots = 16}},
        Misuse{"without its bit in PxSACT",
               [](AhciModel& m) {
                   m.prepare(0, m.queued(m.reading(0, 1)), true);
                   m.issue(1);
               }},
        Misuse{"a bit in PxSACT for a command",
               [](AhciModel& m) {
                   m.prepare(0, m.reading(0, 1));
                   m.issue_queued(1);
               }},
        Misuse{"whose command was not issued with it",
               [](AhciModel& m) {
                   m.prepare(0, m.queued(m.reading(0, 1)), true);
                   m.write(SACT, 3);
                   m.issue(1);
               }},
        Misuse{"queued commands mixed",
               [](AhciModel& m) {
                   m.prepare(0, m.queued(m.reading(0, 1)), true);
                   m.issue_queued(1);
                   m.prepare(1, AhciModel::flushing());
                   m.issue(2);
               }},
        Misuse{"queued commands mixed",
               [](AhciModel& m) {
                   m.prepare(1, AhciModel::flushing());
                   m.issue(2);
                   m.prepare(0, m.queued(m.reading(0, 1)), true);
                   m.issue_queued(1);
               }},
        Misuse{"without CAP.SNCQ",
               [](AhciModel& m) {
                   m.prepare(0, m.queued(m.reading(0, 1)), true);
                   m.issue_queued(1);
               },
               {.native_queueing = false}},
        Misuse{"the tag of a queued command is another",
               [](AhciModel& m) {
                   m.prepare(0, m.queued(m.reading(0, 1)), true);
                   m.put(0, 12, 1u << 3);
                   m.issue_queued(1);
               }},
        Misuse{"beyond the disk's queue: 8",
               [](AhciModel& m) {
                   m.prepare(8, m.queued(m.reading(0, 1)), true);
                   m.issue_queued(1u << 8);
                   m.pass(1'000'000);
               },
               {.disks = {{0, {.queue_depth = 8}}}}},
        Misuse{"table changed while it is in use",
               [](AhciModel& m) {
                   m.prepare(0, m.reading(0, 1));
                   m.issue(1);
                   m.put(0, 0x80, static_cast<std::uint32_t>(m.data.value) + 512);
                   m.pass(1'000'000);
               }},
        Misuse{"command table that another slot",
               [](AhciModel& m) {
                   m.prepare(0, m.queued(m.reading(0, 1)), true);
                   m.prepare(1, m.queued(m.reading(0, 1)), true);
                   m.put_header(1, 2, m.header(0, 2));
                   m.issue_queued(3);
               }},
        Misuse{"not 5 words long", [](AhciModel& m) { issue_with_header(m, 1); }},
        Misuse{"a packet command", [](AhciModel& m) { issue_with_header(m, 1u << 5); }},
        Misuse{"BIST", [](AhciModel& m) { issue_with_header(m, 1u << 9); }},
        Misuse{"port multiplier", [](AhciModel& m) { issue_with_header(m, 1u << 12); }},
        Misuse{"reserved bits in the command header", [](AhciModel& m) { issue_with_header(m, 1u << 11); }},
        Misuse{"header's reset bit", [](AhciModel& m) { issue_with_header(m, 1u << 8); }},
        Misuse{"reserved words",
               [](AhciModel& m) {
                   m.put_header(0, 5, 1);
                   m.run(m.reading(0, 1));
               }},
        Misuse{"not aligned to 128 bytes",
               [](AhciModel& m) {
                   m.prepare(0, m.reading(0, 1));
                   m.put_header(0, 2, m.header(0, 2) + 64);
                   m.issue(1);
               }},
        Misuse{"table above 4 GiB",
               [](AhciModel& m) {
                   m.prepare(0, m.reading(0, 1));
                   m.put_header(0, 3, 1);
                   m.issue(1);
               },
               {.wide_addresses = false}},
        Misuse{
            "PRD above 4 GiB", [](AhciModel& m) { issue_with_table(m, 0x84, 1); }, {.wide_addresses = false}},
        Misuse{"reserved bits in a PRD", [](AhciModel& m) { issue_with_table(m, 0x88, 1); }},
        Misuse{"of another type", [](AhciModel& m) { issue_with_table(m, 0, 0x25'8034); }},
        Misuse{"reserved bits in the command FIS", [](AhciModel& m) { issue_with_table(m, 0, 0x25'8127); }},
        Misuse{"not logical", [](AhciModel& m) { issue_with_table(m, 4, 0); }},
        Misuse{"says write for a read",
               [](AhciModel& m) {
                   issue_with_header(m, 1u << 6);
                   m.pass(1'000'000);
               }},
        Misuse{"says read for a write",
               [](AhciModel& m) {
                   RawCommand write = m.writing(0, 1);
                   write.writes = false;
                   m.run(write);
               }},
        Misuse{"prefetching of a queued", [](AhciModel& m) {
                   m.prepare(0, m.queued(m.reading(0, 1)), true);
                   m.put_header(0, 0, m.header(0, 0) | 1u << 7);
                   m.issue_queued(1);
               }}));

TEST(AhciModelNarrow, IgnoresTheUpperHalves) {
    AhciModel machine{{.wide_addresses = false}};
    machine.bring_up();
    EXPECT_EQ(machine.device.read32(CAP) >> 31, 0u);
    machine.stop();
    machine.write(CLBU, 7);
    machine.write(FBU, 7);
    EXPECT_EQ(machine.read(CLBU), 0u);
    EXPECT_EQ(machine.read(FBU), 0u);
    machine.start_again();
    machine.prepare(0, machine.identifying());
    machine.put_header(0, 3, 7);
    machine.put(0, 0x84, 7);
    machine.issue(1);
    machine.pass(1'000'000);
    EXPECT_EQ(machine.read(TFD), 0x50u);
    EXPECT_NE(*machine.at(0), std::byte{0});
    EXPECT_TRUE(machine.iommu.faults().empty());
}

TEST(AhciModelWide, UsesTheUpperHalves) {
    AhciModel machine;
    const Iova high{0x12'0000'0000};
    ASSERT_TRUE(machine.iommu.map(high, machine.data_memory, page_bytes, Direction::bidirectional).ok());
    machine.bring_up();
    RawCommand identify = machine.identifying();
    identify.prds = {{high + 512, 512}};
    machine.run(identify);
    EXPECT_NE(*machine.at(512), std::byte{0});
    EXPECT_TRUE(machine.iommu.faults().empty());
    machine.expect_no_violations();
}

}  // namespace
}  // namespace dmatoll::test
