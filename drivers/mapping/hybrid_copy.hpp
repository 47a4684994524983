// SPDX-License-Identifier: BSD-2-Clause
// Strategy `hybrid-copy`: what is short is copied (`copy`), what is long is mapped for one use (`strict`):
// copying costs by the byte, mapping and invalidating cost by the buffer. Markuze et al. (ASPLOS 2016) draw
// such a line.
//
// Window zero. By the byte for what was copied, by the page for what was mapped, and so by the page for all
// of it.
//
// Which way a buffer went, its length tells again when it comes back. For a list that is the length of all of
// it.
#pragma once

#include <cstdint>
#include <span>

#include "../core/address.hpp"
#include "../core/counters.hpp"
#include "../core/mapper.hpp"
#include "../core/platform.hpp"
#include "../core/result.hpp"
#include "../core/strategy.hpp"
#include "../core/strategy_parameters.hpp"
#include "copy.hpp"
#include "strict.hpp"

namespace dmatoll {

template <class Domain, Platform P>
class HybridCopy {
  public:
    static constexpr const Strategy& strategy = strategies::hybrid_copy;

    // Both outlive it.
    HybridCopy(Domain& domain, P& platform) : copy_{domain, platform}, strict_{domain} {}

    // Up to `longest` bytes are copied. Call once; after an error nothing is left. Errors: invalid_argument,
    // no_memory, no_iova_space, mapping_failed.
    Status set_up(const CopySlots& slots, std::uint32_t longest) {
        if (!parameters::copy_threshold.takes(longest)) return Error::invalid_argument;
        longest_copied_ = longest;
        return copy_.set_up(slots);
    }

    std::uint32_t extent(Memory memory, std::uint32_t length, Direction direction) const {
        return is_copied(length) ? copy_.extent(memory, length, direction)
                                 : strict_.extent(memory, length, direction);
    }

    Result<Iova> map(Memory memory, std::uint32_t length, Direction direction) {
        return is_copied(length) ? copy_.map(memory, length, direction)
                                 : strict_.map(memory, length, direction);
    }

    void unmap(Iova iova, std::uint32_t length, Direction direction, std::uint32_t written) {
        if (is_copied(length)) {
            copy_.unmap(iova, length, direction, written);
        } else {
            strict_.unmap(iova, length, direction, written);
        }
    }

    Result<std::uint32_t> map_list(std::span<const Segment> segments, Direction direction,
                                   std::span<DeviceSegment> room) {
        return is_copied(bytes_of(segments)) ? copy_.map_list(segments, direction, room)
                                             : strict_.map_list(segments, direction, room);
    }

    void unmap_list(std::span<const DeviceSegment> mapped, Direction direction, std::uint32_t written) {
        if (is_copied(bytes_of(mapped))) {
            copy_.unmap_list(mapped, direction, written);
        } else {
            strict_.unmap_list(mapped, direction, written);
        }
    }

    // The driver has stopped. Afterwards set_up() may be called again.
    void release_all() { copy_.release_all(); }

    [[nodiscard]] MappingCounters counters() const { return copy_.counters(); }

  private:
    [[nodiscard]] bool is_copied(std::uint64_t bytes) const { return bytes <= longest_copied_; }

    template <class S>
    static std::uint64_t bytes_of(std::span<S> segments) {
        std::uint64_t bytes = 0;
        for (const auto& segment : segments) bytes += segment.length;
        return bytes;
    }

    Copy<Domain, P> copy_;
    Strict<Domain> strict_;
    std::uint32_t longest_copied_ = 0;
};

}  // namespace dmatoll
