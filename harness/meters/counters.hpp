// SPDX-License-Identifier: BSD-2-Clause
// Differences of counters over a window.
#pragma once

#include <nlohmann/json.hpp>

#include "../target/network.hpp"

namespace dmatoll::harness {

// after - before for every name in both.
inline Counts difference(const Counts& before, const Counts& after) {
    Counts result;
    for (const auto& [name, value] : after)
        if (const auto earlier = before.find(name); earlier != before.end())
            result[name] = value - earlier->second;
    return result;
}

inline nlohmann::json counts_json(const Counts& counts) {
    nlohmann::json result = nlohmann::json::object();
    for (const auto& [name, value] : counts) result[name] = value;
    return result;
}

}  // namespace dmatoll::harness
