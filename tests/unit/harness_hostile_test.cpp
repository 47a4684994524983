// SPDX-License-Identifier: BSD-2-Clause
// What is promised about a driver process that attacks, and how it is found out what it reached.
#include <elf.h>
#include <gtest/gtest.h>
#include <linux/pci_regs.h>

#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>
#include <set>
#include <vector>

#include "catalogue.hpp"
#include "hostile_driver.hpp"
#include "kernel_address.hpp"
#include "kernel_log.hpp"
#include "plan.hpp"
#include "probe_cells.hpp"
#include "sentinel_file.hpp"
#include "system_tree.hpp"
#include "target/bus_state.hpp"
#include "target/network.hpp"

namespace dmatoll::harness {
namespace {

TEST(HostileDriver, IsHeldByEveryStrategyOfAProcessAndByNoneInTheKernel) {
    std::set<std::string> names;
    for (const auto& cell : hostile_cells()) {
        EXPECT_TRUE(names.insert(cell.access).second) << cell.access << " is there twice";
        for (const char* strategy : {"strict", "persistent", "copy"}) {
            const auto user = protection_json(*find_strategy(strategy), Placement::user);
            EXPECT_EQ(promise_of(user.at("kernel_from_driver"), cell.access).kind, Promise::Kind::never)
                << cell.access;
            const auto kernel = protection_json(*find_strategy(strategy), Placement::kernel);
            EXPECT_EQ(promise_of(kernel.at("kernel_from_driver"), cell.access).kind, Promise::Kind::none)
                << cell.access;
        }
    }
}

TEST(HostileDriver, OneInTheKernelIsNoTrial) {
    Trial trial;
    trial.device = "82540EM";
    trial.strategy = "strict";
    trial.program = trial.workload = "probe-driver";
    trial.placement = "user";
    EXPECT_EQ(impossible(trial), std::nullopt);
    trial.placement = "kernel";
    ASSERT_NE(impossible(trial), std::nullopt);
    EXPECT_NE(impossible(trial)->find("nothing holds it back"), std::string::npos);
}

TEST(HostileDriver, IsHeldBackByWhatHoldsItBackOnly) {
    const auto reason = [](const char* access, int error, const char* answer) {
        return shows_nothing(*find_hostile_cell(access), {{"errno", error}, {"answer", answer}});
    };
    EXPECT_EQ(reason("map_kernel_write", EFAULT, "EFAULT"), "");
    EXPECT_EQ(reason("process_read", ESRCH, "ESRCH"), "");
    EXPECT_EQ(reason("process_file_read", EACCES, "EACCES"), "");
    EXPECT_EQ(reason("write_bars", 0, "done"), "");
    EXPECT_NE(reason("process_read", ENOSYS, "ENOSYS").find("answered ENOSYS"), std::string::npos);
    EXPECT_NE(reason("map_foreign_read", ENOMEM, "ENOMEM").find("ENOMEM"), std::string::npos);
    EXPECT_NE(reason("trace_write", 0, "done").find("done"), std::string::npos) << "it was not refused";
    EXPECT_EQ(shows_nothing(*find_hostile_cell("exhaust_memory"),
                            {{"errno", ENOMEM}, {"answer", "ENOMEM"}, {"absent", "no memory of its own"}}),
              "no memory of its own");
}

TEST(HostileDriver, HoldsNoMoreLockedThanItMay) {
    const std::string limits =
        "Limit                     Soft Limit           Hard Limit           Units\n"
        "Max locked memory         8192                 8192                 bytes\n";
    EXPECT_FALSE(holds_too_much("VmPin:\t 12 kB\nVmLck:\t       8 kB\n", limits));
    EXPECT_TRUE(holds_too_much("VmLck:\t       9 kB\n", limits));
    EXPECT_TRUE(
        holds_too_much("VmLck:\t       9 kB\n",
                       "Max locked memory         unlimited            unlimited            bytes\n"))
        << "nothing holds it";
    EXPECT_THROW(static_cast<void>(holds_too_much("VmLck: 9 kB\n", "")), Failure);
    EXPECT_THROW(static_cast<void>(holds_too_much("", limits)), Failure);
}

TEST(HostileDriver, TheKernelsLogTellsOfALineThatItGaveUp) {
    EXPECT_EQ(dead_lines_among({"irq 16: nobody cared (try booting with the \"irqpoll\" option)",
                                "vfio-pci 0000:00:04.0: resetting", "Disabling IRQ #16"}),
              2u);
    EXPECT_EQ(blind_to_dead_lines(100'000, {"vfio-pci 0000:00:04.0: resetting"}), "");
    EXPECT_NE(blind_to_dead_lines(99'999, {}).find("99999 interrupts"), std::string::npos) << "it gives none up yet";
    EXPECT_NE(blind_to_dead_lines(100'000, {overwritten}).find("overwritten"), std::string::npos);
    EXPECT_EQ(
        faults_among({"DMAR: [DMA Write] Request device [00:04.0] fault addr 0x1000", "Disabling IRQ #16"}),
        1u);
}

TEST(ProbeCells, WhatThereWasNothingToTryWithIsNoProtection) {
    const auto protection = protection_json(*find_strategy("strict"), Placement::user);
    std::uint64_t steps = 0;
    const ProbeCells::Step step = [&](std::uint64_t, std::uint64_t) { ++steps; };
    nlohmann::json result{{"metrics", {{"other", 7}}}};
    ProbeCells cells{protection, 0, 2, result, step};
    const Pair pair{"kernel_from_driver", "driver", "devices"};
    cells.leave_out(pair, "write_messages", "no messages");
    EXPECT_EQ(result["metrics"]["cells"], 1) << "each is there at once";
    cells.add(pair, "write_bars", {.accesses = 1, .reached = 1}, {{"answer", "done"}});
    EXPECT_EQ(steps, 3u);
    EXPECT_EQ(result["metrics"]["other"], 7);
    EXPECT_EQ(result["metrics"]["less_than_promised"], 1);
    EXPECT_EQ(result["probe"]["cells"][0]["verdict"], "not tried");
    EXPECT_EQ(result["probe"]["cells"][0]["reason"], "no messages");
    EXPECT_EQ(result["probe"]["cells"][1]["verdict"], "less than promised");
    EXPECT_EQ(result["probe"]["cells"][1]["answer"], "done");
}

TEST(ProbeCells, AreToldOfATrialThatBrokeOffAsWell) {
    const auto protection = protection_json(*find_strategy("strict"), Placement::user);
    const ProbeCells::Step step = [](std::uint64_t, std::uint64_t) {};
    nlohmann::json record{{"trial", "t"}, {"status", "error"}};
    EXPECT_FALSE(tell_cells(record).any);
    ProbeCells cells{protection, 0, 4, record, step};
    const Pair pair{"kernel_from_driver", "driver", "devices"};
    cells.add(pair, "write_bars", {.accesses = 3, .reached = 2});
    cells.add(pair, "write_rom", {.accesses = 3});
    cells.leave_out(pair, "write_messages", "no messages");
    cells.leave_out(kernel_from_driver, "foreign_write");
    const ToldCells told = tell_cells(record);
    EXPECT_TRUE(told.any);
    ASSERT_EQ(told.broken.size(), 1u);
    EXPECT_EQ(told.broken[0], "t: write_bars by the driver against the devices reached it 2 times of 3, promised: refused");
    ASSERT_EQ(told.untried.size(), 1u) << "of what is not promised nobody asks";
    EXPECT_EQ(told.untried[0], "t: write_messages by the driver against the devices shows nothing: no messages");
}

std::vector<std::byte> core_file(std::vector<Elf64_Phdr> parts) {
    Elf64_Ehdr head{};
    std::memcpy(head.e_ident, ELFMAG, SELFMAG);
    head.e_ident[EI_CLASS] = ELFCLASS64;
    head.e_phoff = sizeof head;
    head.e_phnum = static_cast<Elf64_Half>(parts.size());
    std::vector<std::byte> bytes(sizeof head + parts.size() * sizeof(Elf64_Phdr));
    std::memcpy(bytes.data(), &head, sizeof head);
    std::memcpy(bytes.data() + sizeof head, parts.data(), parts.size() * sizeof(Elf64_Phdr));
    return bytes;
}

Elf64_Phdr part_of_memory(Elf64_Addr address, Elf64_Addr physical, Elf64_Xword bytes) {
    Elf64_Phdr part{};
    part.p_type = PT_LOAD;
    part.p_vaddr = address;
    part.p_paddr = physical;
    part.p_memsz = bytes;
    return part;
}

TEST(KernelAddress, IsWhereTheKernelHasThatMemory) {
    const Elf64_Phdr nowhere = part_of_memory(0xffffc90000000000, ~Elf64_Addr{0}, ~Elf64_Xword{0});
    const Elf64_Phdr memory = part_of_memory(0xffff888000100000, 0x100000, 0x1000);
    const auto bytes = core_file({nowhere, memory});
    EXPECT_EQ(kernel_address_in(bytes, 0x100008), 0xffff888000100008);
    EXPECT_EQ(kernel_address_in(bytes, 0x101000), std::nullopt);
    EXPECT_EQ(kernel_address_in(std::span{bytes}.first(bytes.size() - 1), 0x100008), std::nullopt)
        << "cut short";
    EXPECT_EQ(kernel_address_in({}, 0), std::nullopt);
}

class BusTest : public TargetTest {
  protected:
    BusTest() {
        device(other, "0x1041", "0x020000", 2);
        config_[PCI_CAPABILITY_LIST] = 0x50;
        config_[0x50] = PCI_CAP_ID_PM;
        for (const char* bdf : {nic, other}) write(bdf, config_);
    }
    void write(const char* bdf, const std::string& config) {
        put("sys/bus/pci/devices/" + std::string{bdf} + "/config", config);
    }
    std::vector<std::string> after(const char* bdf, std::size_t at, char byte = '\x1f') {
        const BusState before;
        std::string changed = config_;
        changed[at] = byte;
        write(bdf, changed);
        const auto changes = BusState{}.changes_since(before, nic);
        write(bdf, config_);
        return changes;
    }

    static constexpr const char* other = "0000:00:05.0";
    std::string config_ = std::string(256, '\0');
};

TEST_F(BusTest, NobodysAddressesChange) {
    EXPECT_TRUE(after(nic, PCI_STATUS).empty()) << "what happened on the bus";
    for (const char* bdf : {nic, other})
        for (const std::size_t at : {std::size_t{PCI_BASE_ADDRESS_0}, std::size_t{PCI_BASE_ADDRESS_5 + 3},
                                     std::size_t{PCI_ROM_ADDRESS}}) {
            const auto changes = after(bdf, at);
            ASSERT_EQ(changes.size(), 1u) << bdf << " " << at;
            EXPECT_TRUE(changes[0].starts_with(bdf)) << changes[0];
        }
}

TEST_F(BusTest, WhatConcernsItselfAndItsSleepAreADriversOwn) {
    EXPECT_TRUE(after(nic, PCI_COMMAND, '\x57').empty()) << "how it answers and asks";
    EXPECT_TRUE(after(nic, PCI_COMMAND + 1, '\x05').empty()) << "what it reports, and its line";
    for (const char others : {PCI_COMMAND_SPECIAL, PCI_COMMAND_VGA_PALETTE})
        EXPECT_FALSE(after(nic, PCI_COMMAND, others).empty());
    EXPECT_FALSE(after(nic, PCI_COMMAND + 1, PCI_COMMAND_FAST_BACK >> 8).empty());
    EXPECT_FALSE(after(other, PCI_COMMAND, PCI_COMMAND_IO).empty());
    EXPECT_TRUE(after(nic, 0x50 + PCI_PM_CTRL).empty());
    EXPECT_FALSE(after(nic, 0x60).empty()) << "where its messages go may be there";
}

TEST_F(BusTest, WhatTheKernelKnowsDoesNotChangeEither) {
    put("sys/bus/pci/devices/" + std::string{other} + "/resource",
        "0x00000000feb80000 0x00000000feb9ffff 0x0000000000040200\n");
    EXPECT_EQ(registers_of_another(nic), 0xfeb80000u);
    EXPECT_EQ(registers_of_another(other), 0u);
    const BusState before;
    put("sys/bus/pci/devices/" + std::string{other} + "/resource",
        "0x00000000fea80000 0x00000000fea9ffff 0x0000000000040200\n");
    EXPECT_EQ(BusState{}.changes_since(before, nic).size(), 1u);
    fs::remove_all(device_path(other));
    EXPECT_EQ(BusState{}.changes_since(before, nic),
              std::vector<std::string>{std::string{other} + " is gone"});
}

TEST_F(BusTest, InterruptsAreCountedOnAllCpus) {
    put("sys/bus/pci/devices/" + std::string{nic} + "/irq", "16\n");
    put("proc/interrupts",
        "           CPU0       CPU1\n 16:        102          7   IO-APIC   16-fasteoi   "
        "vfio-intx(0000:00:04.0)\n"
        "116:          1          1   IO-APIC   17-edge\nERR:          0\n");
    EXPECT_EQ(interrupts_taken(nic), 109u);
    put("sys/bus/pci/devices/" + std::string{nic} + "/msi_irqs/116", "msi\n");
    EXPECT_EQ(interrupts_taken(nic), 2u);
}

TEST_F(BusTest, AFileThatAllMayReadIsGoneAfterwards) {
    {
        const SentinelFile file;
        file.set_word(7);
        EXPECT_EQ(file.word(), 7u);
        EXPECT_EQ(fs::status(SentinelFile::path()).permissions(), fs::perms{0644});
    }
    EXPECT_FALSE(fs::exists(SentinelFile::path()));
}

}  // namespace
}  // namespace dmatoll::harness
