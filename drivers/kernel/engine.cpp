// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// A NIC that copies memory inside the kernel.
#include <cstdint>

#include "core/result.hpp"
#include "e1000/dma_copy.hpp"
#include "e1000/part.hpp"
#include "kernel_platform.hpp"

namespace dmatoll::kernel {

struct CopyDevice {
    using Engine = e1000::DmaCopy<KernelPlatform>;

    template <class Use>
    static Status with_model(std::uint16_t pci_vendor, std::uint16_t pci_device, std::uint32_t, Use&& use) {
        const e1000::Part* const part = e1000::find_part(pci_vendor, pci_device);
        return part != nullptr ? use(*part) : Status{Error::not_supported};
    }
};

}  // namespace dmatoll::kernel

#include "engine.hpp"
