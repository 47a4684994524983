// SPDX-License-Identifier: BSD-2-Clause
// The answer to `stats`.
#pragma once

#include <sys/types.h>

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "disk_options.hpp"
#include "disk_state.hpp"

namespace dmatoll::user {

// One line of JSON, without its newline. pid 0: no driver process runs at the moment. `disks`: as in the
// event `ready`.
std::string disk_statistics(const DiskState& state, const DiskOptions& options, const nlohmann::json& disks,
                            pid_t pid, unsigned restarts);

}  // namespace dmatoll::user
