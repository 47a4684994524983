// SPDX-License-Identifier: BSD-2-Clause
// The driver process: everything behind the fork.
#pragma once

namespace dmatoll::user {

// Runs the driver on the descriptors that were inherited (driver_process.hpp), with options as
// to_text(DmaChildOptions) writes them, until SIGTERM. Commands come by the inherited socket, a message each,
// and are answered by a message each: a JSON object. Returns the exit status.
int drive_dma(const char* options);

}  // namespace dmatoll::user
