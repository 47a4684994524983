// SPDX-License-Identifier: BSD-2-Clause
#include <fmt/format.h>

#include "../catalogue.hpp"
#include "commands.hpp"

namespace dmatoll::harness::cli {
namespace {

std::string protection_text(const nlohmann::json& pair) {
    std::string text = pair.at("granularity");
    if (text == "none") return text;
    const std::string window = pair.at("window");
    if (window == "zero") return text + ", at once";
    if (window == "bounded")
        return text + fmt::format(", within {} ms", pair.at("window_ns").get<std::uint64_t>() / 1'000'000);
    return text + ", " + window;
}

void print_catalogue(const nlohmann::json& catalogue) {
    const auto text = [](const nlohmann::json& entry, const char* key) {
        return entry.at(key).get<std::string>();
    };
    fmt::print("Devices\n");
    for (const auto& device : catalogue.at("devices"))
        fmt::print("  {:16} {} [{}]\n", text(device, "model"), text(device, "summary"),
                   text(device, "pci_id"));
    fmt::print("\nPlacements\n");
    for (const auto& placement : catalogue.at("placements"))
        fmt::print("  {:16} {}\n", text(placement, "name"), text(placement, "summary"));
    fmt::print(
        "\nStrategies; below each, for every placement, what holds a device back (what it is held to, how "
        "soon after the end "
        "of a use)\n");
    const auto print_protection = [](const std::string& placement, const nlohmann::json& pairs,
                                     const char* condition) {
        fmt::print(
            "      {:8} kernel from device: {:22} kernel from driver: {:16} driver from device: {}{}\n",
            placement, protection_text(pairs.at("kernel_from_device")),
            protection_text(pairs.at("kernel_from_driver")), protection_text(pairs.at("driver_from_device")),
            condition);
    };
    for (const auto& strategy : catalogue.at("strategies")) {
        fmt::print("  {:16} {}\n", text(strategy, "name"), text(strategy, "summary"));
        if (strategy.contains("parameters"))
            for (const auto& parameter : strategy.at("parameters"))
                fmt::print("      {} {} to {}, default {}: {}\n", text(parameter, "name"),
                           parameter.at("least").dump(), parameter.at("most").dump(),
                           parameter.at("default").dump(), text(parameter, "summary"));
        for (const auto& placement : strategy.at("placements"))
            print_protection(placement, strategy.at("protection").at(placement.get<std::string>()), "");
        if (strategy.contains("protection_with_large_pages"))
            for (const auto& [placement, pairs] : strategy.at("protection_with_large_pages").items())
                print_protection(placement, pairs, "  (page_size 2097152)");
    }
    fmt::print("\nIOVA allocators, for all strategies with a domain of our own (setting iova_allocator)\n");
    for (const auto& allocator : catalogue.at("iova_allocators"))
        fmt::print("  {:16} {}{}\n", text(allocator, "name"), text(allocator, "summary"),
                   allocator.at("placements").size() == 1 ? " (kernel only)" : "");
    fmt::print("\nWorkloads, with their parameters\n");
    for (const auto& workload : catalogue.at("workloads")) {
        fmt::print("  {:16} {}\n                  ", text(workload, "name"), text(workload, "summary"));
        for (const auto& [name, value] : workload.at("parameters").items())
            fmt::print(" {}={}", name, value.dump());
        fmt::print("\n");
    }
    fmt::print("\nSuites\n");
    for (const auto& suite : catalogue.at("suites"))
        fmt::print("  {:16} {}\n", text(suite, "name"), text(suite, "summary"));
}

}  // namespace

void add_list(CLI::App& program, Outcome&) {
    auto* command = program.add_subcommand(
        "list", "Lists devices, placements, strategies with their protection, IOVA allocators, workloads, suites");
    auto json = std::make_shared<bool>(false);
    command->add_flag("--json", *json, "as one JSON object");
    command->callback([json] {
        const auto catalogue = catalogue_json();
        if (*json)
            fmt::print("{}\n", catalogue.dump(2));
        else
            print_catalogue(catalogue);
    });
}

}  // namespace dmatoll::harness::cli
