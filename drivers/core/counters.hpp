// SPDX-License-Identifier: BSD-2-Clause
// What every driver counts, under the same names in both placements: `ethtool -S` or the file `statistics` in the kernel, the
// control socket at user level, the record afterwards.
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

struct StorageCounters {
    // Taken from the surroundings and not ended with an error.
    std::uint64_t read_requests = 0;
    std::uint64_t write_requests = 0;
    std::uint64_t flush_requests = 0;
    std::uint64_t trim_requests = 0;
    std::uint64_t bytes_read = 0;
    std::uint64_t bytes_written = 0;
    std::uint64_t request_errors = 0;   // ended with an error
    std::uint64_t recoveries = 0;       // of a port, whatever was wrong
    std::uint64_t lost_interrupts = 0;  // completions that no interrupt told of
    std::uint64_t interrupts = 0;
    std::uint64_t polls = 0;
    std::uint64_t idle_polls = 0;  // polls that found nothing
};

// Of a NIC that copies memory.
struct DmaCounters {
    std::uint64_t copies = 0;  // ended
    std::uint64_t bytes_copied = 0;
    std::uint64_t copies_bad = 0;   // the destination does not hold what was at the source, or the length is another
    std::uint64_t copies_lost = 0;  // begun, and never ended
    std::uint64_t restarts = 0;     // of a device that did not end a copy
};

// Of a device's own counters or of its mapping work: one of the two is not null.
template <class Own>
struct NamedCounter {
    const char* name;
    std::uint64_t Own::* own;
    std::uint64_t MappingCounters::* mapping;
};

namespace detail {

// Mapping work has the same names, in the same order, behind those of every kind of device.
template <class Own, std::size_t N>
constexpr std::array<NamedCounter<Own>, N + 5> and_mapping(const NamedCounter<Own> (&own)[N]) {
    std::array<NamedCounter<Own>, N + 5> all{};
    for (std::size_t i = 0; i < N; ++i) all[i] = own[i];
    all[N] = {"maps", nullptr, &MappingCounters::maps};
    all[N + 1] = {"unmaps", nullptr, &MappingCounters::unmaps};
    all[N + 2] = {"invalidations", nullptr, &MappingCounters::invalidations};
    all[N + 3] = {"first_touches", nullptr, &MappingCounters::first_touches};
    all[N + 4] = {"map_failures", nullptr, &MappingCounters::failures};
    return all;
}

}  // namespace detail

using CounterName = NamedCounter<NetworkCounters>;
using StorageCounterName = NamedCounter<StorageCounters>;

// The order of this table is the order of `ethtool -S`.
inline constexpr auto counter_names = detail::and_mapping<NetworkCounters>({
    {"frames_transmitted", &NetworkCounters::frames_transmitted, nullptr},
    {"frames_received", &NetworkCounters::frames_received, nullptr},
    {"bytes_transmitted", &NetworkCounters::bytes_transmitted, nullptr},
    {"bytes_received", &NetworkCounters::bytes_received, nullptr},
    {"transmit_errors", &NetworkCounters::transmit_errors, nullptr},
    {"receive_errors", &NetworkCounters::receive_errors, nullptr},
    {"receive_missed", &NetworkCounters::receive_missed, nullptr},
    {"interrupts", &NetworkCounters::interrupts, nullptr},
    {"polls", &NetworkCounters::polls, nullptr},
    {"idle_polls", &NetworkCounters::idle_polls, nullptr},
});

// The order of this table is the order of the lines in `statistics`.
inline constexpr auto storage_counter_names = detail::and_mapping<StorageCounters>({
    {"read_requests", &StorageCounters::read_requests, nullptr},
    {"write_requests", &StorageCounters::write_requests, nullptr},
    {"flush_requests", &StorageCounters::flush_requests, nullptr},
    {"trim_requests", &StorageCounters::trim_requests, nullptr},
    {"bytes_read", &StorageCounters::bytes_read, nullptr},
    {"bytes_written", &StorageCounters::bytes_written, nullptr},
    {"request_errors", &StorageCounters::request_errors, nullptr},
    {"recoveries", &StorageCounters::recoveries, nullptr},
    {"lost_interrupts", &StorageCounters::lost_interrupts, nullptr},
    {"interrupts", &StorageCounters::interrupts, nullptr},
    {"polls", &StorageCounters::polls, nullptr},
    {"idle_polls", &StorageCounters::idle_polls, nullptr},
});

// The order of this table is the order of the lines in `statistics`.
inline constexpr auto dma_counter_names = detail::and_mapping<DmaCounters>({
    {"copies", &DmaCounters::copies, nullptr},
    {"bytes_copied", &DmaCounters::bytes_copied, nullptr},
    {"copies_bad", &DmaCounters::copies_bad, nullptr},
    {"copies_lost", &DmaCounters::copies_lost, nullptr},
    {"restarts", &DmaCounters::restarts, nullptr},
});

template <class Own>
constexpr std::uint64_t counter(const NamedCounter<Own>& name, const Own& own, const MappingCounters& mapping) {
    return name.own ? own.*name.own : mapping.*name.mapping;
}

}  // namespace dmatoll
