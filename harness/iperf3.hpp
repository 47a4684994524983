// SPDX-License-Identifier: BSD-2-Clause
// One run of iperf3 between the device under test and its peer, and how its own output is read.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "plan.hpp"
#include "process.hpp"

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

class Iperf3 {
  public:
    // Starts the receiving end, and the sending end once the other listens. The device's end runs on
    // device_cpu, the peer's end in its namespace on other_cpu.
    explicit Iperf3(const Trial& trial);

    // Throws Failure if an end is not running any more.
    void require_running();

    struct Result {
        Iperf3Totals sent;
        Iperf3Totals received;
    };
    // Waits for the end of both. Throws Failure unless both ends moved bytes.
    Result finish();

    // Raw outputs as far as they exist, for an error's trial.
    std::string client_output;
    std::string server_output;

  private:
    void wait_until_listening(double seconds);

    Transport transport_;
    double duration_;
    std::unique_ptr<Child> server_;
    std::unique_ptr<Child> client_;
};

}  // namespace dmatoll::harness
