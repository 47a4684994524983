// SPDX-License-Identifier: BSD-2-Clause
// Our driver as a module: dmatoll_net, dmatoll_blk for disks, or dmatoll_dma and dmatoll_dma_disk for a device that copies memory.
#pragma once

#include <optional>

#include "../catalogue.hpp"
#include "../kernel_log.hpp"
#include "driver.hpp"

namespace dmatoll::harness {

class KernelDriver final : public Driver {
  public:
    KernelDriver(const Trial& trial, const Strategy& strategy, const std::string& bdf, Ownership& ownership,
                 int cpu);
    ~KernelDriver() override;

    std::string interface() const override { return interface_ ? interface_->name() : ""; }
    Counts counters() override;
    std::vector<DiskPlace> disks() const override;
    std::string counter_source() const override;
    nlohmann::json effective() override;
    void require_alive() override;
    void make_fault(const std::string& how) override;
    nlohmann::json command(const std::string& line) override;
    void stop() override;

  private:
    [[nodiscard]] Counts network_counters() const;
    // Of a module that makes no network interface.
    [[nodiscard]] Counts statistics() const;

    bool offers_disks_;
    std::string module_;
    Ownership& ownership_;
    std::string bdf_;
    std::string driver_;
    KernelLog log_;  // since before the module was loaded
    std::optional<Interface> interface_;
    bool loaded_ = false;
};

}  // namespace dmatoll::harness
