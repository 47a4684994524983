// SPDX-License-Identifier: BSD-2-Clause
// What every program of this room can be asked for, whatever device it drives.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>

#include "core/iova_allocator.hpp"
#include "core/strategy_parameters.hpp"

namespace CLI {
class App;
}

namespace dmatoll::user {

// How the driver process maps memory, and how it learns of what the device did.
struct MappingOptions : StrategySettings {
    std::string strategy = "strict";
    bool poll = false;            // never sleeps, and wants no interrupts
    std::uint32_t page_size = 0;  // of the arena: 4096 or 2 MiB; 0: 2 MiB if there are such pages
    std::string iova_allocator = iova_allocators::default_name;
};

struct CommonOptions {
    std::string device;
    std::optional<unsigned> cpu;
    std::string user;                      // empty: one of the device's own
    std::string control;                   // path of the control socket; empty: none
    std::optional<unsigned> restarts = 3;  // none: always again
    unsigned watchdog_ms = 1000;           // 0: none
    bool allow_faults = false;
    bool json = false;
};

// What a driver process is told in any case.
struct ProcessOptions {
    std::string bdf;
    unsigned address_bits = 0;
    uid_t user = 0;
    gid_t group = 0;
};

// Both outlive the parsing.
void add_common_options(CLI::App& app, CommonOptions& common, MappingOptions& mapping);
// False: the user asked for help, which is then printed. Throws Failure: what is wrong with the arguments.
bool parse_arguments(CLI::App& app, int argc, const char* const* argv);

// Each parameter of a strategy under its name.
void add_parameters(nlohmann::json& json, const StrategySettings& settings);

void to_json(nlohmann::json& json, const MappingOptions& options);
void from_json(const nlohmann::json& json, MappingOptions& options);
void to_json(nlohmann::json& json, const ProcessOptions& options);
void from_json(const nlohmann::json& json, ProcessOptions& options);

}  // namespace dmatoll::user
