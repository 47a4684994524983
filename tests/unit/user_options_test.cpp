// SPDX-License-Identifier: BSD-2-Clause
#include <gtest/gtest.h>

#include <set>
#include <string>
#include <vector>

#include "dma_options.hpp"
#include "failure.hpp"
#include "network_options.hpp"
#include "sandbox.hpp"

namespace {

using dmatoll::user::Failure;
using dmatoll::user::NetworkChildOptions;
using dmatoll::user::NetworkOptions;

std::optional<NetworkOptions> parse(std::vector<const char*> arguments) {
    arguments.insert(arguments.begin(), "dmatoll-net-user");
    return dmatoll::user::parse_network_options(static_cast<int>(arguments.size()), arguments.data());
}

std::string complaint(const std::vector<const char*>& arguments) {
    try {
        parse(arguments);
    } catch (const Failure& failure) {
        return failure.what();
    }
    return "";
}

TEST(UserOptions, Defaults) {
    const auto options = parse({"--device", "0000:00:03.0", "--tap", "dma0"});
    ASSERT_TRUE(options.has_value());
    EXPECT_EQ(options->device, "0000:00:03.0");
    EXPECT_EQ(options->tap, "dma0");
    EXPECT_EQ(options->driver.strategy, "strict");
    EXPECT_EQ(options->driver.receive_descriptors, 256u);
    EXPECT_EQ(options->driver.transmit_descriptors, 256u);
    EXPECT_EQ(options->user, "") << "one of the device's own";
    EXPECT_FALSE(options->cpu.has_value());
    EXPECT_EQ(options->driver.mtu, 1500u);
    EXPECT_FALSE(options->driver.poll);
    EXPECT_TRUE(options->driver.offloads);
    EXPECT_EQ(options->driver.page_size, 0u);
    EXPECT_EQ(options->driver.iova_allocator, "size-classes");
    EXPECT_EQ(options->watchdog_ms, 1000u);
    EXPECT_FALSE(options->allow_faults);
    EXPECT_FALSE(options->json);
}

TEST(UserOptions, EachDevicesDriverIsAUserOfItsOwn) {
    std::set<uid_t> users;
    for (const char* bdf : {"0000:00:04.0", "0000:00:04.1", "0000:00:05.0", "0000:01:04.0", "0001:00:04.0", "07fd:ff:1f.7"}) {
        const auto identity = dmatoll::user::user_of_device(bdf);
        EXPECT_TRUE(users.insert(identity.user).second) << bdf;
        EXPECT_EQ(identity.user, identity.group);
        // Beyond containers' users and a directory's, and below systemd's for trees of other machines.
        EXPECT_GT(identity.user, 2'000'200'000u) << bdf;
        EXPECT_LT(identity.user, 2'147'352'576u) << bdf;
    }
    // A domain of Intel's VMD has five digits; it must not be another device's user.
    for (const char* bdf : {"nobody", "10000:00:04.0", "0000:00:20.0", "0000:100:04.0", "0000:00:04.8"})
        EXPECT_THROW(dmatoll::user::user_of_device(bdf), Failure) << bdf;
}

TEST(UserOptions, AllOfThem) {
    const auto options = parse({"--device",
                                "03:00.0",
                                "--tap",
                                "t",
                                "--strategy",
                                "persistent",
                                "--receive-descriptors",
                                "512",
                                "--transmit-descriptors",
                                "4096",
                                "--interrupts-per-second",
                                "0",
                                "--cpu",
                                "1",
                                "--user",
                                "daemon",
                                "--control",
                                "/run/c",
                                "--restart",
                                "7",
                                "--mtu",
                                "9000",
                                "--completion",
                                "poll",
                                "--offloads",
                                "off",
                                "--page-size",
                                "2097152",
                                "--watchdog-ms",
                                "0",
                                "--allow-faults",
                                "--json"});
    ASSERT_TRUE(options.has_value());
    EXPECT_EQ(options->driver.strategy, "persistent");
    EXPECT_EQ(options->driver.receive_descriptors, 512u);
    EXPECT_EQ(options->driver.transmit_descriptors, 4096u);
    EXPECT_EQ(options->driver.interrupts_per_second, 0u);
    EXPECT_EQ(options->cpu, 1u);
    EXPECT_EQ(options->user, "daemon");
    EXPECT_EQ(options->control, "/run/c");
    EXPECT_EQ(options->restarts, 7u);
    EXPECT_EQ(options->driver.mtu, 9000u);
    EXPECT_TRUE(options->driver.poll);
    EXPECT_FALSE(options->driver.offloads);
    EXPECT_EQ(options->driver.page_size, 2097152u);
    EXPECT_EQ(options->watchdog_ms, 0u);
    EXPECT_TRUE(options->allow_faults);
    EXPECT_TRUE(options->json);
    EXPECT_FALSE(parse({"--device", "d", "--tap", "t", "--restart", "always"})->restarts.has_value());
}

TEST(UserOptions, RawFramesTakeThePlaceOfAnInterface) {
    const auto options = parse(
        {"--device", "d", "--raw", "loopback", "--frame-bytes", "1518", "--peer-mac", "52:54:00:aB:34:56"});
    ASSERT_TRUE(options.has_value());
    EXPECT_EQ(options->driver.raw, dmatoll::user::Raw::loopback);
    EXPECT_EQ(options->driver.frame_bytes, 1518u);
    EXPECT_EQ(options->driver.peer_mac, (dmatoll::MacAddress{0x52, 0x54, 0, 0xab, 0x34, 0x56}));
    EXPECT_EQ(parse({"--device", "d", "--raw", "transmit"})->driver.raw, dmatoll::user::Raw::transmit);
    EXPECT_EQ(parse({"--device", "d", "--raw", "receive"})->driver.raw, dmatoll::user::Raw::receive);
    EXPECT_NE(complaint({"--device", "d", "--raw", "transmit", "--tap", "t"}), "");
    EXPECT_NE(complaint({"--device", "d", "--raw", "sideways"}).find("--raw"), std::string::npos);
    for (const char* bad : {"63", "1519"}) {
        EXPECT_NE(complaint({"--device", "d", "--raw", "transmit", "--frame-bytes", bad}), "") << bad;
    }
    for (const char* bad :
         {"ff:ff:ff:ff:ff:ff", "00:00:00:00:00:00", "52:54:00:12:34", "52-54-00-12-34-56"}) {
        EXPECT_NE(complaint({"--device", "d", "--raw", "transmit", "--peer-mac", bad}), "") << bad;
    }
}

TEST(UserOptions, ComplaintsNameWhatIsWrongAndWhatWouldBeRight) {
    EXPECT_NE(complaint({"--tap", "dma0"}).find("--device"), std::string::npos);
    const std::string unknown = complaint({"--device", "d", "--tap", "t", "--strategy", "lenient"});
    EXPECT_NE(unknown.find("lenient"), std::string::npos);
    EXPECT_NE(unknown.find("strict, shared, "), std::string::npos);
    EXPECT_NE(complaint({"--device", "d", "--tap", "t", "--strategy", "linux-lazy"}).find("kernel only"),
              std::string::npos);
    const std::string no_allocator = complaint({"--device", "d", "--tap", "t", "--iova-allocator", "bitmap"});
    EXPECT_NE(no_allocator.find("bitmap"), std::string::npos);
    EXPECT_NE(no_allocator.find("size-classes, tree, tree-linear, eiovar, magazines, contiguous"), std::string::npos);
    EXPECT_NE(complaint({"--device", "d", "--tap", "t", "--iova-allocator", "identity"}).find("physical addresses"),
              std::string::npos);
    EXPECT_NE(complaint({"--device", "d", "--tap", "t", "--iova-allocator", "linux"}).find("inside the kernel"),
              std::string::npos);
    for (const char* bad : {"0", "32", "100", "8192", "x", "-256"}) {
        EXPECT_NE(complaint({"--device", "d", "--tap", "t", "--receive-descriptors", bad}), "") << bad;
    }
    for (const char* bad : {"59", "1000001"}) {
        EXPECT_NE(complaint({"--device", "d", "--tap", "t", "--interrupts-per-second", bad}), "") << bad;
    }
    for (const std::vector<const char*>& bad :
         std::vector<std::vector<const char*>>{{"--mtu", "1499"},
                                               {"--mtu", "9001"},
                                               {"--completion", "hope"},
                                               {"--offloads", "some"},
                                               {"--page-size", "8192"},
                                               {"--deferred-entries", "0"},
                                               {"--deferred-milliseconds", "1001"},
                                               {"--deferred-per-cpu", "1"},
                                               {"--optimistic-entries", "16385"},
                                               {"--contiguous-milliseconds", "0"},
                                               {"--quota-pages", "32769"},
                                               {"--quota-pages", "-1"},
                                               {"--copy-threshold", "65537"},
                                               {"--restart", "sometimes"},
                                               {"--restart", "-1"},
                                               {"--watchdog-ms", "-1"},
                                               {"--watchdog-ms", "249"}}) {
        std::vector<const char*> arguments{"--device", "d", "--tap", "t"};
        arguments.insert(arguments.end(), bad.begin(), bad.end());
        EXPECT_NE(complaint(arguments).find(bad[0]), std::string::npos) << bad[0] << " " << bad[1];
    }
    EXPECT_NE(complaint({"--device", "d", "--tap", "t", "--frobnicate"}).find("--help"), std::string::npos);
}

TEST(UserOptions, WhatTheDriverProcessIsToldSurvivesTheWay) {
    NetworkChildOptions sent{
        .process = {.bdf = "0000:00:03.0", .address_bits = 39, .user = 65534, .group = 65533},
        .pci_vendor = 0x8086,
        .pci_device = 0x100f,
        .driver = {}};
    sent.driver.strategy = "persistent";
    sent.driver.receive_descriptors = 64;
    sent.driver.transmit_descriptors = 128;
    sent.driver.interrupts_per_second = 60;
    sent.driver.mtu = 4000;
    sent.driver.poll = true;
    sent.driver.offloads = false;
    sent.driver.join_datagrams = false;
    sent.driver.page_size = 4096;
    sent.driver.deferred_entries = 7;
    sent.driver.deferred_milliseconds = 3;
    sent.driver.iova_allocator = "contiguous";
    sent.driver.raw = dmatoll::user::Raw::receive;
    sent.driver.frame_bytes = 128;
    sent.driver.peer_mac = {0x52, 1, 2, 3, 4, 5};
    const NetworkChildOptions got = dmatoll::user::network_child_options(dmatoll::user::to_text(sent));
    EXPECT_EQ(got.process.bdf, sent.process.bdf);
    EXPECT_EQ(got.process.address_bits, sent.process.address_bits);
    EXPECT_EQ(got.pci_vendor, sent.pci_vendor);
    EXPECT_EQ(got.pci_device, sent.pci_device);
    EXPECT_EQ(got.driver.strategy, sent.driver.strategy);
    EXPECT_EQ(got.driver.receive_descriptors, 64u);
    EXPECT_EQ(got.driver.transmit_descriptors, 128u);
    EXPECT_EQ(got.driver.interrupts_per_second, 60u);
    EXPECT_EQ(got.driver.mtu, 4000u);
    EXPECT_TRUE(got.driver.poll);
    EXPECT_FALSE(got.driver.offloads);
    EXPECT_FALSE(got.driver.join_datagrams);
    EXPECT_EQ(got.driver.page_size, 4096u);
    EXPECT_EQ(got.driver.deferred_entries, 7u);
    EXPECT_EQ(got.driver.deferred_milliseconds, 3u);
    EXPECT_EQ(got.driver.iova_allocator, "contiguous");
    EXPECT_EQ(got.driver.raw, dmatoll::user::Raw::receive);
    EXPECT_EQ(got.driver.frame_bytes, 128u);
    EXPECT_EQ(got.driver.peer_mac, sent.driver.peer_mac);
    EXPECT_EQ(got.process.user, 65534u);
    EXPECT_EQ(got.process.group, 65533u);
    EXPECT_THROW(dmatoll::user::network_child_options("{}"), Failure);
    EXPECT_THROW(dmatoll::user::network_child_options("not json"), Failure);
}

std::optional<dmatoll::user::DmaOptions> parse_dma(std::vector<const char*> arguments) {
    arguments.insert(arguments.begin(), {"dmatoll-dma-user", "--device", "03:00.0"});
    return dmatoll::user::parse_dma_options(static_cast<int>(arguments.size()), arguments.data());
}

TEST(DmaOptions, TakesCommandsInTheirOrder) {
    const auto options = parse_dma({"--command", "begin bytes=60", "--command", "run copies=3", "--strategy", "copy"});
    ASSERT_TRUE(options.has_value());
    EXPECT_EQ(options->commands, (std::vector<std::string>{"begin bytes=60", "run copies=3"}));
    EXPECT_EQ(options->driver.strategy, "copy");
    EXPECT_TRUE(options->driver.poll) << "there is no other way";
    EXPECT_TRUE(parse_dma({})->commands.empty());
    EXPECT_TRUE(parse_dma({})->hostile.empty()) << "nobody attacks unless asked to";
}

TEST(DmaOptions, RefusesACommandBeforeAnythingIsStarted) {
    try {
        parse_dma({"--command", "begin bytes=59"});
        FAIL() << "taken";
    } catch (const Failure& failure) {
        EXPECT_NE(std::string{failure.what()}.find("out of range: bytes=59"), std::string::npos) << failure.what();
    }
}

TEST(DmaOptions, ReachTheDriverProcess) {
    dmatoll::user::DmaChildOptions sent;
    sent.process.bdf = "0000:03:00.0";
    sent.pci_vendor = 0x8086;
    sent.pci_device = 0x100e;
    sent.driver.strategy = "deferred";
    sent.hostile = "/run/readable";
    const auto got = dmatoll::user::dma_child_options(to_text(sent));
    EXPECT_EQ(got.process.bdf, sent.process.bdf);
    EXPECT_EQ(got.pci_vendor, sent.pci_vendor);
    EXPECT_EQ(got.pci_device, sent.pci_device);
    EXPECT_EQ(got.driver.strategy, "deferred");
    EXPECT_EQ(got.hostile, "/run/readable");
    EXPECT_THROW(dmatoll::user::dma_child_options("{}"), Failure);
}

}  // namespace
