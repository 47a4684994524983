// SPDX-License-Identifier: BSD-2-Clause
// Buffers in pieces: how a list of segments lies in one IOVA range, and how it is mapped piece by piece where a strategy
// remembers pieces.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "../core/address.hpp"
#include "../core/mapper.hpp"
#include "../core/result.hpp"
#include "page_range.hpp"

namespace dmatoll {

constexpr std::uint64_t pages_of(const Segment& segment) {
    return pages_spanned(segment.memory.address, segment.length);
}

// Appends an entry to a list in `room`. False: `room` is full.
inline bool append_apart(std::span<DeviceSegment> room, std::uint32_t& count, Iova iova, std::uint32_t length) {
    if (count == room.size()) return false;
    room[count++] = DeviceSegment{iova, length};
    return true;
}

// The same; but what adjoins the last entry makes that longer.
inline bool append(std::span<DeviceSegment> room, std::uint32_t& count, Iova iova, std::uint32_t length) {
    if (count != 0) {
        DeviceSegment& last = room[count - 1];
        if (last.iova + last.length == iova) {
            last.length += length;
            return true;
        }
    }
    return append_apart(room, count, iova, length);
}

// For a strategy that maps for one use: all segments in one range. Where all but the first begin on a page and all but the
// last end on one, as the block layer's do, that is a single entry.
template <class Domain>
Result<std::uint32_t> map_as_one_range(Domain& domain, std::span<const Segment> segments, Direction direction,
                                       std::span<DeviceSegment> room) {
    if (segments.empty() || room.size() < segments.size()) [[unlikely]]
        return Error::invalid_argument;
    const Result<Iova> start = domain.map_list(segments, direction);
    if (!start.ok()) return start.error();
    std::uint32_t count = 0;
    Iova page = start.value();
    for (const Segment& segment : segments) {
        static_cast<void>(append(room, count, page + offset_in_page(segment.memory.address), segment.length));
        page = page + pages_of(segment) * page_bytes;
    }
    return count;
}

// The range of such a list, which is not empty.
inline PageRange range_of(std::span<const DeviceSegment> mapped) {
    const std::uint64_t start = page_floor(mapped.front().iova.value);
    const DeviceSegment& last = mapped.back();
    return PageRange{Iova{start}, page_floor(last.iova.value + last.length + page_bytes - 1) - start};
}

// For a strategy whose mappings outlive the list: by pieces as long as extent() says. What an error leaves mapped, it leaves
// to the strategy.
template <Mapper M>
Result<std::uint32_t> map_by_extent(M& mapper, std::span<const Segment> segments, Direction direction,
                                    std::span<DeviceSegment> room) {
    if (segments.empty()) [[unlikely]]
        return Error::invalid_argument;
    std::uint32_t count = 0;
    for (const Segment& segment : segments) {
        for (std::uint32_t done = 0; done < segment.length;) {
            const Memory piece = segment.memory + done;
            const std::uint32_t length = mapper.extent(piece, segment.length - done, direction);
            const Result<Iova> iova = mapper.map(piece, length, direction);
            if (!iova.ok()) [[unlikely]]
                return iova.error();
            if (!append(room, count, iova.value(), length)) [[unlikely]]
                return Error::invalid_argument;
            done += length;
        }
    }
    return count;
}

}  // namespace dmatoll
