// SPDX-License-Identifier: BSD-2-Clause
// Tells a driver process that hangs from one that has nothing to do. A process that works shows it by itself
// (its count of wake-ups moves); one whose count stands still is asked to wake up, and hangs if it does not.
#pragma once

#include <cstdint>

namespace dmatoll::user {

class Watchdog {
  public:
    enum class Finding : std::uint8_t { alive, ask, hangs };

    // patience_ms: how long a process that was asked may take; not 0.
    explicit Watchdog(unsigned patience_ms) : patience_ms_{patience_ms} {}

    // How long to wait before the next look.
    [[nodiscard]] unsigned period_ms() const { return patience_ms_ < 2 ? 1 : patience_ms_ / 2; }

    // For a look at `wakeups` at time `now_ms`. `ask`: ring the bell now.
    Finding look(std::uint64_t wakeups, std::uint64_t now_ms) {
        if (wakeups != seen_) {
            seen_ = wakeups;
            asked_ = false;
            return Finding::alive;
        }
        if (!asked_) {
            asked_ = true;
            asked_at_ms_ = now_ms;
            return Finding::ask;
        }
        return now_ms - asked_at_ms_ >= patience_ms_ ? Finding::hangs : Finding::alive;
    }

  private:
    unsigned patience_ms_;
    std::uint64_t seen_ = 0;
    std::uint64_t asked_at_ms_ = 0;
    bool asked_ = false;
};

}  // namespace dmatoll::user
