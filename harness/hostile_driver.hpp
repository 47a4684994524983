// SPDX-License-Identifier: BSD-2-Clause
// The driver process as an attacker: it is told to try what it has no business to do
// (drivers/user/hostile_command.hpp has the acts), and what it reached is looked for where it would be. Of two acts
// nobody else knows: how often it moved something behind its regions, and how many mappings it made. There its own
// word is taken; for the first the configuration of all functions is looked at as well.
#pragma once

#include <nlohmann/json.hpp>

#include <array>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "plan.hpp"
#include "traffic.hpp"

namespace dmatoll::harness {

// A cell of the result. The attacker is the driver.
struct HostileCell {
    const char* access;
    const char* asset;  // kernel, process (another one's memory), devices (the others), machine
    // Error numbers that the attempt is answered with where the kernel holds it back, 0 being none. Any other is that
    // of something else, and shows nothing.
    std::array<int, 2> held;
};
std::span<const HostileCell> hostile_cells();
const HostileCell* find_hostile_cell(const std::string& access);  // nullptr: there is none

// Tries all of it with the driver of that device. Adds to the record, throws and calls as run_probe().
void run_hostile_driver(const Trial& trial, const TrafficPlaces& places, const std::string& bdf, nlohmann::json& record,
                        const std::function<void(std::uint64_t, std::uint64_t)>& step);

// Why an attempt that reached nothing does not show that it was held back, by what the process says of it; empty: it
// does.
std::string shows_nothing(const HostileCell& cell, const nlohmann::json& answer);

// Of /proc/PID/status and /proc/PID/limits: whether the process holds more memory locked than it may, or nothing
// keeps it from that. Throws Failure if they do not say.
bool holds_too_much(const std::string& status, const std::string& limits);

// How many complaints of the kernel's say that it gave up an interrupt line.
std::uint64_t dead_lines_among(const std::vector<std::string>& complaints);

// Why it may have had no reason to give one up, or may have said so unheard; empty: it would be known.
std::string blind_to_dead_lines(std::uint64_t interrupts, const std::vector<std::string>& complaints);

}  // namespace dmatoll::harness
