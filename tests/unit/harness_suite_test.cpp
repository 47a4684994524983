// SPDX-License-Identifier: BSD-2-Clause
// Suites and workloads: what is wrong in them is told with file, line and the name that was probably meant.
#include <gtest/gtest.h>

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

TEST(Suite, ReadsAxesDriverAndWorkloads) {
    const Suite suite = parse_suite(good, "small.toml");
    EXPECT_EQ(suite.name, "small");
    EXPECT_EQ(suite.boots, 3U);
    EXPECT_EQ(suite.placements, (std::vector<std::string>{"kernel", "user"}));
    EXPECT_EQ(suite.receive_descriptors, 512U);
    EXPECT_EQ(suite.transmit_descriptors, 256U);
    ASSERT_EQ(suite.workloads.size(), 1U);
    EXPECT_EQ(suite.workloads[0].parameters.at("load_bps"), 5'000'000U);
    EXPECT_EQ(suite.workloads[0].parameters.at("payload_bytes"), 1472U) << "the workload's own default";
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
    EXPECT_NE(complaint(replaced("512", "500")).find("a power of two"), std::string::npos);
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
