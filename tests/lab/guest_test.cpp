// SPDX-License-Identifier: BSD-2-Clause
//
// The lab itself: its clock, its meter, its repeatability, and what happens when a guest or the harness
// fails.
#include "lab/guest.hpp"

#include <gtest/gtest.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <thread>

#include "lab/meter_file.hpp"

namespace {

using namespace dmatoll::harness::lab;
using namespace std::chrono_literals;
using nlohmann::json;

// A boot takes about ten seconds of a host core; ten times that is for a busy host.
constexpr auto boot_limit = 120s;
constexpr auto job_limit = 240s;

std::string read_file(const std::filesystem::path& file) {
    std::ifstream stream(file, std::ios::binary);
    if (!stream) throw std::runtime_error("cannot read " + file.string());
    return {std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
}

std::vector<unsigned> usable_cpus() {
    cpu_set_t set;
    CPU_ZERO(&set);
    sched_getaffinity(0, sizeof(set), &set);
    std::vector<unsigned> cpus;
    for (unsigned cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
        if (CPU_ISSET(cpu, &set)) cpus.push_back(cpu);
    }
    return cpus;
}

/// A directory of its own for each guest, gone with the test.
class Lab : public testing::Test {
  protected:
    ~Lab() override { std::filesystem::remove_all(directory_); }

    GuestOptions options(const std::string& name, std::vector<std::string> command) {
        GuestOptions options;
        options.artefacts = LAB_ARTEFACTS;
        options.output = directory_ / name;
        options.command = std::move(command);
        options.host_cpu = usable_cpus().front();
        return options;
    }

    std::filesystem::path directory_ =
        std::filesystem::path(testing::TempDir()) / ("dmatoll-lab-test-" + std::to_string(getpid()));
};

struct Outcome {
    std::vector<std::string> records;
    std::vector<Window> windows;
    std::uint64_t refused_accesses = 0;
};

class LabTraffic : public Lab {
  protected:
    GuestOptions traffic(const std::string& name, std::uint64_t seed, unsigned host_cpu) {
        GuestOptions result = options(name, {"/dmatoll/traffic"});
        result.files = {{"/dmatoll/probe", read_file(LAB_PROBE)},
                        {"/dmatoll/traffic", read_file(LAB_TRAFFIC)}};
        result.seed = seed;
        result.host_cpu = host_cpu;
        return result;
    }

    static Outcome outcome(Guest& guest) {
        EXPECT_TRUE(guest.wait(job_limit));
        EXPECT_EQ(guest.state(), ExitState::finished) << guest.explanation();
        EXPECT_EQ(guest.command_status(), 7) << testing::PrintToString(guest.console_tail(20));
        return {guest.new_records(), read_windows(guest.windows_path()), guest.refused_accesses()};
    }
};

/// In a window in which no vCPU idles, time is made of nothing but instructions: one a nanosecond.
void expect_sums_agree_with_time(const Outcome& outcome) {
    // Between the markers and the readings of the clock there are a few instructions of the probe's own.
    constexpr std::uint64_t around_the_clock = 100;

    std::size_t index = 0;
    for (const std::string& line : outcome.records) {
        const json record = json::parse(line);
        if (!record.contains("work")) continue;
        ASSERT_LT(index, outcome.windows.size());
        const Window& window = outcome.windows[index];
        EXPECT_EQ(window.number, index++);
        if (record["work"] == "command") continue;  // it waits, so vCPUs idle
        const auto elapsed = record["elapsed_ns"].get<std::uint64_t>();
        // The meter counts an instruction when it begins: one that faults begins twice.
        const auto faults = record["faults"].get<std::uint64_t>();
        EXPECT_GE(window.total(), elapsed + faults) << record["work"];
        EXPECT_LE(window.total(), elapsed + faults + around_the_clock) << record["work"];
    }
    EXPECT_EQ(index, 7u);  // the probe's four, and three around traffic
}

TEST_F(LabTraffic, TheMeterAgreesWithTheClockAndTheSameSeedGivesTheSameCounts) {
    const auto cpus = usable_cpus();
    Guest first = Guest::start(traffic("first", 1, cpus.front()));
    Guest second = Guest::start(traffic("second", 1, cpus.back()));
    const Outcome one = outcome(first);
    const Outcome same = outcome(second);

    expect_sums_agree_with_time(one);
    EXPECT_EQ(one.records, same.records);
    EXPECT_EQ(one.windows, same.windows);

    // The probe looped in user space on vCPU 0 and then did system calls there; on vCPU 1 a shell looped all
    // the time.
    ASSERT_GE(one.windows.size(), 2u);
    EXPECT_GT(one.windows[0].vcpus.at(0).user, 10 * one.windows[0].vcpus.at(0).kernel);
    EXPECT_GT(one.windows[1].vcpus.at(0).kernel, 10 * one.windows[1].vcpus.at(0).user);
    EXPECT_GT(one.windows[0].vcpus.at(1).user, one.windows[0].vcpus.at(0).user / 10);
    // The emulator looks an unmapped address up again for each word of the descriptor.
    EXPECT_GT(one.refused_accesses, 0u);
    EXPECT_EQ(one.refused_accesses, same.refused_accesses);

    Guest third = Guest::start(traffic("third", 2, cpus.front()));
    const Outcome other = outcome(third);
    expect_sums_agree_with_time(other);
    ASSERT_FALSE(other.records.empty());
    EXPECT_NE(other.records.front(), one.records.front())
        << "another seed gave the guest the same random numbers";
}

TEST_F(Lab, APanicEndsTheGuestAndItsLastWordsAreThere) {
    Guest guest = Guest::start(options("panic", {"sh", "-c", "echo c >/proc/sysrq-trigger"}));
    ASSERT_TRUE(guest.wait(boot_limit));
    EXPECT_EQ(guest.state(), ExitState::panicked);
    EXPECT_FALSE(guest.command_status());
    const auto tail = guest.console_tail(100);
    EXPECT_TRUE(std::any_of(tail.begin(), tail.end(), [](const std::string& line) {
        return line.find("Kernel panic - not syncing: sysrq triggered crash") != std::string::npos;
    })) << testing::PrintToString(tail);
}

TEST_F(Lab, AHangIsSeenWhileItLastsAndEndsWithKill) {
    const std::string script =
        "echo about to hang; echo '{\"event\":\"hanging\"}' >$DMATOLL_RECORDS; while :; do :; done";
    Guest guest = Guest::start(options("hang", {"sh", "-c", script}));
    const auto deadline = std::chrono::steady_clock::now() + boot_limit;
    std::vector<std::string> records;
    while (records.empty() && guest.running() && std::chrono::steady_clock::now() < deadline) {
        records = guest.new_records();
        std::this_thread::sleep_for(50ms);
    }
    EXPECT_EQ(records, std::vector<std::string>{R"({"event":"hanging"})"});
    EXPECT_TRUE(guest.new_records().empty());

    EXPECT_FALSE(guest.wait(1s));
    EXPECT_EQ(guest.state(), ExitState::running);
    guest.kill();
    EXPECT_EQ(guest.state(), ExitState::killed);
    EXPECT_EQ(guest.console_tail(1), std::vector<std::string>{"about to hang"});
}

TEST_F(Lab, ACommandsOutputAndStatusReachTheTerminalAndOnTheWallClockThereIsNoMeter) {
    GuestOptions wall = options("run", {});
    wall.clock = Clock::wall_clock;
    wall.host_cpu.reset();
    EXPECT_TRUE(meter_unavailable(wall));
    testing::internal::CaptureStdout();
    const int status =
        lab_run(wall, {"sh", "-c", "echo \"it's $1\"; exit 3", "sh", "a word with 'quotes'"}, boot_limit);
    EXPECT_EQ(testing::internal::GetCapturedStdout(), "it's a word with 'quotes'\n");
    EXPECT_EQ(status, 3);
    EXPECT_FALSE(std::filesystem::exists(wall.output / "windows.jsonl"));
}

/// Not a zombie, not gone.
bool lives(pid_t process) {
    std::ifstream stream("/proc/" + std::to_string(process) + "/stat");
    std::string text{std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
    const std::size_t name_end = text.rfind(')');
    return name_end != std::string::npos && text.at(name_end + 2) != 'Z';
}

TEST_F(Lab, AHarnessThatIsKilledLeavesNoEmulatorBehind) {
    int channel[2];
    ASSERT_EQ(pipe(channel), 0);
    const pid_t harness = fork();
    if (harness == 0) {
        Guest guest = Guest::start(options("orphan", {"sleep", "1000000"}));
        const pid_t emulator = guest.emulator_pid();
        if (write(channel[1], &emulator, sizeof(emulator)) != sizeof(emulator)) _exit(1);
        pause();
        _exit(0);
    }
    pid_t emulator = -1;
    ASSERT_EQ(read(channel[0], &emulator, sizeof(emulator)), static_cast<ssize_t>(sizeof(emulator)));
    EXPECT_TRUE(lives(emulator));
    kill(harness, SIGKILL);
    waitpid(harness, nullptr, 0);
    const auto deadline = std::chrono::steady_clock::now() + 10s;
    while (lives(emulator) && std::chrono::steady_clock::now() < deadline) std::this_thread::sleep_for(10ms);
    EXPECT_FALSE(lives(emulator));
    close(channel[0]);
    close(channel[1]);
}

TEST_F(Lab, AGuestThatGoesOutOfScopeIsEnded) {
    pid_t emulator = -1;
    {
        const Guest guest = Guest::start(options("scope", {"sleep", "1000000"}));
        emulator = guest.emulator_pid();
        EXPECT_TRUE(lives(emulator));
    }
    EXPECT_FALSE(lives(emulator));
}

TEST_F(Lab, WhatIsMissingIsNamed) {
    GuestOptions no_image = options("missing", {"true"});
    no_image.artefacts = directory_ / "nowhere";
    try {
        Guest::start(no_image);
        FAIL() << "a guest started without an image";
    } catch (const std::runtime_error& error) {
        EXPECT_NE(std::string(error.what()).find("nowhere/vmlinuz"), std::string::npos) << error.what();
        EXPECT_NE(std::string(error.what()).find("lab-image"), std::string::npos) << error.what();
    }

    GuestOptions no_cpu = options("cpu", {"true"});
    no_cpu.host_cpu = CPU_SETSIZE - 1;
    EXPECT_THROW(Guest::start(no_cpu), std::runtime_error);
}

TEST_F(Lab, AnEmulatorThatRefusesItsArgumentsSaysWhy) {
    GuestOptions odd = options("odd", {"true"});
    odd.address_bits = 17;
    Guest guest = Guest::start(odd);
    ASSERT_TRUE(guest.wait(boot_limit));
    EXPECT_EQ(guest.state(), ExitState::emulator_failed);
    EXPECT_NE(guest.explanation().find("aw-bits"), std::string::npos) << guest.explanation();
}

}  // namespace
