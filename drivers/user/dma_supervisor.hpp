// SPDX-License-Identifier: BSD-2-Clause
// The privileged process: starts the driver and passes commands on to it.
#pragma once

#include "dma_options.hpp"

namespace dmatoll::user {

// Until the last of the options' commands is through, or somebody wants the end. Returns the exit status.
// Throws Failure if the driver never ran.
int supervise_dma(const DmaOptions& options);

}  // namespace dmatoll::user
