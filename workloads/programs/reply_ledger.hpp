// SPDX-License-Identifier: BSD-2-Clause
// Keeps the books of an open-loop echo: which packet came back, when, and whether it is whole.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "histogram.hpp"
#include "schedule.hpp"

namespace dmatoll::workloads {

struct Tally {
    std::uint64_t sent = 0;
    std::uint64_t received = 0;  // whole, and for the first time
    // Neither of the two is among `received`.
    std::uint64_t duplicated = 0;
    std::uint64_t corrupted = 0;  // in length or content, or never sent
    std::uint64_t reordered = 0;  // of `received`: behind one with a higher number [RFC 4737 §3]
    [[nodiscard]] std::uint64_t lost() const { return sent > received ? sent - received : 0; }
};

class ReplyLedger {
  public:
    // Packets that may be sent: those of the schedule before `end_ns`.
    ReplyLedger(const Schedule& schedule, const Window& window, std::uint64_t end_ns,
                std::size_t payload_bytes);

    // The next `count` packets were handed to the kernel at that time.
    void sent(std::uint64_t count, std::uint64_t time_ns);
    // The next one was not, and will not be.
    void skipped() { ++next_; }
    // The number of the packet that goes next.
    [[nodiscard]] std::uint64_t next() const { return next_; }

    // A datagram arrived at that time. Returns false if the time lies before the one at which the packet was
    // to be sent: the clock has been set meanwhile.
    [[nodiscard]] bool received(std::span<const std::byte> datagram, std::uint64_t time_ns);

    [[nodiscard]] const Tally& all() const { return all_; }
    // Packets meant for the window, whenever they came back.
    [[nodiscard]] const Tally& in_window() const { return in_window_; }
    // Packets that left within the window, whenever they were meant to: what was applied. Fewer than were
    // meant for it if the generator or its interface fell behind: the load was then not open.
    [[nodiscard]] std::uint64_t sent_in_window() const { return sent_in_window_; }
    // Replies that came back within the window, whenever they were sent: what was achieved.
    [[nodiscard]] std::uint64_t arrived_in_window() const { return arrived_in_window_; }
    // Of in_window().received, from the intended time.
    [[nodiscard]] const Histogram& latency() const { return latency_; }

  private:
    [[nodiscard]] bool whole(std::span<const std::byte> datagram) const;

    Schedule schedule_;
    Window window_;
    std::uint64_t window_first_;
    std::uint64_t window_last_;  // one behind
    std::vector<std::byte> expected_;
    std::vector<bool> seen_;  // by sequence number
    std::uint64_t next_ = 0;
    std::uint64_t next_expected_ = 0;
    std::uint64_t sent_in_window_ = 0;
    std::uint64_t arrived_in_window_ = 0;
    Tally all_;
    Tally in_window_;
    Histogram latency_;
};

}  // namespace dmatoll::workloads
