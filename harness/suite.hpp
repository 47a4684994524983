// SPDX-License-Identifier: BSD-2-Clause
// A suite: parts, each with axes whose product is run, read from TOML.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "driver_settings.hpp"
#include "workload.hpp"

namespace dmatoll::harness {

// One workload of a suite: a name and what differs from its defaults.
struct SuiteWorkload {
    std::string name;
    Parameters parameters;  // complete: defaults filled in
};

// What belongs together: one product of axes. A point that an earlier part has, too, is run once.
struct SuitePart {
    std::string name;  // empty: the suite has no parts of its own
    std::vector<std::string> devices;
    std::vector<std::string> placements;
    std::vector<std::string> strategies;
    std::vector<DriverSettings> settings;   // completion and code generation among them
    std::vector<GuestShape> guests;
    std::vector<SuiteWorkload> workloads;
};

struct Suite {
    std::string name;
    std::string summary;
    std::string file;         // where it was read from
    std::uint32_t boots = 1;  // repetitions, each with a seed of its own
    std::vector<SuitePart> parts;
};

// By name, or by the path of a file (anything that contains a slash or ends in .toml). Throws Failure: no
// such suite; a key, a strategy, a device or a workload that is unknown, with the file, the line and the
// nearest name; a value out of range.
Suite load_suite(const std::string& name_or_path);
Suite parse_suite(std::string_view text, const std::string& file);

std::vector<std::string> suite_names();

}  // namespace dmatoll::harness
