// SPDX-License-Identifier: BSD-2-Clause
// Disks as the block layer has them: which a controller has, what is on them, how their queues are set, what they
// counted.
#pragma once

#include <nlohmann/json.hpp>

#include <cstdint>
#include <string>
#include <vector>

#include "../file.hpp"
#include "network.hpp"

namespace dmatoll::harness {

// A disk of a controller.
struct DiskPlace {
    unsigned port = 0;
    std::string name;  // below /sys/block, and its file in /dev
};

// Those that the kernel has made of the controller, by port. Where the driver does not say which port a disk is at,
// they are counted in the order of their names.
std::vector<DiskPlace> disks_of(const std::string& bdf);

// A disk or one of its partitions, and its folder below /sys.
struct Part {
    std::string name;
    fs::path folder;
};

// The disk itself comes first.
std::vector<Part> parts_of(const std::string& disk);

// File systems, partition tables and the like that begin on a disk or its partitions: "ext4 on sda1". Throws Failure
// if they cannot be looked for.
std::vector<std::string> signatures_of(const std::string& disk);

// Throws Failure, with what is there and what can be done, unless the disk holds nothing that a workload that writes
// would destroy, and nobody uses it.
void require_writable(const std::string& disk);

// What set_queue() sets.
inline constexpr std::uint32_t read_ahead_kib = 128;

class Disk {
  public:
    explicit Disk(std::string name) : name_{std::move(name)} {}

    [[nodiscard]] const std::string& name() const { return name_; }
    [[nodiscard]] std::string path() const { return "/dev/" + name_; }
    [[nodiscard]] std::uint64_t bytes() const;  // Throws Failure

    // Makes queues equal in all placements, as far as the driver lets them be: no scheduler, requests up to that many
    // KiB, nothing that only some disks do by themselves. What is in force then is queue().
    void set_queue(std::uint32_t most_request_kib) const;
    [[nodiscard]] nlohmann::json queue() const;
    // Of what makes placements comparable: {"nomerges": {"wanted": 0, "found": 2}, ...}; empty if the queue is as
    // set_queue() wants it.
    [[nodiscard]] nlohmann::json queue_deviations(std::uint32_t most_request_kib) const;

    // Of the block layer, the same in every placement: requests and bytes that were completed.
    [[nodiscard]] Counts statistics() const;

  private:
    std::string name_;
};

}  // namespace dmatoll::harness
