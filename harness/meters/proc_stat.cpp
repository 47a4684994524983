// SPDX-License-Identifier: BSD-2-Clause
#include "proc_stat.hpp"

#include <sstream>
#include <string>

#include "../failure.hpp"
#include "../file.hpp"
#include "../text.hpp"

namespace dmatoll::harness {

CpuTicks parse_cpu_ticks(std::string_view text, int cpu) {
    const std::string wanted = fmt::format("cpu{} ", cpu);
    for (const auto& line : lines(text)) {
        if (!line.starts_with(wanted)) continue;
        std::istringstream fields{line.substr(wanted.size())};
        // user nice system idle iowait irq softirq steal; guest times are part of user and nice.
        std::uint64_t v[8]{};
        for (auto& value : v)
            if (!(fields >> value))
                fail("/proc/stat: the line of CPU {} has fewer than 8 numbers: {}", cpu, line);
        return {.busy = v[0] + v[1] + v[2] + v[5] + v[6] + v[7], .idle = v[3] + v[4]};
    }
    fail("/proc/stat has no CPU {}", cpu);
}

CpuTicks read_cpu_ticks(int cpu) { return parse_cpu_ticks(read_file("/proc/stat"), cpu); }

}  // namespace dmatoll::harness
