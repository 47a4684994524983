// SPDX-License-Identifier: BSD-2-Clause
// Who judges a driver process that attacks, before one that gets at everything and one that is held back.
#include <gtest/gtest.h>
#include <linux/pci_regs.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <fstream>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "catalogue.hpp"
#include "hostile_driver.hpp"
#include "kernel_log.hpp"
#include "plan.hpp"
#include "sentinel_file.hpp"
#include "sentinel_page.hpp"
#include "system_tree.hpp"

namespace dmatoll::harness {
namespace {

using nlohmann::json;

// Its memory is this process's, as is the page of the judge's. What it is asked for it does; or is refused, but for
// what is its own.
class FakeDriver : public Driver {
  public:
    std::map<std::string, int> refused{};  // act -> error number; all others are done
    bool reads_files = true;
    bool writes_files = true;
    bool hangs = false;  // a device that does not end a write
    std::uint64_t mappings = 7;
    std::function<void()> beyond = [] {};  // what an access behind its regions does
    std::function<void()> interrupts = [] {};  // what a message or a write to where they are asked for does
    std::function<void()> forks = [] {};
    std::function<void()> dies = [] {};
    std::string obstacle{};  // why nothing comes in its place then

    Counts counters() override { return {}; }
    [[nodiscard]] std::string counter_source() const override { return {}; }
    json effective() override { return {}; }
    void require_alive() override {
        if (!obstacle.empty()) fail("{}", obstacle);
    }
    void make_fault(const std::string&) override {
        dies();
        if (obstacle.empty()) ++restarts_;
    }
    std::uint64_t restarts() override { return restarts_; }
    void stop() override {}

    json command(const std::string& line) override {
        std::istringstream words{line};
        std::string verb;
        words >> verb;
        if (verb == "result") return {{"state", "ended"}, {"copies", 64}, {"copies_bad", 0}};
        if (verb == "stats") return {{"pid", 77}};
        if (verb == "stray_write") {
            if (line.find("iova=" + std::to_string(interrupt_requests)) != std::string::npos)
                interrupts();
            else
                write();
            return hangs ? json{{"restarted", 1}} : json::object();
        }
        if (verb == "stray_read") return {{"first", read()}};
        if (verb != "hostile") return json::object();
        std::string act;
        words >> act;
        std::map<std::string, std::uint64_t> values;
        for (std::string word; words >> word;)
            values[word.substr(0, word.find('='))] = std::stoull(word.substr(word.find('=') + 1));
        const auto found = refused.find(act);
        const int error = found == refused.end() ? 0 : found->second;
        json answer{{"errno", error}, {"answer", error == 0 ? "done" : ::strerrorname_np(error)}};
        if (act.starts_with("exhaust")) answer["mappings"] = mappings;
        if (act == "reach_beyond") {
            beyond();
            answer.update({{"tries", 14}, {"moved", 0}});
        }
        if (error == 0) follow(act, values, answer);
        if (act.ends_with("_read") && !answer.contains("word")) answer["word"] = 0;
        return answer;
    }

  private:
    void follow(const std::string& act, std::map<std::string, std::uint64_t>& values, json& answer) {
        auto* const there = reinterpret_cast<volatile std::uint64_t*>(values["address"]);
        if (act == "map_own") {
            mapped_ = &own_;
            answer["word"] = own_;
        } else if (act == "map_foreign") {
            mapped_ = there;
        } else if (act == "map_read_only" || act == "map_readable") {
            file_ = true;
        } else if (act == "unmap") {
            mapped_ = nullptr;
            file_ = false;
        } else if (act == "process_read" || act == "process_file_read" || act == "trace_read") {
            answer["word"] = std::uint64_t{*there};
        } else if (act == "signal") {
            ::kill(static_cast<pid_t>(values["process"]), SIGKILL);
        } else if (act == "write_message_table") {
            if (values["address"] == interrupt_requests)
                interrupts();
            else if (mapped_ == &own_)
                own_ = values["word"];
        } else if (act == "outlive") {
            forks();
        } else if (act == "process_write" || act == "process_file_write" || act == "trace_write") {
            *there = values["word"];
        }
    }
    void write() {
        if (mapped_ != nullptr) *mapped_ = stray;
        if (file_ && writes_files) std::ofstream{SentinelFile::path(), std::ios::in | std::ios::binary}.write(text, 8);
    }
    std::uint64_t read() {
        std::uint64_t word = mapped_ != nullptr ? *mapped_ : 0;
        if (file_ && reads_files)
            std::ifstream{SentinelFile::path(), std::ios::binary}.read(reinterpret_cast<char*>(&word), sizeof word);
        return word;
    }

