// SPDX-License-Identifier: BSD-2-Clause
#include "workload.hpp"

#include <algorithm>

#include "failure.hpp"
#include "file.hpp"
#include "paths.hpp"
#include "text.hpp"
#include "toml_reading.hpp"

namespace dmatoll::harness {

nlohmann::json parameters_json(const Parameters& parameters) {
    nlohmann::json result = nlohmann::json::object();
    for (const auto& [name, value] : parameters) result[name] = value;
    return result;
}

Workload parse_workload(std::string_view text, const std::string& file) {
    const toml::table parsed = parse_toml(text, file);
    const TomlTable top{parsed, file, "a workload"};
    top.only({"name", "summary", "program", "transport", "flow", "parameters"});
    Workload workload;
    workload.name = top.text("name");
    workload.summary = top.text("summary");
    if (const std::string program = top.text("program"); program != "iperf3")
        fail("{}: no way to run '{}' is known{}", top.at("program"), program,
             suggestion(program, {"iperf3"}));
    const std::string transport = top.text("transport");
    if (transport != "tcp" && transport != "udp")
        fail("{}: unknown transport '{}'{}", top.at("transport"), transport,
             suggestion(transport, {"tcp", "udp"}));
    workload.transport = transport == "tcp" ? Transport::tcp : Transport::udp;
    const std::string flow = top.text("flow");
    if (flow != "transmit" && flow != "receive")
        fail("{}: unknown flow '{}'{}", top.at("flow"), flow, suggestion(flow, {"transmit", "receive"}));
    workload.flow = flow == "transmit" ? Flow::transmit : Flow::receive;
    const TomlTable parameters = top.table("parameters");
    for (const auto& key : parameters.keys())
        workload.defaults[key] = parameters.number(key, 0, 0, 1'000'000'000'000);
    for (const char* needed : {"load_bps", "payload_bytes", "warm_up_ms", "window_ms"})
        if (!workload.defaults.contains(needed)) fail("{}: the parameter '{}' is missing", file, needed);
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
