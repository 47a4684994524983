// SPDX-License-Identifier: BSD-2-Clause
// The open-loop generator: one thread that sends what is due, and between two sends sleeps.
//
// One thread, because in the lab its CPU shares the virtual clock with the device under test: each of its
// instructions takes time from the device. The kernel stamps replies as they arrive, so nobody has to be
// woken for one: they are fetched in batches when the thread is awake anyway. A second thread would only add
// wake-ups.
#pragma once

#include <nlohmann/json.hpp>

#include "descriptor.hpp"
#include "load_options.hpp"
#include "reply_ledger.hpp"
#include "schedule.hpp"

namespace dmatoll::workloads {

class LoadGenerator {
  public:
    // Makes the socket. Throws Failure.
    explicit LoadGenerator(const LoadOptions& options);

    // From the warm-up to the last reply, or until a stop request: what was measured. Throws Failure if
    // nothing could be sent or nothing came back.
    nlohmann::json run();

  private:
    struct Batches;

    void announce(const Window& window) const;
    void send_due(Batches& batches, const Schedule& schedule, ReplyLedger& ledger, std::uint64_t end_ns);
    void fetch(Batches& batches, ReplyLedger& ledger);
    [[nodiscard]] std::uint64_t dropped_at_socket() const;
    nlohmann::json results(const ReplyLedger& ledger, const Window& window) const;

    LoadOptions options_;
    Descriptor socket_;
    Histogram lateness_;
    std::uint64_t send_failures_ = 0;
    int last_send_error_ = 0;
    std::uint64_t refusals_ = 0;
};

}  // namespace dmatoll::workloads
