// SPDX-License-Identifier: BSD-2-Clause
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace dmatoll::workloads {

struct LoadOptions {
    std::string server;  // IPv4 address of the echo server
    std::uint16_t port = 0;
    std::string source;  // own address; empty: as the kernel routes
    std::uint64_t load_bps = 0;
    std::uint64_t payload_bytes = 1472;
    std::uint64_t warm_up_ms = 1000;
    std::uint64_t window_ms = 1000;
    std::uint64_t cool_down_ms = 500;
    bool announce = false;
};

// Nothing: help was asked for and printed. Throws Failure for what makes no sense.
std::optional<LoadOptions> parse_load_options(int argc, const char* const* argv);

}  // namespace dmatoll::workloads
