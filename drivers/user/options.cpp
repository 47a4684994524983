// SPDX-License-Identifier: BSD-2-Clause
#include "options.hpp"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <bit>
#include <charconv>
#include <cstdlib>
#include <iostream>
#include <nlohmann/json.hpp>
#include <regex>

#include "arena.hpp"
#include "core/strategy.hpp"
#include "e1000/driver.hpp"
#include "failure.hpp"

namespace dmatoll::user {
namespace {

std::string check_strategy(const std::string& name) {
    const Strategy* const strategy = strategies::find(name.c_str());
    if (strategy != nullptr && strategy->in_user) {
        return {};
    }
    std::string known;
    for (const Strategy* candidate : strategies::catalogue) {
        if (candidate->in_user) {
            known += (known.empty() ? "" : ", ") + std::string{candidate->name};
        }
    }
    return (strategy == nullptr ? "there is no strategy `" + name + "`"
                                : "strategy `" + name + "` exists for drivers in the kernel only") +
           "; this program has: " + known;
}

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

std::string check_restarts(const std::string& text) {
    unsigned count = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), count);
    const bool number = error == std::errc{} && end == text.data() + text.size();
    return number || text == "always" ? std::string{} : "must be a number or `always`, not " + text;
}

// Of what check_restarts() found good.
std::optional<unsigned> restarts_from(const std::string& text) {
    if (text == "always") {
        return std::nullopt;
    }
    unsigned count = 0;
    std::from_chars(text.data(), text.data() + text.size(), count);
    return count;
}

}  // namespace

