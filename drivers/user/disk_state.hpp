// SPDX-License-Identifier: BSD-2-Clause
// What the driver process of a disk controller shares with its supervisor.
#pragma once

#include "core/counters.hpp"
#include "shared_state.hpp"

namespace dmatoll::user {

struct DiskState : SharedState {
    Value requests_refused;  // asked by the block layer, but impossible
    Value requests_delayed;  // had to wait in the process: no memory, or no I/O virtual addresses, were left
};
static_assert(storage_counter_names.size() <= SharedState::most_counters);

}  // namespace dmatoll::user
