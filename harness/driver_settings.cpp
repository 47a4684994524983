// SPDX-License-Identifier: BSD-2-Clause
#include "driver_settings.hpp"

#include <fmt/format.h>

#include <vector>

#include "text.hpp"

namespace dmatoll::harness {

nlohmann::json to_json(const DriverSettings& settings) {
    nlohmann::json result{{"receive_descriptors", settings.receive_descriptors},
                          {"transmit_descriptors", settings.transmit_descriptors},
                          {"interrupts_per_second", settings.interrupts_per_second},
                          {"mtu", settings.mtu},
                          {"offloads", settings.offloads},
                          {"completion", settings.completion},
                          {"code_generation", settings.code_generation},
                          {"copybreak", settings.copybreak},
                          {"max_sectors_kb", settings.max_sectors_kb},
                          {"page_size", settings.page_size},
                          {"iova_allocator", settings.iova_allocator}};
    for (const StrategyParameter* parameter : parameters::all) result[parameter->name] = settings.*parameter->value;
    return result;
}

DriverSettings driver_settings_from_json(const nlohmann::json& json) {
    DriverSettings result;
    result.receive_descriptors = json.value("receive_descriptors", result.receive_descriptors);
    result.transmit_descriptors = json.value("transmit_descriptors", result.transmit_descriptors);
    result.interrupts_per_second = json.value("interrupts_per_second", result.interrupts_per_second);
    result.mtu = json.value("mtu", result.mtu);
    result.offloads = json.value("offloads", result.offloads);
    result.completion = json.value("completion", result.completion);
    result.code_generation = json.value("code_generation", result.code_generation);
    result.copybreak = json.value("copybreak", result.copybreak);
    result.max_sectors_kb = json.value("max_sectors_kb", result.max_sectors_kb);
    result.page_size = json.value("page_size", result.page_size);
    result.iova_allocator = json.value("iova_allocator", result.iova_allocator);
    for (const StrategyParameter* parameter : parameters::all) {
        std::uint32_t& value = result.*parameter->value;
        value = json.value(parameter->name, value);
    }
    return result;
}

nlohmann::json to_json(const GuestShape& guest) {
    return {{"vcpus", guest.vcpus}, {"memory_mib", guest.memory_mib}, {"address_bits", guest.address_bits}};
}

GuestShape guest_shape_from_json(const nlohmann::json& json) {
    GuestShape result;
    result.vcpus = json.value("vcpus", result.vcpus);
    result.memory_mib = json.value("memory_mib", result.memory_mib);
    result.address_bits = json.value("address_bits", result.address_bits);
    return result;
}

std::vector<std::string> parameters_of(const std::string& strategy) {
    std::vector<std::string> names;
    for (const StrategyParameter* parameter : parameters::all)
        if (strategy == parameter->strategy->name) names.emplace_back(parameter->name);
    return names;
}

std::string label(const DriverSettings& settings) {
    const DriverSettings usual;
    std::vector<std::string> parts;
    const auto number = [&](const char* name, std::uint32_t value, std::uint32_t otherwise) {
        if (value != otherwise) parts.push_back(fmt::format("{}{}", name, value));
    };
    number("rx", settings.receive_descriptors, usual.receive_descriptors);
    number("tx", settings.transmit_descriptors, usual.transmit_descriptors);
    number("irq", settings.interrupts_per_second, usual.interrupts_per_second);
    number("mtu", settings.mtu, usual.mtu);
    if (!settings.offloads) parts.emplace_back("plain");
    if (settings.completion != usual.completion) parts.push_back(settings.completion);
    if (!settings.code_generation.empty()) parts.push_back(settings.code_generation);
    number("copybreak", settings.copybreak, usual.copybreak);
    number("sectors", settings.max_sectors_kb, usual.max_sectors_kb);
    for (const StrategyParameter* parameter : parameters::all)
        number(parameter->name, settings.*parameter->value, usual.*parameter->value);
    number("page", settings.page_size, usual.page_size);
    if (settings.iova_allocator != usual.iova_allocator) parts.push_back(settings.iova_allocator);
    return join(parts, "-");
}

std::string label(const GuestShape& guest) {
    const GuestShape usual;
    std::vector<std::string> parts;
    if (guest.vcpus != usual.vcpus) parts.push_back(fmt::format("{}vcpu", guest.vcpus));
    if (guest.memory_mib != usual.memory_mib) parts.push_back(fmt::format("{}MiB", guest.memory_mib));
    if (guest.address_bits != usual.address_bits) parts.push_back(fmt::format("{}bit", guest.address_bits));
    return join(parts, "-");
}

}  // namespace dmatoll::harness
