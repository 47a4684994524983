// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// Linux's own IOVA allocator, as iova::Any takes a reference.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/address.hpp"
#include "core/platform.hpp"
#include "core/result.hpp"
#include "glue.h"
#include "mapping/iova/space.hpp"

namespace dmatoll::kernel {

static_assert(sizeof(dmatoll_range) == sizeof(IovaRange) &&
              offsetof(dmatoll_range, first) == offsetof(IovaRange, first) &&
              offsetof(dmatoll_range, last) == offsetof(IovaRange, last));

class LinuxIova {
  public:
    // Error: no_memory.
    template <Platform P>
    Status set_up(P&, const iova::Space& space) {
        // Laid out alike, and the kernel is compiled without type-based aliasing.
        space_ = dmatoll_iova_create(reinterpret_cast<const dmatoll_range*>(space.windows().data()),
                                     static_cast<std::uint32_t>(space.windows().size()));
        if (space_ == nullptr) return Error::no_memory;
        return {};
    }
    void tear_down() { dmatoll_iova_destroy(space_); }

    Result<Iova> allocate(std::uint64_t pages) {
        const Iova found{dmatoll_iova_allocate(space_, pages)};
        if (found.value == 0) [[unlikely]]
            return Error::no_iova_space;
        return found;
    }
    void free(Iova iova, std::uint64_t pages) { dmatoll_iova_free(space_, iova.value, pages); }

  private:
    dmatoll_iova* space_ = nullptr;
};

}  // namespace dmatoll::kernel
