// SPDX-License-Identifier: BSD-2-Clause
// Suites and workloads: what is wrong in them is told with file, line and the name that was probably meant.
#include <gtest/gtest.h>

#include <set>
#include <string>

#include "failure.hpp"
#include "suite.hpp"

namespace dmatoll::harness {
namespace {

const std::string good = R"([suite]
name = "small"
summary = "for a test"
boots = 3

[axes]
device = ["82540EM"]
placement = ["kernel", "user"]
strategy = ["strict", "linux-lazy"]

[driver]
receive_descriptors = 512

[[workload]]
name = "iperf3-udp-tx"
load_bps = 5000000
)";

std::string replaced(const std::string& from, const std::string& to) {
    std::string text = good;
    text.replace(text.find(from), from.size(), to);
    return text;
}

std::string complaint(const std::string& text) {
    try {
        parse_suite(text, "small.toml");
    } catch (const Failure& failure) {
        return failure.what();
    }
    return "no complaint";
}

TEST(Suite, RefusesWhatAWorkloadDoesNotTake) {
    const auto with_workload = [](const std::string& workload) {
        std::string text = good;
        return text.replace(text.find("name = \"iperf3-udp-tx\""), std::string::npos, workload);
    };
    for (const char* workload :
         {"name = \"udp-echo\"\nload_bps = 0\n", "name = \"udp-echo\"\npayload_bytes = 5\n",
          "name = \"udp-echo\"\ncool_down_ms = 0\n", "name = \"raw-frames-rx\"\nframe_bytes = 20\n",
          "name = \"crash-kill\"\nkills = 0\n"})
        EXPECT_NE(complaint(with_workload(workload)).find("out of range"), std::string::npos) << workload;
    EXPECT_EQ(complaint(with_workload("name = \"udp-echo\"\npayload_bytes = 16\n")), "no complaint");
}

TEST(Suite, ReadsAxesDriverAndWorkloads) {
    const Suite suite = parse_suite(good, "small.toml");
    EXPECT_EQ(suite.name, "small");
    EXPECT_EQ(suite.boots, 3U);
    ASSERT_EQ(suite.parts.size(), 1U);
    const SuitePart& part = suite.parts.front();
    EXPECT_EQ(part.placements, (std::vector<std::string>{"kernel", "user"}));
    ASSERT_EQ(part.settings.size(), 1U);
    EXPECT_EQ(part.settings[0].receive_descriptors, 512U);
    EXPECT_EQ(part.settings[0].transmit_descriptors, 256U);
    EXPECT_EQ(part.guests, std::vector<GuestShape>{GuestShape{}});
    ASSERT_EQ(part.workloads.size(), 1U);
    EXPECT_EQ(part.workloads[0].parameters.at("load_bps"), 5'000'000U);
    EXPECT_EQ(part.workloads[0].parameters.at("payload_bytes"), 1472U) << "the workload's own default";
}

TEST(Suite, ListsAreMultiplied) {
    std::string text =
        replaced("receive_descriptors = 512", "receive_descriptors = [64, 512]\nmtu = [1500, 9000]");
    text.replace(text.find("load_bps = 5000000"), 18, "load_bps = [1, 2, 3]\npayload_bytes = [64, 128]");
    const SuitePart part = parse_suite(text, "small.toml").parts.front();
    EXPECT_EQ(part.settings.size(), 4U);
    EXPECT_EQ(part.workloads.size(), 6U);
    std::set<std::pair<std::uint32_t, std::uint32_t>> seen;
    for (const auto& settings : part.settings) seen.insert({settings.receive_descriptors, settings.mtu});
    EXPECT_EQ(seen.size(), 4U);
    EXPECT_NE(complaint(replaced("= 512", "= [512, 512]")).find("more than once"), std::string::npos);
    EXPECT_NE(complaint(replaced("= 512", "= []")).find("the list is empty"), std::string::npos);
    EXPECT_NE(complaint(replaced("= 512", "= [512, 32]")).find("32 is out of range"), std::string::npos);
}

TEST(Suite, IovaAllocatorsAreAnAxis) {
    const SuitePart part =
        parse_suite(replaced("receive_descriptors = 512", "iova_allocator = [\"tree\", \"eiovar\"]"), "small.toml")
            .parts.front();
    ASSERT_EQ(part.settings.size(), 2U);
    EXPECT_EQ(part.settings[0].iova_allocator, "tree");
    EXPECT_EQ(part.settings[1].iova_allocator, "eiovar");
    EXPECT_NE(complaint(replaced("receive_descriptors = 512", "iova_allocator = [\"eiovra\"]"))
                  .find("unknown IOVA allocator 'eiovra'; did you mean 'eiovar'?"),
              std::string::npos);
}

const std::string parted = R"([suite]
name = "parted"
summary = "for a test"

[axes]
device = ["82540EM"]
placement = ["kernel", "user", "stock"]
strategy = ["persistent", "linux-lazy"]

[[part]]
name = "one"
[[part.workload]]
name = "iperf3-tcp-tx"

[[part]]
name = "two"
[part.axes]
device = ["82574L"]
placement = ["user"]
strategy = ["strict"]
completion = ["interrupt", "poll"]
code_generation = ["native", "kernel-like"]
[part.guest]
vcpus = [1, 4]
[[part.workload]]
name = "iperf3-tcp-rx"
)";

