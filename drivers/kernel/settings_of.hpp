// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// The parameters of strategies as the C side has them.
#pragma once

#include "core/strategy_parameters.hpp"
#include "glue.h"

namespace dmatoll::kernel {

inline StrategySettings settings_of(const dmatoll_strategy_settings& settings) {
    return {
#define DMATOLL_VALUE(name, ...) .name = settings.name,
        DMATOLL_STRATEGY_PARAMETERS(DMATOLL_VALUE)
#undef DMATOLL_VALUE
    };
}

}  // namespace dmatoll::kernel
