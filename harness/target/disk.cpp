// SPDX-License-Identifier: BSD-2-Clause
#include "disk.hpp"

#include <algorithm>
#include <cstdlib>
#include <optional>

#include "../failure.hpp"
#include "../process.hpp"
#include "../text.hpp"
#include "disk_users.hpp"
#include "pci.hpp"
#include "system.hpp"

namespace dmatoll::harness {
namespace {

// Of /sys/block/*/stat and size, whatever the disk's own blocks are [Linux, Documentation/block/stat.rst].
constexpr std::uint64_t sector_bytes = 512;
// As many as there are tags.
constexpr unsigned most_requests = 32;
// Completed where the interrupt is, which is where the workload runs.
constexpr unsigned rq_affinity = 1;
constexpr unsigned nomerges = 0;

fs::path block_path(const std::string& disk) { return system_paths().sys / "block" / disk; }

// The number behind the last directory of the path that is called ata<n>: libata's own port.
std::optional<unsigned> ata_port(const fs::path& device) {
    for (fs::path path = device; path.has_relative_path(); path = path.parent_path()) {
        const std::string name = path.filename().string();
        if (!name.starts_with("ata") || name.size() < 4 || !std::isdigit(static_cast<unsigned char>(name[3])))
            continue;
        // Counted from 1 within the controller.
        const auto number = read_attribute(path / "ata_port" / name / "port_no");
        if (!number || std::atoi(number->c_str()) < 1) return std::nullopt;
        return static_cast<unsigned>(std::atoi(number->c_str()) - 1);
    }
    return std::nullopt;
}

// Our module says it itself: lines "port name".
std::optional<unsigned> module_port(const fs::path& controller, const std::string& name) {
    for (const auto& line : lines(read_attribute(controller / "dmatoll/disks").value_or(""))) {
        const auto words = split(line, ' ');
        if (words.size() >= 2 && words[1] == name)
            return static_cast<unsigned>(std::strtoul(words[0].c_str(), nullptr, 10));
    }
    return std::nullopt;
}

}  // namespace

std::vector<DiskPlace> disks_of(const std::string& bdf) {
    std::error_code error;
    const fs::path controller = fs::canonical(device_path(bdf), error);
    if (error) return {};
    std::vector<std::pair<std::string, std::optional<unsigned>>> found;
    for (const auto& entry : fs::directory_iterator(system_paths().sys / "block", error)) {
        std::error_code gone;
        const fs::path device = fs::canonical(entry.path(), gone);
        if (gone || !(device.string() + "/").starts_with(controller.string() + "/")) continue;
        const std::string name = entry.path().filename().string();
        auto port = ata_port(device);
        if (!port) port = module_port(controller, name);
        found.emplace_back(name, port);
    }
    std::sort(found.begin(), found.end());
    std::vector<DiskPlace> disks;
    for (const auto& [name, port] : found)
        disks.push_back({port.value_or(static_cast<unsigned>(disks.size())), name});
    std::sort(disks.begin(), disks.end(),
              [](const DiskPlace& a, const DiskPlace& b) { return a.port < b.port; });
    return disks;
}

std::vector<Part> parts_of(const std::string& disk) {
    std::vector<Part> parts{{disk, block_path(disk)}};
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(block_path(disk), error))
        if (fs::exists(entry.path() / "partition")) parts.push_back({entry.path().filename().string(), entry.path()});
    std::sort(parts.begin() + 1, parts.end(), [](const Part& a, const Part& b) { return a.name < b.name; });
    return parts;
}

std::vector<std::string> signatures_of(const std::string& disk) {
    std::vector<std::string> found;
    for (const auto& part : parts_of(disk)) {
        const std::string text =
            run_or_fail({.arguments = {"wipefs", "--no-act", "--noheadings", "--output", "TYPE", "/dev/" + part.name}},
                        "look for file systems on " + part.name);
        for (const auto& line : lines(text))
            if (const std::string type = trim(line); !type.empty()) found.push_back(type + " on " + part.name);
    }
    return found;
}

