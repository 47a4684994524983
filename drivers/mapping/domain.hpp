// SPDX-License-Identifier: BSD-2-Clause
// An IOMMU domain with its IOVA space: what every strategy of ours maps into.
#pragma once

#include <cstdint>
#include <span>

#include "../core/address.hpp"
#include "../core/counter.hpp"
#include "../core/counters.hpp"
#include "../core/result.hpp"
#include "backend.hpp"
#include "page_range.hpp"
#include "scatter_list.hpp"

namespace dmatoll {

// All of it may be called from several CPUs at once. The counters are written under the lock only, which the
// allocator needs anyway: they cost the data path no locked instruction, and no increment is lost.
template <IommuBackend Backend, class Allocator>
class Domain {
  public:
    using Lock = typename Backend::Lock;

    // Both outlive the domain; the allocator is set up already.
    Domain(Backend& backend, Allocator& allocator) : backend_{backend}, allocator_{allocator} {}
    Domain(const Domain&) = delete;
    Domain& operator=(const Domain&) = delete;

    // Maps whole pages, `bytes` a multiple of page_bytes, at an IOVA of the domain's choice. `first_touch`
    // says that a cache asked because it did not know the page. Errors: no_iova_space, mapping_failed,
    // no_memory.
    Result<Iova> map_pages(Memory memory, std::uint64_t bytes, Direction direction,
                           bool first_touch = false) {
        lock_.lock();
        const Result<Iova> iova = allocator_.allocate(bytes / page_bytes);
        if (iova.ok()) {
            maps_.add(1);
            if (first_touch) first_touches_.add(1);
        } else {
            failures_.add(1);
        }
        lock_.unlock();
        if (!iova.ok()) return iova;

        const Status mapped = backend_.map(iova.value(), memory, bytes, direction);
        if (mapped.ok()) return iova;

        lock_.lock();
        // The backend has left no translation of the range: it can be used again at once.
        allocator_.free(iova.value(), bytes / page_bytes);
        maps_.take_back();
        if (first_touch) first_touches_.take_back();
        failures_.add(1);
        lock_.unlock();
        return mapped.error();
    }

    // Maps the pages of all segments (at least one), in order and without a gap, as one IOVA range. How it lies in there,
    // scatter_list.hpp tells. The range is one mapping in the counters, and ends by one unmap_pages(). Errors as map_pages().
    Result<Iova> map_list(std::span<const Segment> segments, Direction direction) {
        std::uint64_t pages = 0;
        for (const Segment& segment : segments) pages += pages_of(segment);
        lock_.lock();
        const Result<Iova> iova = allocator_.allocate(pages);
        (iova.ok() ? maps_ : failures_).add(1);
        lock_.unlock();
        if (!iova.ok()) return iova;

        std::uint64_t begun = 0;
        const Status mapped = map_segments(iova.value(), segments, direction, begun);
        if (mapped.ok()) return iova;

        const bool cleared = begun == 0 || backend_.unmap(iova.value(), begun, Invalidate::now).ok();
        lock_.lock();
        failures_.add(1);
        if (cleared) {
            allocator_.free(iova.value(), pages);
            maps_.take_back();
            if (begun != 0) invalidations_.add(1);
        } else {
            quarantined_.add(1);
        }
        lock_.unlock();
        return mapped.error();
    }

    // For a strategy that lays out its IOVAs itself: pages that are nobody else's, without a mapping. Error: no_iova_space.
    Result<Iova> reserve(std::uint64_t pages) {
        lock_.lock();
        const Result<Iova> iova = allocator_.allocate(pages);
        if (!iova.ok()) failures_.add(1);
        lock_.unlock();
        return iova;
    }
    // Ends reserve() with the same pages, of which no translation is left.
    void give_back(Iova iova, std::uint64_t pages) {
        lock_.lock();
        allocator_.free(iova, pages);
        lock_.unlock();
    }

