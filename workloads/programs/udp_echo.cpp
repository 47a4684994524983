// SPDX-License-Identifier: BSD-2-Clause
// dmatoll-udp-echo: sends every UDP datagram back to where it came from.
//
// One datagram a system call, in and out: what a plain echo service does, and the one of 2005 did. Batches
// would make the cost of an echo depend on the load. It is the same program in every placement, and sleeps
// when there is nothing to do.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <CLI/CLI.hpp>
#include <cstddef>
#include <cstdio>
#include <iostream>
#include <nlohmann/json.hpp>
#include <vector>

#include "descriptor.hpp"
#include "echo_packet.hpp"
#include "echo_port.hpp"
#include "failure.hpp"
#include "stop_request.hpp"

namespace dmatoll::workloads {
namespace {

struct Options {
    std::string address = "0.0.0.0";
    std::uint16_t port = default_echo_port;
    bool announce = false;
};

struct Echoes {
    std::uint64_t received = 0;
    std::uint64_t sent = 0;
    std::uint64_t bytes = 0;
    std::uint64_t too_long = 0;
    std::uint64_t send_failures = 0;
};

std::optional<Options> parse_options(int argc, char** argv) {
    Options options;
    CLI::App app{"Sends every UDP datagram back to where it came from, until SIGTERM or Ctrl-C.",
                 "dmatoll-udp-echo"};
    app.footer("The other end is dmatoll-udp-load. Counts are printed at the end, as one JSON object.");
    app.add_option("--address", options.address, "own IPv4 address")
        ->check(CLI::ValidIPV4)
        ->capture_default_str();
    app.add_option("--port", options.port, "UDP port; 0: one that is free")->capture_default_str();
    app.add_flag("--announce", options.announce, "print the port as a line of JSON once it is open");
    try {
        app.parse(argc, argv);
    } catch (const CLI::CallForHelp&) {
        std::cout << app.help();
        return std::nullopt;
    } catch (const CLI::ParseError& error) {
        throw Failure{std::string{error.what()} + "\n`dmatoll-udp-echo --help` lists the arguments."};
    }
    return options;
}

Descriptor open_socket(Options& options) {
    Descriptor socket{::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
    sockaddr_in own{};
    own.sin_family = AF_INET;
    own.sin_port = htons(options.port);
    if (::inet_pton(AF_INET, options.address.c_str(), &own.sin_addr) != 1)
        throw Failure{"'" + options.address + "' is no IPv4 address"};
    socklen_t length = sizeof own;
    if (!socket.valid() || ::bind(socket.get(), reinterpret_cast<const sockaddr*>(&own), length) != 0 ||
        ::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&own), &length) != 0)
        fail_with_errno("cannot listen at " + options.address + ", UDP port " + std::to_string(options.port));
    options.port = ntohs(own.sin_port);
    return socket;
}

Echoes serve(int socket) {
    Echoes echoes;
    std::vector<std::byte> datagram(largest_payload);
    while (!stop_requested()) {
        sockaddr_in from{};
        socklen_t length = sizeof from;
        // With MSG_TRUNC the result is the datagram's own length.
        const ssize_t got = ::recvfrom(socket, datagram.data(), datagram.size(), MSG_TRUNC,
                                       reinterpret_cast<sockaddr*>(&from), &length);
        if (stop_requested()) break;
        if (got < 0) {
            if (errno == EINTR) continue;
            fail_with_errno("cannot receive");
        }
        ++echoes.received;
        const auto bytes = static_cast<std::size_t>(got);
        if (bytes > datagram.size()) {
            ++echoes.too_long;
            continue;
        }
        // A send that fails, for want of a link or of room, is a packet lost, and the service goes on.
        if (::sendto(socket, datagram.data(), bytes, 0, reinterpret_cast<const sockaddr*>(&from), length) ==
            got) {
            ++echoes.sent;
            echoes.bytes += bytes;
        } else {
            ++echoes.send_failures;
        }
    }
    return echoes;
}

}  // namespace
}  // namespace dmatoll::workloads

int main(int argc, char** argv) {
    using namespace dmatoll::workloads;
    try {
        auto options = parse_options(argc, argv);
        if (!options) return 0;
        const Descriptor socket = open_socket(*options);
        handle_stop_requests(socket.get());
        if (options->announce) {
            std::printf("%s\n", nlohmann::json{{"event", "ready"}, {"port", options->port}}.dump().c_str());
            std::fflush(stdout);
        }
        const Echoes echoes = serve(socket.get());
        const nlohmann::json result{{"program", "dmatoll-udp-echo"}, {"received", echoes.received},
                                    {"sent", echoes.sent},           {"bytes", echoes.bytes},
                                    {"too_long", echoes.too_long},   {"send_failures", echoes.send_failures}};
        std::printf("%s\n", result.dump().c_str());
        return 0;
    } catch (const std::exception& error) {
        std::fprintf(stderr, "dmatoll-udp-echo: %s\n", error.what());
        return 1;
    }
}
