// SPDX-License-Identifier: BSD-2-Clause
// Strategy `passthrough`: all memory is mapped once, each page at its own address, and nothing is done for a
// buffer. The device reaches everything at any time: the price of having an IOMMU without using it. What
// Linux calls an identity domain, here in a domain of our own, so that it differs from our other strategies
// by nothing else.
#pragma once

#include <cstdint>
#include <span>

#include "../core/address.hpp"
#include "../core/counters.hpp"
#include "../core/mapper.hpp"
#include "../core/result.hpp"
#include "../core/strategy.hpp"
#include "iova/space.hpp"
#include "scatter_list.hpp"

namespace dmatoll {

// Domain: its allocator hands out no IOVA up to the end of memory.
template <class Domain>
class Passthrough {
  public:
    static constexpr const Strategy& strategy = strategies::passthrough;

    // The domain outlives it.
    explicit Passthrough(Domain& domain) : domain_{domain} {}
    Passthrough(const Passthrough&) = delete;
    Passthrough& operator=(const Passthrough&) = delete;

    // Maps the pages of [page_bytes, last] less what the IOMMU has reserved: that translates to something
    // else whatever the page table says. Page 0 is left out, since IOVA 0 is never used. `address_bits`: of
    // the IOMMU. Call once; after an error nothing is left. Errors: invalid_argument (memory lies beyond
    // address_bits), mapping_failed, no_memory.
    Status set_up(Memory last, std::span<const IovaRange> reserved, std::uint32_t address_bits) {
        if (address_bits < 64 && last.address >> address_bits != 0) return Error::invalid_argument;
        reserved_ = reserved;
        last_ = last.address;
        std::uint64_t mapped_to = page_bytes;
        const Status status = for_each_piece([this, &mapped_to](std::uint64_t first, std::uint64_t bytes) {
            const Status mapped = domain_.map_identity(Memory{first}, bytes);
            if (mapped.ok()) mapped_to = first + bytes;
            return mapped;
        });
        if (!status.ok()) {
            last_ = mapped_to - 1;
            release_all();
        }
        return status;
    }

    std::uint32_t extent(Memory, std::uint32_t length, Direction) const { return length; }

    // mapping_failed: not memory.
    Result<Iova> map(Memory memory, std::uint32_t length, Direction) {
        if (memory.address < page_bytes || memory.address > last_ || last_ - memory.address < length - 1)
            [[unlikely]] {
            return Error::mapping_failed;
        }
        return Iova{memory.address};
    }

    void unmap(Iova, std::uint32_t, Direction, std::uint32_t) {}

    Result<std::uint32_t> map_list(std::span<const Segment> segments, Direction direction,
                                   std::span<DeviceSegment> room) {
        return map_by_extent(*this, segments, direction, room);
    }

    void unmap_list(std::span<const DeviceSegment>, Direction, std::uint32_t) {}

    // The driver has stopped.
    void release_all() {
        static_cast<void>(for_each_piece([this](std::uint64_t first, std::uint64_t bytes) {
            static_cast<void>(domain_.unmap_identity(Memory{first}, bytes));
            return Status{};
        }));
        last_ = 0;
    }

    [[nodiscard]] MappingCounters counters() const { return domain_.counters(); }

  private:
    // use(first, bytes) for every run of whole pages of memory between reserved ranges, upwards, until it
    // fails.
    template <class Use>
    Status for_each_piece(Use&& use) {
        std::uint64_t first = page_bytes;
        while (first <= last_) {
            std::uint64_t end = page_floor(last_ + page_bytes);  // behind the piece
            std::uint64_t next = end;
            for (const IovaRange& range : reserved_) {
                if (range.last < first || page_floor(range.first) >= end) continue;
                end = page_floor(range.first);
                next = page_floor(range.last) + page_bytes;
            }
            if (end > first) {
                if (const Status used = use(first, end - first); !used.ok()) return used;
            }
            if (next <= first) break;  // reserved up to the end of all addresses
            first = next;
        }
        return {};
    }

    Domain& domain_;
    std::span<const IovaRange> reserved_;  // outlives it
    std::uint64_t last_ = 0;               // of memory that is mapped
};

}  // namespace dmatoll
