// SPDX-License-Identifier: BSD-2-Clause
// What goes wrong in the AHCI model: errors by the book, injected faults, and misuse that it notices.
#include <gtest/gtest.h>

#include <cstring>
#include <string>

#include "ahci_model_machine.hpp"

namespace dmatoll::test {
namespace {

using namespace model::ahci_datasheet;

std::uint8_t byte_at(AhciModel& machine, std::uint64_t where) {
    return std::to_integer<std::uint8_t>(*machine.at(where));
}

// Zero if it is as it should be.
std::uint8_t sum_of_log(AhciModel& machine) {
    std::uint8_t sum = 0;
    for (std::uint64_t i = 0; i < 512; ++i) sum = static_cast<std::uint8_t>(sum + byte_at(machine, i));
    return sum;
}

TEST(AhciModelErrors, AMediumErrorStopsThePortAndNamesTheBlock) {
    AhciModel machine;
    machine.bring_up();
    machine.device.disk(0).fail(0x12'3456 % 65536, {});
    const std::uint64_t bad = 0x12'3456 % 65536;
    machine.fill(0, 2048, 0xee);
    machine.prepare(0, machine.reading(bad - 2, 4));
    machine.prepare(1, machine.reading(0, 1));
    machine.issue(0b11);
    machine.pass(1'000'000);
    EXPECT_EQ(machine.read(TFD), 0x4051u) << "uncorrectable";
    EXPECT_EQ(machine.read(PXIS), 1u << 30) << "the task file error alone";
    EXPECT_EQ(machine.read(CI), 0b11u) << "the failed command stays, the next one is not started";
    EXPECT_EQ(machine.read(CMD) >> 8 & 0x1f, 0u);
    EXPECT_EQ(machine.received_byte(0x44) | machine.received_byte(0x45) << 8, static_cast<int>(bad));
    EXPECT_EQ(byte_at(machine, 1023), 0) << "what came before was transferred";
    EXPECT_EQ(byte_at(machine, 1024), 0xee);
    machine.pass(1'000'000'000);
    EXPECT_EQ(machine.read(CI), 0b11u);
    machine.start_again();
    EXPECT_EQ(machine.read(CI), 0u);
    machine.run(machine.reading(0, 1));
    EXPECT_EQ(machine.read(CI), 0u);
    machine.expect_no_violations();
}

TEST(AhciModelErrors, AFailedWriteKeepsWhatCameBefore) {
    AhciModel machine;
    machine.bring_up();
    machine.device.disk(0).fail(11, {.on_read = false, .on_write = true});
    machine.fill(0, 2048, 0x33);
    machine.run(machine.writing(9, 4));
    EXPECT_EQ(machine.read(TFD), 0x1051u);
    EXPECT_EQ(machine.device.disk(0).read(10)[0], std::byte{0x33});
    EXPECT_EQ(machine.device.disk(0).read(12)[0], std::byte{0});
    machine.device.disk(0).heal(11);
    machine.start_again();
    machine.run(machine.writing(9, 4));
    EXPECT_EQ(machine.read(TFD), 0x50u);
    machine.expect_no_violations();
}

TEST(AhciModelErrors, BeyondTheEndThereIsNothing) {
    AhciModel machine;
    machine.bring_up();
    machine.run(machine.reading(65535, 2));
    EXPECT_EQ(machine.read(TFD), 0x1051u) << "address not found";
    machine.start_again();
    machine.run(machine.writing(65536, 1));
    EXPECT_EQ(machine.read(TFD), 0x1051u);
    machine.start_again();
    machine.run(machine.reading(65534, 2));
    EXPECT_EQ(machine.read(TFD), 0x50u);
    machine.expect_no_violations();
}

TEST(AhciModelErrors, AQueuedErrorIsInTheLogAndAbortsTheOthers) {
    AhciModel machine;
    machine.bring_up();
    machine.device.defer(true);
    machine.device.disk(0).fail(20, {});
    machine.prepare(3, machine.queued(machine.reading(1, 1)), true);
    machine.prepare(7, machine.queued(machine.reading(20, 1)), true);
    machine.prepare(9, machine.queued(machine.reading(2, 1)), true);
    machine.issue_queued(1u << 3 | 1u << 7 | 1u << 9);
    EXPECT_TRUE(machine.device.execute(0, 3));
    machine.write(PXIS, ~0u);
    EXPECT_TRUE(machine.device.execute(0, 7));
    EXPECT_EQ(machine.read(SACT), 1u << 7 | 1u << 9);
    EXPECT_EQ(machine.read(TFD), 0x4051u);
    EXPECT_EQ(machine.read(PXIS), 1u << 30);
    EXPECT_EQ(machine.received_byte(0x5a), 0x51);
    EXPECT_EQ(machine.received_byte(0x5b), 0x40);
    EXPECT_EQ(machine.device.step(), 0u);
    machine.device.defer(false);
    machine.start_again();

    machine.run(machine.reading(0, 1));
    EXPECT_EQ(machine.read(TFD), 0x0451u) << "all is aborted until the log is read";
    machine.start_again();
    machine.run(machine.reading_error_log());
    EXPECT_EQ(machine.read(TFD), 0x50u);
    EXPECT_EQ(byte_at(machine, 0), 7u) << "the tag";
    EXPECT_EQ(byte_at(machine, 2), 0x51u);
    EXPECT_EQ(byte_at(machine, 3), 0x40u);
    EXPECT_EQ(byte_at(machine, 4), 20u) << "the block";
    EXPECT_EQ(sum_of_log(machine), 0);
    machine.run_queued(9, machine.reading(2, 1));
    EXPECT_EQ(machine.read(SACT), 0u);
    EXPECT_EQ(machine.read(TFD), 0x50u);
    machine.expect_no_violations();
}

TEST(AhciModelErrors, AComresetEndsTheQueuedErrorAsWell) {
    AhciModel machine;
    machine.bring_up();
    machine.device.disk(0).fail(20, {});
    machine.run_queued(0, machine.reading(20, 1));
    EXPECT_EQ(machine.read(TFD), 0x4051u);
    machine.reset_disk();
    machine.run(machine.reading(0, 1));
    EXPECT_EQ(machine.read(TFD), 0x50u);
    machine.expect_no_violations();
}

TEST(AhciModelErrors, TheErrorLogMayLie) {
    const auto log = [](AhciFault fault) {
        AhciModel machine;
        machine.bring_up();
        machine.device.disk(0).fail(20, {});
        machine.run_queued(31, machine.reading(20, 1));
        machine.start_again();
        machine.device.inject(fault);
        machine.run(machine.reading_error_log());
        EXPECT_EQ(machine.device.happened(fault), 1u);
        return std::pair{byte_at(machine, 0), sum_of_log(machine) == 0};
    };
    EXPECT_EQ(log(AhciFault::error_log_not_queued), (std::pair{std::uint8_t{0x80 | 31}, true}));
    EXPECT_EQ(log(AhciFault::error_log_other_tag), (std::pair{std::uint8_t{30}, true}));
    EXPECT_FALSE(log(AhciFault::error_log_bad_checksum).second);
}

TEST(AhciModelErrors, AnAccessThatTheIommuRefusesIsAHostBusError) {
    for (const bool queued : {false, true}) {
        AhciModel machine;
        machine.bring_up();
        RawCommand read = machine.reading(0, 2);
        read.prds = {{machine.data, 512}, {Iova{0x70'0000}, 512}};
        machine.prepare(0, queued ? machine.queued(read) : read, queued);
        if (queued) {
            machine.issue_queued(1);
        } else {
            machine.issue(1);
        }
        machine.pass(1'000'000);
        EXPECT_EQ(machine.read(PXIS), 1u << 29);
        EXPECT_EQ(machine.device.aborted_accesses(), 1u);
        ASSERT_EQ(machine.iommu.faults().size(), 1u);
        EXPECT_EQ(machine.iommu.faults()[0].iova.value, 0x70'0000u);
        EXPECT_EQ(machine.read(queued ? SACT : CI), 1u);
        machine.expect_no_violations();
        machine.start_again();
        EXPECT_TRUE(machine.said(queued ? "still has queued commands" : "while the disk is busy"))
            << "only a COMRESET ends it";
    }
    AhciModel machine;
    machine.bring_up();
    machine.prepare(0, machine.reading(0, 1));
    machine.put_header(0, 2, 0x70'0000);
    machine.issue(1);
    EXPECT_EQ(machine.read(PXIS), 1u << 29) << "the command table";
    machine.stop();
    machine.comreset();
    machine.write(FB, 0x70'0000);
    EXPECT_TRUE(machine.said("received FIS area moved"));
}

TEST(AhciModelErrors, TheDirectionIsTheMappings) {
    AhciModel machine;
    machine.bring_up();
    const Iova narrow{0x80'0000};
    const Memory page = machine.memory.allocate_pages(1);
    ASSERT_TRUE(machine.iommu.map(narrow, page, page_bytes, Direction::from_device).ok());
    RawCommand read = machine.reading(0, 1);
    read.prds = {{narrow, 512}};
    machine.run(read);
    EXPECT_TRUE(machine.iommu.faults().empty());
    RawCommand write = machine.writing(0, 1);
    write.prds = {{narrow, 512}};
    machine.run(write);
    ASSERT_EQ(machine.iommu.faults().size(), 1u);
    EXPECT_EQ(machine.iommu.faults()[0].access, model::Access::read);
}

TEST(AhciModelErrors, AShortPrdTableLeavesTheCommandHanging) {
    AhciModel machine;
    machine.bring_up();
    RawCommand read = machine.reading(0, 3);
    read.prds = {{machine.data, 1024}};
    machine.run(read);
    EXPECT_EQ(machine.read(PXIS), 1u << 24);
    EXPECT_TRUE(machine.said("a PRD table of 1024 bytes for 1536"));
    machine.pass(1'000'000'000);
    EXPECT_EQ(machine.read(CI), 1u);
    EXPECT_NE(machine.read(TFD) & 0x80, 0u);
    machine.reset_disk();
    machine.run(machine.reading(0, 1));
    EXPECT_EQ(machine.read(CI), 0u);
}

TEST(AhciModelErrors, ATableThatChangesIsReadAsItIsWhenTheDataFlows) {
    AhciModel machine;
    machine.bring_up();
    machine.fill(0, 2048, 0xee);
    machine.prepare(0, machine.reading(0, 1));
    machine.issue(1);
    machine.put(0, 0x80, static_cast<std::uint32_t>(machine.data.value) + 1024);
    machine.pass(1'000'000);
    EXPECT_TRUE(machine.said("changed while it is in use"));
    EXPECT_EQ(byte_at(machine, 0), 0xeeu);
    EXPECT_EQ(byte_at(machine, 1024), 0u);
}

TEST(AhciModelErrors, OddPrdsLoseTheirLowestBit) {
    AhciModel machine;
    machine.bring_up();
    machine.fill(0, 2048, 0xee);
    RawCommand read = machine.reading(0, 1);
    read.prds = {{machine.data + 1, 511}, {machine.data + 1024, 512}};
    machine.run(read);
    EXPECT_TRUE(machine.said("odd address"));
    EXPECT_TRUE(machine.said("odd length"));
    EXPECT_EQ(byte_at(machine, 0), 0u);
    EXPECT_EQ(byte_at(machine, 511), 0u);
    EXPECT_EQ(byte_at(machine, 1024), 0xeeu) << "512 bytes were in the first";
}

TEST(AhciModelErrors, InterfaceErrorsStopThePortOrDoNot) {
    AhciModel machine;
    machine.bring_up();
    machine.device.inject(AhciFault::interface_error_survived);
    machine.run(machine.reading(0, 1));
    EXPECT_EQ(machine.read(PXIS), 1u << 26 | 1u);
    EXPECT_EQ(machine.read(CI), 0u);
    machine.write(PXIS, ~0u);
    machine.write(SERR, ~0u);
    machine.device.inject(AhciFault::interface_error);
    machine.run(machine.reading(0, 1));
    EXPECT_EQ(machine.read(PXIS), 1u << 27);
    EXPECT_NE(machine.read(SERR), 0u);
    EXPECT_EQ(machine.read(CI), 1u);
    EXPECT_NE(machine.read(TFD) & 0x80, 0u);
    machine.reset_disk();
    machine.run(machine.reading(0, 1));
    EXPECT_EQ(machine.read(CI), 0u);
    machine.expect_no_violations();
}

TEST(AhciModelFaults, HitTheNextCommandOfTheirPort) {
    AhciModel machine{{.disks = {{0, {}}, {1, {}}}}};
    machine.bring_up();
    machine.device.inject(AhciFault::command_aborted, 1, 1);
    machine.run(machine.reading(0, 1));
    EXPECT_EQ(machine.read(TFD), 0x50u) << "not this port";
    machine.device.inject(AhciFault::command_aborted);
    machine.run(machine.reading(0, 1));
    EXPECT_EQ(machine.read(TFD), 0x0451u);
    EXPECT_EQ(machine.device.happened(AhciFault::command_aborted), 1u);
    machine.start_again();
    machine.device.inject(AhciFault::byte_count_lies);
    machine.run(machine.reading(0, 1));
    EXPECT_EQ(machine.header(0, 1), 1024u);
    machine.device.inject(AhciFault::completes_without_data);
    machine.fill(0, 512, 0xee);
    machine.run(machine.identifying());
    EXPECT_EQ(machine.header(0, 1), 0u);
    EXPECT_EQ(byte_at(machine, 0), 0xeeu);
    EXPECT_EQ(machine.read(CI), 0u);
    machine.device.inject(AhciFault::host_bus_error);
    machine.run(machine.reading(0, 1));
    EXPECT_NE(machine.read(PXIS) & is_hbfs, 0u);
    EXPECT_EQ(machine.device.aborted_accesses(), 0u);
    machine.expect_no_violations();
}

TEST(AhciModelFaults, ACommandThatNeverCompletesHoldsOnlyItself) {
    AhciModel machine;
    machine.bring_up();
    machine.device.inject(AhciFault::command_never_completes);
    for (std::uint32_t slot = 0; slot < 3; ++slot)
        machine.prepare(slot, machine.queued(machine.reading(slot, 1)), true);
    machine.issue_queued(0b111);
    machine.pass(10'000'000'000);
    EXPECT_EQ(machine.read(SACT), 0b001u);
    machine.reset_disk();
    machine.run_queued(0, machine.reading(0, 1));
    EXPECT_EQ(machine.read(SACT), 0u);
    machine.expect_no_violations();
}

TEST(AhciModelFaults, ResetsAndStopsThatNeverEnd) {
    AhciModel machine;
    machine.bring_up();
    machine.device.inject(AhciFault::port_stop_stuck);
    machine.write(CMD, machine.read(CMD) & ~cmd_st);
    machine.pass(10'000'000'000);
    EXPECT_NE(machine.read(CMD) & cmd_cr, 0u);
    machine.device.clear(AhciFault::port_stop_stuck);
    machine.pass(1);
    EXPECT_EQ(machine.read(CMD) & cmd_cr, 0u);

    machine.device.inject(AhciFault::fis_stop_stuck);
    machine.write(CMD, machine.read(CMD) & ~cmd_fre);
    machine.pass(10'000'000'000);
    EXPECT_NE(machine.read(CMD) & cmd_fr, 0u);
    machine.device.clear(AhciFault::fis_stop_stuck);
    machine.pass(1);
    EXPECT_EQ(machine.read(CMD) & cmd_fr, 0u);

    machine.device.inject(AhciFault::link_stuck);
    machine.comreset();
    machine.pass(10'000'000'000);
    EXPECT_EQ(machine.read(SSTS) & 0xf, 1u);
    machine.device.clear(AhciFault::link_stuck);

    machine.device.inject(AhciFault::signature_missing);
    machine.comreset();
    machine.pass(10'000'000'000);
    EXPECT_EQ(machine.read(SSTS), 0x133u);
    EXPECT_EQ(machine.read(TFD), 0x80u);
    EXPECT_EQ(machine.read(SIG), 0xffff'ffffu);
    machine.device.clear(AhciFault::signature_missing);

    machine.device.inject(AhciFault::hba_reset_stuck);
    machine.device.write32(GHC, ghc_ae | ghc_hr);
    machine.pass(10'000'000'000);
    EXPECT_NE(machine.device.read32(GHC) & ghc_hr, 0u);
    machine.device.clear(AhciFault::hba_reset_stuck);
    machine.pass(1);
    EXPECT_EQ(machine.device.read32(GHC), 0u);
    machine.expect_no_violations();
    for (const AhciFault fault :
         {AhciFault::port_stop_stuck, AhciFault::fis_stop_stuck, AhciFault::link_stuck,
          AhciFault::signature_missing, AhciFault::hba_reset_stuck})
        EXPECT_EQ(machine.device.happened(fault), 1u) << name_of(fault);
}

TEST(AhciModelFaults, AControllerThatIsGoneReadsAsAllOnes) {
    AhciModel machine;
    machine.bring_up();
    machine.run(machine.reading(0, 1));
    machine.device.inject(AhciFault::gone);
    EXPECT_EQ(machine.device.read32(CAP), ~0u);
    EXPECT_EQ(machine.read(CI), ~0u);
    EXPECT_FALSE(machine.device.interrupt_line());
    const std::uint64_t accesses = machine.iommu.counts().accesses;
    machine.write(CI, 1);
    machine.pass(1'000'000);
    EXPECT_EQ(machine.device.step(), 0u);
    EXPECT_EQ(machine.iommu.counts().accesses, accesses);
    machine.expect_no_violations();
}

TEST(AhciModelFaults, HappenAfterSoManyAccessesIfToldSo) {
    AhciModel machine;
    machine.bring_up();
    machine.device.after_accesses(2, [&] { machine.device.inject(AhciFault::gone); });
    EXPECT_EQ(machine.read(SSTS), 0x133u);
    machine.write(PXIE, 0);
    EXPECT_EQ(machine.read(SSTS), ~0u) << "the third";
    machine.device.clear(AhciFault::gone);
    EXPECT_EQ(machine.read(PXIE), 0u);
}

TEST(AhciModelFaults, RegistersMayShowSlotsThatNobodyIssued) {
    AhciModel machine;
    machine.bring_up();
    machine.device.inject(AhciFault::active_never_issued);
    EXPECT_EQ(machine.read(SACT), 0x8000'0000u);
    EXPECT_EQ(machine.read(CI), 0x8000'0000u);
    machine.device.clear(AhciFault::active_never_issued);
    EXPECT_EQ(machine.read(SACT), 0u);
}

TEST(AhciModelFaults, ADeviceThatDoesNotStopIsSeen) {
    AhciModel machine;
    machine.bring_up();
    machine.run(machine.reading(0, 1));
    machine.stop();
    machine.write(CMD, machine.read(CMD) & ~cmd_fre);
    machine.pass(1'000'000);
    EXPECT_EQ(machine.device.accesses_while_quiet(), 0u);
    machine.device.step();
    EXPECT_EQ(machine.device.accesses_while_quiet(), 0u);
    machine.device.inject(AhciFault::dma_after_stop);
    machine.device.step();
    EXPECT_EQ(machine.device.accesses_while_quiet(), 2u);
    EXPECT_EQ(byte_at(machine, 0), 0xddu);
    EXPECT_EQ(machine.device.last_data(), machine.data);
}

TEST(AhciModelFaults, ARemovedDiskLeavesItsCommandsBehind) {
    AhciModel machine;
    machine.bring_up();
    machine.device.defer(true);
    machine.prepare(0, machine.queued(machine.reading(0, 1)), true);
    machine.issue_queued(1);
    machine.device.remove(0);
    EXPECT_EQ(machine.read(SSTS), 0u);
    EXPECT_EQ(machine.read(TFD), 0x7fu);
    EXPECT_NE(machine.read(PXIS) & is_prcs, 0u);
    EXPECT_TRUE(machine.device.interrupt_line());
    EXPECT_EQ(machine.device.step(), 0u);
    EXPECT_EQ(machine.read(SACT), 1u);
    machine.stop();
    machine.write(SERR, ~0u);
    EXPECT_EQ(machine.read(PXIS) & is_prcs, 0u) << "a mirror of PxSERR";
    machine.device.insert(0);
    machine.pass(100'000'000);
    EXPECT_EQ(machine.read(SSTS), 0x133u);
    EXPECT_NE(machine.read(PXIS) & is_pcs, 0u);
    machine.device.defer(false);
    machine.start_again();
    machine.run(machine.reading(0, 1));
    EXPECT_EQ(machine.read(CI), 0u);
    machine.expect_no_violations();
}

TEST(AhciModelFaults, AStoppingPortMayAccessMemoryUntilItHasStopped) {
    AhciModel machine;
    machine.bring_up();
    machine.device.defer(true);
    machine.fill(0, 512, 0x44);
    machine.device.disk(0).write(5, {machine.at(0, 512), 512}, true);
    machine.prepare(0, machine.queued(machine.reading(5, 1, 4096)), true);
    machine.issue_queued(1);
    machine.write(CMD, machine.read(CMD) & ~cmd_st);
    EXPECT_EQ(machine.read(SACT), 0u) << "at once";
    EXPECT_NE(machine.read(CMD) & cmd_cr, 0u) << "later";
    EXPECT_EQ(byte_at(machine, 4096), 0u);
    machine.pass(1'000'000);
    EXPECT_EQ(machine.read(CMD) & cmd_cr, 0u);
    EXPECT_EQ(byte_at(machine, 4096), 0x44u);

    machine.comreset();
    machine.start_again();
    machine.issue_queued(1);
    ASSERT_TRUE(machine.iommu.unmap(machine.data, AhciModel::data_pages * page_bytes, Invalidate::now).ok());
    machine.stop();
    EXPECT_EQ(machine.iommu.faults().size(), 1u) << "unmapped too early";
    machine.expect_no_violations();
}

TEST(AhciModelFaults, AReceivedFisMayComeUntilTheirReceptionHasStopped) {
    AhciModel machine;
    machine.bring_up();
    machine.stop();
    machine.write(CMD, machine.read(CMD) & ~cmd_fre);
    ASSERT_TRUE(machine.iommu.unmap(AhciModel::list, page_bytes, Invalidate::now).ok());
    machine.pass(1'000'000);
    EXPECT_EQ(machine.read(CMD) & cmd_fr, 0u);
    EXPECT_EQ(machine.iommu.faults().size(), 1u) << "unmapped too early";
}

TEST(AhciModelFaults, AControllerInResetMayAccessMemoryUntilItIsDone) {
    AhciModel machine;
    machine.bring_up();
    machine.device.defer(true);
    const Iova high{0x12'0000'0000};
    ASSERT_TRUE(machine.iommu.map(high, machine.data_memory, page_bytes, Direction::bidirectional).ok());
    RawCommand write = machine.queued(machine.writing(5, 1));
    write.prds = {{high, 512}};
    machine.prepare(0, write, true);
    machine.issue_queued(1);
    machine.device.write32(GHC, ghc_ae | ghc_hr);
    ASSERT_TRUE(machine.iommu.unmap(high, page_bytes, Invalidate::now).ok());
    machine.pass(1'000'000);
    ASSERT_EQ(machine.iommu.faults().size(), 1u) << "unmapped too early";
    EXPECT_EQ(machine.iommu.faults()[0].iova, high);
    EXPECT_EQ(machine.iommu.faults()[0].access, model::Access::read);
}

TEST(AhciModelFaults, TheFirmwareHandsTheControllerOverOrKeepsIt) {
    AhciModel machine{{.firmware_owns = true}};
    EXPECT_EQ(machine.device.read32(CAP2) & 1, 1u);
    EXPECT_EQ(machine.device.read32(BOHC), 1u);
    machine.device.write32(BOHC, bohc_oos);
    EXPECT_EQ(machine.device.read32(BOHC), 3u);
    machine.pass(10'000'000);
    EXPECT_EQ(machine.device.read32(BOHC), 2u);
    machine.bring_up();
    machine.expect_no_violations();

    AhciModel kept{{.firmware_owns = true}};
    kept.device.write32(BOHC, bohc_oos);
    kept.device.power_loss(0);
    kept.pass(10'000'000);
    EXPECT_EQ(kept.device.read32(BOHC), 1u) << "nobody has asked since";
    kept.device.inject(AhciFault::firmware_keeps_the_hba);
    kept.device.write32(BOHC, bohc_oos);
    kept.pass(10'000'000'000);
    EXPECT_EQ(kept.device.read32(BOHC), 3u);
    kept.bring_up();
    EXPECT_TRUE(kept.said("while the firmware owns"));
}

TEST(AhciModelResets, OfTheControllerForgetAllButTheBases) {
    AhciModel machine{{.staggered_spin_up = true}};
    machine.device.write32(GHC, ghc_ae);
    machine.pass(100'000'000);
    EXPECT_EQ(machine.read(SSTS), 0u) << "not spun up";
    machine.write(CMD, cmd_sud);
    machine.pass(100'000'000);
    EXPECT_EQ(machine.read(SSTS), 0x133u);
    machine.start();
    machine.write(PXIE, is_dhrs);
    machine.run(machine.reading(0, 1));
    machine.device.write32(GHC, ghc_ae | ghc_hr);
    EXPECT_EQ(machine.device.read32(GHC) & ghc_hr, ghc_hr) << "not at once";
    machine.pass(1'000'000);
    EXPECT_EQ(machine.device.read32(GHC), 0u);
    EXPECT_FALSE(machine.device.interrupt_line());
    machine.device.write32(GHC, ghc_ae);
    EXPECT_EQ(machine.read(CLB), AhciModel::list.value);
    EXPECT_EQ(machine.read(FB), AhciModel::received.value);
    EXPECT_EQ(machine.read(PXIE), 0u);
    EXPECT_EQ(machine.read(PXIS), 0u);
    EXPECT_EQ(machine.read(CMD), cmd_pod);
    EXPECT_EQ(machine.read(SSTS), 0u);
    machine.expect_no_violations();
}

TEST(AhciModelResets, LoseWhatIsWrittenMeanwhile) {
    AhciModel machine;
    machine.bring_up();
    machine.stop();
    machine.device.write32(GHC, ghc_ae | ghc_hr);
    machine.write(CLB, 0x11'0000);
    EXPECT_TRUE(machine.said("while the HBA is in reset"));
    machine.pass(1'000'000);
    machine.device.write32(GHC, ghc_ae);
    EXPECT_EQ(machine.read(CLB), AhciModel::list.value);
}

TEST(AhciModelResets, OfTheDiskBySoftware) {
    AhciModel machine;
    machine.bring_up();
    machine.run(machine.reading(0, 1));
    for (const std::uint32_t control : {std::uint32_t{control_srst}, 0u}) {
        machine.prepare(0, {});
        machine.put(0, 0, 0x27);
        machine.put(0, 12, control << 24);
        machine.put_header(0, 0, 5u | header_r | (control != 0 ? header_c : 0));
        // The second one goes out although the disk is busy: software overrides that.
        if (control == 0) {
            machine.stop();
            machine.write(CMD, machine.read(CMD) | cmd_clo);
            machine.write(CMD, machine.read(CMD) | cmd_st);
        }
        machine.issue(1);
        EXPECT_EQ(machine.read(CI), 0u);
        EXPECT_NE(machine.read(TFD) & 0x80, 0u);
        EXPECT_EQ(machine.read(SIG), 0xffff'ffffu);
    }
    machine.pass(100'000'000);
    EXPECT_EQ(machine.read(SIG), 0x101u);
    EXPECT_EQ(machine.read(TFD), 0x150u);
    machine.run(machine.reading(0, 1));
    EXPECT_EQ(machine.read(TFD), 0x50u);
    machine.expect_no_violations();
}

TEST(AhciModelResets, APacketDeviceHasAnotherSignature) {
    AhciModel machine{{.disks = {{0, {.packet_device = true}}}}};
    machine.bring_up();
    EXPECT_EQ(machine.read(SIG), 0xeb14'0101u);
    machine.run(machine.identifying());
    EXPECT_EQ(machine.read(TFD), 0x0451u);
}

}  // namespace
}  // namespace dmatoll::test
