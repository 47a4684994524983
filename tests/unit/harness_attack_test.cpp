// SPDX-License-Identifier: BSD-2-Clause
// Who judges a driver process that attacks, before one that gets at everything and one that is held back.
#include <gtest/gtest.h>
#include <linux/pci_regs.h>

#include <cerrno>
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
    std::uint64_t mappings = 7;
    std::function<void()> beyond = [] {};  // what an access behind its regions does

    Counts counters() override { return {}; }
    [[nodiscard]] std::string counter_source() const override { return {}; }
    json effective() override { return {}; }
    void require_alive() override {}
    void stop() override {}

    json command(const std::string& line) override {
        std::istringstream words{line};
        std::string verb;
        words >> verb;
        if (verb == "result") return {{"state", "ended"}, {"copies", 64}, {"copies_bad", 0}};
        if (verb == "stats") return {{"pid", 77}};
        if (verb == "stray_write") {
            write();
            return json::object();
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

    static constexpr std::uint64_t stray = 0xbad;
    static constexpr const char* text = "reached!";
    std::uint64_t own_ = 0x117;
    volatile std::uint64_t* mapped_ = nullptr;
    bool file_ = false;
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
        put("proc/77/status", "VmLck:\t       8 kB\n");
        put("proc/77/limits", "Max locked memory         8192                 8192                 bytes\n");
        put("sys/module/vfio_iommu_type1/parameters/dma_entry_limit", "65535\n");
        // The kernel does not say where it has memory, and physical addresses are none of this process's.
        driver_.refused["machine_read"] = driver_.refused["machine_write"] = EACCES;
    }
    void hold_back() {
        driver_.refused.merge(std::map<std::string, int>{
            {"map_foreign", EFAULT}, {"map_read_only", EFAULT}, {"process_read", EPERM}, {"process_write", EPERM},
            {"process_file_read", EACCES}, {"process_file_write", EACCES}, {"trace_read", EPERM},
            {"trace_write", EPERM}, {"exhaust_memory", ENOMEM}, {"exhaust_mappings", ENOSPC}});
        driver_.writes_files = false;
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

    FakeDriver driver_;
    std::string broken_off_ = "No PCI function's configuration";
};

TEST_F(AttackTest, WhatADriverReachesIsABrokenPromiseThoughTheTrialBreaksOff) {
    const auto found = cells();
    for (const char* access : {"map_foreign_write", "map_foreign_read", "map_read_only", "map_readable", "process_read",
                               "process_write", "process_file_read", "process_file_write", "trace_read", "trace_write",
                               "exhaust_memory"}) {
        ASSERT_TRUE(found.contains(access)) << access;
        EXPECT_EQ(found.at(access)["verdict"], "less than promised") << access;
        EXPECT_EQ(found.at(access)["reached"], 1) << access;
    }
}

TEST_F(AttackTest, WhatItDoesNotReachWhereItIsHeldBackIsAsPromised) {
    hold_back();
    for (const auto& [access, cell] : cells())
        EXPECT_EQ(cell["verdict"], cell.contains("reason") ? "not tried" : "as promised") << access << ": " << cell;
    for (const char* access : {"map_foreign_write", "map_readable", "process_read", "exhaust_memory", "exhaust_mappings"})
        EXPECT_EQ(cells().at(access)["verdict"], "as promised") << access;
}

TEST_F(AttackTest, MoreThanItMayHoldIsABreachWhateverItIsAnswered) {
    hold_back();
    put("proc/77/status", "VmLck:\t       9 kB\n");
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

}  // namespace
}  // namespace dmatoll::harness
