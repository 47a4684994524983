// SPDX-License-Identifier: BSD-2-Clause
// How often, and how soon, a driver process that died is started again.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>

namespace dmatoll::user {

class RestartPolicy {
  public:
    // A process that ran for so long was sound: what killed it is no reason to wait.
    static constexpr std::uint64_t sound_ms = 10'000;
    static constexpr unsigned first_delay_ms = 100;
    static constexpr unsigned longest_delay_ms = 10'000;

    // Without `most`: always again.
    explicit RestartPolicy(std::optional<unsigned> most) : most_{most} {}

    [[nodiscard]] bool exhausted() const { return most_ && restarts_ >= *most_; }
    [[nodiscard]] std::optional<unsigned> left() const {
        return most_ ? std::optional{*most_ - restarts_} : std::nullopt;
    }
    [[nodiscard]] unsigned restarts() const { return restarts_; }

    // To be called at a death, unless exhausted: how long to wait before the next start. Nothing for the
    // first of a series; twice as long each time that the process lives shortly only.
    unsigned next_delay_ms(std::uint64_t lived_ms) {
        ++restarts_;
        if (lived_ms >= sound_ms) {
            delay_ms_ = 0;
        }
        const unsigned delay = delay_ms_;
        delay_ms_ = delay == 0 ? first_delay_ms : std::min(2 * delay, longest_delay_ms);
        return delay;
    }

  private:
    std::optional<unsigned> most_;
    unsigned restarts_ = 0;
    unsigned delay_ms_ = 0;
};

}  // namespace dmatoll::user
