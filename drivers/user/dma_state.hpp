// SPDX-License-Identifier: BSD-2-Clause
// What the driver process of a NIC that copies memory shares with its supervisor: nothing beside its
// counters.
#pragma once

#include "core/counters.hpp"
#include "shared_state.hpp"

namespace dmatoll::user {

struct DmaState : SharedState {};
static_assert(dma_counter_names.size() <= SharedState::most_counters);

}  // namespace dmatoll::user
