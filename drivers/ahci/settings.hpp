// SPDX-License-Identifier: BSD-2-Clause
// What the surroundings choose for one host bus adapter, the limits that hold for every one, and the driver's
// bounds on time.
#pragma once

#include <cstdint>

#include "registers.hpp"

namespace dmatoll::ahci {

inline constexpr std::uint32_t most_ports = 32;
inline constexpr std::uint32_t most_tags = 32;

inline constexpr std::uint32_t most_transfer_bytes = 1 << 20;
// 256 pages, and one more where the first is not aligned.
inline constexpr std::uint32_t most_segments = 257;

// A request is given to the device that many times when it fails for a reason that may pass: a line error, a
// reset, a timeout.
inline constexpr std::uint32_t most_attempts = 3;

struct Settings {
    std::uint32_t queue_depth = 32;            // tags of a port, 1 to 32
    std::uint32_t attempts = most_attempts;  // at a request, 1 to most_attempts
    // How long BAR 5 is: a port whose registers lie beyond is not there, whatever the adapter says.
    std::uint32_t register_bytes = first_port_offset + most_ports * port_stride;
};

// A bit for each port whose registers lie in that many bytes.
constexpr std::uint32_t ports_within(std::uint32_t register_bytes) {
    if (register_bytes < first_port_offset + port_stride) return 0;
    const std::uint32_t ports = (register_bytes - first_port_offset) / port_stride;
    return ports >= most_ports ? ~std::uint32_t{0} : (1u << ports) - 1;
}

constexpr bool valid(const Settings& settings) {
    return settings.queue_depth >= 1 && settings.queue_depth <= most_tags && settings.attempts >= 1 &&
           settings.attempts <= most_attempts;
}

static_assert(valid(Settings{}));

// How often the surroundings call Driver::watch() for each port.
inline constexpr std::uint32_t watch_period_ms = 500;

// A command that the device did not answer for that long is taken for lost. Half a minute is what other
// systems give a disk: one that hides a bad sector retries for many seconds.
inline constexpr std::uint32_t command_timeout_ms = 30'000;
inline constexpr std::uint32_t command_timeout_ticks = command_timeout_ms / watch_period_ms;

// Memory or IOVAs that were short for that long, with no request in flight that could give any back, are not
// waited for any longer.
inline constexpr std::uint32_t most_shortage_ticks = command_timeout_ticks;

// A port that had to be reset that many times with not one request done between has no disk that is of use.
inline constexpr std::uint32_t most_fruitless_recoveries = 6;

}  // namespace dmatoll::ahci
