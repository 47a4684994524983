// SPDX-License-Identifier: BSD-2-Clause
// A VFIO container of type 1 as an IommuBackend: one IOMMU domain, mapped by system calls. Memory is an
// address of this process.
#pragma once

#include <linux/vfio.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <string>
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
    // A system call that pins that memory and lets it go again, which a map and an unmap each do half of: 0, or errno. Linux
    // has a call that does so as VFIO does, by pin_user_pages_remote(): who reads from a process pins up to 1024 pages of
    // what is offered, even for one byte of it. What VFIO does more, a check that a page may stay pinned for long and
    // accounts of what is, is not in it; what the call does beside pinning is, and of few pages that is most of it.
    static int pin_and_unpin(Memory memory, std::uint64_t bytes) {
        std::byte taken{};
        iovec one{&taken, sizeof(taken)};
        iovec offered{reinterpret_cast<void*>(memory.address), bytes};
        return ::process_vm_readv(::getpid(), &one, 1, &offered, 1, 0) == sizeof(taken) ? 0 : errno;
    }
    static std::string pin_error_text(int error);

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
