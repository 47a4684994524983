// SPDX-License-Identifier: BSD-2-Clause
// The driver process of a disk controller: everything behind the fork.
#pragma once

namespace dmatoll::user {

// Runs the driver on the descriptors that were inherited (driver_process.hpp), with options as
// to_text(DiskChildOptions) writes them, until SIGTERM. Returns the exit status.
int drive_disks(const char* options);

}  // namespace dmatoll::user
