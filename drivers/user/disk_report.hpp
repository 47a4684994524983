// SPDX-License-Identifier: BSD-2-Clause
// What the driver process of a disk controller says: first which disks there are, or why it does not run;
// then, when it has been given their queues, that it serves them.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "ahci/disk.hpp"

namespace dmatoll::user {

struct DiskDescription {
    std::uint32_t port = 0;
    std::uint64_t blocks = 0;
    std::uint32_t block_bytes = 0;
    std::uint32_t physical_block_bytes = 0;
    std::uint32_t queue_depth = 0;
    bool force_unit_access = false;
    bool write_cache = false;
    bool flush = false;
    bool rotational = false;
    std::uint32_t most_trim_ranges = 0;  // 0: no trim
    std::string model;
    std::string serial;
    std::string firmware;

    bool operator==(const DiskDescription&) const = default;
};

DiskDescription describe(std::uint32_t port, const ahci::Disk& disk);

struct DiskReport {
    enum class Kind : std::uint8_t { failed, found, serving };

    Kind kind = Kind::failed;
    std::vector<DiskDescription> disks;  // found: by port, ascending
    std::string arena;                   // found: "hugepages" or "4KiB"
    std::string note;                    // found: something the user may want to know
    std::string failure;                 // failed
};

// One line, without its newline.
std::string to_text(const DiskReport& report);
// Nothing if it is not such a report, or describes an impossible disk: the process that wrote it is not
// trusted.
std::optional<DiskReport> parse_disk_report(const std::string& text);

void to_json(nlohmann::json& json, const DiskDescription& disk);

}  // namespace dmatoll::user