void require_writable(const std::string& disk) {
    auto reasons = uses_of(disk);
    for (const auto& signature : signatures_of(disk)) reasons.push_back("there is " + signature);
    if (!reasons.empty())
        fail(
            "The workload writes, and the disk {} is not empty: {}. What it holds would be lost. If nobody "
            "needs it, `wipefs --all /dev/{}`, or say --force",
            disk, join(reasons, "; "), disk);
}

std::uint64_t Disk::bytes() const {
    const auto sectors = read_attribute(block_path(name_) / "size");
    if (!sectors) fail("{} cannot be read: the disk is gone", (block_path(name_) / "size").string());
    return std::strtoull(sectors->c_str(), nullptr, 10) * sector_bytes;
}

void Disk::set_queue(std::uint32_t most_request_kib) const {
    const std::pair<const char*, std::string> wanted[] = {
        {"scheduler", "none"},
        {"max_sectors_kb", std::to_string(most_request_kib)},
        {"nr_requests", std::to_string(most_requests)},
        {"rq_affinity", std::to_string(rq_affinity)},
        {"read_ahead_kb", std::to_string(read_ahead_kib)},
        {"nomerges", std::to_string(nomerges)},
        {"wbt_lat_usec", "0"},    // no throttling of write-back by measured latencies
        {"add_random", "0"},      // no entropy taken from completions
        {"rotational", "0"},
        {"iostats", "1"},         // what statistics() reads
    };
    for (const auto& [name, value] : wanted) {
        try {
            write_attribute(block_path(name_) / "queue" / name, value);
        } catch (const Failure&) {
            // The driver has no such choice, or a smaller one: queue_deviations() and queue() say what is in force.
        }
    }
}

nlohmann::json Disk::queue_deviations(std::uint32_t most_request_kib) const {
    const nlohmann::json wanted{{"scheduler", "none"},
                                {"max_sectors_kb", most_request_kib},
                                {"nr_requests", most_requests},
                                {"rq_affinity", rq_affinity},
                                {"nomerges", nomerges}};
    const auto found = queue();
    nlohmann::json deviations = nlohmann::json::object();
    for (const auto& [name, value] : wanted.items())
        if (const auto in_force = found.find(name); in_force == found.end() || *in_force != value)
            deviations[name] = {{"wanted", value}, {"found", in_force == found.end() ? nlohmann::json{} : *in_force}};
    return deviations;
}

nlohmann::json Disk::queue() const {
    nlohmann::json result = nlohmann::json::object();
    for (const auto* name :
         {"max_sectors_kb", "max_hw_sectors_kb", "max_segments", "max_segment_size", "virt_boundary_mask", "nr_requests",
          "rq_affinity", "read_ahead_kb", "nomerges", "wbt_lat_usec", "add_random", "rotational", "iostats",
          "logical_block_size", "physical_block_size", "fua"})
        if (const auto value = read_attribute(block_path(name_) / "queue" / name))
            result[name] = std::strtoull(value->c_str(), nullptr, 10);
    // "[none] mq-deadline": the one in brackets.
    if (const auto schedulers = read_attribute(block_path(name_) / "queue/scheduler")) {
        const auto begin = schedulers->find('[');
        const auto end = schedulers->find(']');
        result["scheduler"] = begin == std::string::npos || end == std::string::npos
                                  ? *schedulers
                                  : schedulers->substr(begin + 1, end - begin - 1);
    }
    if (const auto cache = read_attribute(block_path(name_) / "queue/write_cache")) result["write_cache"] = *cache;
    return result;
}

Counts Disk::statistics() const {
    const auto text = read_attribute(block_path(name_) / "stat");
    std::vector<std::uint64_t> fields;
    for (const auto& word : split(text.value_or(""), ' '))
        if (!word.empty()) fields.push_back(std::strtoull(word.c_str(), nullptr, 10));
    if (fields.size() < 7)
        fail("{} cannot be read, or is not what is expected: '{}'", (block_path(name_) / "stat").string(),
             text.value_or(""));
    return {{"read_requests", fields[0]},
            {"bytes_read", fields[2] * sector_bytes},
            {"write_requests", fields[4]},
            {"bytes_written", fields[6] * sector_bytes}};
}

}  // namespace dmatoll::harness
