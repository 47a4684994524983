// SPDX-License-Identifier: BSD-2-Clause
#include "common_options.hpp"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <iostream>
#include <nlohmann/json.hpp>

#include "arena.hpp"
#include "core/strategy.hpp"
#include "failure.hpp"

namespace dmatoll::user {
namespace {

std::string known_strategies() {
    std::string known;
    for (const Strategy* candidate : strategies::catalogue) {
        if (candidate->in_user) {
            known += (known.empty() ? "" : ", ") + std::string{candidate->name};
        }
    }
    return known;
}

std::string check_strategy(const std::string& name) {
    const Strategy* const strategy = strategies::find(name.c_str());
    if (strategy != nullptr && strategy->in_user) {
        return {};
    }
    return (strategy == nullptr ? "there is no strategy `" + name + "`"
                                : "strategy `" + name + "` exists for drivers in the kernel only") +
           "; this program has: " + known_strategies();
}

const char* refusal_of(const IovaAllocatorEntry& allocator) {
    return iova_allocators::refusal(allocator.kind, {.placement = Placement::user});
}

std::string known_iova_allocators() {
    std::string known;
    for (const IovaAllocatorEntry& candidate : iova_allocators::catalogue) {
        if (refusal_of(candidate) == nullptr) {
            known += (known.empty() ? "" : ", ") + std::string{candidate.name};
        }
    }
    return known;
}

std::string check_iova_allocator(const std::string& name) {
    const IovaAllocatorEntry* const allocator = iova_allocators::find(name.c_str());
    const char* const refusal = allocator != nullptr ? refusal_of(*allocator) : "there is none of that name";
    return refusal == nullptr
               ? std::string{}
               : "IOVA allocator `" + name + "`: " + refusal + "; this program has: " + known_iova_allocators();
}

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

void add_common_options(CLI::App& app, CommonOptions& common, MappingOptions& mapping) {
    app.add_option("--device", common.device, "PCI address, bound to vfio-pci (0000:00:03.0)")->required();
    app.add_option("--strategy", mapping.strategy,
                   "how DMA memory is mapped: " + known_strategies())
        ->check(CLI::Validator{check_strategy, "", "strategy"})
        ->capture_default_str();
    app.add_option_function<std::string>(
           "--completion", [&mapping](const std::string& text) { mapping.poll = text == "poll"; },
           "how the driver learns of what the device did: interrupt, or poll (never sleeps)")
        ->check(CLI::IsMember{{"interrupt", "poll"}})
        ->default_str("interrupt");
    app.add_option("--page-size", mapping.page_size,
                   "of the buffers' memory: 4096, or 2097152 (refuses to start without such pages); by "
                   "default the latter if there are any. Given as 2097152 it is that of copy's pools, too")
        ->check(CLI::IsMember{{page_bytes, huge_page_bytes}});
    for (const StrategyParameter* parameter : parameters::all) {
        std::string option = std::string{"--"} + parameter->name;
        std::replace(option.begin(), option.end(), '_', '-');
        CLI::Option* const added =
            app.add_option(option, mapping.*parameter->value,
                           std::string{"strategy "} + parameter->strategy->name + ": " + parameter->what)
                ->check(CLI::Range{parameter->least, parameter->most})
                ->capture_default_str();
        if (parameter == &parameters::deferred_per_cpu) {
            added->check(CLI::Validator{[](const std::string& text) {
                                            return text == "0" ? std::string{}
                                                               : "a driver process has one thread and so one queue: "
                                                                 "leave it 0, or take the kernel's driver";
                                        },
                                        "", "flag"});
        }
    }
    app.add_option("--iova-allocator", mapping.iova_allocator,
                   "where I/O virtual addresses come from: " + known_iova_allocators())
        ->check(CLI::Validator{check_iova_allocator, "", "allocator"})
        ->capture_default_str();
    app.add_option("--cpu", common.cpu, "CPU that the driver process runs on");
    app.add_option("--user", common.user,
                   "user that the driver process runs as; by default a number that no other device's has");
    app.add_option("--control", common.control, "path of the control socket to make");
    app.add_option_function<std::string>(
           "--restart", [&common](const std::string& text) { common.restarts = restarts_from(text); },
           "how often a driver process that crashed is started again, or `always`")
        ->check(CLI::Validator{check_restarts, "", "count"})
        ->default_str("3");
    // A process that works may be between two looks at its bell for as long as 64 rounds take.
    const CLI::Validator watchdog{[](const std::string& text) {
                                      const auto value = std::strtoul(text.c_str(), nullptr, 10);
                                      return value == 0 || (value >= 250 && value <= 3'600'000)
                                                 ? std::string{}
                                                 : "must be 0 or 250 to 3600000, not " + text;
                                  },
                                  "", "time"};
    app.add_option(
           "--watchdog-ms", common.watchdog_ms,
           "a driver process that does nothing for so long although it is asked to counts as crashed; "
           "0: never")
        ->check(watchdog)
        ->capture_default_str();
    app.add_flag("--allow-faults", common.allow_faults,
                 "the control socket takes `fault null` and `fault loop`, which crash or hang the driver");
    app.add_flag("--json", common.json, "errors as JSON on standard output, too");
}

bool parse_arguments(CLI::App& app, int argc, const char* const* argv) {
    try {
        app.parse(argc, argv);
        return true;
    } catch (const CLI::CallForHelp&) {
        std::cout << app.help();
        return false;
    } catch (const CLI::ParseError& error) {
        throw Failure{std::string{error.what()} + "\n`" + app.get_name() + " --help` lists the arguments."};
    }
}

void add_parameters(nlohmann::json& json, const StrategySettings& settings) {
    for (const StrategyParameter* parameter : parameters::all) {
        json[parameter->name] = settings.*parameter->value;
    }
}

void to_json(nlohmann::json& json, const MappingOptions& options) {
    json = {{"strategy", options.strategy},
            {"poll", options.poll},
            {"page_size", options.page_size},
            {"iova_allocator", options.iova_allocator}};
    add_parameters(json, options);
}

void from_json(const nlohmann::json& json, MappingOptions& options) {
    json.at("strategy").get_to(options.strategy);
    json.at("poll").get_to(options.poll);
    json.at("page_size").get_to(options.page_size);
    json.at("iova_allocator").get_to(options.iova_allocator);
    for (const StrategyParameter* parameter : parameters::all) {
        json.at(parameter->name).get_to(options.*parameter->value);
    }
}

void to_json(nlohmann::json& json, const ProcessOptions& options) {
    json = {{"bdf", options.bdf},
            {"address_bits", options.address_bits},
            {"user", options.user},
            {"group", options.group}};
}

void from_json(const nlohmann::json& json, ProcessOptions& options) {
    json.at("bdf").get_to(options.bdf);
    json.at("address_bits").get_to(options.address_bits);
    json.at("user").get_to(options.user);
    json.at("group").get_to(options.group);
}

}  // namespace dmatoll::user
