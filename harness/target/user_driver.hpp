// SPDX-License-Identifier: BSD-2-Clause
// Our driver as a process over VFIO: dmatoll-net-user, dmatoll-disk-user for disks, or dmatoll-dma-user for a device
// that copies memory.
#pragma once

#include <optional>

#include "../process.hpp"
#include "driver.hpp"

namespace dmatoll::harness {

// The disks of the event that the driver is ready. Throws Failure if they are not as they should be.
std::vector<DiskPlace> disks_of_event(const nlohmann::json& event);

class UserDriver final : public Driver {
  public:
    UserDriver(const Trial& trial, const std::string& bdf, Ownership& ownership, int cpu);
    ~UserDriver() override;

    std::string interface() const override;
    std::vector<DiskPlace> disks() const override { return disks_; }
    Counts counters() override;
    std::string counter_source() const override { return "control socket"; }
    nlohmann::json effective() override;
    void require_alive() override;
    void make_fault(const std::string& how) override;
    nlohmann::json command(const std::string& line) override;
    std::uint64_t restarts() override;
    void stop() override;

  private:
    // One line there, one back.
    std::string request(const std::string& what);
    nlohmann::json wait_until_ready();  // The event; throws Failure.
    nlohmann::json ask();  // its statistics

    std::string bdf_;
    int cpu_;
    std::string interface_;
    std::vector<DiskPlace> disks_;
    std::string socket_path_;
    std::optional<Child> child_;
    Descriptor socket_;
    std::uint64_t restarts_ = 0;
};

}  // namespace dmatoll::harness
