// SPDX-License-Identifier: BSD-2-Clause
#include "suite.hpp"

#include <algorithm>
#include <optional>

#include "catalogue.hpp"
#include "failure.hpp"
#include "file.hpp"
#include "paths.hpp"
#include "text.hpp"
#include "toml_reading.hpp"
#include "traffic.hpp"

namespace dmatoll::harness {
namespace {

std::vector<std::string> axis(const TomlTable& axes, const std::string& key, const std::string& what,
                              const std::vector<std::string>& known) {
    const auto values = axes.texts(key);
    for (const auto& value : values) {
        if (std::find(known.begin(), known.end(), value) == known.end())
            fail("{}: unknown {} '{}'{}", axes.at(key), what, value, suggestion(value, known));
        if (std::count(values.begin(), values.end(), value) != 1)
            fail("{}: '{}' stands there more than once", axes.at(key), value);
    }
    return values;
}

// The table of that name: the part's own, or else the whole suite's.
std::optional<TomlTable> table_of(const TomlTable& part, const TomlTable& top, const std::string& key) {
    if (part.has(key)) return part.table(key);
    if (top.has(key)) return top.table(key);
    return std::nullopt;
}

// Every element of `results`, with each of the values in place of what it has.
template <class Result, class Values, class Set>
void multiply(std::vector<Result>& results, const Values& values, Set set) {
    std::vector<Result> product;
    for (const auto& result : results)
        for (const auto& value : values) {
            product.push_back(result);
            set(product.back(), value);
        }
    results = std::move(product);
}

// Which of these a placement can have is for the plan to say.
std::vector<DriverSettings> read_driver(const std::optional<TomlTable>& driver) {
    std::vector<DriverSettings> result{DriverSettings{}};
    if (!driver) return result;
    std::vector<std::string> keys{"receive_descriptors", "transmit_descriptors", "interrupts_per_second",
                                  "mtu",                 "offloads",             "copybreak",
                                  "page_size",           "iova_allocator",       "max_sectors_kb"};
    for (const StrategyParameter* parameter : parameters::all) keys.emplace_back(parameter->name);
    driver->only(keys);
    const auto number = [&](const char* key, std::uint32_t DriverSettings::*member, std::uint64_t least,
                            std::uint64_t most) {
        const auto values = driver->numbers(key, DriverSettings{}.*member, least, most);
        multiply(result, values, [&](DriverSettings& settings, std::uint64_t value) {
            settings.*member = static_cast<std::uint32_t>(value);
        });
    };
    number("receive_descriptors", &DriverSettings::receive_descriptors, 64, 4096);
    number("transmit_descriptors", &DriverSettings::transmit_descriptors, 64, 4096);
    number("interrupts_per_second", &DriverSettings::interrupts_per_second, 0, 1'000'000);
    for (const auto& settings : result)
        if (settings.interrupts_per_second > 0 && settings.interrupts_per_second < 60)
            fail("{}: 0, or 60 to 1000000, was expected", driver->at("interrupts_per_second"));
    number("mtu", &DriverSettings::mtu, 1500, 9000);
    multiply(result, driver->flags("offloads", true),
             [](DriverSettings& settings, bool value) { settings.offloads = value; });
    number("copybreak", &DriverSettings::copybreak, 0, 1500);
    number("max_sectors_kb", &DriverSettings::max_sectors_kb, 4, 1024);
    for (const StrategyParameter* parameter : parameters::all)
        number(parameter->name, parameter->value, parameter->least, parameter->most);
    number("page_size", &DriverSettings::page_size, 4096, 2'097'152);
    for (const auto& settings : result)
        if (settings.page_size != 0 && settings.page_size != 4096 && settings.page_size != 2'097'152)
            fail("{}: 4096 or 2097152 was expected", driver->at("page_size"));
    if (driver->has("iova_allocator"))
        multiply(result, axis(*driver, "iova_allocator", "IOVA allocator", iova_allocator_names()),
                 [](DriverSettings& settings, const std::string& value) { settings.iova_allocator = value; });
    return result;
}

std::vector<GuestShape> read_guest(const std::optional<TomlTable>& guest) {
    std::vector<GuestShape> result{GuestShape{}};
    if (!guest) return result;
    guest->only({"vcpus", "memory_mib", "address_bits"});
    const auto number = [&](const char* key, std::uint32_t GuestShape::*member, std::uint64_t least,
                            std::uint64_t most) {
        const auto values = guest->numbers(key, GuestShape{}.*member, least, most);
        multiply(result, values, [&](GuestShape& shape, std::uint64_t value) {
            shape.*member = static_cast<std::uint32_t>(value);
        });
    };
    number("vcpus", &GuestShape::vcpus, 1, 4);
    number("memory_mib", &GuestShape::memory_mib, 512, 16384);
    number("address_bits", &GuestShape::address_bits, 39, 48);
    for (const auto& shape : result) {
        if (shape.vcpus == 3) fail("{}: 1, 2 or 4 was expected", guest->at("vcpus"));
        if (shape.address_bits != 39 && shape.address_bits != 48)
            fail("{}: 39 or 48 was expected", guest->at("address_bits"));
    }
    return result;
}

std::vector<SuiteWorkload> read_workload(const TomlTable& table) {
    const std::string name = table.text("name");
    const auto known = workload_names();
    if (std::find(known.begin(), known.end(), name) == known.end())
        fail("{}: unknown workload '{}'{}", table.at("name"), name, suggestion(name, known));
    const Workload described = load_workload(name);
    const Parameters& defaults = described.defaults;
    std::vector<std::string> keys{"name"};
    for (const auto& [key, value] : defaults) keys.push_back(key);
    table.only(keys);
    std::vector<SuiteWorkload> result{{name, defaults}};
    for (const auto& needed : find_traffic_program(described.program)->needed)
        multiply(result, table.numbers(needed.name, defaults.at(needed.name), needed.least, needed.most),
                 [&](SuiteWorkload& workload, std::uint64_t chosen) {
                     workload.parameters[needed.name] = chosen;
                 });
    return result;
}

SuitePart read_part(const TomlTable& part, const TomlTable& top) {
    SuitePart result;
    const auto axes = table_of(part, top, "axes");
    if (!axes) fail("{}: axes are needed, here or for the whole suite", part.at("axes"));
    axes->only({"device", "placement", "strategy", "completion", "code_generation"});
    result.devices = axis(*axes, "device", "device", device_model_names());
    result.placements = axis(*axes, "placement", "placement", placement_names());
    result.strategies = axis(*axes, "strategy", "strategy", strategy_names());
    result.settings = read_driver(table_of(part, top, "driver"));
    if (axes->has("completion"))
        multiply(result.settings, axis(*axes, "completion", "completion", {"interrupt", "poll"}),
                 [](DriverSettings& settings, const std::string& value) { settings.completion = value; });
    if (axes->has("code_generation"))
        multiply(
            result.settings,
            axis(*axes, "code_generation", "code generation", {"kernel", "native", "kernel-like"}),
            [](DriverSettings& settings, const std::string& value) { settings.code_generation = value; });
    result.guests = read_guest(table_of(part, top, "guest"));
    for (const TomlTable& table : part.tables("workload"))
        for (auto& workload : read_workload(table)) result.workloads.push_back(std::move(workload));
    return result;
}

}  // namespace

Suite parse_suite(std::string_view text, const std::string& file) {
    const toml::table parsed = parse_toml(text, file);
    const TomlTable top{parsed, file, "a suite"};
    top.only({"suite", "axes", "driver", "guest", "workload", "part"});
    Suite suite;
    suite.file = file;

    const TomlTable head = top.table("suite");
    head.only({"name", "summary", "boots"});
    suite.name = head.text("name");
    suite.summary = head.text("summary");
    suite.boots = static_cast<std::uint32_t>(head.number("boots", 1, 1, 1000));

    if (!top.has("part")) {
        suite.parts.push_back(read_part(top, top));
        return suite;
    }
    if (top.has("workload"))
        fail("{}: a suite of [[part]] tables has its workloads in them", top.at("workload"));
    for (const TomlTable& table : top.tables("part")) {
        table.only({"name", "axes", "driver", "guest", "workload"});
        SuitePart part = read_part(table, top);
        part.name = table.text("name");
        for (const auto& earlier : suite.parts)
            if (earlier.name == part.name)
                fail("{}: '{}' is the name of two parts", table.at("name"), part.name);
        suite.parts.push_back(std::move(part));
    }
    return suite;
}

Suite load_suite(const std::string& name_or_path) {
    if (name_or_path.find('/') != std::string::npos || name_or_path.ends_with(".toml"))
        return parse_suite(read_file(name_or_path), name_or_path);
    const auto names = suite_names();
    if (std::find(names.begin(), names.end(), name_or_path) == names.end())
        fail("Unknown suite '{}'{}; a path to a .toml file is possible, too", name_or_path,
             suggestion(name_or_path, names));
    const fs::path file = share_file("suites/" + name_or_path + ".toml");
    return parse_suite(read_file(file), file.string());
}

std::vector<std::string> suite_names() {
    std::vector<std::string> names;
    for (const auto& file : share_names("suites"))
        if (file.ends_with(".toml")) names.push_back(file.substr(0, file.size() - 5));
    return names;
}

}  // namespace dmatoll::harness
