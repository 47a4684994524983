// SPDX-License-Identifier: BSD-2-Clause
// /proc/stat: where the scheduler's tick says that one CPU's time went.
#pragma once

#include <cstdint>
#include <string_view>

namespace dmatoll::harness {

// In clock ticks since boot.
struct CpuTicks {
    std::uint64_t busy = 0;  // all but idle and iowait
    std::uint64_t idle = 0;
};

// From the text of /proc/stat. Throws Failure if that CPU is not in it.
CpuTicks parse_cpu_ticks(std::string_view text, int cpu);
CpuTicks read_cpu_ticks(int cpu);

}  // namespace dmatoll::harness
