// SPDX-License-Identifier: BSD-2-Clause
#include "disk_report.hpp"

#include <algorithm>
#include <bit>
#include <nlohmann/json.hpp>

#include "ahci/settings.hpp"

namespace dmatoll::user {
namespace {

using nlohmann::json;

// What an address of 48 bits reaches.
constexpr std::uint64_t most_blocks = std::uint64_t{1} << 48;
constexpr std::uint32_t largest_physical_block = 1 << 20;

// In IDENTIFY's fields, whose characters are printable.
bool is_name(const std::string& text, std::size_t longest) {
    return text.size() <= longest &&
           std::all_of(text.begin(), text.end(), [](char c) { return c >= ' ' && c <= '~'; });
}

bool is_possible(const DiskDescription& disk) {
    return disk.port < ahci::most_ports && disk.blocks >= 1 && disk.blocks <= most_blocks &&
           std::has_single_bit(disk.block_bytes) && disk.block_bytes >= 512 && disk.block_bytes <= 4096 &&
           std::has_single_bit(disk.physical_block_bytes) && disk.physical_block_bytes >= disk.block_bytes &&
           disk.physical_block_bytes <= largest_physical_block && disk.queue_depth >= 1 &&
           disk.queue_depth <= ahci::most_tags && disk.most_trim_ranges <= 0xffff &&
           is_name(disk.model, 40) && is_name(disk.serial, 20) && is_name(disk.firmware, 8);
}

void from_json(const json& json, DiskDescription& disk) {
    json.at("port").get_to(disk.port);
    json.at("blocks").get_to(disk.blocks);
    json.at("block_bytes").get_to(disk.block_bytes);
    json.at("physical_block_bytes").get_to(disk.physical_block_bytes);
    json.at("queue_depth").get_to(disk.queue_depth);
    json.at("force_unit_access").get_to(disk.force_unit_access);
    json.at("write_cache").get_to(disk.write_cache);
    json.at("flush").get_to(disk.flush);
    json.at("rotational").get_to(disk.rotational);
    json.at("most_trim_ranges").get_to(disk.most_trim_ranges);
    json.at("model").get_to(disk.model);
    json.at("serial").get_to(disk.serial);
    json.at("firmware").get_to(disk.firmware);
}

}  // namespace

void to_json(json& json, const DiskDescription& disk) {
    json = {{"port", disk.port},
            {"blocks", disk.blocks},
            {"block_bytes", disk.block_bytes},
            {"physical_block_bytes", disk.physical_block_bytes},
            {"queue_depth", disk.queue_depth},
            {"force_unit_access", disk.force_unit_access},
            {"write_cache", disk.write_cache},
            {"flush", disk.flush},
            {"rotational", disk.rotational},
            {"most_trim_ranges", disk.most_trim_ranges},
            {"model", disk.model},
            {"serial", disk.serial},
            {"firmware", disk.firmware}};
}

DiskDescription describe(std::uint32_t port, const ahci::Disk& disk) {
    return {.port = port,
            .blocks = disk.blocks,
            .block_bytes = disk.block_bytes,
            .physical_block_bytes = disk.physical_block_bytes,
            .queue_depth = disk.queue_depth,
            .force_unit_access = disk.force_unit_access,
            .write_cache = disk.write_cache,
            .flush = disk.flush,
            .rotational = disk.rotational,
            .most_trim_ranges = disk.trim ? disk.most_trim_ranges : 0,
            .model = disk.model,
            .serial = disk.serial,
            .firmware = disk.firmware};
}

std::string to_text(const DiskReport& report) {
    json text;
    switch (report.kind) {
        case DiskReport::Kind::failed:
            text = {{"failure", report.failure}};
            break;
        case DiskReport::Kind::found:
            text = {{"disks", report.disks}, {"arena", report.arena}, {"note", report.note}};
            break;
        case DiskReport::Kind::serving:
            text = {{"serving", true}};
            break;
    }
    return text.dump(-1, ' ', true, json::error_handler_t::replace);
}

std::optional<DiskReport> parse_disk_report(const std::string& text) {
    try {
        const auto json = json::parse(text);
        DiskReport report;
        if (json.contains("failure")) {
            json.at("failure").get_to(report.failure);
            return report;
        }
        if (json.contains("serving")) {
            report.kind = DiskReport::Kind::serving;
            return json.at("serving").get<bool>() ? std::optional{report} : std::nullopt;
        }
        report.kind = DiskReport::Kind::found;
        json.at("arena").get_to(report.arena);
        json.at("note").get_to(report.note);
        for (const auto& entry : json.at("disks")) {
            DiskDescription disk;
            from_json(entry, disk);
            if (!is_possible(disk) || (!report.disks.empty() && disk.port <= report.disks.back().port)) {
                return std::nullopt;
            }
            report.disks.push_back(std::move(disk));
        }
        return report;
    } catch (const nlohmann::json::exception&) {
        return std::nullopt;
    }
}

}  // namespace dmatoll::user
