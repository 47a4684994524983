// SPDX-License-Identifier: BSD-2-Clause
// What this machine can do.
#pragma once

#include <string>
#include <vector>

namespace dmatoll::harness {

struct Check {
    std::string name;
    bool there = false;
    std::string found;   // what is there, or what is there instead
    std::string remedy;  // how to get it; empty if it is there
};

struct Diagnosis {
    std::vector<Check> lab;       // what `run --target lab` needs; all must be there
    std::vector<Check> hardware;  // what `run --target local` needs
    std::vector<Check> optional;  // what makes something faster or better, and what trials of disks need

    [[nodiscard]] bool lab_ready() const;
    [[nodiscard]] bool hardware_ready() const;
};

Diagnosis diagnose();

// Compares the first two numbers of kernel releases such as "6.12.117+deb12-amd64".
bool kernel_at_least(const std::string& release, unsigned major, unsigned minor);

}  // namespace dmatoll::harness
