// SPDX-License-Identifier: BSD-2-Clause
// The supervisor of a network card's driver: it holds the TAP.
#pragma once

#include "network_options.hpp"

namespace dmatoll::user {

// Runs until SIGTERM or SIGINT (result 0), or until the driver process has crashed once more than it may be
// restarted (result 1). Throws Failure when something stands in the way of the first start.
int supervise_network(const NetworkOptions& options);

}  // namespace dmatoll::user
