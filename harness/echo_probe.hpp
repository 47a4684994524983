// SPDX-License-Identifier: BSD-2-Clause
// A steady, open load of UDP datagrams from the peer to an echo server on the device under test, with a book
// of what came back when. For trials whose question is when nothing did.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "file.hpp"

namespace dmatoll::harness {

class EchoProbe {
  public:
    struct Settings {
        std::string server;             // IPv4 address
        std::uint16_t port = 0;
        std::string network_namespace;  // that it sends from
        std::uint64_t load_bps = 0;     // of payload
        std::uint64_t payload_bytes = 0;
    };
    // Throws Failure.
    explicit EchoProbe(const Settings& settings);

    // Sends what is due and takes what comes, until that monotonic time or until `done`, which is asked after
    // each step, says so.
    void run_until(std::uint64_t deadline_ns, const std::function<bool()>& done);
    // Takes what still comes, and sends nothing.
    void drain_until(std::uint64_t deadline_ns);

    [[nodiscard]] std::uint64_t sent() const { return answered_.size(); }
    [[nodiscard]] std::uint64_t lost() const;
    // When replies came, in their order.
    [[nodiscard]] const std::vector<std::uint64_t>& replies() const { return replies_; }

  private:
    void send_due(std::uint64_t now);
    void receive();
    void wait_until(std::uint64_t deadline_ns) const;

    Descriptor socket_;
    std::vector<char> payload_;
    std::uint64_t interval_ns_;
    std::uint64_t next_ns_;
    std::vector<bool> answered_;  // by sequence number
    std::vector<std::uint64_t> replies_;
};

// For each fault the longest time without a reply that ends after it, and before the next one. 0 where no
// reply came after it.
std::vector<std::uint64_t> outages(const std::vector<std::uint64_t>& replies,
                                   const std::vector<std::uint64_t>& faults);

}  // namespace dmatoll::harness
