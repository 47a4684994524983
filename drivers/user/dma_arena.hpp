// SPDX-License-Identifier: BSD-2-Clause
// Memory of a device that copies it: the engine's own pages, sources, destinations. The three areas begin on 2
// MiB each: each is mapped with a direction of its own, by large pages where the IOMMU has them. A buffer is
// a page.
#pragma once

#include <cstddef>
#include <span>

#include "arena.hpp"
#include "core/address.hpp"
#include "dma/copy_loop.hpp"

namespace dmatoll::user {

class DmaArena : public Arena {
  public:
    static constexpr std::size_t own_bytes = huge_page_bytes;
    static constexpr std::size_t area_bytes = dma::CopyPlan::most_pairs * page_bytes;
    static constexpr std::size_t all_bytes = own_bytes + 2 * area_bytes;
    static_assert(area_bytes % huge_page_bytes == 0);

    // As Arena.
    explicit DmaArena(std::size_t page_size) : Arena{all_bytes, page_size} {}

    [[nodiscard]] std::span<std::byte> own() const { return {start(), own_bytes}; }
    // Of what the device reads, or writes.
    [[nodiscard]] std::byte* area(Direction direction) const {
        return start() + own_bytes + (direction == Direction::to_device ? 0 : area_bytes);
    }
};

}  // namespace dmatoll::user
