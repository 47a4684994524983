// SPDX-License-Identifier: BSD-2-Clause
// How a buffer becomes an address that the device may use. A driver never calls the IOMMU: it calls its Mapper.
#pragma once

#include <concepts>
#include <cstdint>
#include <span>

#include "address.hpp"
#include "result.hpp"

namespace dmatoll {

template <class M>
concept Mapper = requires(M mapper, Memory memory, Iova iova, std::uint32_t length, Direction direction,
                            std::uint32_t written) {
    // How many bytes from `memory` on, 1 to `length`, one map() call in that direction can take as one contiguous IOVA range.
    // A driver cuts a longer buffer into that many pieces. (A strategy that remembers mappings page by page answers with the
    // rest of the page.)
    { mapper.extent(memory, length, direction) } -> std::same_as<std::uint32_t>;

    // Makes [memory, memory + length) reachable for the device in that direction; length is at least 1. The result
    // keeps the offset within the page. Errors: invalid_argument (length is more than extent(): so a driver may try the whole
    // first), no_iova_space, mapping_failed, no_memory.
    { mapper.map(memory, length, direction) } -> std::same_as<Result<Iova>>;

    // Ends what map() began, with the same length and direction. What that means for the device is the strategy's stated
    // protection window. `written`: with from_device, how many bytes from the start on the device says to have written and
    // the caller wants to see, at most length; 0 when the content is not wanted, and with to_device. A strategy that lets the
    // device write elsewhere (copy) brings that many bytes to the buffer. Never fails: a refused unmapping is counted and
    // the range is not used again.
    { mapper.unmap(iova, length, direction, written) } -> std::same_as<void>;
};

// A Mapper of buffers that lie in pieces, as a block request's do.
template <class M>
concept ScatterMapper =
    Mapper<M> && requires(M mapper, std::span<const Segment> segments, Direction direction,
                          std::span<DeviceSegment> room, std::span<const DeviceSegment> mapped, std::uint32_t written) {
        // Makes all segments (at least one) reachable for the device in that direction, and writes into `room`, in order, what
        // the device is to be told: neighbours that adjoin are one. A strategy that maps for one use takes one IOVA range for all
        // of them. Returns how many entries it wrote; as many as the pages that the segments touch are enough. After an error
        // nothing is mapped. Errors: those of map(); invalid_argument: `room` is too small.
        { mapper.map_list(segments, direction, room) } -> std::same_as<Result<std::uint32_t>>;

        // Ends what map_list() began, with all that it wrote and the same direction. `written` as with unmap(), counted from the
        // start of the list.
        { mapper.unmap_list(mapped, direction, written) } -> std::same_as<void>;
    };

}  // namespace dmatoll
