// SPDX-License-Identifier: BSD-2-Clause
#include "workload.hpp"

#include <algorithm>

#include "failure.hpp"
#include "file.hpp"
#include "paths.hpp"
#include "text.hpp"
#include "toml_reading.hpp"
#include "traffic.hpp"

namespace dmatoll::harness {

nlohmann::json parameters_json(const Parameters& parameters) {
    nlohmann::json result = nlohmann::json::object();
    for (const auto& [name, value] : parameters) result[name] = value;
    return result;
}

namespace {

constexpr Flow flows[] = {Flow::transmit, Flow::receive, Flow::both};
constexpr Pattern patterns[] = {Pattern::read, Pattern::write, Pattern::randread, Pattern::randwrite,
                                Pattern::randrw};
constexpr Transport transports[] = {Transport::tcp, Transport::udp, Transport::raw};

template <class Value, std::size_t n>
Value named(const Value (&values)[n], const std::string& name, const char* what, const std::string& where) {
    std::vector<std::string> names;
    for (const Value value : values) {
        if (name == name_of(value)) return value;
        names.emplace_back(name_of(value));
    }
    fail("{}: unknown {} '{}'{}", where, what, name, suggestion(name, names));
}

}  // namespace

const char* name_of(Flow flow) {
    switch (flow) {
        case Flow::transmit:
            return "transmit";
        case Flow::receive:
            return "receive";
        case Flow::both:
            return "both";
    }
    return "";
}

const char* name_of(Transport transport) {
    switch (transport) {
        case Transport::tcp:
            return "tcp";
        case Transport::udp:
            return "udp";
        case Transport::raw:
            return "raw";
    }
    return "";
}

const char* name_of(Pattern pattern) {
    switch (pattern) {
        case Pattern::read:
            return "read";
        case Pattern::write:
            return "write";
        case Pattern::randread:
            return "randread";
        case Pattern::randwrite:
            return "randwrite";
        case Pattern::randrw:
            return "randrw";
    }
    return "";
}

Pattern pattern_named(const std::string& name, const std::string& where) {
    return named(patterns, name, "pattern", where);
}

Flow flow_named(const std::string& name, const std::string& where) {
    return named(flows, name, "flow", where);
}

Transport transport_named(const std::string& name, const std::string& where) {
    return named(transports, name, "transport", where);
}

Workload parse_workload(std::string_view text, const std::string& file) {
    const toml::table parsed = parse_toml(text, file);
    const TomlTable top{parsed, file, "a workload"};
    Workload workload;
    workload.name = top.text("name");
    workload.summary = top.text("summary");
    workload.program = top.text("program");
    const TrafficProgram* program = find_traffic_program(workload.program);
    if (!program) {
        std::vector<std::string> known;
        for (const auto& candidate : traffic_programs()) known.emplace_back(candidate.name);
        fail("{}: no way to run '{}' is known{}", top.at("program"), workload.program,
             suggestion(workload.program, known));
    }
    if (program->kind == DeviceKind::disk) {
        top.only({"name", "summary", "program", "pattern", "parameters"});
        workload.pattern = pattern_named(top.text("pattern"), top.at("pattern"));
    } else {
        top.only({"name", "summary", "program", "transport", "flow", "parameters"});
        workload.transport = transport_named(top.text("transport"), top.at("transport"));
        workload.flow = flow_named(top.text("flow"), top.at("flow"));
    }
    const TomlTable parameters = top.table("parameters");
    std::vector<std::string> names;
    for (const auto& needed : program->needed) names.push_back(needed.name);
    parameters.only(names);
    for (const auto& needed : program->needed) {
        if (!parameters.has(needed.name)) fail("{}: the parameter '{}' is missing", file, needed.name);
        workload.defaults[needed.name] =
            parameters.number(needed.name, needed.least, needed.least, needed.most);
    }
    return workload;
}

Workload load_workload(const std::string& name) {
    const auto names = workload_names();
    if (std::find(names.begin(), names.end(), name) == names.end())
        fail("Unknown workload '{}'{}", name, suggestion(name, names));
    const fs::path file = share_file("workloads/" + name + "/workload.toml");
    Workload workload = parse_workload(read_file(file), file.string());
    if (workload.name != name)
        fail("{}: the name '{}' does not match its folder", file.string(), workload.name);
    return workload;
}

std::vector<std::string> workload_names() {
    auto names = share_names("workloads");
    // The programs lie beside the descriptions.
    std::erase_if(names, [](const std::string& name) {
        return !fs::exists(share_file("workloads/" + name + "/workload.toml"));
    });
    return names;
}

}  // namespace dmatoll::harness
