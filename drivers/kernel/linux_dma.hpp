// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// The Mapper over the kernel's DMA API: Linux's own strategies, chosen by the type of the group's default
// domain.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/address.hpp"
#include "core/counter.hpp"
#include "core/counters.hpp"
#include "core/mapper.hpp"
#include "core/result.hpp"
#include "glue.h"
#include "kernel_backend.hpp"

namespace dmatoll::kernel {

class LinuxDma {
  public:
    // The device outlives it.
    explicit LinuxDma(struct device* device) : device_{device} {}
    LinuxDma(const LinuxDma&) = delete;
    LinuxDma& operator=(const LinuxDma&) = delete;

    std::uint32_t extent(Memory, std::uint32_t length, Direction) const { return length; }

    Result<Iova> map(Memory memory, std::uint32_t length, Direction direction) {
        Calls& calls = calls_[static_cast<std::size_t>(direction)];
        Iova iova{};
        if (!dmatoll_dma_map(device_, memory.address, length, to_glue(direction), &iova.value)) [[unlikely]] {
            calls.failures.add(1);
            return Error::mapping_failed;
        }
        calls.maps.add(1);
        return iova;
    }

    void unmap(Iova iova, std::uint32_t length, Direction direction, std::uint32_t) {
        dmatoll_dma_unmap(device_, iova.value, length, to_glue(direction));
        calls_[static_cast<std::size_t>(direction)].unmaps.add(1);
    }

    // Nothing is kept beyond unmap().
    void release_all() {}

    // Calls of the DMA API. What they did to the page table and the IOTLB, the API does not tell.
    [[nodiscard]] MappingCounters counters() const {
        MappingCounters sum{};
        for (const Calls& calls : calls_) {
            sum.maps += calls.maps.read();
            sum.unmaps += calls.unmaps.read();
            sum.failures += calls.failures.read();
        }
        return sum;
    }

  private:
    // A counter has one writer: frames to the device are mapped by the transmit side and unmapped by the
    // reclaim side, buffers from the device are mapped and unmapped by the receive side.
    struct Calls {
        Counter maps;
        Counter failures;
        alignas(64) Counter unmaps;
    };

    struct device* device_;
    alignas(64) Calls calls_[3];
};

static_assert(Mapper<LinuxDma>);

}  // namespace dmatoll::kernel
