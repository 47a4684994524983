// SPDX-License-Identifier: BSD-2-Clause
#include "disk_options.hpp"

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "failure.hpp"

namespace dmatoll::user {

std::optional<DiskOptions> parse_disk_options(int argc, const char* const* argv) {
    DiskOptions options;
    CLI::App app{
        "Drives an AHCI controller from an unprivileged process over VFIO; its disks are ublk block devices.",
        "dmatoll-disk-user"};
    add_common_options(app, options, options.driver);
    app.add_option("--queue-depth", options.driver.queue_depth,
                   "requests that a disk is given at a time, 1 to 32; no more than it takes")
        ->check(CLI::Range{1U, ahci::most_tags})
        ->capture_default_str();
    auto* const list =
        app.add_flag("--list", options.list,
                     "print the block devices of this controller, those of a killed supervisor included, one "
                     "JSON object a line, and end");
    app.add_flag("--remove", options.remove,
                 "take away the block devices that a killed supervisor of this controller left behind, and "
                 "end: what waits for them ends with errors")
        ->excludes(list);
    if (!parse_arguments(app, argc, argv)) {
        return std::nullopt;
    }
    return options;
}

std::string to_text(const DiskChildOptions& options) {
    return nlohmann::json{{"process", options.process},
                          {"mapping", static_cast<const MappingOptions&>(options.driver)},
                          {"queue_depth", options.driver.queue_depth}}
        .dump();
}

DiskChildOptions disk_child_options(const std::string& text) {
    try {
        const auto json = nlohmann::json::parse(text);
        DiskChildOptions options;
        json.at("process").get_to(options.process);
        json.at("mapping").get_to(static_cast<MappingOptions&>(options.driver));
        json.at("queue_depth").get_to(options.driver.queue_depth);
        return options;
    } catch (const nlohmann::json::exception& error) {
        throw Failure{std::string{"the driver process was started with arguments that it cannot read: "} +
                      error.what()};
    }
}

}  // namespace dmatoll::user
