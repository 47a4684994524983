// SPDX-License-Identifier: BSD-2-Clause
// What the user asked dmatoll-dma-user for, and how the supervisor passes it on to the driver process.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "common_options.hpp"

namespace dmatoll::user {

struct DmaOptions : CommonOptions {
    MappingOptions driver;
    std::vector<std::string> commands;  // to be followed one after the other; none: the control socket's are
    std::string hostile;                // a file that the process may read and not write; empty: it takes no hostile acts
};

// What the driver process is told: one JSON object as its only argument.
struct DmaChildOptions {
    ProcessOptions process;
    bool disk = false;  // the device is an AHCI controller; otherwise it is the NIC that the numbers name
    std::uint16_t pci_vendor = 0;
    std::uint16_t pci_device = 0;
    MappingOptions driver;
    std::string hostile;
};

// A command and its answer go to and from the driver process in a message each, no longer than that.
inline constexpr std::size_t longest_dma_message = 4096;

// Nothing when the user asked for help, which is then printed. Throws Failure: what is wrong with the
// arguments.
std::optional<DmaOptions> parse_dma_options(int argc, const char* const* argv);

std::string to_text(const DmaChildOptions& options);
// Throws Failure if the text is not what to_text() writes.
DmaChildOptions dma_child_options(const std::string& text);

}  // namespace dmatoll::user