    static constexpr std::uint64_t interrupt_requests = 0xfee0'0000;
    static constexpr std::uint64_t stray = 0xbad;
    static constexpr const char* text = "reached!";
    std::uint64_t own_ = 0x117;
    volatile std::uint64_t* mapped_ = nullptr;
    bool file_ = false;
    std::uint64_t restarts_ = 0;
};

class AttackTest : public TargetTest {
  protected:
    void SetUp() override {
        try {
            static_cast<void>(SentinelPage{}.physical_address());
            const KernelLog log;
        } catch (const Failure& failure) {
            GTEST_SKIP() << failure.what();
        }
        put_status("8 kB");
        put_namespace("proc/77", "pid:[4026531999]");
        put("proc/77/limits", "Max locked memory         8192                 8192                 bytes\n");
        put("sys/module/vfio_iommu_type1/parameters/dma_entry_limit", "65535\n");
        // The kernel does not say where it has memory, and physical addresses are none of this process's.
        driver_.refused["machine_read"] = driver_.refused["machine_write"] = EACCES;
    }
    void put_status(const std::string& locked) {
        put("proc/77/status", "Uid:\t" + std::to_string(::getuid()) + "\t0\t0\t0\nVmLck:\t       " + locked + "\n");
    }
    void put_namespace(const std::string& folder, const std::string& name) {
        fs::create_directories(root_ / folder / "ns");
        fs::create_symlink(name, root_ / folder / "ns/pid");
    }
    // A process that holds the device from the time on that the driver forks.
    void let_fork(bool ends_with_the_driver, const std::string& pid_namespace = "pid:[4026531999]") {
        const std::string folder = std::string{"proc/"} + nobodys_number;
        driver_.forks = [this, folder, pid_namespace] {
            put_namespace(folder, pid_namespace);
            put(folder + "/stat", std::string{nobodys_number} + " (a (child) S 1 1 1 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4711 0");
            fs::create_directories(root_ / folder / "fd");
            fs::create_symlink("anon_inode:[vfio-device]", root_ / folder / "fd/4");
        };
        driver_.dies = [this, folder, ends_with_the_driver] {
            if (ends_with_the_driver) fs::remove_all(root_ / folder);
        };
    }
    void hold_back() {
        let_fork(true);
        driver_.refused.merge(std::map<std::string, int>{
            {"map_foreign", EFAULT}, {"map_read_only", EFAULT}, {"process_read", ESRCH}, {"process_write", ESRCH}, {"signal", ESRCH},
            {"process_file_read", EACCES}, {"process_file_write", EACCES}, {"trace_read", ESRCH},
            {"trace_write", ESRCH}, {"exhaust_memory", ENOMEM}, {"exhaust_mappings", ENOSPC}});
        driver_.writes_files = false;
    }
    // A machine that counts thermal interrupts; `controller` as in the names of those that remap, or do not.
    void put_interrupts(const std::string& controller, std::uint64_t thermal) {
        put("proc/interrupts", "           CPU0       CPU1\n 24:          1          0  " + controller +
                                   "-PCI-MSI 65536-edge      vfio\nTRM:          " + std::to_string(thermal) +
                                   "          9   Thermal event interrupts\n");
    }
    // Everything before the interrupts is held back, and what comes behind them breaks off.
    void let_ask_for_interrupts(const std::string& controller, std::uint64_t made) {
        hold_back();
        put(std::string{"sys/bus/pci/devices/"} + nic + "/config", std::string(256, '\0'));
        put_interrupts(controller, 3);
        driver_.interrupts = [this, controller, made] { put_interrupts(controller, 3 + made); };
        broken_off_ = "The flood was none";
    }
    // By access. The machine has no configuration space to be judged by: there it breaks off.
    std::map<std::string, json> cells() {
        Trial trial;
        trial.parameters["flood_ms"] = 1;
        json record{{"trial", "t"},
                    {"strategy", {{"protection", protection_json(*find_strategy("strict"), Placement::user)}}}};
        const std::string why = complaint([&] {
            run_hostile_driver(trial, {.device = {}, .peer = {}, .driver = driver_}, nic, record,
                               [](std::uint64_t, std::uint64_t) {});
        });
        EXPECT_NE(why.find(broken_off_), std::string::npos) << why;
        std::map<std::string, json> found;
        for (const auto& cell : record["probe"]["cells"]) found[cell.at("access")] = cell;
        return found;
    }

