// SPDX-License-Identifier: BSD-2-Clause
// Our driver as the process dmatoll-net-user over VFIO.
#pragma once

#include <optional>

#include "../process.hpp"
#include "driver.hpp"

namespace dmatoll::harness {

class UserDriver final : public Driver {
  public:
    UserDriver(const Trial& trial, const std::string& bdf, int cpu);
    ~UserDriver() override;

    std::string interface() const override;
    Counts counters() override;
    std::string counter_source() const override { return "control socket"; }
    nlohmann::json effective() override;
    void require_alive() override;
    void make_fault(const std::string& how) override;
    std::uint64_t restarts() override;
    void stop() override;

  private:
    // One line there, one back.
    std::string request(const std::string& what);
    nlohmann::json ask();  // its statistics

    std::string bdf_;
    int cpu_;
    std::string interface_;
    std::string socket_path_;
    std::optional<Child> child_;
    Descriptor socket_;
    std::uint64_t restarts_ = 0;
};

}  // namespace dmatoll::harness
