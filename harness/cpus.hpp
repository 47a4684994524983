// SPDX-License-Identifier: BSD-2-Clause
// Which CPU does what, while a trial runs.
#pragma once

#include <unistd.h>

#include <cstdint>

namespace dmatoll::harness {

// Interrupts, the driver and the traffic program of the device under test.
inline constexpr int device_cpu = 0;

// Of this machine, that are online.
inline std::uint32_t machine_cpus() { return static_cast<std::uint32_t>(::sysconf(_SC_NPROCESSORS_ONLN)); }

// The peer, its traffic program, and this program. A machine of one CPU does all on that one.
inline int other_cpu() { return machine_cpus() > 1 ? 1 : 0; }

}  // namespace dmatoll::harness
