// SPDX-License-Identifier: BSD-2-Clause
// How a buffer becomes an address that the device may use. A driver never calls the IOMMU: it calls its Mapper.
#pragma once

#include <concepts>
#include <cstdint>

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

}  // namespace dmatoll
