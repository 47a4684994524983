// SPDX-License-Identifier: BSD-2-Clause
// The parameters of strategies as C++ sees them, and what a strategy protects with them.
#pragma once

#include <array>
#include <compare>
#include <cstdint>

#include "strategy.hpp"
#include "strategy_parameters.h"

namespace dmatoll {

// A value for each; every strategy takes its own.
struct StrategySettings {
#define DMATOLL_MEMBER(name, strategy, least, most, usual, window, what) std::uint32_t name = usual;
    DMATOLL_STRATEGY_PARAMETERS(DMATOLL_MEMBER)
#undef DMATOLL_MEMBER

    auto operator<=>(const StrategySettings&) const = default;
};

struct StrategyParameter {
    const char* name;
    const Strategy* strategy;  // whose it is
    std::uint32_t StrategySettings::*value;
    std::uint32_t least;
    std::uint32_t most;
    bool is_window_ms;  // that long after the end of a use the device may reach the buffer
    const char* what;   // a few words

    [[nodiscard]] constexpr bool takes(std::uint32_t wanted) const {
        return wanted >= least && wanted <= most;
    }
};

namespace parameters {

#define DMATOLL_ROW(name, strategy, least, most, usual, window, what) \
    inline constexpr StrategyParameter name{                          \
        #name, strategies::find(strategy), &StrategySettings::name, least, most, window != 0, what};
DMATOLL_STRATEGY_PARAMETERS(DMATOLL_ROW)
#undef DMATOLL_ROW

#define DMATOLL_NAME(name, ...) &name,
inline constexpr std::array all{DMATOLL_STRATEGY_PARAMETERS(DMATOLL_NAME)};
#undef DMATOLL_NAME

static_assert([] {
    for (const StrategyParameter* parameter : all) {
        // A strategy that is not there is nullptr, and what that points to is no constant: this does not compile then.
        if (parameter->strategy->name[0] == '\0') return false;
        if (!parameter->takes(StrategySettings{}.*parameter->value)) return false;
    }
    return true;
}());

}  // namespace parameters

// What the catalogue states is for the usual values: where the window is bounded by a parameter it follows
// it.
constexpr ProtectionByPair protection_with(const StrategySettings& settings, const Strategy& strategy,
                                           Placement placement) {
    ProtectionByPair pairs = strategy.protection(placement);
    for (const StrategyParameter* parameter : parameters::all) {
        if (parameter->strategy != &strategy || !parameter->is_window_ms) continue;
        for (Protection* pair :
             {&pairs.kernel_from_device, &pairs.kernel_from_driver, &pairs.driver_from_device}) {
            if (pair->window.kind == WindowKind::bounded)
                pair->window.bound_ns = std::uint64_t{settings.*parameter->value} * 1'000'000;
        }
    }
    return pairs;
}

}  // namespace dmatoll
