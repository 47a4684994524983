// SPDX-License-Identifier: BSD-2-Clause
// One run of iperf3 between the device under test and its peer, and how its own output is read.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "plan.hpp"
#include "process.hpp"
#include "traffic.hpp"

namespace dmatoll::harness {

// What one end says about the whole run.
struct Iperf3Totals {
    std::uint64_t bytes_sent = 0;  // of payload
    std::uint64_t bytes_received = 0;
    double seconds = 0;
    std::uint64_t retransmits = 0;  // TCP
    std::uint64_t datagrams = 0;    // UDP
    std::uint64_t datagrams_lost = 0;
};

// Reads the output of `iperf3 -J`. Throws Failure with iperf3's own error, or if it is not what iperf3
// writes.
Iperf3Totals parse_iperf3(std::string_view output, Transport transport);

class Iperf3 final : public Traffic {
  public:
    // Starts the receiving end, and the sending end once the other listens.
    Iperf3(const Trial& trial, const TrafficPlaces& places);

    void warm_up(const std::function<void()>& require_driver) override;
    void require_running() override;
    // Throws Failure unless both ends moved bytes, and agree about the frames of the window.
    nlohmann::json finish(const MeasuredWindow& window) override;
    std::map<std::string, std::string> raw_outputs() override;

  private:
    void wait_until_listening(double seconds);
    // The metrics; checks that both ends agree.
    nlohmann::json read_window(const MeasuredWindow& window) const;

    Transport transport_;
    bool device_sends_;
    std::uint64_t load_bps_;
    std::uint64_t warm_up_ms_;
    double duration_;
    const Interface& peer_;
    std::unique_ptr<Child> server_;
    std::unique_ptr<Child> client_;
    std::string client_output_;
    std::string server_output_;
};

}  // namespace dmatoll::harness
