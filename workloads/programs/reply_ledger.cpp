// SPDX-License-Identifier: BSD-2-Clause
#include "reply_ledger.hpp"

#include <algorithm>
#include <cstring>

#include "echo_packet.hpp"

namespace dmatoll::workloads {

ReplyLedger::ReplyLedger(const Schedule& schedule, const Window& window, std::uint64_t end_ns,
                         std::size_t payload_bytes)
    : schedule_{schedule},
      window_{window},
      window_first_{schedule.due_before(window.begin_ns)},
      window_last_{schedule.due_before(window.end_ns)},
      expected_(payload_bytes),
      seen_(schedule.due_before(end_ns)) {
    fill(expected_);
}

void ReplyLedger::sent(std::uint64_t count, std::uint64_t time_ns) {
    if (window_.holds(time_ns)) sent_in_window_ += count;
    const std::uint64_t begin = std::max(next_, window_first_);
    all_.sent += count;
    next_ += count;
    const std::uint64_t end = std::min(next_, window_last_);
    if (end > begin) in_window_.sent += end - begin;
}

bool ReplyLedger::whole(std::span<const std::byte> datagram) const {
    return datagram.size() == expected_.size() &&
           std::memcmp(datagram.data() + sizeof(EchoHeader), expected_.data() + sizeof(EchoHeader),
                       expected_.size() - sizeof(EchoHeader)) == 0;
}

bool ReplyLedger::received(std::span<const std::byte> datagram, std::uint64_t time_ns) {
    EchoHeader header{};
    if (datagram.size() >= sizeof header) std::memcpy(&header, datagram.data(), sizeof header);
    const std::uint64_t number = header.sequence;
    if (!whole(datagram) || number >= next_ || header.intended_ns != schedule_.intended(number)) {
        ++all_.corrupted;
        // Which packet it was is unknown: it belongs to the window in which it arrived.
        if (window_.holds(time_ns)) ++in_window_.corrupted;
        return true;
    }
    const bool counts = number >= window_first_ && number < window_last_;
    if (seen_[number]) {
        ++all_.duplicated;
        if (counts) ++in_window_.duplicated;
        return true;
    }
    if (time_ns < header.intended_ns) return false;
    seen_[number] = true;
    const bool late = number < next_expected_;
    if (!late) next_expected_ = number + 1;
    ++all_.received;
    if (late) ++all_.reordered;
    if (window_.holds(time_ns)) ++arrived_in_window_;
    if (counts) {
        ++in_window_.received;
        if (late) ++in_window_.reordered;
        latency_.add(time_ns - header.intended_ns);
    }
    return true;
}

}  // namespace dmatoll::workloads
