// SPDX-License-Identifier: BSD-2-Clause
// A VFIO container of type 1 as an IommuBackend: one IOMMU domain, mapped by system calls. Memory is an
// address of this process.
#pragma once

#include <linux/vfio.h>
#include <sys/ioctl.h>

#include <cstdint>
#include <vector>

#include "core/address.hpp"
#include "core/result.hpp"
#include "descriptor.hpp"
#include "iova_ranges.hpp"
#include "mapping/backend.hpp"

namespace dmatoll::user {

class VfioContainer {
  public:
    // Type 1 invalidates before an unmapping returns.
    static constexpr bool clears_without_invalidating = false;

    // One thread drives: there is nobody to exclude.
    static constexpr std::uint32_t most_cpus = 1;
    static std::uint32_t cpu() { return 0; }
    struct Lock {
        void lock() {}
        void unlock() {}
    };

    explicit VfioContainer(Descriptor container) : container_{std::move(container)} {}

    // What may be mapped according to VFIO, which leaves out reserved regions but not what the hardware is
    // too narrow for. Throws Failure.
    [[nodiscard]] std::vector<IovaRange> ranges() const;

    // Errors: no_memory (the limit of locked memory, or of mappings: 65535), mapping_failed.
    Status map(Iova iova, Memory memory, std::uint64_t bytes, Direction direction) const {
        vfio_iommu_type1_dma_map request{};
        request.argsz = sizeof(request);
        request.flags = access(direction);
        request.vaddr = memory.address;
        request.iova = iova.value;
        request.size = bytes;
        if (::ioctl(container_.get(), VFIO_IOMMU_MAP_DMA, &request) == 0) [[likely]] {
            return {};
        }
        return map_error();
    }

    Status unmap(Iova iova, std::uint64_t bytes, Invalidate) const {
        vfio_iommu_type1_dma_unmap request{};
        request.argsz = sizeof(request);
        request.iova = iova.value;
        request.size = bytes;
        // The kernel answers with the bytes that it unmapped; less means that the range was not mapped as a
        // whole.
        if (::ioctl(container_.get(), VFIO_IOMMU_UNMAP_DMA, &request) == 0 && request.size == bytes)
            [[likely]] {
            return {};
        }
        return Error::mapping_failed;
    }

    Status invalidate_all() const { return {}; }

    Status unmap_now(Iova iova, std::uint64_t bytes) const { return unmap(iova, bytes, Invalidate::now); }
    // A system call that does nothing else, as a map and an unmap each contain one.
    void call_nothing() const { static_cast<void>(::ioctl(container_.get(), VFIO_GET_API_VERSION)); }

  private:
    static constexpr std::uint32_t access(Direction direction) {
        switch (direction) {
            case Direction::to_device:
                return VFIO_DMA_MAP_FLAG_READ;
            case Direction::from_device:
                return VFIO_DMA_MAP_FLAG_WRITE;
            case Direction::bidirectional:
                break;
        }
        return VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE;
    }
    static Error map_error();

    Descriptor container_;
};

static_assert(IommuBackend<VfioContainer>);

}  // namespace dmatoll::user