std::optional<Options> parse_options(int argc, const char* const* argv) {
    Options options;
    CLI::App app{"Drives an e1000 from an unprivileged process over VFIO; its network interface is a TAP.",
                 "dmatoll-net-user"};
    app.add_option("--device", options.device, "PCI address, bound to vfio-pci (0000:00:03.0)")->required();
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
    app.add_option("--strategy", options.driver.strategy,
                   "how DMA memory is mapped: strict, deferred, copy or persistent")
        ->check(CLI::Validator{check_strategy, "", "strategy"})
        ->capture_default_str();
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
    std::string completion = "interrupt";
    app.add_option("--completion", completion,
                   "how the driver learns of frames: interrupt, or poll (never sleeps)")
        ->check(CLI::IsMember{{"interrupt", "poll"}})
        ->capture_default_str();
    std::string offloads = "on";
    app.add_option("--offloads", offloads, "checksums and segmentation by the device: on or off")
        ->check(CLI::IsMember{{"on", "off"}})
        ->capture_default_str();
    app.add_option("--page-size", options.driver.page_size,
                   "of the buffers' memory: 4096, or 2097152 (refuses to start without such pages); by "
                   "default the latter if there are any")
        ->check(CLI::IsMember{{page_bytes, huge_page_bytes}});
    app.add_option("--deferred-entries", options.driver.deferred_entries,
                   "strategy deferred: buffers that wait for being unmapped together")
        ->check(CLI::Range{1U, DeferredLimits::most_entries})
        ->capture_default_str();
    app.add_option("--deferred-milliseconds", options.driver.deferred_milliseconds,
                   "strategy deferred: ... and for how long at most")
        ->check(CLI::Range{1U, DeferredLimits::most_milliseconds})
        ->capture_default_str();
    app.add_option("--cpu", options.cpu, "CPU that the driver process runs on");
    app.add_option("--user", options.user, "user that the driver process runs as")->capture_default_str();
    app.add_option("--control", options.control, "path of the control socket to make");
    std::string restarts = "3";
    app.add_option("--restart", restarts,
                   "how often a driver process that crashed is started again, or `always`")
        ->check(CLI::Validator{check_restarts, "", "count"})
        ->capture_default_str();
    // A process that works may be between two looks at its bell for as long as 64 rounds take.
    const CLI::Validator watchdog{[](const std::string& text) {
                                      const auto value = std::strtoul(text.c_str(), nullptr, 10);
                                      return value == 0 || (value >= 250 && value <= 3'600'000)
                                                 ? std::string{}
                                                 : "must be 0 or 250 to 3600000, not " + text;
                                  },
                                  "", "time"};
    app.add_option(
           "--watchdog-ms", options.watchdog_ms,
           "a driver process that does nothing for so long although it is asked to counts as crashed; "
           "0: never")
        ->check(watchdog)
        ->capture_default_str();
    app.add_flag("--allow-faults", options.allow_faults,
                 "the control socket takes `fault null` and `fault loop`, which crash or hang the driver");
    app.add_flag("--json", options.json, "errors as JSON on standard output, too");
    try {
        app.parse(argc, argv);
    } catch (const CLI::CallForHelp&) {
        std::cout << app.help();
        return std::nullopt;
    } catch (const CLI::ParseError& error) {
        throw Failure{std::string{error.what()} + "\n`dmatoll-net-user --help` lists the arguments."};
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
    options.driver.poll = completion == "poll";
    options.driver.offloads = offloads == "on";
    options.restarts = restarts_from(restarts);
    return options;
}

std::string name_of(Raw raw) { return raw == Raw::none ? "" : raw_names[static_cast<std::size_t>(raw) - 1]; }

std::string to_text(const ChildOptions& options) {
    return nlohmann::json{{"bdf", options.bdf},
                          {"address_bits", options.address_bits},
                          {"pci_vendor", options.pci_vendor},
                          {"pci_device", options.pci_device},
                          {"strategy", options.driver.strategy},
                          {"receive_descriptors", options.driver.receive_descriptors},
                          {"transmit_descriptors", options.driver.transmit_descriptors},
                          {"interrupts_per_second", options.driver.interrupts_per_second},
                          {"mtu", options.driver.mtu},
                          {"poll", options.driver.poll},
                          {"offloads", options.driver.offloads},
                          {"join_datagrams", options.driver.join_datagrams},
                          {"page_size", options.driver.page_size},
                          {"deferred_entries", options.driver.deferred_entries},
                          {"deferred_milliseconds", options.driver.deferred_milliseconds},
                          {"raw", name_of(options.driver.raw)},
                          {"frame_bytes", options.driver.frame_bytes},
                          {"peer_mac", options.driver.peer_mac},
                          {"user", options.user},
                          {"group", options.group},
                          {"parent", options.parent}}
        .dump();
}

ChildOptions child_options(const std::string& text) {
    try {
        const auto json = nlohmann::json::parse(text);
        ChildOptions options;
        json.at("bdf").get_to(options.bdf);
        json.at("address_bits").get_to(options.address_bits);
        json.at("pci_vendor").get_to(options.pci_vendor);
        json.at("pci_device").get_to(options.pci_device);
        json.at("strategy").get_to(options.driver.strategy);
        json.at("receive_descriptors").get_to(options.driver.receive_descriptors);
        json.at("transmit_descriptors").get_to(options.driver.transmit_descriptors);
        json.at("interrupts_per_second").get_to(options.driver.interrupts_per_second);
        json.at("mtu").get_to(options.driver.mtu);
        json.at("poll").get_to(options.driver.poll);
        json.at("offloads").get_to(options.driver.offloads);
        json.at("join_datagrams").get_to(options.driver.join_datagrams);
        json.at("page_size").get_to(options.driver.page_size);
        json.at("deferred_entries").get_to(options.driver.deferred_entries);
        json.at("deferred_milliseconds").get_to(options.driver.deferred_milliseconds);
        options.driver.raw = raw_from(json.at("raw").get<std::string>());
        json.at("frame_bytes").get_to(options.driver.frame_bytes);
        json.at("peer_mac").get_to(options.driver.peer_mac);
        json.at("user").get_to(options.user);
        json.at("group").get_to(options.group);
        json.at("parent").get_to(options.parent);
        return options;
    } catch (const nlohmann::json::exception& error) {
        throw Failure{std::string{"the driver process was started with arguments that it cannot read: "} +
                      error.what()};
    }
}

}  // namespace dmatoll::user
