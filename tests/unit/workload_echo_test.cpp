// SPDX-License-Identifier: BSD-2-Clause
// Generator and echo server over 127.0.0.1: what is counted, and that the content is looked at. No times.
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <atomic>
#include <functional>
#include <nlohmann/json.hpp>
#include <thread>
#include <vector>

#include "descriptor.hpp"
#include "failure.hpp"
#include "load_generator.hpp"
#include "load_options.hpp"
#include "program.hpp"

namespace dmatoll::workloads {
namespace {

std::string complaint(std::vector<const char*> arguments) {
    arguments.insert(arguments.begin(), "dmatoll-udp-load");
    try {
        parse_load_options(static_cast<int>(arguments.size()), arguments.data());
    } catch (const Failure& failure) {
        return failure.what();
    }
    return "no complaint";
}

TEST(LoadOptions, ReadsRatesWithTheirUnits) {
    const char* arguments[] = {"dmatoll-udp-load", "--server", "192.0.2.1", "--load", "150M",
                               "--payload",        "64"};
    const auto options = parse_load_options(std::size(arguments), arguments);
    ASSERT_TRUE(options);
    EXPECT_EQ(options->load_bps, 150'000'000U);
    const char* line[] = {"dmatoll-udp-load", "--server", "192.0.2.1", "--line-rate", "1G",
                          "--payload",        "64"};
    EXPECT_EQ(parse_load_options(std::size(line), line)->load_bps, 627'450'980U);
}

TEST(LoadOptions, RefusesWhatMakesNoSense) {
    const auto holds = [](const std::string& text, const char* part) {
        EXPECT_NE(text.find(part), std::string::npos) << text;
        EXPECT_NE(text.find("--help"), std::string::npos) << text;
    };
    holds(complaint({"--load", "1M"}), "--server is required");
    holds(complaint({"--server", "192.0.2.1"}), "--load or --line-rate must be given");
    holds(complaint({"--server", "192.0.2.1", "--load", "0"}), "not 0");
    holds(complaint({"--server", "nowhere", "--load", "1M"}), "nowhere");
    holds(complaint({"--server", "192.0.2.1", "--load", "1M", "--payload", "15"}), "--payload");
    holds(complaint({"--server", "192.0.2.1", "--load", "1M", "--payload", "8973"}), "--payload");
    holds(complaint({"--server", "192.0.2.1", "--load", "1M", "--window", "0"}), "--window");
    holds(complaint({"--server", "192.0.2.1", "--load", "1T"}), "--load");
    holds(complaint({"--server", "192.0.2.1", "--load", "1M", "--line-rate", "1G"}), "excludes");
    holds(complaint({"--server", "192.0.2.1", "--load", "100G", "--payload", "16"}), "packets a second");
}

LoadOptions small_run(std::uint16_t port) {
    LoadOptions options;
    options.server = "127.0.0.1";
    options.port = port;
    options.payload_bytes = 300;
    options.load_bps = options.payload_bytes * 8 * 1000;  // 1000 packets a second
    options.warm_up_ms = 50;
    options.window_ms = 200;
    options.cool_down_ms = 50;
    return options;
}

// An echo server within the test that treats the n-th datagram as it is told.
class Treacherous {
  public:
    // What to send back for the n-th datagram, one after the other.
    using Treatment = std::function<std::vector<std::vector<std::byte>>(std::size_t number,
                                                                        std::vector<std::byte> datagram)>;

    explicit Treacherous(Treatment treatment)
        : treatment_{std::move(treatment)}, socket_{::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)} {
        sockaddr_in own{};
        own.sin_family = AF_INET;
        own.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        socklen_t length = sizeof own;
        if (::bind(socket_.get(), reinterpret_cast<const sockaddr*>(&own), length) != 0 ||
            ::getsockname(socket_.get(), reinterpret_cast<sockaddr*>(&own), &length) != 0)
            fail_with_errno("no socket for the test");
        port_ = ntohs(own.sin_port);
        thread_ = std::thread{[this] { serve(); }};
    }
    ~Treacherous() {
        stop_ = true;
        thread_.join();
    }

    [[nodiscard]] std::uint16_t port() const { return port_; }

  private:
    void serve() {
        for (std::size_t number = 0; !stop_;) {
            pollfd wait{socket_.get(), POLLIN, 0};
            if (::poll(&wait, 1, 10) <= 0) continue;
            std::vector<std::byte> datagram(9000);
            sockaddr_in from{};
            socklen_t length = sizeof from;
            const ssize_t got = ::recvfrom(socket_.get(), datagram.data(), datagram.size(), 0,
                                           reinterpret_cast<sockaddr*>(&from), &length);
            if (got < 0) continue;
            datagram.resize(static_cast<std::size_t>(got));
            for (const auto& answer : treatment_(number++, datagram))
                ::sendto(socket_.get(), answer.data(), answer.size(), 0,
                         reinterpret_cast<const sockaddr*>(&from), length);
        }
    }

