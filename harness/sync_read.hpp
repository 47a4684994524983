// SPDX-License-Identifier: BSD-2-Clause
// Runs the workload of 2005: synchronous reads of a contiguous region (workloads/programs/sync_read.cpp) on the
// device-under-test CPU.
#pragma once

#include <nlohmann/json.hpp>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "process.hpp"
#include "traffic.hpp"

namespace dmatoll::harness {

// Its latencies, out of what dmatoll-sync-read printed; null if there are none. Throws Failure for output that is not
// what is expected.
nlohmann::json parse_sync_read(std::string_view output);

// In bits a second: the trial's load_bps, or what its model of a disk gives at its block size, which is a time for
// each request, and one for each byte. 0: none is offered. Throws Failure if both are asked for.
std::uint64_t offered_load_bps(const Parameters& parameters);

class SyncRead final : public Traffic {
  public:
    SyncRead(const Trial& trial, const TrafficPlaces& places);

    void warm_up(const std::function<void()>& require_driver) override;
    void require_running() override;
    nlohmann::json finish(const MeasuredWindow& window) override;
    std::map<std::string, std::string> raw_outputs() override;

  private:
    std::uint64_t block_bytes_;
    std::uint64_t in_flight_bytes_ = 0;
    std::uint64_t load_bps_;
    std::uint64_t warm_up_ms_;
    const Disk& disk_;
    std::unique_ptr<Child> child_;
    std::string output_;
};

}  // namespace dmatoll::harness
