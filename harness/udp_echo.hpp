// SPDX-License-Identifier: BSD-2-Clause
// An open-loop UDP load from the peer that the device under test echoes: dmatoll-udp-load and
// dmatoll-udp-echo, and how their output is read.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "plan.hpp"
#include "process.hpp"
#include "traffic.hpp"

namespace dmatoll::harness {

// When the generator will measure, on the monotonic clock: its announcement. Throws Failure if it is none.
struct AnnouncedWindow {
    std::uint64_t begin_ns = 0;
    std::uint64_t end_ns = 0;
};
AnnouncedWindow parse_announced_window(std::string_view line);

// The metrics of an echo, from the generator's result and what was counted at the device: packets (echoes
// that came back within the window), load_*, latency_ns, throughput_bps (of what the device sent, on the
// wire). Throws Failure if the result is none, or the device's counters contradict it.
nlohmann::json echo_metrics(const nlohmann::json& result, const MeasuredWindow& window);

// "load-missed" if what came back is more than a fifth off what was asked for; "load-not-offered" if what was
// sent is more than 2 % off: the generator's own interface was behind, and the load was not open.
nlohmann::json echo_flags(const nlohmann::json& metrics);

class UdpEcho final : public Traffic {
  public:
    // Starts the server on the device's side, and the generator on the peer's once the server listens.
    UdpEcho(const Trial& trial, const TrafficPlaces& places);

    // Until the generator's own window begins, so that both windows are the same.
    void warm_up(const std::function<void()>& require_driver) override;
    void require_running() override;
    nlohmann::json finish(const MeasuredWindow& window) override;
    std::map<std::string, std::string> raw_outputs() override;

  private:
    std::unique_ptr<Child> server_;
    std::unique_ptr<Child> load_;
    AnnouncedWindow announced_;
    double patience_;  // for the generator's end, in seconds
    std::string load_output_;
    std::string server_output_;
};

}  // namespace dmatoll::harness
