// SPDX-License-Identifier: BSD-2-Clause
// The distribution's own driver of a disk controller, on Linux's own strategies.
#pragma once

#include "../catalogue.hpp"
#include "driver.hpp"

namespace dmatoll::harness {

class StockDiskDriver final : public Driver {
  public:
    StockDiskDriver(const Strategy& strategy, const DeviceModel& model, const std::string& bdf,
                    Ownership& ownership);
    ~StockDiskDriver() override;

    std::vector<DiskPlace> disks() const override { return disks_of(bdf_); }
    // It has none of its own: the block layer's are all there is.
    Counts counters() override { return {}; }
    std::string counter_source() const override { return "none: the distribution's driver counts nothing"; }
    nlohmann::json effective() override;
    void require_alive() override;
    void stop() override;

  private:
    Ownership& ownership_;
    std::string bdf_;
    std::string driver_;
    bool own_module_;  // loaded, and removed, by us
};

}  // namespace dmatoll::harness
