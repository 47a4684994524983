// SPDX-License-Identifier: BSD-2-Clause
#include "network_options.hpp"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <bit>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <regex>

#include "e1000/driver.hpp"
#include "failure.hpp"

namespace dmatoll::user {
namespace {

const std::vector<std::string> raw_names{"transmit", "receive", "loopback"};

Raw raw_from(const std::string& name) {
    const auto found = std::find(raw_names.begin(), raw_names.end(), name);
    return found == raw_names.end() ? Raw::none : static_cast<Raw>(found - raw_names.begin() + 1);
}

// Of what check_mac() found good.
MacAddress mac_from(const std::string& text) {
    MacAddress mac{};
    for (std::size_t i = 0; i < mac.size(); ++i) {
        mac[i] = static_cast<std::uint8_t>(std::strtoul(text.substr(3 * i, 2).c_str(), nullptr, 16));
    }
    return mac;
}

std::string check_mac(const std::string& text) {
    static const std::regex form{"([0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2}"};
    return std::regex_match(text, form) && is_station(mac_from(text))
               ? std::string{}
               : "must be a station's address such as 52:54:00:12:34:56, not " + text;
}

// What Ethernet promises at least, and the largest that is in use.
constexpr std::uint32_t smallest_mtu = e1000::standard_frame - e1000::link_header_bytes;
constexpr std::uint32_t largest_mtu = e1000::jumbo_frame - e1000::link_header_bytes;

}  // namespace

std::optional<NetworkOptions> parse_network_options(int argc, const char* const* argv) {
    NetworkOptions options;
    CLI::App app{"Drives an e1000 from an unprivileged process over VFIO; its network interface is a TAP.",
                 "dmatoll-net-user"};
    add_common_options(app, options, options.driver);
    auto* const tap = app.add_option("--tap", options.tap, "name of the network interface to make");
    std::string raw;
    app.add_option("--raw", raw,
                   "raw frames instead of a network interface, as fast as they go: transmit, receive, or "
                   "loopback at the PHY")
        ->check(CLI::IsMember{raw_names})
        ->excludes(tap);
    app.add_option("--frame-bytes", options.driver.frame_bytes, "raw: length with CRC, 64 to 1518")
        ->check(CLI::Range{64, 1518})
        ->capture_default_str();
    std::string peer_mac;
    app.add_option("--peer-mac", peer_mac, "raw transmission: where the frames go")
        ->check(CLI::Validator{check_mac, "", "address"})
        ->default_str("02:00:00:00:00:01");
    const CLI::Validator power_of_two{[](const std::string& text) {
                                          const auto value = std::strtoul(text.c_str(), nullptr, 10);
                                          return std::has_single_bit(value) &&
                                                         value >= e1000::fewest_descriptors &&
                                                         value <= e1000::most_descriptors
                                                     ? std::string{}
                                                     : "must be a power of two from 64 to 4096, not " + text;
                                      },
                                      "", "power of two"};
    // 0 lifts the bound; below 60 the device cannot go.
    const CLI::Validator rate{[](const std::string& text) {
                                  const auto value = std::strtoul(text.c_str(), nullptr, 10);
                                  return value == 0 || (value >= 60 && value <= 1000000)
                                             ? std::string{}
                                             : "must be 0 or 60 to 1000000, not " + text;
                              },
                              "", "rate"};
    app.add_option("--receive-descriptors", options.driver.receive_descriptors, "length of the receive ring")
        ->check(power_of_two)
        ->capture_default_str();
    app.add_option("--transmit-descriptors", options.driver.transmit_descriptors,
                   "length of the transmit ring")
        ->check(power_of_two)
        ->capture_default_str();
    app.add_option("--interrupts-per-second", options.driver.interrupts_per_second,
                   "upper bound of the interrupt rate; 0: none")
        ->check(rate)
        ->capture_default_str();
    const CLI::Validator mtu{[](const std::string& text) {
                                 const auto value = std::strtoul(text.c_str(), nullptr, 10);
                                 return value >= smallest_mtu && value <= largest_mtu
                                            ? std::string{}
                                            : "must be 1500 to 9000, not " + text;
                             },
                             "", "MTU"};
    app.add_option("--mtu", options.driver.mtu, "largest packet that the interface carries; 1500 to 9000")
        ->check(mtu)
        ->capture_default_str();
    std::string offloads = "on";
    app.add_option("--offloads", offloads, "checksums and segmentation by the device: on or off")
        ->check(CLI::IsMember{{"on", "off"}})
        ->capture_default_str();
    if (!parse_arguments(app, argc, argv)) {
        return std::nullopt;
    }
    if (options.tap.empty() && raw.empty()) {
        throw Failure{
            "--tap NAME (a network interface) or --raw (raw frames) is required.\n`dmatoll-net-user --help` "
            "lists the arguments."};
    }
    options.driver.raw = raw_from(raw);
    if (!peer_mac.empty()) {
        options.driver.peer_mac = mac_from(peer_mac);
    }
    options.driver.offloads = offloads == "on";
    return options;
}

std::string name_of(Raw raw) { return raw == Raw::none ? "" : raw_names[static_cast<std::size_t>(raw) - 1]; }

std::string to_text(const NetworkChildOptions& options) {
    return nlohmann::json{{"process", options.process},
                          {"pci_vendor", options.pci_vendor},
                          {"pci_device", options.pci_device},
                          {"mapping", static_cast<const MappingOptions&>(options.driver)},
                          {"receive_descriptors", options.driver.receive_descriptors},
                          {"transmit_descriptors", options.driver.transmit_descriptors},
                          {"interrupts_per_second", options.driver.interrupts_per_second},
                          {"mtu", options.driver.mtu},
                          {"offloads", options.driver.offloads},
                          {"join_datagrams", options.driver.join_datagrams},
                          {"raw", name_of(options.driver.raw)},
                          {"frame_bytes", options.driver.frame_bytes},
                          {"peer_mac", options.driver.peer_mac}}
        .dump();
}

NetworkChildOptions network_child_options(const std::string& text) {
    try {
        const auto json = nlohmann::json::parse(text);
        NetworkChildOptions options;
        json.at("process").get_to(options.process);
        json.at("pci_vendor").get_to(options.pci_vendor);
        json.at("pci_device").get_to(options.pci_device);
        json.at("mapping").get_to(static_cast<MappingOptions&>(options.driver));
        json.at("receive_descriptors").get_to(options.driver.receive_descriptors);
        json.at("transmit_descriptors").get_to(options.driver.transmit_descriptors);
        json.at("interrupts_per_second").get_to(options.driver.interrupts_per_second);
        json.at("mtu").get_to(options.driver.mtu);
        json.at("offloads").get_to(options.driver.offloads);
        json.at("join_datagrams").get_to(options.driver.join_datagrams);
        options.driver.raw = raw_from(json.at("raw").get<std::string>());
        json.at("frame_bytes").get_to(options.driver.frame_bytes);
        json.at("peer_mac").get_to(options.driver.peer_mac);
        return options;
    } catch (const nlohmann::json::exception& error) {
        throw Failure{std::string{"the driver process was started with arguments that it cannot read: "} +
                      error.what()};
    }
}

}  // namespace dmatoll::user
