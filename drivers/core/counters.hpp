// SPDX-License-Identifier: BSD-2-Clause
// What every driver counts, under the same names in both placements: `ethtool -S` in the kernel, the control socket at user
// level, the record afterwards.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace dmatoll {

// Mapping work since the driver started. With our strategies these are operations on the page table of the domain; with
// Linux's DMA API maps and unmaps are calls, and the other three are not known.
struct MappingCounters {
    std::uint64_t maps = 0;
    std::uint64_t unmaps = 0;
    std::uint64_t invalidations = 0;
    std::uint64_t unmap_calls = 0;    // of the backend: one may end several mappings that adjoin
    std::uint64_t first_touches = 0;  // persistent: pages that were not mapped yet
    std::uint64_t failures = 0;       // mappings refused
};

struct NetworkCounters {
    std::uint64_t frames_transmitted = 0;  // on the wire: a segmented buffer counts its segments
    std::uint64_t frames_received = 0;
    std::uint64_t bytes_transmitted = 0;  // on the wire without preamble, CRC and gap
    std::uint64_t bytes_received = 0;
    std::uint64_t transmit_errors = 0;
    std::uint64_t receive_errors = 0;   // frames dropped because the device reported an error or wrote an impossible descriptor
    std::uint64_t receive_missed = 0;   // frames that the device had no descriptor for
    std::uint64_t interrupts = 0;
    std::uint64_t polls = 0;
    std::uint64_t idle_polls = 0;  // polls that found nothing
};

struct CounterName {
    const char* name;
    std::uint64_t NetworkCounters::* network;
    std::uint64_t MappingCounters::* mapping;
};

// The order of this table is the order of `ethtool -S`.
inline constexpr std::array counter_names{
    CounterName{"frames_transmitted", &NetworkCounters::frames_transmitted, nullptr},
    CounterName{"frames_received", &NetworkCounters::frames_received, nullptr},
    CounterName{"bytes_transmitted", &NetworkCounters::bytes_transmitted, nullptr},
    CounterName{"bytes_received", &NetworkCounters::bytes_received, nullptr},
    CounterName{"transmit_errors", &NetworkCounters::transmit_errors, nullptr},
    CounterName{"receive_errors", &NetworkCounters::receive_errors, nullptr},
    CounterName{"receive_missed", &NetworkCounters::receive_missed, nullptr},
    CounterName{"interrupts", &NetworkCounters::interrupts, nullptr},
    CounterName{"polls", &NetworkCounters::polls, nullptr},
    CounterName{"idle_polls", &NetworkCounters::idle_polls, nullptr},
    CounterName{"maps", nullptr, &MappingCounters::maps},
    CounterName{"unmaps", nullptr, &MappingCounters::unmaps},
    CounterName{"invalidations", nullptr, &MappingCounters::invalidations},
    CounterName{"first_touches", nullptr, &MappingCounters::first_touches},
    CounterName{"map_failures", nullptr, &MappingCounters::failures},
};

constexpr std::uint64_t counter(const CounterName& name, const NetworkCounters& network, const MappingCounters& mapping) {
    return name.network ? network.*name.network : mapping.*name.mapping;
}

}  // namespace dmatoll