    // For who times the steps of a map and an unmap one by one, at IOVAs that were reserved. Nothing is counted of what is
    // done by it: it ends with what it began with.
    Backend& backend() { return backend_; }

    // As map_list(), but at IOVAs that were reserved. `is_lost` is set if an error leaves some of them mapped, since taking it
    // back was refused: they must not be given back. Errors: mapping_failed, no_memory.
    Status map_at(Iova iova, std::span<const Segment> segments, Direction direction, bool& is_lost) {
        std::uint64_t begun = 0;
        const Status mapped = map_segments(iova, segments, direction, begun);
        const bool cleared =
            mapped.ok() || begun == 0 || backend_.unmap(iova, begun, Invalidate::now).ok();
        lock_.lock();
        if (mapped.ok()) {
            maps_.add(1);
        } else {
            failures_.add(1);
            if (!cleared) {
                maps_.add(1);
                quarantined_.add(1);
                is_lost = true;
            } else if (begun != 0) {
                invalidations_.add(1);
            }
        }
        lock_.unlock();
        return mapped;
    }

    // Ends so many map_at() whose ranges are all of this one, by one call. On return no translation of it is left; its IOVAs
    // stay reserved. After an error they must not be given back.
    Status unmap_at(const PageRange& range, std::uint32_t mappings) {
        const Status unmapped = backend_.unmap(range.iova, range.bytes, Invalidate::now);
        if (!unmapped.ok()) [[unlikely]] {
            give_up(mappings);
            return unmapped;
        }
        lock_.lock();
        invalidations_.add(Backend::clears_without_invalidating ? 1 : mappings);
        joined_.add(mappings - 1);
        unmaps_.add(mappings);
        lock_.unlock();
        return {};
    }

    // Maps memory at its own address, for both directions. The allocator must not hand out that range.
    // Errors: mapping_failed, no_memory.
    Status map_identity(Memory memory, std::uint64_t bytes) {
        const Status mapped = backend_.map(Iova{memory.address}, memory, bytes, Direction::bidirectional);
        lock_.lock();
        (mapped.ok() ? maps_ : failures_).add(1);
        lock_.unlock();
        return mapped;
    }

    // Ends one map_identity().
    Status unmap_identity(Memory memory, std::uint64_t bytes) {
        const Status unmapped = backend_.unmap(Iova{memory.address}, bytes, Invalidate::now);
        lock_.lock();
        if (unmapped.ok()) {
            unmaps_.add(1);
            invalidations_.add(1);
        } else {
            failures_.add(1);
        }
        lock_.unlock();
        return unmapped;
    }

    // Ends one map_pages() with the same bytes. On return no translation of the range is left, and only then
    // is its IOVA free: handed out earlier, the next buffer's IOVA could still lead the device to the last
    // buffer's memory. A range whose unmapping is refused stays taken for good, since nobody knows what it
    // leads to.
    Status unmap_pages(Iova iova, std::uint64_t bytes) {
        const Status unmapped = backend_.unmap(iova, bytes, Invalidate::now);
        lock_.lock();
        if (unmapped.ok()) {
            allocator_.free(iova, bytes / page_bytes);
            unmaps_.add(1);
            invalidations_.add(1);
        } else {
            quarantined_.add(1);
            failures_.add(1);
        }
        lock_.unlock();
        return unmapped;
    }

    // The first half of an unmapping in two steps. Where the backend can, the page-table entries are cleared:
    // the device then reaches the range through what its IOTLB still holds, at most. Where it cannot, nothing
    // happens yet and the range stays mapped. Either way its IOVA stays taken until finish_unmaps(). After an
    // error the range stays taken for good, and finish_unmaps() is not due.
    Status begin_unmap(const PageRange& range) {
        if constexpr (Backend::clears_without_invalidating) {
            const Status cleared = backend_.unmap(range.iova, range.bytes, Invalidate::later);
            if (!cleared.ok()) [[unlikely]]
                give_up(1);
            return cleared;
        } else {
            return {};
        }
    }

