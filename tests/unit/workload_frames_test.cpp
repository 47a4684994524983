// SPDX-License-Identifier: BSD-2-Clause
// Raw frames over the loopback interface: counted at both ends. Needs root, for a loopback interface that
// nobody else uses.
#include <gtest/gtest.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "descriptor.hpp"
#include "failure.hpp"
#include "frames_options.hpp"
#include "program.hpp"

namespace dmatoll::workloads {
namespace {

TEST(EthernetAddresses, AreReadWholeOrNotAtAll) {
    EXPECT_EQ(ethernet_address("52:54:00:64:6d:0f"), (EthernetAddress{0x52, 0x54, 0, 0x64, 0x6d, 0x0f}));
    for (const char* text :
         {"", "52:54:00:64:6d", "52:54:00:64:6d:02:03", "52:54:00:64:6d:0g", "52-54-00-64-6d-02"})
        EXPECT_FALSE(ethernet_address(text)) << text;
}

std::string complaint(std::vector<const char*> arguments) {
    arguments.insert(arguments.begin(), "dmatoll-frames");
    try {
        parse_frames_options(static_cast<int>(arguments.size()), arguments.data());
    } catch (const Failure& failure) {
        return failure.what();
    }
    return "no complaint";
}

TEST(FramesOptions, RefuseWhatMakesNoSense) {
    const auto holds = [](const std::string& text, const char* part) {
        EXPECT_NE(text.find(part), std::string::npos) << text;
    };
    holds(complaint({"--flow", "receive"}), "--interface is required");
    holds(complaint({"--interface", "lo"}), "--flow is required");
    holds(complaint({"--interface", "lo", "--flow", "sideways"}), "sideways");
    holds(complaint({"--interface", "lo", "--flow", "transmit"}), "--destination is required");
    holds(complaint({"--interface", "lo", "--flow", "transmit", "--destination", "me"}),
          "'me' is no Ethernet address");
    holds(complaint({"--interface", "lo", "--flow", "loopback", "--frame-bytes", "63"}),
          "see --allow-odd-sizes");
    holds(complaint({"--interface", "lo", "--flow", "loopback", "--frame-bytes", "17", "--allow-odd-sizes"}),
          "17 is not from 18");
    EXPECT_EQ(
        complaint({"--interface", "lo", "--flow", "loopback", "--frame-bytes", "18", "--allow-odd-sizes"}),
        "no complaint");
}

// Received by the loopback interface of this thread's namespace.
std::uint64_t frames_of_loopback() {
    std::ifstream table{"/proc/thread-self/net/dev"};
    for (std::string word; table >> word;) {
        std::uint64_t bytes = 0;
        std::uint64_t frames = 0;
        if (word == "lo:" && table >> bytes >> frames) return frames;
    }
    return 0;
}

class Frames : public testing::Test {
  protected:
    void SetUp() override {
        if (::unshare(CLONE_NEWNET) != 0) GTEST_SKIP() << "a network namespace of the test's own needs root";
        const Descriptor socket{::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
        ifreq up{};
        up.ifr_name[0] = 'l';
        up.ifr_name[1] = 'o';
        up.ifr_flags = IFF_UP | IFF_RUNNING;
        ASSERT_EQ(::ioctl(socket.get(), SIOCSIFFLAGS, &up), 0);
    }
    static Program frames(std::vector<std::string> more) {
        more.insert(more.begin(), {DMATOLL_FRAMES, "--interface", "lo"});
        return Program{more};
    }
};

TEST_F(Frames, WhatIsSentComesBack) {
    for (const char* length : {"64", "1518", "40"}) {
        Program program = frames({"--flow", "loopback", "--frame-bytes", length, "--allow-odd-sizes",
                                  "--rate", "2000", "--duration", "200"});
        const auto result = program.line();
        EXPECT_EQ(program.status(), 0);
        const auto& sent = result.at("sent");
        EXPECT_GE(sent.at("frames"), 400) << "a rate is kept up with";
        EXPECT_EQ(sent.at("bytes"), sent.at("frames").get<int>() * std::stoi(length));
        EXPECT_EQ(result.at("received").at("frames"), sent.at("frames"));
        EXPECT_EQ(result.at("received").at("bytes"), sent.at("bytes"));
        EXPECT_EQ(result.at("received").at("other_lengths"), 0);
        EXPECT_EQ(result.at("received").at("dropped"), 0);
    }
}

TEST_F(Frames, WithoutARateItGoesAsFastAsItCanUntilItIsStopped) {
    Program program = frames({"--flow", "loopback"});
    while (frames_of_loopback() < 1000) ::usleep(1000);
    program.ask_to_stop();
    const auto result = program.line();
    EXPECT_EQ(program.status(), 0);
    EXPECT_GT(result.at("sent").at("frames"), 64) << "more than may be in flight at once";
    EXPECT_EQ(result.at("received").at("frames").get<std::uint64_t>() +
                  result.at("received").at("dropped").get<std::uint64_t>(),
              result.at("sent").at("frames").get<std::uint64_t>());
}

TEST_F(Frames, ASenderThatRestsIsSlowerByItsRests) {
    // A rest of 50 us for each frame: at most 20 of them in a millisecond.
    Program program = frames({"--flow", "loopback", "--rest-after", "1", "--duration", "200"});
    const auto result = program.line();
    EXPECT_EQ(program.status(), 0);
    const auto ms = result.at("duration_ns").get<std::uint64_t>() / 1'000'000 + 1;
    EXPECT_GT(result.at("sent").at("frames"), 0);
    EXPECT_LE(result.at("sent").at("frames").get<std::uint64_t>(), 20 * ms);
}

}  // namespace
}  // namespace dmatoll::workloads