TEST(Suite, PartsHaveTheSuitesAxesOrTheirOwn) {
    const Suite suite = parse_suite(parted, "parted.toml");
    ASSERT_EQ(suite.parts.size(), 2U);
    EXPECT_EQ(suite.parts[0].name, "one");
    EXPECT_EQ(suite.parts[0].placements.size(), 3U);
    EXPECT_EQ(suite.parts[1].devices, std::vector<std::string>{"82574L"});
    EXPECT_EQ(suite.parts[1].settings.size(), 4U);
    EXPECT_EQ(suite.parts[1].guests.size(), 2U);
    const auto with = [](const std::string& from, const std::string& to) {
        std::string text = parted;
        return complaint(text.replace(text.find(from), from.size(), to));
    };
    EXPECT_NE(with("name = \"two\"", "name = \"one\"").find("the name of two parts"), std::string::npos);
    EXPECT_NE(with("[1, 4]", "[1, 3]").find("1, 2 or 4 was expected"), std::string::npos);
    EXPECT_NE(with("\"poll\"", "\"pol\"").find("did you mean 'poll'?"), std::string::npos);
}

TEST(Suite, UnknownKeyIsToldWithLineAndNearestName) {
    const std::string text = complaint(replaced("boots", "boot"));
    EXPECT_NE(text.find("small.toml:4"), std::string::npos) << text;
    EXPECT_NE(text.find("unknown key 'boot'"), std::string::npos) << text;
    EXPECT_NE(text.find("did you mean 'boots'?"), std::string::npos) << text;
}

TEST(Suite, UnknownStrategyDevicePlacementAndWorkload) {
    EXPECT_NE(complaint(replaced("\"strict\"", "\"stritc\""))
                  .find("unknown strategy 'stritc'; did you mean 'strict'?"),
              std::string::npos);
    EXPECT_NE(
        complaint(replaced("82540EM", "82540EN")).find("unknown device '82540EN'; did you mean '82540EM'?"),
        std::string::npos);
    EXPECT_NE(
        complaint(replaced("\"user\"", "\"usr\"")).find("unknown placement 'usr'; did you mean 'user'?"),
        std::string::npos);
    EXPECT_NE(complaint(replaced("iperf3-udp-tx", "iperf3-udp-ttx")).find("did you mean 'iperf3-udp-tx'?"),
              std::string::npos);
}

TEST(Suite, UnknownParameterOfAWorkload) {
    const std::string text = complaint(replaced("load_bps", "load_bsp"));
    EXPECT_NE(text.find("small.toml:16: unknown key 'load_bsp'"), std::string::npos) << text;
}

TEST(Suite, ValuesOutOfRangeOrOfTheWrongKind) {
    EXPECT_NE(complaint(replaced("boots = 3", "boots = 0")).find("0 is out of range"), std::string::npos);
    EXPECT_NE(complaint(replaced("boots = 3", "boots = \"3\"")).find("a whole number was expected"),
              std::string::npos);
    EXPECT_NE(complaint(replaced("512", "5000")).find("out of range"), std::string::npos);
    EXPECT_NE(
        complaint(replaced("[\"kernel\", \"user\"]", "\"kernel\"")).find("a list of texts was expected"),
        std::string::npos);
    EXPECT_NE(complaint(replaced("[\"kernel\", \"user\"]", "[\"user\", \"user\"]")).find("more than once"),
              std::string::npos);
    EXPECT_NE(complaint(replaced("name = \"small\"", "")).find("needs the key 'name'"), std::string::npos);
}

TEST(Suite, BrokenTomlIsToldWithItsLine) {
    EXPECT_NE(complaint(replaced("boots = 3", "boots = ")).find("small.toml:"), std::string::npos);
    EXPECT_EQ(complaint(good), "no complaint");
}

TEST(Suite, UnknownNameOfASuite) {
    try {
        load_suite("quikc");
        FAIL() << "there is no such suite";
    } catch (const Failure& failure) {
        EXPECT_NE(std::string{failure.what()}.find("did you mean 'quick'?"), std::string::npos)
            << failure.what();
    }
}

TEST(Suite, TheSuitesThatAreDeliveredAreRight) {
    ASSERT_FALSE(suite_names().empty());
    for (const auto& name : suite_names()) EXPECT_EQ(load_suite(name).name, name);
    for (const auto& name : workload_names()) EXPECT_EQ(load_workload(name).name, name);
}

TEST(Workload, UnknownTransportAndMissingParameter) {
    const std::string text =
        "name = \"x\"\nsummary = \"y\"\nprogram = \"iperf3\"\ntransport = \"upd\"\nflow = "
        "\"receive\"\n[parameters]\n";
    try {
        parse_workload(text, "workload.toml");
        FAIL() << "the transport is unknown";
    } catch (const Failure& failure) {
        EXPECT_NE(std::string{failure.what()}.find("workload.toml:4"), std::string::npos) << failure.what();
    }
}

}  // namespace
}  // namespace dmatoll::harness
