// SPDX-License-Identifier: BSD-2-Clause
// Processes that have a device of VFIO's: it is had back when there is none any more.
#pragma once

#include <sys/types.h>

#include <compare>
#include <cstdint>
#include <set>

namespace dmatoll::harness {

// A process, told apart from a later one of the same number.
struct ProcessMark {
    pid_t pid;
    std::uint64_t started;  // in ticks since the machine's start
    auto operator<=>(const ProcessMark&) const = default;
};

// All there are, whatever device they have. Of processes that this one may not look into nothing is known.
std::set<ProcessMark> device_holders();

// It has not ended.
bool lives(const ProcessMark& process);

}  // namespace dmatoll::harness