    // The second half for ranges that begin_unmap() took, whose order it changes: on return no translation of
    // them is left and their IOVAs are free. One invalidation for all, or, where the backend invalidates with
    // the unmapping, one for each range, but one call for each run of ranges that adjoin.
    void finish_unmaps(std::span<PageRange> ranges) {
        if (ranges.empty()) return;
        if constexpr (Backend::clears_without_invalidating) {
            if (!backend_.invalidate_all().ok()) [[unlikely]] {
                give_up(ranges.size());
                return;
            }
            lock_.lock();
            invalidations_.add(1);
            free_unmapped(ranges);
            lock_.unlock();
        } else {
            sort_by_iova(ranges);
            // From the top downwards: the allocator hands out first what came back last, so that the next
            // buffers get ascending addresses, adjoin again, and are unmapped together.
            while (!ranges.empty()) {
                const std::span<PageRange> run = ranges.last(run_length_at_end(ranges));
                ranges = ranges.first(ranges.size() - run.size());
                unmap_run(run);
            }
        }
    }

    [[nodiscard]] MappingCounters counters() const {
        return MappingCounters{.maps = maps_.read(),
                               .unmaps = unmaps_.read(),
                               .invalidations = invalidations_.read(),
                               .unmap_calls = unmaps_.read() - joined_.read(),
                               .first_touches = first_touches_.read(),
                               .failures = failures_.read()};
    }

    // Mappings that exist, or whose invalidation is still due, rings included; 0 after an orderly stop.
    [[nodiscard]] std::uint64_t live() const { return maps_.read() - unmaps_.read(); }
    // Ranges given up because their unmapping was refused.
    [[nodiscard]] std::uint64_t quarantined() const { return quarantined_.read(); }

  private:
    // In order and without a gap, from `iova` on. After an error that many bytes are mapped.
    Status map_segments(Iova iova, std::span<const Segment> segments, Direction direction, std::uint64_t& begun) {
        for (std::size_t i = 0; i < segments.size();) {
            const Memory start{page_floor(segments[i].memory.address)};
            std::uint64_t bytes = 0;
            // What adjoins in memory is one call of the backend.
            do {
                bytes += pages_of(segments[i++]) * page_bytes;
            } while (i < segments.size() && page_floor(segments[i].memory.address) == start.address + bytes);
            const Status mapped = backend_.map(iova + begun, start, bytes, direction);
            if (!mapped.ok()) [[unlikely]]
                return mapped;
            begun += bytes;
        }
        return {};
    }

    void unmap_run(std::span<const PageRange> run) {
        const PageRange& last = run.back();
        const Iova start = run.front().iova;
        const Status unmapped =
            backend_.unmap(start, last.iova.value + last.bytes - start.value, Invalidate::now);
        if (!unmapped.ok()) [[unlikely]] {
            give_up(run.size());
            return;
        }
        lock_.lock();
        // One call, but such a backend invalidates for each mapping in it: VFIO's type 1 walks its mappings
        // one by one.
        invalidations_.add(run.size());
        joined_.add(run.size() - 1);
        free_unmapped(run);
        lock_.unlock();
    }

    // Under the lock. The last first: see finish_unmaps().
    void free_unmapped(std::span<const PageRange> ranges) {
        for (std::size_t i = ranges.size(); i-- > 0;) {
            allocator_.free(ranges[i].iova, ranges[i].bytes / page_bytes);
        }
        unmaps_.add(ranges.size());
    }

    // Nobody knows what these ranges lead to.
    void give_up(std::uint64_t ranges) {
        lock_.lock();
        quarantined_.add(ranges);
        failures_.add(ranges);
        lock_.unlock();
    }

    Backend& backend_;
    Allocator& allocator_;
    Lock lock_{};
    Counter maps_;
    Counter unmaps_;
    Counter invalidations_;
    Counter joined_;  // unmapped with another range's call
    Counter first_touches_;
    Counter failures_;
    Counter quarantined_;
};

}  // namespace dmatoll
