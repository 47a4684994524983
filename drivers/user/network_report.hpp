// SPDX-License-Identifier: BSD-2-Clause
// What the driver process of a network card says, once: that it runs, or why it does not.
#pragma once

#include <optional>
#include <string>

#include "core/mac_address.hpp"

namespace dmatoll::user {

struct NetworkReport {
    bool ready = false;
    MacAddress mac{};
    std::string arena;    // "hugepages" or "4KiB"
    std::string note;     // something the user may want to know
    std::string failure;  // when not ready
};

// One line, without its newline.
std::string to_text(const NetworkReport& report);
// Nothing if it is not such a report: the process that wrote it is not trusted.
std::optional<NetworkReport> parse_network_report(const std::string& text);

}  // namespace dmatoll::user
