// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// An AHCI adapter whose disk copies memory inside the kernel.
#include <cstdint>

#include "ahci/adapter.hpp"
#include "ahci/disk_copy.hpp"
#include "ahci/registers.hpp"
#include "ahci/settings.hpp"
#include "core/result.hpp"
#include "kernel_platform.hpp"

namespace dmatoll::kernel {

struct CopyDevice {
    using Engine = ahci::DiskCopy<KernelPlatform>;

    template <class Use>
    static Status with_model(std::uint16_t, std::uint16_t, std::uint32_t register_bytes, Use&& use) {
        return use(ahci::Settings{.queue_depth = 1, .register_bytes = register_bytes});
    }
};

}  // namespace dmatoll::kernel

#include "engine.hpp"

extern "C" std::uint32_t dmatoll_engine_address_bits(struct device* device, void* registers) {
    KernelPlatform platform{registers, device, nullptr};
    // Only with this bit are the other registers AHCI's [AHCI 1.3.1 §3.1.2].
    write_register(platform, ahci::GlobalControl{}.set(ahci::GlobalControl::ahci_enable));
    return ahci::address_bits(read_register<ahci::Capabilities>(platform));
}
