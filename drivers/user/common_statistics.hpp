// SPDX-License-Identifier: BSD-2-Clause
// What the answer to `stats` has whatever the device is.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>

#include "common_options.hpp"
#include "shared_state.hpp"

namespace dmatoll::user {

inline std::uint64_t read(const SharedState::Value& value) { return value.load(std::memory_order_relaxed); }

// All but the counters. pid 0: no driver process runs at the moment.
nlohmann::json common_statistics(const SharedState& state, const CommonOptions& common,
                                 const MappingOptions& mapping, pid_t pid, unsigned restarts);

// `names`: the kind of device's table (core/counters.hpp).
template <class Names>
nlohmann::json counters_json(const Names& names, const SharedState& state) {
    nlohmann::json counters = nlohmann::json::object();
    for (std::size_t i = 0; i < names.size(); ++i) {
        counters[names[i].name] = read(state.counters[i]);
    }
    return counters;
}

}  // namespace dmatoll::user
