// SPDX-License-Identifier: BSD-2-Clause
// The supervisor of a disk controller's driver: it holds the block devices.
#pragma once

#include "disk_options.hpp"

namespace dmatoll::user {

// Runs until SIGTERM or SIGINT (result 0), or until the driver process has crashed once more than it may be
// restarted (result 1). With `options.list`: only tells what there is. With `options.remove`: only takes away
// what is left of an earlier one. Throws Failure when something stands in the way of the first start.
int supervise_disks(const DiskOptions& options);

}  // namespace dmatoll::user
