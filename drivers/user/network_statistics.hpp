// SPDX-License-Identifier: BSD-2-Clause
// The answer to `stats`.
#pragma once

#include <sys/types.h>

#include <string>

#include "e1000/part.hpp"
#include "network_options.hpp"
#include "network_state.hpp"

namespace dmatoll::user {

// One line of JSON, without its newline. pid 0: no driver process runs at the moment.
std::string network_statistics(const NetworkState& state, const NetworkOptions& options,
                               const e1000::Part& part, pid_t pid, unsigned restarts);

}  // namespace dmatoll::user
