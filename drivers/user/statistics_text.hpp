// SPDX-License-Identifier: BSD-2-Clause
// The answer to `stats`.
#pragma once

#include <sys/types.h>

#include <string>

#include "e1000/part.hpp"
#include "options.hpp"
#include "shared_state.hpp"

namespace dmatoll::user {

// One line of JSON, without its newline. pid 0: no driver process runs at the moment.
std::string statistics_text(const SharedState& state, const Options& options, const e1000::Part& part,
                            pid_t pid, unsigned restarts);

}  // namespace dmatoll::user
