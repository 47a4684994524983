// SPDX-License-Identifier: BSD-2-Clause
// Which CPU does what, while a trial runs.
#pragma once

#include <unistd.h>

#include <cstddef>

namespace dmatoll::harness {

// Interrupts, the driver and the traffic program of the device under test.
inline constexpr int device_cpu = 0;

// The peer, its traffic program, and this program. A machine of one CPU does all on that one.
inline int other_cpu() { return ::sysconf(_SC_NPROCESSORS_ONLN) > 1 ? 1 : 0; }

}  // namespace dmatoll::harness
