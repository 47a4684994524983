// SPDX-License-Identifier: BSD-2-Clause
// Processes that have a device of VFIO's: it is had back when there is none any more.
#pragma once

#include <sys/types.h>

#include <compare>
#include <cstdint>
#include <optional>
#include <set>
#include <string>

namespace dmatoll::harness {

// A process, told apart from a later one of the same number.
struct ProcessMark {
    pid_t pid;
    std::uint64_t started;  // in ticks since the machine's start
    auto operator<=>(const ProcessMark&) const = default;
};

// All there are, whatever device they have. Of processes that this one may not look into nothing is known.
std::set<ProcessMark> device_holders();

// Its name; nothing: it has ended, or may not be looked into.
std::optional<std::string> pid_namespace_of(pid_t pid);

// It has not ended.
bool lives(const ProcessMark& process);

}  // namespace dmatoll::harness
