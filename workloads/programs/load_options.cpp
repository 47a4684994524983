// SPDX-License-Identifier: BSD-2-Clause
#include "load_options.hpp"

#include <CLI/CLI.hpp>
#include <iostream>

#include "clock.hpp"
#include "echo_packet.hpp"
#include "echo_port.hpp"
#include "failure.hpp"
#include "schedule.hpp"

namespace dmatoll::workloads {
namespace {

// A packet each 100 ns is more than any Ethernet that this is for, and as many as a run's books have room
// for.
constexpr std::uint64_t most_packets_per_second = 10'000'000;
constexpr std::uint64_t most_packets = 1'000'000'000;

const char* const footer =
    "The load is open: send times are fixed beforehand and no reply is waited for, so a device that is too "
    "slow\n"
    "is late or loses packets, and does not slow the load down. (The sending interface may: load_sent_bps "
    "says\n"
    "what really left within the window.) Latency runs from the time at which a packet "
    "was\n"
    "meant to be sent to the time at which the kernel received its echo. Only packets meant for the window "
    "count;\n"
    "before it the warm-up, behind it the cool-down keep the load up. What is achieved is what comes back "
    "within\n"
    "the window. One JSON object is printed at the end, also after Ctrl-C.\n"
    "\n"
    "Example, 100 Mb/s of payload to an echo server of the same kind (dmatoll-udp-echo):\n"
    "  dmatoll-udp-load --server 192.0.2.1 --load 100M --payload 1472 --warm-up 300 --window 500\n"
    "\n"
    "--line-rate B computes the load as the group of 2005 did: B * size / (size + 38), with the payload as "
    "size.";

}  // namespace

std::optional<LoadOptions> parse_load_options(int argc, const char* const* argv) {
    LoadOptions options;
    options.port = default_echo_port;
    std::uint64_t line_rate = 0;
    CLI::App app{"Offers UDP datagrams at a fixed rate to an echo server, and measures what comes back.",
                 "dmatoll-udp-load"};
    app.footer(footer);
    const CLI::AsNumberWithUnit rate{
        std::map<std::string, std::uint64_t>{{"k", 1'000}, {"M", 1'000'000}, {"G", 1'000'000'000}},
        CLI::AsNumberWithUnit::CASE_SENSITIVE, "BITS/S"};
    app.add_option("--server", options.server, "IPv4 address of the echo server")
        ->required()
        ->check(CLI::ValidIPV4);
    app.add_option("--port", options.port, "its UDP port")->capture_default_str();
    app.add_option("--source", options.source, "own IPv4 address")->check(CLI::ValidIPV4);
    auto* load = app.add_option("--load", options.load_bps, "bits of payload a second; k, M and G multiply")
                     ->transform(rate);
    app.add_option("--line-rate", line_rate,
                   "instead: bits a second of the line to fill; k, M and G multiply")
        ->transform(rate)
        ->excludes(load);
    app.add_option("--payload", options.payload_bytes, "bytes of payload of a datagram")
        ->check(CLI::Range(smallest_payload, largest_payload))
        ->capture_default_str();
    const CLI::Range milliseconds{std::uint64_t{0}, std::uint64_t{3'600'000}};
    app.add_option("--warm-up", options.warm_up_ms, "milliseconds before the window")
        ->check(milliseconds)
        ->capture_default_str();
    app.add_option("--window", options.window_ms, "milliseconds that count")
        ->check(CLI::Range(std::uint64_t{1}, std::uint64_t{3'600'000}))
        ->capture_default_str();
    app.add_option("--cool-down", options.cool_down_ms, "milliseconds behind the window")
        ->check(milliseconds)
        ->capture_default_str();
    app.add_flag(
        "--announce", options.announce,
        "print when the window will begin and end (CLOCK_MONOTONIC), as a line of JSON before the first "
        "packet");
    try {
        app.parse(argc, argv);
        if (line_rate > 0) options.load_bps = line_rate_load(line_rate, options.payload_bytes);
        if (options.load_bps == 0)
            throw CLI::ValidationError{"--load or --line-rate must be given, and not 0"};
        const std::uint64_t packet_rate = options.load_bps / (options.payload_bytes * 8);
        const std::uint64_t seconds =
            (options.warm_up_ms + options.window_ms + options.cool_down_ms) * ns_per_ms / ns_per_second;
        if (packet_rate > most_packets_per_second || packet_rate * (seconds + 1) > most_packets)
            throw CLI::ValidationError{"--load " + std::to_string(options.load_bps) + " means " +
                                       std::to_string(packet_rate) + " packets a second; at most " +
                                       std::to_string(most_packets_per_second) + " are possible, and " +
                                       std::to_string(most_packets) + " in a run"};
    } catch (const CLI::CallForHelp&) {
        std::cout << app.help();
        return std::nullopt;
    } catch (const CLI::ParseError& error) {
        throw Failure{std::string{error.what()} + "\n`dmatoll-udp-load --help` lists the arguments."};
    }
    return options;
}

}  // namespace dmatoll::workloads
