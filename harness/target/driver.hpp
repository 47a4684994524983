// SPDX-License-Identifier: BSD-2-Clause
// A running driver of the device under test, whichever placement it has.
#pragma once

#include <nlohmann/json.hpp>

#include <memory>
#include <string>
#include <vector>

#include "../plan.hpp"
#include "disk.hpp"
#include "network.hpp"
#include "ownership.hpp"

namespace dmatoll::harness {

// Among counters(), where the driver has it: when it counted, in ns on its own monotonic clock.
inline constexpr const char* counted_at = "counted_at_ns";

class Driver {
  public:
    virtual ~Driver() = default;
    Driver() = default;
    Driver(const Driver&) = delete;
    Driver& operator=(const Driver&) = delete;

    // Its network interface; empty if it makes and takes frames by itself, or drives disks.
    [[nodiscard]] virtual std::string interface() const { return {}; }
    // Its disks so far: they may appear a while after the driver was started.
    [[nodiscard]] virtual std::vector<DiskPlace> disks() const { return {}; }
    // Absolute counts under the names of drivers/core/counters.hpp, as far as the driver has them.
    virtual Counts counters() = 0;
    // Where counters() reads.
    [[nodiscard]] virtual std::string counter_source() const = 0;
    // What is really in force: {"domain", "page_size", "strategy", ...}.
    virtual nlohmann::json effective() = 0;
    // Throws Failure if the driver has died or been restarted.
    virtual void require_alive() = 0;
    // Makes it fail, now: "kill", "null" or "loop". Throws Failure if it was not started for that.
    virtual void make_fault(const std::string& how);
    // Has a device that copies memory follow a line of drivers/dma/dma_command.hpp: what came of it, by name. Throws
    // Failure if it was refused.
    virtual nlohmann::json command(const std::string& line);
    // How often it has been started again since start_driver().
    virtual std::uint64_t restarts() { return 0; }
    // Ends it and leaves the device without a driver. Throws Failure.
    virtual void stop() = 0;
};

// Brings the device to the trial's state: group type, module or process, binding. Throws Unavailable if this
// machine lacks what that needs, Failure if it goes wrong.
std::unique_ptr<Driver> start_driver(const Trial& trial, const std::string& bdf, Ownership& ownership,
                                     int cpu);

// The disk at that port, once the driver has it. Throws Failure if it does not come.
Disk wait_for_disk(Driver& driver, const std::string& bdf, unsigned port, double seconds);

}  // namespace dmatoll::harness