    // Beyond what Linux numbers processes by.
    static constexpr const char* nobodys_number = "99999999";
    FakeDriver driver_;
    std::string broken_off_ = "No PCI function's configuration";
};

TEST_F(AttackTest, WhatADriverReachesIsABrokenPromiseThoughTheTrialBreaksOff) {
    let_fork(false);
    const auto found = cells();
    for (const char* access : {"map_foreign_write", "map_foreign_read", "map_read_only", "map_readable", "process_read",
                               "process_write", "process_file_read", "process_file_write", "trace_read", "trace_write",
                               "signal", "exhaust_memory", "outlive"}) {
        ASSERT_TRUE(found.contains(access)) << access;
        EXPECT_EQ(found.at(access)["verdict"], "less than promised") << access;
        EXPECT_EQ(found.at(access)["reached"], 1) << access;
    }
}

TEST_F(AttackTest, WhatItDoesNotReachWhereItIsHeldBackIsAsPromised) {
    hold_back();
    for (const auto& [access, cell] : cells())
        EXPECT_EQ(cell["verdict"], cell.contains("reason") ? "not tried" : "as promised") << access << ": " << cell;
    for (const char* access : {"map_foreign_write", "map_readable", "process_read", "signal", "exhaust_memory", "exhaust_mappings", "outlive"})
        EXPECT_EQ(cells().at(access)["verdict"], "as promised") << access;
}

TEST_F(AttackTest, MoreThanItMayHoldIsABreachWhateverItIsAnswered) {
    hold_back();
    put_status("9 kB");
    driver_.mappings = 65536;
    const auto found = cells();
    EXPECT_EQ(found.at("exhaust_memory")["verdict"], "less than promised");
    EXPECT_EQ(found.at("exhaust_mappings")["verdict"], "less than promised");
}

TEST_F(AttackTest, AnAttemptThatShowsNothingIsLeftOutAndSaysWhy) {
    hold_back();
    driver_.refused["process_read"] = ENOSYS;
    driver_.refused.erase("exhaust_mappings");
    driver_.reads_files = false;
    const auto found = cells();
    const auto reason = [&](const char* access) {
        EXPECT_EQ(found.at(access)["verdict"], "not tried") << access;
        return found.at(access).value("reason", "");
    };
    EXPECT_NE(reason("process_read").find("ENOSYS"), std::string::npos);
    EXPECT_NE(reason("exhaust_mappings").find("may have 65535 mappings, and it tries 7"), std::string::npos);
    EXPECT_NE(reason("map_readable").find("does not read"), std::string::npos);
}

TEST_F(AttackTest, ADeviceThatNoOtherDriverGetsWasReachedAndEndsTheTrial) {
    hold_back();
    driver_.obstacle = "the group is busy";
    broken_off_ = "no other one has the device: the group is busy";
    EXPECT_EQ(cells().at("outlive")["verdict"], "less than promised");
}

TEST_F(AttackTest, AChildThatDoesNotHoldTheDeviceShowsNothing) {
    hold_back();
    driver_.forks = [] {};
    const auto cell = cells().at("outlive");
    EXPECT_EQ(cell["verdict"], "not tried");
    EXPECT_NE(cell.value("reason", "").find("no other process holds the device"), std::string::npos);
}

TEST_F(AttackTest, AProcessThatIsNoChildOfTheDriversMayTakeADevice) {
    hold_back();
    let_fork(false, "pid:[4026531836]");
    const auto cell = cells().at("outlive");
    EXPECT_EQ(cell["verdict"], "not tried");
    EXPECT_NE(cell.value("reason", "").find("no other process holds the device"), std::string::npos);
}

TEST_F(AttackTest, ADeviceThatHadToBeStartedAgainIsCountedWhereItWas) {
    hold_back();
    driver_.hangs = true;
    const auto found = cells();
    const auto restarts = [&](const char* access) { return found.at(access).at("device_restarts").get<int>(); };
    EXPECT_EQ(restarts("map_foreign_write"), 1);
    EXPECT_EQ(restarts("map_foreign_read"), 0);
    EXPECT_EQ(restarts("map_readable"), 1);
    EXPECT_EQ(restarts("process_read"), 0);
}

TEST_F(AttackTest, WhatItHeldHasToComeBack) {
    hold_back();
    driver_.refused["release"] = EINVAL;
    broken_off_ = "could not unmap";
    EXPECT_EQ(cells().at("exhaust_memory")["verdict"], "as promised");
}

TEST_F(AttackTest, ABusThatIsAnotherBehindAnAccessWasReachedAndEndsTheTrial) {
    hold_back();
    driver_.refused["reach_beyond"] = EINVAL;
    const std::string config = std::string{"sys/bus/pci/devices/"} + nic + "/config";
    std::string registers(256, '\0');
    put(config, registers);
    driver_.beyond = [&] {
        registers[PCI_BASE_ADDRESS_0 + 3] = '\x1f';
        put(config, registers);
    };
    broken_off_ = "The bus is not as it was";
    const auto cell = cells().at("reach_beyond");
    EXPECT_EQ(cell["verdict"], "less than promised");
    EXPECT_EQ(cell["changes"].size(), 1u) << cell;
}

TEST_F(AttackTest, AnInterruptThatWasAskedForIsABreachWhereTheyAreRemapped) {
    let_ask_for_interrupts(" IR", 1);
    const auto cell = cells().at("message_interrupt");
    EXPECT_EQ(cell["promised"], "refused");
    EXPECT_EQ(cell["reached"], 1);
    EXPECT_EQ(cell["verdict"], "less than promised");
}

TEST_F(AttackTest, AnInterruptThatDoesNotArriveIsAsPromised) {
    let_ask_for_interrupts(" IR", 0);
    const auto found = cells();
    EXPECT_EQ(found.at("message_interrupt")["verdict"], "as promised");
    EXPECT_EQ(found.at("message_table")["verdict"], "as promised");
    EXPECT_NE(found.at("dma_interrupt").value("reason", "").find("longer than a request"), std::string::npos);
}

TEST_F(AttackTest, NothingIsPromisedOfInterruptsThatAreNotRemapped) {
    let_ask_for_interrupts(" ", 1);
    const auto cell = cells().at("message_interrupt");
    EXPECT_EQ(cell["promised"], "nothing");
    EXPECT_EQ(cell["reached"], 1);
    EXPECT_EQ(cell["verdict"], "as promised");
}

TEST_F(AttackTest, AnEmulatorsRemappingPromisesNothingAndIsTriedByWritesToo) {
    let_ask_for_interrupts(" IR", 2);
    put("sys/class/dmi/id/sys_vendor", "QEMU\n");
    for (const char* access : {"message_interrupt", "dma_interrupt"}) {
        put_interrupts(" IR", 3);
        const auto cell = cells().at(access);
        EXPECT_EQ(cell["promised"], "nothing") << access;
        EXPECT_EQ(cell["accesses"], 1) << access;
    }
}

TEST_F(AttackTest, InterruptsThatNobodyCountsAreNotTried) {
    let_ask_for_interrupts(" IR", 1);
    put("proc/interrupts", "           CPU0\n 24:          1   IR-PCI-MSI 65536-edge      vfio\n");
    const auto cell = cells().at("message_interrupt");
    EXPECT_EQ(cell["verdict"], "not tried");
    EXPECT_NE(cell.value("reason", "").find("does not count thermal interrupts"), std::string::npos);
}

}  // namespace
}  // namespace dmatoll::harness
