// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// The strategies by number: the catalogue without those that never run here.
#pragma once

#include "core/strategy.hpp"

namespace dmatoll::kernel {

inline const Strategy* strategy_at(int number) {
    for (const Strategy* strategy : strategies::catalogue) {
        if (strategy->runs_in(Placement::kernel) && number-- == 0) return strategy;
    }
    return nullptr;
}

}  // namespace dmatoll::kernel
