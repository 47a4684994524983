// SPDX-License-Identifier: BSD-2-Clause
#include "options.hpp"

#include <CLI/CLI.hpp>
#include <bit>
#include <cstdlib>
#include <iostream>
#include <nlohmann/json.hpp>

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

}  // namespace

std::optional<Options> parse_options(int argc, const char* const* argv) {
    Options options;
    CLI::App app{"Drives an e1000 from an unprivileged process over VFIO; its network interface is a TAP.",
                 "dmatoll-net-user"};
    app.add_option("--device", options.device, "PCI address, bound to vfio-pci (0000:00:03.0)")->required();
    app.add_option("--tap", options.tap, "name of the network interface to make")->required();
    app.add_option("--strategy", options.driver.strategy, "how DMA memory is mapped: strict or persistent")
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
    app.add_option("--cpu", options.cpu, "CPU that the driver process runs on");
    app.add_option("--user", options.user, "user that the driver process runs as")->capture_default_str();
    app.add_option("--control", options.control, "path of the control socket to make");
    app.add_option("--restart", options.restarts, "how often a crashed driver process is started again")
        ->capture_default_str();
    app.add_flag("--json", options.json, "errors as JSON on standard output, too");
    try {
        app.parse(argc, argv);
    } catch (const CLI::CallForHelp&) {
        std::cout << app.help();
        return std::nullopt;
    } catch (const CLI::ParseError& error) {
        throw Failure{std::string{error.what()} + "\n`dmatoll-net-user --help` lists the arguments."};
    }
    return options;
}

std::string to_text(const ChildOptions& options) {
    return nlohmann::json{{"bdf", options.bdf},
                          {"address_bits", options.address_bits},
                          {"pci_vendor", options.pci_vendor},
                          {"pci_device", options.pci_device},
                          {"strategy", options.driver.strategy},
                          {"receive_descriptors", options.driver.receive_descriptors},
                          {"transmit_descriptors", options.driver.transmit_descriptors},
                          {"interrupts_per_second", options.driver.interrupts_per_second},
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
