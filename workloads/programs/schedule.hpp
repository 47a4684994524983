// SPDX-License-Identifier: BSD-2-Clause
// When packets are meant to be sent. It is fixed before the first is sent and heeds no reply: that makes a
// load open.
#pragma once

#include <algorithm>
#include <cstdint>

#include "clock.hpp"

namespace dmatoll::workloads {

// The load in payload bits a second that fills a line of that many bits a second with packets of that size,
// as the group of 2005 reckoned it: BPS = size * BW / (size + 38). The 38 bytes are preamble 8, header 14,
// FCS 4 and gap 12; IP and UDP headers are left out.
constexpr std::uint64_t line_rate_load(std::uint64_t line_bps, std::uint64_t size) {
    constexpr std::uint64_t per_packet = 8 + 14 + 4 + 12;
    return static_cast<std::uint64_t>(static_cast<unsigned __int128>(line_bps) * size / (size + per_packet));
}

// Equal steps from a beginning. A step is kept in 2^-32 ns, so that the time of any packet is one
// multiplication away, and a billion packets drift by less than a nanosecond.
class Schedule {
  public:
    // `unit` of what is to go at `rate` units a second, e.g. bits of a packet, and bits a second: rate > 0,
    // and at most a packet each nanosecond.
    Schedule(std::uint64_t begin_ns, std::uint64_t unit, std::uint64_t rate)
        : begin_{begin_ns},
          step_{(static_cast<unsigned __int128>(unit) * ns_per_second << fraction_bits) / rate} {}

    [[nodiscard]] std::uint64_t begin() const { return begin_; }

    [[nodiscard]] std::uint64_t intended(std::uint64_t packet) const {
        return begin_ + static_cast<std::uint64_t>(packet * step_ >> fraction_bits);
    }

    // How many packets are intended before that time.
    [[nodiscard]] std::uint64_t due_before(std::uint64_t time_ns) const {
        if (time_ns <= begin_) return 0;
        auto packets = static_cast<std::uint64_t>(
            (static_cast<unsigned __int128>(time_ns - begin_) << fraction_bits) / step_);
        while (packets > 0 && intended(packets - 1) >= time_ns) --packets;
        while (intended(packets) < time_ns) ++packets;
        return packets;
    }

  private:
    static constexpr unsigned fraction_bits = 32;

    std::uint64_t begin_;
    unsigned __int128 step_;
};

// The part of a schedule that counts: packets before it warm up, packets behind it keep the load up until the
// last one that counts has come back.
struct Window {
    std::uint64_t begin_ns = 0;
    std::uint64_t end_ns = 0;

    [[nodiscard]] bool holds(std::uint64_t time_ns) const { return time_ns >= begin_ns && time_ns < end_ns; }
    [[nodiscard]] double seconds() const {
        return static_cast<double>(end_ns - begin_ns) / static_cast<double>(ns_per_second);
    }
};

}  // namespace dmatoll::workloads
