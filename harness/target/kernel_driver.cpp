// SPDX-License-Identifier: BSD-2-Clause
#include "kernel_driver.hpp"

#include <algorithm>
#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include "../../drivers/core/address.hpp"
#include "../../drivers/core/counters.hpp"
#include "../failure.hpp"
#include "../paths.hpp"
#include "../process.hpp"
#include "../text.hpp"
#include "disk.hpp"
#include "pci.hpp"
#include "system.hpp"

namespace dmatoll::harness {
namespace {

std::string module_of(const Trial& trial) {
    if (trial.copies_memory()) return trial.copies_by_disk() ? "dmatoll_dma_disk" : "dmatoll_dma";
    return kind_of(trial.device) == DeviceKind::disk ? "dmatoll_blk" : "dmatoll_net";
}

std::string driver_of(const std::string& module, DomainKind domain) {
    std::string name = module;
    std::replace(name.begin(), name.end(), '_', '-');
    return domain == DomainKind::own ? name : name + "-linux";
}

// Lines "name value".
std::vector<std::pair<std::string, std::string>> named_values(const std::string& text, const fs::path& file) {
    std::vector<std::pair<std::string, std::string>> result;
    for (const auto& line : lines(text)) {
        const auto space = line.find(' ');
        if (space == std::string::npos || space == 0 || space + 1 == line.size())
            fail("{}: '{}' is not of the form 'name value'", file.string(), line);
        result.emplace_back(line.substr(0, space), line.substr(space + 1));
    }
    return result;
}

bool is_number(const std::string& text) {
    return !text.empty() && text.find_first_not_of("0123456789") == std::string::npos;
}

// What has its default is left to the module.
std::vector<std::string> module_parameters(const Trial& trial, int cpu) {
    const DriverSettings& settings = trial.settings;
    const DriverSettings usual;
    std::vector<std::string> result{"strategy=" + trial.strategy};
    if (kind_of(trial.device) == DeviceKind::network && !trial.copies_memory()) {
        result.push_back(fmt::format("receive_descriptors={}", settings.receive_descriptors));
        result.push_back(fmt::format("transmit_descriptors={}", settings.transmit_descriptors));
        result.push_back(fmt::format("interrupts_per_second={}", settings.interrupts_per_second));
    }
    if (settings.completion != usual.completion) result.push_back("completion=" + settings.completion);
    // An interrupt can be moved later; who polls is where it was started.
    if (settings.completion == "poll") result.push_back(fmt::format("polling_cpu={}", cpu));
    for (const StrategyParameter* parameter : parameters::all)
        if (const std::uint32_t value = settings.*parameter->value; value != usual.*parameter->value)
            result.push_back(fmt::format("{}={}", parameter->name, value));
    if (settings.page_size != usual.page_size)
        result.push_back(fmt::format("page_size={}", settings.page_size));
    if (settings.iova_allocator != usual.iova_allocator)
        result.push_back("iova_allocator=" + settings.iova_allocator);
    if (trial.makes_faults()) result.emplace_back("allow_faults=1");
    return result;
}

}  // namespace

KernelDriver::KernelDriver(const Trial& trial, const Strategy& strategy, const std::string& bdf,
                           Ownership& ownership, int cpu)
    : offers_disks_{kind_of(trial.device) == DeviceKind::disk && !trial.copies_memory()},
      module_{module_of(trial)},
      ownership_{ownership},
      bdf_{bdf},
      driver_{driver_of(module_, strategy.domain)} {
    const fs::path module = our_module(module_);
    if (module.empty())
        throw Unavailable{
            fmt::format("The module {}.ko is not built for this kernel (6.11 or later and its headers are "
                        "needed); `dmatoll doctor` says how to build it",
                        module_)};
    set_driver_override(bdf, driver_);
    if (strategy.domain != DomainKind::own) set_group_type(bdf, name_of(strategy.domain));
    if (fs::exists(system_paths().sys / "module" / module_))
        run_or_fail({.arguments = {"rmmod", module_}}, "remove the module of an earlier run");
    ownership.note_module(module_);
    std::vector<std::string> load{"insmod", module.string()};
    for (const auto& parameter : module_parameters(trial, cpu)) load.push_back(parameter);
    run_or_fail({.arguments = load}, "load the module " + module.string());
    loaded_ = true;
    try {
        bind_driver(bdf, driver_);
        if (!offers_disks_ && !trial.copies_memory())
            interface_.emplace(wait_for_interface(bdf, 5), "");
    } catch (...) {
        stop();
        throw;
    }
}

KernelDriver::~KernelDriver() {
    try {
        stop();
    } catch (const std::exception&) {
        // The ownership file still tells how the device was.
    }
}

std::vector<DiskPlace> KernelDriver::disks() const {
    return offers_disks_ ? disks_of(bdf_) : std::vector<DiskPlace>{};
}

std::string KernelDriver::counter_source() const {
    return interface_ ? "ethtool -S" : "the module's statistics in sysfs";
}

Counts KernelDriver::counters() { return interface_ ? network_counters() : statistics(); }

Counts KernelDriver::statistics() const {
    const fs::path file = device_path(bdf_) / "dmatoll/statistics";
    Counts counts;
    for (const auto& [name, value] : named_values(read_attribute(file).value_or(""), file)) {
        if (!is_number(value)) fail("{}: '{} {}' has no number", file.string(), name, value);
        counts[name] = std::strtoull(value.c_str(), nullptr, 10);
    }
    const auto require = [&](const auto&... needed) {
        for (const char* name : {needed...})
            if (!counts.contains(name)) fail("The module's counter {} is missing from {}", name, file.string());
    };
    if (offers_disks_)
        require("read_requests", "write_requests", "bytes_read", "bytes_written");
    else
        require("copies", "bytes_copied", "copies_bad", "copies_lost");
    return counts;
}

nlohmann::json KernelDriver::command(const std::string& line) {
    const fs::path folder = device_path(bdf_) / "dmatoll";
    std::string refusal;
    try {
        write_attribute(folder / "command", line);
    } catch (const Failure& failure) {
        refusal = failure.what();
    }
    nlohmann::json answer = nlohmann::json::object();
    const fs::path file = folder / "result";
    for (const auto& [name, value] : named_values(read_attribute(file).value_or(""), file)) {
        if (is_number(value))
            answer[name] = std::strtoull(value.c_str(), nullptr, 10);
        else
            answer[name] = value;
    }
    if (!refusal.empty() || answer.contains("error"))
        fail("The module does not take `{}`: {} {}", line, answer.value("error", refusal), answer.value("word", ""));
    return answer;
}

Counts KernelDriver::network_counters() const {
    Counts counts = interface_->ethtool_statistics();
    for (const auto* needed :
         {"frames_transmitted", "frames_received", "bytes_transmitted", "bytes_received"})
        if (!counts.contains(needed))
            fail("The module's counter {} is missing from `ethtool -S {}`", needed, interface_->name());
    Counts ours;
    for (const auto& name : counter_names)
        if (counts.contains(name.name)) ours[name.name] = counts.at(name.name);
    return ours;
}

nlohmann::json KernelDriver::effective() {
    const fs::path folder = device_path(bdf_) / "dmatoll";
    const auto domain = read_attribute(folder / "domain");
    if (!domain) fail("{} cannot be read: is {} bound to {}?", (folder / "domain").string(), bdf_, driver_);
    nlohmann::json result{{"domain", *domain}, {"page_size", page_bytes}, {"driver", driver_}};
    for (const auto* name : {"strategy", "placement", "protection", "completion", "part", "iova_allocator"})
        if (const auto value = read_attribute(folder / name)) result[name] = *value;
    // Lines "size count".
    if (const auto pages = read_attribute(folder / "cached_pages"))
        for (const auto& line : split(*pages, '\n'))
            if (const auto words = split(line, ' '); words.size() == 2)
                result["cached_pages"][words[0]] = std::atoll(words[1].c_str());
    const fs::path parameters = system_paths().sys / "module" / module_ / "parameters";
    if (const auto size = read_attribute(folder / "page_size"))
        result["page_size"] = std::atol(size->c_str());
    std::vector<std::string> names{"receive_descriptors", "transmit_descriptors", "interrupts_per_second",
                                   "queue_depth"};
    for (const StrategyParameter* parameter : parameters::all) names.emplace_back(parameter->name);
    for (const auto& name : names)
        if (const auto value = read_attribute(parameters / name)) result[name] = std::atoi(value->c_str());
    if (const auto cpu = read_attribute(folder / "polling_cpu")) result["polling_cpu"] = std::atoi(cpu->c_str());
    return result;
}

void KernelDriver::require_alive() {
    if (pci_device(bdf_).driver != driver_) fail("{} is no longer bound to {}", bdf_, driver_);
}

void KernelDriver::make_fault(const std::string& how) {
    write_attribute(device_path(bdf_) / "dmatoll/fault", how);
}

void KernelDriver::stop() {
    if (!loaded_) return;
    ownership_.unbind(bdf_);
    run_or_fail({.arguments = {"rmmod", module_}}, "remove the module " + module_);
    loaded_ = false;
    // As a user-level driver, which ends with an error then.
    for (const std::string& line : log_.complaints())
        if (line.find(bdf_) != std::string::npos && line.find("mappings were left") != std::string::npos)
            fail("The driver {} of {} lost track of what it had mapped; the kernel says: {}", driver_, bdf_, line);
}

}  // namespace dmatoll::harness
