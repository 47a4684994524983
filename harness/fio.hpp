// SPDX-License-Identifier: BSD-2-Clause
// Runs a workload with fio: asynchronous direct I/O on a whole disk, whose job is on the device-under-test CPU, or a
// pass that verifies what it wrote.
#pragma once

#include <nlohmann/json.hpp>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "process.hpp"
#include "scattered_memory.hpp"
#include "traffic.hpp"

namespace dmatoll::harness {

// What fio says about one direction, or about both together.
struct FioTotals {
    std::uint64_t ios = 0;
    std::uint64_t bytes = 0;
    nlohmann::json latency_ns;  // {n, min, mean, p50, p90, p99, p99_9, max}; null without an I/O
};

// Of fio's output with --output-format=json. `section`: read, write or mixed. Throws Failure, with what fio says, for
// an error of the job, and for output that is not what is expected.
FioTotals parse_fio(std::string_view output, const std::string& section);

class Fio final : public Traffic {
  public:
    Fio(const Trial& trial, const TrafficPlaces& places);

    void warm_up(const std::function<void()>& require_driver) override;
    void require_running() override;
    nlohmann::json finish(const MeasuredWindow& window) override;
    std::map<std::string, std::string> raw_outputs() override;

  private:
    Pattern pattern_;
    std::uint64_t block_bytes_;
    std::uint64_t io_depth_;
    std::uint64_t warm_up_ms_;
    double duration_ = 0;  // seconds
    const Disk& disk_;
    ScatteredMemory buffers_;
    std::unique_ptr<Child> child_;
    std::string output_;
};

// Writes blocks of all sizes everywhere and reads each back, mixed; then reads all of them once more. Returns a merge patch
// for the record: metrics {bytes_written, bytes_verified, bytes_verified_at_end, ios}. Throws Failure if a byte is not what
// was written, or for an I/O error.
// `require_driver` is asked meanwhile; it throws if the driver has died. `keep` gets what fio printed, in any case.
nlohmann::json run_fio_verify(const Trial& trial, const TrafficPlaces& places,
                              const std::function<void()>& require_driver,
                              const std::function<void(const std::string&)>& keep);

}  // namespace dmatoll::harness
