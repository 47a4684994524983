// SPDX-License-Identifier: BSD-2-Clause
// The privileged parent: opens what needs privilege, hands it to the driver process, and looks after that.
#pragma once

#include "options.hpp"

namespace dmatoll::user {

// Runs until SIGTERM or SIGINT (result 0), or until the driver process has crashed once more than it may be
// restarted (result 1). Throws Failure when something stands in the way of the first start.
int supervise(const Options& options);

}  // namespace dmatoll::user
