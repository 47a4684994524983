// SPDX-License-Identifier: BSD-2-Clause
#include "disk_users.hpp"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <nlohmann/json.hpp>

#include "../failure.hpp"
#include "../paths.hpp"
#include "../process.hpp"
#include "../text.hpp"
#include "disk.hpp"
#include "system.hpp"

namespace dmatoll::harness {
namespace {

constexpr const char* disk_driver = "dmatoll-disk-user";

bool has(const std::vector<std::string>& names, const std::string& name) {
    return std::find(names.begin(), names.end(), name) != names.end();
}

std::vector<std::string> names_in(const fs::path& folder) {
    std::vector<std::string> names;
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(folder, error)) names.push_back(entry.path().filename().string());
    std::sort(names.begin(), names.end());
    return names;
}

// Of a device mapper's disk; empty if it is none.
std::string mapped_name(const Part& part) { return read_attribute(part.folder / "dm/name").value_or(""); }

// "dm-0 (vg-root)"
std::string called(const Part& part) {
    const std::string name = mapped_name(part);
    return name.empty() ? part.name : fmt::format("{} ({})", part.name, name);
}

// Follows what is made of a disk until it comes to those who use it.
class Search {
  public:
    Search()
        : mounts_{lines(read_attribute(system_paths().proc / "self/mountinfo").value_or(""))},
          swaps_{lines(read_attribute(system_paths().proc / "swaps").value_or(""))} {}

    void look_at(const std::string& disk) {
        // A RAID of two partitions is met twice.
        if (has(seen_, disk)) return;
        seen_.push_back(disk);
        for (const auto& part : parts_of(disk)) look_at(part);
    }

    std::vector<std::string> uses() && { return std::move(uses_); }

  private:
    void look_at(const Part& part) {
        const std::string file = "/dev/" + part.name;
        look_for_mounts(part, file);
        for (const auto& line : swaps_)
            if (line.starts_with(file + " ") || line.starts_with(file + "\t"))
                uses_.push_back(called(part) + " is swap space");
        for (const auto& holder : names_in(part.folder / "holders")) {
            uses_.push_back(fmt::format("{} is part of {}", called(part), called(parts_of(holder).front())));
            look_at(holder);
        }
        for (const auto& loop : names_in(system_paths().sys / "block")) {
            if (read_attribute(system_paths().sys / "block" / loop / "loop/backing_file") != file) continue;
            uses_.push_back(fmt::format("{} is what {} is made of", called(part), loop));
            look_at(loop);
        }
    }

    // By device number, or by the file that was mounted: some file systems have numbers of their own.
    void look_for_mounts(const Part& part, const std::string& file) {
        const std::string number = read_attribute(part.folder / "dev").value_or("?");
        const std::string mapped = "/dev/mapper/" + mapped_name(part);
        // id parent major:minor root mount-point options ... - type source options [proc(5)]
        for (const auto& line : mounts_) {
            const auto fields = split(line, ' ');
            if (fields.size() < 10) continue;
            const auto dash = std::find(fields.begin() + 6, fields.end(), "-");
            const bool same_file = fields.end() - dash > 2 && (dash[2] == file || dash[2] == mapped);
            if (fields[2] == number || same_file) uses_.push_back(called(part) + " is mounted at " + fields[4]);
        }
    }

    std::vector<std::string> mounts_;
    std::vector<std::string> swaps_;
    std::vector<std::string> seen_;
    std::vector<std::string> uses_;
};

// Programs that have the disk or a partition of it open, however.
std::vector<std::string> programs_with(const std::string& disk) {
    std::vector<std::string> files;
    for (const auto& part : parts_of(disk)) files.push_back("/dev/" + part.name);
    std::vector<std::string> programs;
    for (const auto& process : names_in(system_paths().proc)) {
        // Beside the processes there are links to our own.
        if (!std::isdigit(static_cast<unsigned char>(process.front()))) continue;
        const fs::path folder = system_paths().proc / process;
        const auto descriptors = names_in(folder / "fd");
        if (std::any_of(descriptors.begin(), descriptors.end(), [&](const std::string& descriptor) {
                std::error_code gone;
                return has(files, fs::read_symlink(folder / "fd" / descriptor, gone).string());
            }))
            programs.push_back(
                fmt::format("{} (process {})", read_attribute(folder / "comm").value_or("a program"), process));
    }
    return programs;
}

struct UblkDisk {
    std::string name;
    bool served = false;  // or left behind by a driver that was killed, and waiting for the next
};

// Whose a ublk device is only the driver that made it can tell.
std::vector<UblkDisk> ublk_disks_of(const std::string& bdf) {
    const auto blocks = names_in(system_paths().sys / "block");
    const fs::path driver = our_program(disk_driver);
    if (driver.empty() || std::none_of(blocks.begin(), blocks.end(),
                                       [](const std::string& name) { return name.starts_with("ublkb"); }))
        return {};
    const std::string output = run_or_fail({.arguments = {driver.string(), "--device", bdf, "--list"}},
                                           "ask for the ublk devices of " + bdf);
    std::vector<UblkDisk> disks;
    try {
        for (const auto& line : lines(output)) {
            const auto disk = nlohmann::json::parse(line);
            disks.push_back(
                {fs::path{disk.at("block").get<std::string>()}.filename().string(), disk.at("served").get<bool>()});
        }
    } catch (const nlohmann::json::exception&) {
        fail("{} said about the ublk devices of {} what is not understood: {}", driver.string(), bdf, trim(output));
    }
    return disks;
}

}  // namespace

int open_alone(const std::string& file) {
    const Descriptor alone{::open(file.c_str(), O_RDONLY | O_EXCL | O_CLOEXEC | O_NONBLOCK)};
    return alone.valid() ? 0 : errno;
}

std::vector<std::string> uses_of(const std::string& disk, int (*try_alone)(const std::string& file)) {
    Search search;
    search.look_at(disk);
    auto uses = std::move(search).uses();
    if (!uses.empty()) return uses;
    // All of those have it so; what is left is ZFS, a mount in another namespace, a program. Whoever has a partition
    // stands in the way at the disk, too.
    if (try_alone("/dev/" + disk) == EBUSY) {
        const auto programs = programs_with(disk);
        uses.push_back(fmt::format(
            "{} or a partition of it is opened exclusively, by {}", disk,
            programs.empty() ? "the kernel or by somebody who cannot be seen from here" : join(programs, " or ")));
    }
    return uses;
}

std::vector<std::string> uses_of_controller(const std::string& bdf) {
    std::vector<std::string> uses;
    const auto add = [&](const std::string& disk) {
        const auto more = uses_of(disk);
        uses.insert(uses.end(), more.begin(), more.end());
        return !more.empty();
    };
    for (const auto& disk : disks_of(bdf)) add(disk.name);
    for (const auto& disk : ublk_disks_of(bdf))
        if (add(disk.name) && !disk.served)
            uses.push_back(fmt::format(
                "what was written to {} waits there, since its driver was killed: `{} --device {}` takes it over",
                disk.name, disk_driver, bdf));
    return uses;
}

}  // namespace dmatoll::harness
