// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// The IommuBackend of the kernel: a paging domain of our own, through the kernel's IOMMU API.
#pragma once

#include <cerrno>
#include <cstdint>

#include "core/address.hpp"
#include "core/result.hpp"
#include "glue.h"
#include "mapping/backend.hpp"

namespace dmatoll::kernel {

constexpr dmatoll_direction to_glue(Direction direction) {
    static_assert(static_cast<int>(Direction::to_device) == DMATOLL_TO_DEVICE &&
                  static_cast<int>(Direction::from_device) == DMATOLL_FROM_DEVICE &&
                  static_cast<int>(Direction::bidirectional) == DMATOLL_BIDIRECTIONAL);
    return static_cast<dmatoll_direction>(direction);
}

class KernelBackend {
  public:
    static constexpr bool clears_without_invalidating = true;

    static constexpr std::uint32_t most_cpus = 32;
    static std::uint32_t cpu() { return dmatoll_cpu() % most_cpus; }
    // The numbers that there are.
    static std::uint32_t cpu_count() {
        const std::uint32_t count = dmatoll_cpus();
        return count < most_cpus ? count : most_cpus;
    }

    // Softirq and process context; bottom halves are off while it is held.
    class Lock {
      public:
        Lock() { dmatoll_lock_init(&lock_); }
        Lock(const Lock&) = delete;
        Lock& operator=(const Lock&) = delete;

        void lock() { dmatoll_lock_acquire(&lock_); }
        void unlock() { dmatoll_lock_release(&lock_); }

      private:
        dmatoll_lock lock_;
    };

    // The domain outlives it.
    explicit KernelBackend(dmatoll_domain* domain) : domain_{domain} {}

    Status map(Iova iova, Memory memory, std::uint64_t bytes, Direction direction) {
        const int error = dmatoll_domain_map(domain_, iova.value, memory.address, bytes, to_glue(direction));
        if (error == 0) [[likely]]
            return {};
        return error == -ENOMEM ? Error::no_memory : Error::mapping_failed;
    }

    Status unmap(Iova iova, std::uint64_t bytes, Invalidate when) {
        const bool whole = when == Invalidate::now ? dmatoll_domain_unmap(domain_, iova.value, bytes)
                                                   : dmatoll_domain_unmap_later(domain_, iova.value, bytes);
        if (whole) [[likely]]
            return {};
        return Error::mapping_failed;
    }

    // As unmap() with Invalidate::now; the clock of core/ticks.hpp between page table and invalidation goes into `cleared`.
    Status unmap_timed(Iova iova, std::uint64_t bytes, std::uint64_t& cleared) {
        if (dmatoll_domain_unmap_timed(domain_, iova.value, bytes, &cleared)) [[likely]]
            return {};
        return Error::mapping_failed;
    }

    // Linux waits for the IOMMU, and says in its log only if that does not answer.
    Status invalidate_all() {
        dmatoll_domain_invalidate(domain_);
        return {};
    }

  private:
    dmatoll_domain* domain_;
};

static_assert(IommuBackend<KernelBackend>);

}  // namespace dmatoll::kernel
