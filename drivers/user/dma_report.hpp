// SPDX-License-Identifier: BSD-2-Clause
// What the driver process of a NIC that copies memory says: once that it can, or why it cannot; then what came of each
// command.
#pragma once

#include <optional>
#include <string>

#include "dma/dma_driver.hpp"

namespace dmatoll::user {

struct DmaReport {
    std::string arena;    // "hugepages" or "4KiB"
    std::string note;     // something the user may want to know
    std::string failure;  // empty: it is ready
};

// One line, without its newline.
std::string to_text(const DmaReport& report);
// Nothing if it is not such a report: the process that wrote it is not trusted.
std::optional<DmaReport> parse_dma_report(const std::string& text);

// A JSON object on one line, without its newline.
std::string to_text(const dma::DmaAnswer& answer);

}  // namespace dmatoll::user
