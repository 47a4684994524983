// SPDX-License-Identifier: BSD-2-Clause
#include "../doctor.hpp"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "commands.hpp"

namespace dmatoll::harness::cli {
namespace {

void print_group(const char* title, const std::vector<Check>& checks) {
    fmt::print("{}\n", title);
    for (const auto& check : checks) {
        fmt::print("  [{}] {:20} {}\n", check.there ? "ok" : "--", check.name, check.found);
        if (!check.there) fmt::print("       {:20} -> {}\n", "", check.remedy);
    }
}

nlohmann::json group_json(const std::vector<Check>& checks) {
    nlohmann::json list = nlohmann::json::array();
    for (const auto& check : checks) {
        list.push_back({{"name", check.name}, {"there", check.there}, {"found", check.found}});
        if (!check.there) list.back()["remedy"] = check.remedy;
    }
    return list;
}

}  // namespace

void add_doctor(CLI::App& program, Outcome& outcome) {
    auto* command =
        program.add_subcommand("doctor", "Says what this machine can do, what is missing, and how to get it");
    auto json = std::make_shared<bool>(false);
    command->add_flag("--json", *json, "as one JSON object");
    command->footer("Exit status 0 if the lab or the hardware can be used, 1 if neither.");
    command->callback([json, &outcome] {
        const Diagnosis diagnosis = diagnose();
        outcome.status = diagnosis.lab_ready() || diagnosis.hardware_ready() ? 0 : failed_status;
        if (*json) {
            const nlohmann::json result{{"lab_ready", diagnosis.lab_ready()},
                                        {"hardware_ready", diagnosis.hardware_ready()},
                                        {"lab", group_json(diagnosis.lab)},
                                        {"hardware", group_json(diagnosis.hardware)},
                                        {"optional", group_json(diagnosis.optional)}};
            fmt::print("{}\n", result.dump(2));
            return;
        }
        print_group("The emulated lab (dmatoll run SUITE)", diagnosis.lab);
        print_group("Real hardware (dmatoll run SUITE --target local)", diagnosis.hardware);
        print_group("Good to have", diagnosis.optional);
        fmt::print("\nThe lab {}. Real hardware {}.\n", diagnosis.lab_ready() ? "is ready" : "is not ready",
                   diagnosis.hardware_ready() ? "is ready" : "is not ready");
    });
}

}  // namespace dmatoll::harness::cli
