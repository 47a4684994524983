// SPDX-License-Identifier: BSD-2-Clause
#include "catalogue.hpp"

#include <fmt/format.h>

#include "paths.hpp"
#include "suite.hpp"
#include "workload.hpp"

namespace dmatoll::harness {

const std::vector<DeviceModel>& device_models() {
    static const std::vector<DeviceModel> models{
        {DeviceKind::network, "e1000", "82540EM", 0x8086, 0x100e, "e1000", "e1000", "Intel PRO/1000 MT Desktop, PCI"},
        {DeviceKind::network, "e1000", "82545EM", 0x8086, 0x100f, "e1000", "e1000-82545em",
         "Intel PRO/1000 MT Server, PCI-X, copper"},
        {DeviceKind::network, "e1000", "82574L", 0x8086, 0x10d3, "e1000e", "e1000e", "Intel 82574L, PCI Express"},
        {DeviceKind::disk, "ahci", "ICH9-AHCI", 0x8086, 0x2922, "ahci", "ich9-ahci",
         "any AHCI controller (class 010601); the lab's is that of an Intel ICH9"},
    };
    return models;
}

const DeviceModel* find_device_model(const std::string& model) {
    for (const auto& candidate : device_models())
        if (model == candidate.model) return &candidate;
    return nullptr;
}

const DeviceModel* find_device_model(std::uint16_t vendor, std::uint16_t device, std::uint32_t class_code) {
    for (const auto& candidate : device_models()) {
        if (candidate.kind == DeviceKind::disk && class_code == ahci_class) return &candidate;
        if (candidate.kind == DeviceKind::network && vendor == candidate.vendor && device == candidate.device)
            return &candidate;
    }
    return nullptr;
}

DeviceKind kind_of(const std::string& model) {
    const DeviceModel* found = find_device_model(model);
    return found ? found->kind : DeviceKind::network;
}

std::vector<std::string> device_model_names() {
    std::vector<std::string> names;
    for (const auto& model : device_models()) names.emplace_back(model.model);
    return names;
}

namespace {
constexpr Placement placements[] = {Placement::stock, Placement::kernel, Placement::user};
}

std::vector<std::string> placement_names() {
    std::vector<std::string> names;
    for (const Placement placement : placements) names.emplace_back(name_of(placement));
    return names;
}

bool find_placement(const std::string& name, Placement& placement) {
    for (const Placement candidate : placements) {
        if (name != name_of(candidate)) continue;
        placement = candidate;
        return true;
    }
    return false;
}

const char* summary_of(Placement placement) {
    switch (placement) {
        case Placement::stock:
            return "the distribution's own kernel driver: the reference from outside";
        case Placement::kernel:
            return "our driver as a kernel module";
        case Placement::user:
            return "our driver as an unprivileged process over VFIO; code generation native or kernel-like";
    }
    return "";
}

std::vector<std::string> strategy_names() {
    std::vector<std::string> names;
    for (const Strategy* strategy : strategies::catalogue) names.emplace_back(strategy->name);
    return names;
}

const Strategy* find_strategy(const std::string& name) { return strategies::find(name.c_str()); }

std::string window_text(const Window& window) {
    if (window.kind == WindowKind::bounded) return fmt::format("{} ms", window.bound_ns / 1'000'000);
    return name_of(window.kind);
}

namespace {

nlohmann::json pair_json(const Protection& protection) {
    nlohmann::json result{{"granularity", name_of(protection.granularity)},
                          {"window", name_of(protection.window.kind)}};
    if (protection.window.kind == WindowKind::bounded) result["window_ns"] = protection.window.bound_ns;
    return result;
}

}  // namespace

nlohmann::json protection_json(const Strategy& strategy, Placement placement, const StrategySettings& settings,
                               std::uint64_t page_size) {
    ProtectionByPair pairs = protection_with(settings, strategy, placement);
    for (Protection* pair : {&pairs.kernel_from_device, &pairs.kernel_from_driver, &pairs.driver_from_device})
        *pair = with_pages_of(page_size, *pair);
    // One word for all: what the strategy itself decides, which is the memory that the driver's buffers live
    // in.
    nlohmann::json result = pair_json(pairs.driver_from_device);
    result["kernel_from_device"] = pair_json(pairs.kernel_from_device);
    result["kernel_from_driver"] = pair_json(pairs.kernel_from_driver);
    result["driver_from_device"] = pair_json(pairs.driver_from_device);
    return result;
}

bool loses_by_large_pages(const Strategy& strategy, Placement placement) {
    return &strategy == &strategies::persistent && placement == Placement::kernel;
}

std::vector<std::string> iova_allocator_names() {
    std::vector<std::string> names;
    for (const auto& allocator : iova_allocators::catalogue) names.emplace_back(allocator.name);
    return names;
}

nlohmann::json catalogue_json() {
    nlohmann::json result;
    for (const auto& model : device_models())
        result["devices"].push_back({{"name", model.name},
                                     {"model", model.model},
                                     {"pci_id", fmt::format("{:04x}:{:04x}", model.vendor, model.device)},
                                     {"stock_driver", model.stock_driver},
                                     {"summary", model.summary}});
    for (const Placement placement : placements)
        result["placements"].push_back({{"name", name_of(placement)}, {"summary", summary_of(placement)}});
    for (const Strategy* strategy : strategies::catalogue) {
        nlohmann::json entry{{"name", strategy->name},
                             {"summary", strategy->summary},
                             {"domain", name_of(strategy->domain)},
                             {"placements", nlohmann::json::array()}};
        for (const Placement placement : placements) {
            if (!strategy->runs_in(placement)) continue;
            entry["placements"].push_back(name_of(placement));
            entry["protection"][name_of(placement)] = protection_json(*strategy, placement);
            if (loses_by_large_pages(*strategy, placement))
                entry["protection_with_large_pages"][name_of(placement)] =
                    protection_json(*strategy, placement, {}, large_page_bytes);
        }
        for (const StrategyParameter* parameter : parameters::all)
            if (parameter->strategy == strategy)
                entry["parameters"].push_back({{"name", parameter->name},
                                               {"least", parameter->least},
                                               {"most", parameter->most},
                                               {"default", StrategySettings{}.*parameter->value},
                                               {"summary", parameter->what}});
        result["strategies"].push_back(std::move(entry));
    }
    for (const auto& allocator : iova_allocators::catalogue) {
        nlohmann::json entry{{"name", allocator.name},
                             {"summary", allocator.summary},
                             {"placements", nlohmann::json::array()}};
        for (const Placement placement : {Placement::kernel, Placement::user})
            if (!iova_allocators::refusal(allocator.kind, {.placement = placement}))
                entry["placements"].push_back(name_of(placement));
        result["iova_allocators"].push_back(std::move(entry));
    }
    result["workloads"] = nlohmann::json::array();
    for (const auto& name : workload_names()) {
        const Workload workload = load_workload(name);
        result["workloads"].push_back({{"name", name},
                                       {"summary", workload.summary},
                                       {"parameters", parameters_json(workload.defaults)}});
    }
    result["suites"] = nlohmann::json::array();
    for (const auto& name : suite_names()) {
        const Suite suite = load_suite(name);
        result["suites"].push_back({{"name", name}, {"summary", suite.summary}, {"file", suite.file}});
    }
    return result;
}

}  // namespace dmatoll::harness
