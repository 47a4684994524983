// SPDX-License-Identifier: BSD-2-Clause
// The Platform of a driver that waits for its device within its loop: that takes seconds when the device is
// recovered, and is a sign of life all the same.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>

#include "shared_state.hpp"
#include "user_platform.hpp"

namespace dmatoll::user {

template <class Domain>
class LivingPlatform : public UserPlatform<Domain> {
  public:
    // All outlive the platform.
    LivingPlatform(const char* program, const VfioDevice& device, std::span<std::byte> rings, Domain& domain,
                   SharedState& shared)
        : UserPlatform<Domain>{program, device, rings, domain}, shared_{shared} {}

    void delay_us(std::uint32_t microseconds) const {
        UserPlatform<Domain>::delay_us(microseconds);
        publish(shared_.wakeups, shared_.wakeups.load(std::memory_order_relaxed) + 1);
    }

  private:
    SharedState& shared_;
};

}  // namespace dmatoll::user
