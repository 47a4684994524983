// SPDX-License-Identifier: BSD-2-Clause
// Strategy `strict`: every buffer is mapped for one use. Window zero: when unmap() returns the device cannot
// reach the buffer any more. Page-granular: what shares a page with the buffer is reachable while the buffer
// is.
#pragma once

#include <cstdint>
#include <span>

#include "../core/address.hpp"
#include "../core/counters.hpp"
#include "../core/mapper.hpp"
#include "../core/result.hpp"
#include "../core/strategy.hpp"
#include "page_range.hpp"
#include "scatter_list.hpp"

namespace dmatoll {

template <class Domain>
class Strict {
  public:
    static constexpr const Strategy& strategy = strategies::strict;

    // The domain outlives it.
    explicit Strict(Domain& domain) : domain_{domain} {}

    // The surroundings give memory that is contiguous as they name it: one map() takes all of it.
    std::uint32_t extent(Memory, std::uint32_t length, Direction) const { return length; }

    Result<Iova> map(Memory memory, std::uint32_t length, Direction direction) {
        const Result<Iova> pages =
            domain_.map_pages(Memory{page_floor(memory.address)},
                              pages_spanned(memory.address, length) * page_bytes, direction);
        if (!pages.ok()) return pages;
        return pages.value() + offset_in_page(memory.address);
    }

    void unmap(Iova iova, std::uint32_t length, Direction, std::uint32_t) {
        // A refusal is counted and quarantined by the domain; there is nothing more that the caller could do.
        static_cast<void>(domain_.unmap_pages(Iova{page_floor(iova.value)},
                                              pages_spanned(iova.value, length) * page_bytes));
    }

    Result<std::uint32_t> map_list(std::span<const Segment> segments, Direction direction,
                                   std::span<DeviceSegment> room) {
        return map_as_one_range(domain_, segments, direction, room);
    }

    void unmap_list(std::span<const DeviceSegment> mapped, Direction, std::uint32_t) {
        const PageRange range = range_of(mapped);
        static_cast<void>(domain_.unmap_pages(range.iova, range.bytes));
    }

    // Nothing is kept beyond unmap().
    void release_all() {}

    [[nodiscard]] MappingCounters counters() const { return domain_.counters(); }

  private:
    Domain& domain_;
};

}  // namespace dmatoll
