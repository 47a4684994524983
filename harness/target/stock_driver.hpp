// SPDX-License-Identifier: BSD-2-Clause
// The distribution's own driver on Linux's own strategies.
#pragma once

#include <optional>

#include "../catalogue.hpp"
#include "driver.hpp"

namespace dmatoll::harness {

class StockDriver final : public Driver {
  public:
    StockDriver(const Trial& trial, const Strategy& strategy, const DeviceModel& model,
                const std::string& bdf, Ownership& ownership);
    ~StockDriver() override;

    std::string interface() const override { return interface_ ? interface_->name() : ""; }
    Counts counters() override;
    std::string counter_source() const override { return "ethtool -S (hardware) and /proc/net/dev (bytes)"; }
    nlohmann::json effective() override;
    void require_alive() override;
    void stop() override;

  private:
    void set_up(const Trial& trial);

    std::string bdf_;
    std::string driver_;
    std::optional<Interface> interface_;
    bool own_module_;  // loaded, and removed, by us
    std::optional<unsigned> interrupts_per_second_;
};

}  // namespace dmatoll::harness
