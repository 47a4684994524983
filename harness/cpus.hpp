// SPDX-License-Identifier: BSD-2-Clause
// Which CPU does what, while a trial runs.
#pragma once

#include <unistd.h>

#include <cstdint>

namespace dmatoll::harness {

// Interrupts, the driver and the traffic program of the device under test.
inline constexpr int device_cpu = 0;

// Of this machine, that are online. One where nobody tells.
inline std::uint32_t machine_cpus() {
    const long online = ::sysconf(_SC_NPROCESSORS_ONLN);
    return online > 0 ? static_cast<std::uint32_t>(online) : 1;
}

// The peer, its traffic program, and this program. A machine of one CPU does all on that one.
inline int other_cpu() { return machine_cpus() > 1 ? 1 : 0; }

}  // namespace dmatoll::harness
