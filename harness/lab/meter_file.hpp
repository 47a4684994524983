// SPDX-License-Identifier: BSD-2-Clause
//
// What the instruction meter wrote: windows.jsonl, one line a window.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace dmatoll::harness::lab {

/// Instructions that one vCPU began in a window.
struct VcpuInstructions {
    std::uint64_t user = 0;
    std::uint64_t kernel = 0;

    std::uint64_t total() const { return user + kernel; }
    bool operator==(const VcpuInstructions&) const = default;
};

struct Window {
    std::uint64_t number = 0;
    std::vector<VcpuInstructions> vcpus;  ///< empty if the meter could not count
    std::string unavailable;              ///< why it could not

    std::uint64_t total() const;
    bool operator==(const Window&) const = default;
};

/// The windows in the file, in order. A last line that is not yet complete is left out. Throws
/// std::runtime_error if the file cannot be read or a line is not the meter's.
std::vector<Window> read_windows(const std::filesystem::path& file);

}  // namespace dmatoll::harness::lab
