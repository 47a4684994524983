// SPDX-License-Identifier: BSD-2-Clause
// The Platform of a driver that may have to keep its device from memory.
#pragma once

#include <span>

#include "by_strategy.hpp"
#include "living_platform.hpp"
#include "vfio_device.hpp"

namespace dmatoll::user {

class DevicePlatform : public LivingPlatform<UserDomain> {
  public:
    // As LivingPlatform.
    DevicePlatform(const char* program, VfioDevice& device, std::span<std::byte> rings, UserDomain& domain,
                   SharedState& shared)
        : LivingPlatform{program, device, rings, domain, shared}, device_{device} {}

    // Throws Failure if it cannot be done: that ends the process, and with the process the device's reach.
    void forbid_dma() { device_.set_bus_mastering(false); }

  private:
    VfioDevice& device_;
};

}  // namespace dmatoll::user
