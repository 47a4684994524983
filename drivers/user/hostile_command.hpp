// SPDX-License-Identifier: BSD-2-Clause
// What a driver process can be told to do that it has no business to do, as a line: `hostile`, an act, then
// name=value with whole numbers, decimal or behind 0x.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace dmatoll::user {

enum class Act : std::uint8_t {
    map_own,
    map_foreign,
    map_kernel,
    map_read_only,
    map_readable,
    unmap,
    exhaust_memory,
    exhaust_mappings,
    release,
    write_bars,
    write_rom,
    write_command,
    write_messages,
    power_down,
    reach_beyond,
    restore_config,
    flood,
    end_flood,
    process_read,
    process_write,
    process_file_read,
    process_file_write,
    trace_read,
    trace_write,
    machine_read,
    machine_write,
    outlive,
    signal,
    write_message_table,
};

enum class ActKey : std::uint8_t {
    iova,
    address,  // in another process, of the kernel, or on the bus
    process,
    word,
    rest_after,  // interrupts; 0: never
};
inline constexpr std::size_t act_keys = 5;

struct HostileAct {
    Act act;
    const char* name;
    const char* asset;  // whose it is that is attacked; nullptr: the act is no attack, but what one needs
    const char* tried;
    std::array<bool, act_keys> takes;  // each of them is needed
};

// In the order of Act.
std::span<const HostileAct> hostile_acts();

struct HostileCommand {
    const HostileAct* act = nullptr;
    std::array<std::uint64_t, act_keys> values{};

    [[nodiscard]] std::uint64_t value(ActKey key) const { return values[static_cast<std::size_t>(key)]; }
};

// The line is one of these: it begins with that word.
bool is_hostile(std::string_view line);

// Throws Failure: what is wrong with it.
HostileCommand parse_hostile_command(std::string_view line);

}  // namespace dmatoll::user
