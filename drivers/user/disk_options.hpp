// SPDX-License-Identifier: BSD-2-Clause
// What the user asked dmatoll-disk-user for, and how the supervisor passes it on to the driver process.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "ahci/settings.hpp"
#include "common_options.hpp"

namespace dmatoll::user {

struct DiskDriverOptions : MappingOptions {
    std::uint32_t queue_depth = ahci::Settings{}.queue_depth;
};

struct DiskOptions : CommonOptions {
    DiskDriverOptions driver;
    bool list = false;    // only tell which block devices there are of this controller
    bool remove = false;  // only take away what a killed supervisor left behind
};

// What the driver process is told: one JSON object as its only argument.
struct DiskChildOptions {
    ProcessOptions process;
    DiskDriverOptions driver;
};

// Nothing when the user asked for help, which is then printed. Throws Failure: what is wrong with the
// arguments.
std::optional<DiskOptions> parse_disk_options(int argc, const char* const* argv);

std::string to_text(const DiskChildOptions& options);
// Throws Failure if the text is not what to_text() writes.
DiskChildOptions disk_child_options(const std::string& text);

}  // namespace dmatoll::user
