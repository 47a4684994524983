// SPDX-License-Identifier: BSD-2-Clause
// The device under test copies memory on command, as fast as it is told to: no peer, no IP stack.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "plan.hpp"
#include "traffic.hpp"

namespace dmatoll::harness {

// What was counted in the window: copies, copied_bytes, copies_per_second, throughput_bps and
// load_achieved_bps (of what was copied, once). Throws Failure if nothing was copied, or something wrongly.
nlohmann::json copy_metrics(const MeasuredWindow& window);

class DmaCopy final : public Traffic {
  public:
    DmaCopy(const Trial& trial, const TrafficPlaces& places);
    ~DmaCopy() override;

    void warm_up(const std::function<void()>& require_driver) override;
    void require_running() override;
    nlohmann::json finish(const MeasuredWindow& window) override;
    std::map<std::string, std::string> raw_outputs() override { return {}; }

  private:
    std::uint64_t warm_up_ms_;
    Driver& driver_;
    bool begun_ = false;
};

}  // namespace dmatoll::harness
