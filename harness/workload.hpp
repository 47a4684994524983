// SPDX-License-Identifier: BSD-2-Clause
// A workload as it is described in workloads/<name>/workload.toml. How one runs is in
// traffic.hpp.
#pragma once

#include <nlohmann/json.hpp>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace dmatoll::harness {

// Every parameter is a whole number with its unit in its name.
using Parameters = std::map<std::string, std::uint64_t>;
nlohmann::json parameters_json(const Parameters& parameters);

// As seen from the device under test.
enum class Flow : std::uint8_t { transmit, receive, both };
enum class Transport : std::uint8_t { tcp, udp, raw };  // raw: Ethernet frames, no IP stack
const char* name_of(Flow flow);
const char* name_of(Transport transport);
// Throw Failure, naming `where`, if there is none of that name.
Flow flow_named(const std::string& name, const std::string& where);
Transport transport_named(const std::string& name, const std::string& where);

// Of a workload that goes to a disk.
enum class Pattern : std::uint8_t { read, write, randread, randwrite, randrw };
const char* name_of(Pattern pattern);
Pattern pattern_named(const std::string& name, const std::string& where);
inline bool writes(Pattern pattern) { return pattern != Pattern::read && pattern != Pattern::randread; }

struct Workload {
    std::string name;
    std::string summary;
    std::string program;  // the one that runs it: traffic.hpp
    Transport transport = Transport::tcp;
    Flow flow = Flow::transmit;
    std::optional<Pattern> pattern;  // for a disk; without: for a network card
    Parameters defaults;  // its keys are all the parameters there are
};

// Throws Failure if there is none of that name, or its description is wrong.
Workload load_workload(const std::string& name);
Workload parse_workload(std::string_view text, const std::string& file);
std::vector<std::string> workload_names();

}  // namespace dmatoll::harness
