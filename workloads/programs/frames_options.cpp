// SPDX-License-Identifier: BSD-2-Clause
#include "frames_options.hpp"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <iostream>

#include "failure.hpp"

namespace dmatoll::workloads {
namespace {

// Ethernet's own limits, and those of an MTU of 9000.
constexpr std::uint32_t shortest_frame = 64;
constexpr std::uint32_t longest_frame = 9000 + 14 + crc_bytes;
// What a packet socket takes at all: a header at least.
constexpr std::uint32_t shortest_odd_frame = 14 + crc_bytes;
constexpr std::uint32_t longest_odd_frame = 65535;

}  // namespace

std::optional<EthernetAddress> ethernet_address(const std::string& text) {
    std::array<unsigned, 6> parts{};
    int used = 0;
    if (std::sscanf(text.c_str(), "%2x:%2x:%2x:%2x:%2x:%2x%n", &parts[0], &parts[1], &parts[2], &parts[3],
                    &parts[4], &parts[5], &used) != 6 ||
        static_cast<std::size_t>(used) != text.size())
        return std::nullopt;
    EthernetAddress address{};
    for (std::size_t i = 0; i < parts.size(); ++i) address[i] = static_cast<std::uint8_t>(parts[i]);
    return address;
}

std::optional<FramesOptions> parse_frames_options(int argc, const char* const* argv) {
    FramesOptions options;
    std::string destination;
    bool odd_sizes = false;
    CLI::App app{"Sends and receives raw Ethernet frames of one length, without the IP stack.",
                 "dmatoll-frames"};
    app.footer(
        "Frames have the EtherType 0x88b5, which is set aside for experiments; only those are received. "
        "Needs\n"
        "CAP_NET_RAW. Counts are printed at the end, as one JSON object, also after Ctrl-C.\n"
        "\n"
        "Examples, the shortest frames as fast as they go, and their receiver:\n"
        "  dmatoll-frames --interface eth0 --flow transmit --destination 52:54:00:64:6d:02 --duration 1000\n"
        "  dmatoll-frames --interface eth0 --flow receive\n"
        "With a device whose transmitter is looped back to its receiver (ethtool -K eth0 loopback on):\n"
        "  dmatoll-frames --interface eth0 --flow loopback --frame-bytes 1518 --duration 1000");
    app.add_option("--interface", options.interface, "network interface")->required();
    app.add_option("--flow", options.flow, "transmit, receive, or loopback: both, on one interface")
        ->transform(CLI::CheckedTransformer(std::map<std::string, Flow>{
            {"transmit", Flow::transmit}, {"receive", Flow::receive}, {"loopback", Flow::loopback}}))
        ->required();
    app.add_option("--destination", destination, "address to send to; loopback sends to the interface's own");
    app.add_option("--frame-bytes", options.frame_bytes, "length of a frame, with its CRC of 4 bytes")
        ->capture_default_str();
    app.add_flag("--allow-odd-sizes", odd_sizes,
                 "lengths that Ethernet forbids, as far as the kernel sends them");
    app.add_option("--rate", options.frames_per_second,
                   "frames a second; 0: as fast as the device takes them")
        ->check(CLI::Range(std::uint64_t{0}, std::uint64_t{100'000'000}))
        ->capture_default_str();
    app.add_option("--duration", options.duration_ms, "milliseconds; 0: until SIGTERM or Ctrl-C")
        ->check(CLI::Range(std::uint64_t{0}, std::uint64_t{3'600'000}))
        ->capture_default_str();
    app.add_option("--in-flight", options.in_flight,
                   "frames that are with the device at a time, about; fewer than its ring has descriptors")
        ->check(CLI::Range(1U, 4096U))
        ->capture_default_str();
    app.add_option(
           "--rest-after", options.rest_after,
           "frames after which a sender without a rate sleeps for 50 us, for the sake of an emulated\n"
           "machine's other CPUs; 0: never")
        ->check(CLI::Range(0U, 1'000'000U))
        ->capture_default_str();
    try {
        app.parse(argc, argv);
        const auto shortest = odd_sizes ? shortest_odd_frame : shortest_frame;
        const auto longest = odd_sizes ? longest_odd_frame : longest_frame;
        if (options.frame_bytes < shortest || options.frame_bytes > longest)
            throw CLI::ValidationError{"--frame-bytes", std::to_string(options.frame_bytes) +
                                                            " is not from " + std::to_string(shortest) +
                                                            " to " + std::to_string(longest) +
                                                            (odd_sizes ? "" : "; see --allow-odd-sizes")};
        if (!destination.empty()) {
            options.destination = ethernet_address(destination);
            if (!options.destination)
                throw CLI::ValidationError{
                    "--destination",
                    "'" + destination + "' is no Ethernet address, such as 52:54:00:64:6d:02"};
        } else if (options.flow == Flow::transmit) {
            throw CLI::RequiredError{"--destination"};
        }
    } catch (const CLI::CallForHelp&) {
        std::cout << app.help();
        return std::nullopt;
    } catch (const CLI::ParseError& error) {
        throw Failure{std::string{error.what()} + "\n`dmatoll-frames --help` lists the arguments."};
    }
    return options;
}

}  // namespace dmatoll::workloads
