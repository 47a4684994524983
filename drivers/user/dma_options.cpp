// SPDX-License-Identifier: BSD-2-Clause
#include "dma_options.hpp"

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "dma/dma_command.hpp"
#include "failure.hpp"

namespace dmatoll::user {
namespace {

std::string check_command(const std::string& text) {
    dma::DmaCommand command{};
    const dma::DmaComplaint complaint = dma::parse_dma_command(text, command);
    if (complaint.what == nullptr) {
        return {};
    }
    return "`" + text + "`: " + complaint.what + " " +
           std::string{complaint.word.begin(), complaint.word.end()};
}

}  // namespace

std::optional<DmaOptions> parse_dma_options(int argc, const char* const* argv) {
    DmaOptions options;
    CLI::App app{
        "Has a device copy memory, from an unprivileged process over VFIO: an e1000 in its PHY's loopback, or an AHCI "
        "controller by way of a few blocks at the end of a disk, reads at one address and writes at another. It always "
        "polls.",
        "dmatoll-dma-user"};
    add_common_options(app, options, options.driver);
    app.add_option(
           "--command", options.commands,
           "what is to be done, and then the end (may be there several times): "
           "`begin [bytes=N] [working_set=N] [batch=N] [lifetime=N] [rest=N]`, `run [copies=N]`, `result`, "
           "`look pair=N`, `stray_read iova=N`, `stray_write iova=N`, `reach [rounds=N] [patience_ms=N]`, "
           "`bench [pages=N] [skew=N] [held=N] [hold_us=N] [rounds=N]`, `bench_parts [pages=N] [skew=N] [rounds=N]`, "
           "`end`; without it the control socket takes them")
        ->take_all()
        ->check(CLI::Validator{check_command, "", "command"});
    app.add_option("--hostile", options.hostile,
                   "the driver process takes `hostile ACT ...` from the control socket as well, and tries what it has no business to "
                   "do: for `dmatoll probe`. FILE: one that it may read and not write")
        ->type_name("FILE");
    if (!parse_arguments(app, argc, argv)) {
        return std::nullopt;
    }
    options.driver.poll = true;
    return options;
}

std::string to_text(const DmaChildOptions& options) {
    return nlohmann::json{{"process", options.process},
                          {"disk", options.disk},
                          {"pci_vendor", options.pci_vendor},
                          {"pci_device", options.pci_device},
                          {"mapping", options.driver},
                          {"hostile", options.hostile}}
        .dump();
}

DmaChildOptions dma_child_options(const std::string& text) {
    try {
        const auto json = nlohmann::json::parse(text);
        DmaChildOptions options;
        json.at("process").get_to(options.process);
        json.at("disk").get_to(options.disk);
        json.at("pci_vendor").get_to(options.pci_vendor);
        json.at("pci_device").get_to(options.pci_device);
        json.at("mapping").get_to(options.driver);
        json.at("hostile").get_to(options.hostile);
        return options;
    } catch (const nlohmann::json::exception& error) {
        throw Failure{std::string{"the driver process was started with arguments that it cannot read: "} +
                      error.what()};
    }
}

}  // namespace dmatoll::user