    Treatment treatment_;
    Descriptor socket_;
    std::uint16_t port_ = 0;
    std::atomic<bool> stop_{false};
    std::thread thread_;
};

TEST(LoadGenerator, CountsWhatAServerDoesToItsPackets) {
    std::vector<std::byte> held;
    const Treacherous server{[&](std::size_t number, std::vector<std::byte> datagram) {
        std::vector<std::vector<std::byte>> answers{datagram};
        switch (number) {
            case 100:  // lost
                return std::vector<std::vector<std::byte>>{};
            case 110:  // doubled
                answers.push_back(datagram);
                break;
            case 120:  // changed
                answers[0][250] ^= std::byte{4};
                break;
            case 130:  // cut short
                answers[0].resize(299);
                break;
            case 140:  // overtaken by the next
                held = datagram;
                return std::vector<std::vector<std::byte>>{};
            case 141:
                answers.push_back(held);
                break;
            default:
                break;
        }
        return answers;
    }};
    const auto result = LoadGenerator{small_run(server.port())}.run();
    const auto& whole = result.at("whole_run");
    EXPECT_EQ(whole.at("sent"), 300);
    EXPECT_EQ(whole.at("received"), 297) << "without the lost and the two damaged ones";
    EXPECT_EQ(whole.at("lost"), 3);
    EXPECT_EQ(whole.at("duplicated"), 1);
    EXPECT_EQ(whole.at("corrupted"), 2);
    EXPECT_EQ(whole.at("reordered"), 1);
    EXPECT_EQ(result.at("window").at("sent"), 200);
    EXPECT_EQ(result.at("window").at("received"), 197);
    EXPECT_EQ(result.at("latency_ns").at("n"), 197);
    EXPECT_EQ(result.at("interrupted"), false);
    std::uint64_t in_histogram = 0;
    for (const auto& bucket : result.at("latency_ns").at("histogram"))
        in_histogram += bucket.at(1).get<std::uint64_t>();
    EXPECT_EQ(in_histogram, 197U);
}

TEST(LoadGenerator, DoesNotWaitForReplies) {
    // Silent for the first half: a closed loop would send no second packet.
    const Treacherous server{[](std::size_t number, std::vector<std::byte> datagram) {
        return number < 150 ? std::vector<std::vector<std::byte>>{}
                            : std::vector<std::vector<std::byte>>{datagram};
    }};
    const auto result = LoadGenerator{small_run(server.port())}.run();
    EXPECT_EQ(result.at("whole_run").at("sent"), 300);
    EXPECT_EQ(result.at("whole_run").at("received"), 150);
    EXPECT_EQ(result.at("window").at("lost"), 100);
}

TEST(LoadGenerator, SaysThatNobodyAnswers) {
    std::uint16_t port = 0;
    {
        port = Treacherous{[](std::size_t, auto) { return std::vector<std::vector<std::byte>>{}; }}.port();
    }
    try {
        LoadGenerator{small_run(port)}.run();
        FAIL() << "nobody listens at port " << port;
    } catch (const Failure& failure) {
        EXPECT_NE(std::string{failure.what()}.find("nobody listens there"), std::string::npos)
            << failure.what();
    }
}

TEST(EchoPrograms, EchoEveryPacketAndSayWhatTheyDid) {
    Program server{{DMATOLL_UDP_ECHO, "--address", "127.0.0.1", "--port", "0", "--announce"}};
    const auto ready = server.line();
    ASSERT_EQ(ready.value("event", ""), "ready");
    // What a frame of 64 bytes holds.
    Program load{{DMATOLL_UDP_LOAD, "--server", "127.0.0.1", "--port", ready.at("port").dump(), "--payload",
                  "18", "--load", "144k", "--warm-up", "50", "--window", "200", "--cool-down", "50",
                  "--announce"}};
    const auto announced = load.line();
    EXPECT_EQ(announced.at("end_monotonic_ns").get<std::uint64_t>() -
                  announced.at("begin_monotonic_ns").get<std::uint64_t>(),
              200'000'000U);
    const auto result = load.line();
    EXPECT_EQ(load.status(), 0);
    EXPECT_EQ(result.at("whole_run").at("received"), 300);
    EXPECT_EQ(result.at("whole_run").at("corrupted"), 0);
    server.ask_to_stop();
    const auto echoes = server.line();
    EXPECT_EQ(server.status(), 0);
    EXPECT_EQ(echoes.at("received"), 300);
    EXPECT_EQ(echoes.at("sent"), 300);
    EXPECT_EQ(echoes.at("bytes"), 300 * 18);
}

TEST(EchoPrograms, ALoadThatIsStoppedTellsWhatItMeasured) {
    Program server{{DMATOLL_UDP_ECHO, "--address", "127.0.0.1", "--port", "0", "--announce"}};
    const auto ready = server.line();
    Program load{{DMATOLL_UDP_LOAD, "--server", "127.0.0.1", "--port", ready.at("port").dump(), "--load",
                  "1M", "--window", "3600000", "--announce"}};
    load.line();
    load.ask_to_stop();
    const auto result = load.line();
    EXPECT_EQ(load.status(), 0);
    EXPECT_EQ(result.at("interrupted"), true);
    EXPECT_FALSE(result.contains("latency_ns")) << "its window had not begun";
}

TEST(EchoPrograms, PortInUseIsTold) {
    Program first{{DMATOLL_UDP_ECHO, "--address", "127.0.0.1", "--port", "0", "--announce"}};
    Program second{{DMATOLL_UDP_ECHO, "--address", "127.0.0.1", "--port", first.line().at("port").dump()}};
    EXPECT_EQ(second.status(), 1);
}

}  // namespace
}  // namespace dmatoll::workloads
