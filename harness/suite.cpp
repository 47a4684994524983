// SPDX-License-Identifier: BSD-2-Clause
#include "suite.hpp"

#include <algorithm>
#include <bit>

#include "catalogue.hpp"
#include "failure.hpp"
#include "file.hpp"
#include "paths.hpp"
#include "text.hpp"
#include "toml_reading.hpp"

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

// What all placements can have: ours need a power of two, the distribution's driver at least 80.
std::uint32_t descriptors(const TomlTable& driver, const std::string& key) {
    const auto count = static_cast<std::uint32_t>(driver.number(key, 256, 128, 4096));
    if (!std::has_single_bit(count))
        fail("{}: a power of two from 128 to 4096 was expected, not {}", driver.at(key), count);
    return count;
}

SuiteWorkload read_workload(const TomlTable& table) {
    SuiteWorkload result;
    result.name = table.text("name");
    const auto known = workload_names();
    if (std::find(known.begin(), known.end(), result.name) == known.end())
        fail("{}: unknown workload '{}'{}", table.at("name"), result.name, suggestion(result.name, known));
    result.parameters = load_workload(result.name).defaults;
    std::vector<std::string> keys{"name"};
    for (const auto& [key, value] : result.parameters) keys.push_back(key);
    table.only(keys);
    for (auto& [key, value] : result.parameters) value = table.number(key, value, 0, 1'000'000'000'000);
    if (result.parameters.at("window_ms") == 0) fail("{}: a window needs a length", table.at("window_ms"));
    return result;
}

}  // namespace

Suite parse_suite(std::string_view text, const std::string& file) {
    const toml::table parsed = parse_toml(text, file);
    const TomlTable top{parsed, file, "a suite"};
    top.only({"suite", "axes", "driver", "workload"});
    Suite suite;
    suite.file = file;

    const TomlTable head = top.table("suite");
    head.only({"name", "summary", "boots"});
    suite.name = head.text("name");
    suite.summary = head.text("summary");
    suite.boots = static_cast<std::uint32_t>(head.number("boots", 1, 1, 1000));

    const TomlTable axes = top.table("axes");
    axes.only({"device", "placement", "strategy"});
    suite.devices = axis(axes, "device", "device", device_model_names());
    suite.placements = axis(axes, "placement", "placement", placement_names());
    suite.strategies = axis(axes, "strategy", "strategy", strategy_names());

    if (top.has("driver")) {
        const TomlTable driver = top.table("driver");
        driver.only({"receive_descriptors", "transmit_descriptors", "interrupts_per_second"});
        suite.receive_descriptors = descriptors(driver, "receive_descriptors");
        suite.transmit_descriptors = descriptors(driver, "transmit_descriptors");
        suite.interrupts_per_second =
            static_cast<std::uint32_t>(driver.number("interrupts_per_second", 8000, 0, 100000));
    }
    for (const TomlTable& table : top.tables("workload")) suite.workloads.push_back(read_workload(table));
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
