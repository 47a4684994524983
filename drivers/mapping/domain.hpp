// SPDX-License-Identifier: BSD-2-Clause
// An IOMMU domain with its IOVA space: what every strategy of ours maps into.
#pragma once

#include <cstdint>
#include <span>

#include "../core/address.hpp"
#include "../core/counter.hpp"
#include "../core/counters.hpp"
#include "../core/iova_allocator.hpp"
#include "../core/result.hpp"
#include "backend.hpp"
#include "page_range.hpp"
#include "scatter_list.hpp"

namespace dmatoll {

// All of it may be called from several CPUs at once. The counters are written under the lock only, which the
// allocator needs anyway: they cost the data path no locked instruction, and no increment is lost. An allocator
// that works for each CPU by itself has a lock and counters for each.
//
// Allocator: iova::Any. Its usual kind is asked for first, so that it costs what it would cost alone.
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
        if (allocator_.kind() == Allocator::usual_kind) [[likely]] {
            return map_pages_with(Usual{*this, shared()}, memory, bytes, direction, first_touch);
        }
        return map_pages_otherwise(memory, bytes, direction, first_touch);
    }

    // Maps the pages of all segments (at least one), in order and without a gap, as one IOVA range. How it lies in there,
    // scatter_list.hpp tells. The range is one mapping in the counters, and ends by one unmap_pages(). Errors as map_pages(),
    // and not_supported: the allocator leaves pages where they are.
    Result<Iova> map_list(std::span<const Segment> segments, Direction direction) {
        std::uint64_t pages = 0;
        for (const Segment& segment : segments) pages += pages_of(segment);
        const Result<Iova> iova = with_space([pages, direction](auto space) {
            space.cell.lock.lock();
            const Result<Iova> found = space.allocate(pages, direction);
            (found.ok() ? space.cell.maps : space.cell.failures).add(1);
            space.cell.lock.unlock();
            return found;
        });
        if (!iova.ok()) return iova;

        std::uint64_t begun = 0;
        const Status mapped = map_segments(iova.value(), segments, direction, begun);
        if (mapped.ok()) return iova;

        const bool cleared = begun == 0 || backend_.unmap(iova.value(), begun, Invalidate::now).ok();
        with_space([&](auto space) {
            space.cell.lock.lock();
            space.cell.failures.add(1);
            if (cleared) {
                space.free(iova.value(), pages);
                space.cell.maps.take_back();
                if (begun != 0) space.cell.invalidations.add(1);
            } else {
                space.cell.quarantined.add(1);
            }
            space.cell.lock.unlock();
        });
        return mapped.error();
    }

    // For a strategy that lays out its IOVAs itself: pages that are nobody else's, without a mapping. Whichever the
    // allocator is, 64 pages are aligned to their size. Errors: no_iova_space, and not_supported: the allocator leaves
    // pages where they are.
    Result<Iova> reserve(std::uint64_t pages) {
        return with_space([pages](auto space) {
            space.cell.lock.lock();
            const Result<Iova> iova = space.allocate(pages, Direction::bidirectional);
            if (!iova.ok()) space.cell.failures.add(1);
            space.cell.lock.unlock();
            return iova;
        });
    }
    // Ends reserve() with the same pages, of which no translation is left.
    void give_back(Iova iova, std::uint64_t pages) {
        with_space([iova, pages](auto space) {
            space.cell.lock.lock();
            space.free(iova, pages);
            space.cell.lock.unlock();
        });
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
        Cell& cell = shared();
        cell.lock.lock();
        if (mapped.ok()) {
            cell.maps.add(1);
        } else {
            cell.failures.add(1);
            if (!cleared) {
                cell.maps.add(1);
                cell.quarantined.add(1);
                is_lost = true;
            } else if (begun != 0) {
                cell.invalidations.add(1);
            }
        }
        cell.lock.unlock();
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
        Cell& cell = shared();
        cell.lock.lock();
        cell.invalidations.add(Backend::clears_without_invalidating ? 1 : mappings);
        cell.joined.add(mappings - 1);
        cell.unmaps.add(mappings);
        cell.lock.unlock();
        return {};
    }

    // Maps memory at its own address, for both directions. The allocator must not hand out that range.
    // Errors: mapping_failed, no_memory.
    Status map_identity(Memory memory, std::uint64_t bytes) {
        const Status mapped = backend_.map(Iova{memory.address}, memory, bytes, Direction::bidirectional);
        Cell& cell = shared();
        cell.lock.lock();
        (mapped.ok() ? cell.maps : cell.failures).add(1);
        cell.lock.unlock();
        return mapped;
    }

    // Ends one map_identity().
    Status unmap_identity(Memory memory, std::uint64_t bytes) {
        const Status unmapped = backend_.unmap(Iova{memory.address}, bytes, Invalidate::now);
        Cell& cell = shared();
        cell.lock.lock();
        if (unmapped.ok()) {
            cell.unmaps.add(1);
            cell.invalidations.add(1);
        } else {
            cell.failures.add(1);
        }
        cell.lock.unlock();
        return unmapped;
    }

    // Ends one map_pages() with the same bytes. On return no translation of the range is left, and only then
    // is its IOVA free: handed out earlier, the next buffer's IOVA could still lead the device to the last
    // buffer's memory. A range whose unmapping is refused stays taken for good, since nobody knows what it
    // leads to.
    Status unmap_pages(Iova iova, std::uint64_t bytes) {
        if (allocator_.kind() == Allocator::usual_kind) [[likely]] {
            return unmap_pages_with(Usual{*this, shared()}, iova, bytes);
        }
        return unmap_pages_otherwise(iova, bytes);
    }

    // The first half of an unmapping in two steps. Where the backend can, the page-table entries are cleared:
    // the device then reaches the range through what its IOTLB still holds, at most. Where it cannot, nothing
    // happens yet and the range stays mapped. Either way its IOVA stays taken until finish_unmaps(). After an
    // error the range stays taken for good, and finish_unmaps() is not due.
    Status begin_unmap(const PageRange& range) {
        if constexpr (Backend::clears_without_invalidating) {
            if (leaves_pages_in_place()) [[unlikely]]
                return begin_unmap_in_place(range);
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
                if (leaves_pages_in_place()) lose_in_place(ranges);
                give_up(ranges.size());
                return;
            }
            with_space([ranges](auto space) {
                space.cell.lock.lock();
                space.cell.invalidations.add(1);
                free_unmapped(space, ranges);
                space.cell.lock.unlock();
            });
        } else {
            sort_by_iova(ranges);
            // From the top downwards: size-classes, eiovar and magazines hand out first what came back last, so that
            // the next buffers get ascending addresses, adjoin again, and are unmapped together. Trees and blocks go
            // by the address, and to them the order is all the same.
            while (!ranges.empty()) {
                const std::span<PageRange> run = ranges.last(run_length_at_end(ranges));
                ranges = ranges.first(ranges.size() - run.size());
                unmap_run(run);
            }
        }
    }

    [[nodiscard]] MappingCounters counters() const {
        const std::uint64_t unmaps = sum(&Cell::unmaps);
        return MappingCounters{.maps = sum(&Cell::maps),
                               .unmaps = unmaps,
                               .invalidations = sum(&Cell::invalidations),
                               .unmap_calls = unmaps - sum(&Cell::joined),
                               .first_touches = sum(&Cell::first_touches),
                               .failures = sum(&Cell::failures)};
    }

    // Mappings that exist, or whose invalidation is still due, rings included; 0 after an orderly stop.
    [[nodiscard]] std::uint64_t live() const { return sum(&Cell::maps) - sum(&Cell::unmaps); }
    // Ranges given up because their unmapping was refused.
    [[nodiscard]] std::uint64_t quarantined() const { return sum(&Cell::quarantined); }

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

    // What its lock guards: counters, and the allocator or this CPU's share of it. No two share a cache line.
    struct alignas(64) Cell {
        Lock lock{};
        Counter maps;
        Counter unmaps;
        Counter invalidations;
        Counter joined;  // unmapped with another range's call
        Counter first_touches;
        Counter failures;
        Counter quarantined;
    };

    // The allocator as one CPU sees it, if it is the usual one and if it is another. The usual one's address is got from
    // the domain each time: over a call of the backend it would be kept on the stack.
    struct Usual {
        Domain& domain;
        Cell& cell;
        Result<Iova> allocate(std::uint64_t pages, Direction) { return domain.allocator_.usual().allocate(pages); }
        void free(Iova iova, std::uint64_t pages) { domain.allocator_.usual().free(iova, pages); }
    };
    struct Another {
        Allocator& allocator;
        Cell& cell;
        std::uint32_t cpu;
        Result<Iova> allocate(std::uint64_t pages, Direction direction) {
            return allocator.allocate(pages, direction, cpu);
        }
        void free(Iova iova, std::uint64_t pages) { allocator.free(iova, pages, cpu); }
    };

    Cell& shared() { return cells_[0]; }

    Another another() {
        const std::uint32_t cpu = allocator_.is_per_cpu() ? Backend::cpu() : 0;
        return Another{allocator_, cells_[cpu], cpu};
    }

    // use(Usual or Another).
    template <class Use>
    decltype(auto) with_space(Use&& use) {
        if (allocator_.kind() == Allocator::usual_kind) [[likely]]
            return use(Usual{*this, shared()});
        return use(another());
    }

    template <class Space>
    Result<Iova> map_pages_with(Space space, Memory memory, std::uint64_t bytes, Direction direction,
                                bool first_touch) {
        Cell& cell = space.cell;
        cell.lock.lock();
        const Result<Iova> iova = space.allocate(bytes / page_bytes, direction);
        if (iova.ok()) {
            cell.maps.add(1);
            if (first_touch) cell.first_touches.add(1);
        } else {
            cell.failures.add(1);
        }
        cell.lock.unlock();
        if (!iova.ok()) return iova;

        const Status mapped = backend_.map(iova.value(), memory, bytes, direction);
        if (mapped.ok()) return iova;

        cell.lock.lock();
        // The backend has left no translation of the range: it can be used again at once.
        space.free(iova.value(), bytes / page_bytes);
        cell.maps.take_back();
        if (first_touch) cell.first_touches.take_back();
        cell.failures.add(1);
        cell.lock.unlock();
        return mapped.error();
    }

    template <class Space>
    Status unmap_pages_with(Space space, Iova iova, std::uint64_t bytes) {
        const Status unmapped = backend_.unmap(iova, bytes, Invalidate::now);
        Cell& cell = space.cell;
        cell.lock.lock();
        if (unmapped.ok()) {
            space.free(iova, bytes / page_bytes);
            cell.unmaps.add(1);
            cell.invalidations.add(1);
        } else {
            cell.quarantined.add(1);
            cell.failures.add(1);
        }
        cell.lock.unlock();
        return unmapped;
    }

    [[gnu::noinline]] Result<Iova> map_pages_otherwise(Memory memory, std::uint64_t bytes, Direction direction,
                                                       bool first_touch) {
        if (leaves_pages_in_place()) return map_in_place(memory, bytes, direction, first_touch);
        return map_pages_with(another(), memory, bytes, direction, first_touch);
    }

    [[gnu::noinline]] Status unmap_pages_otherwise(Iova iova, std::uint64_t bytes) {
        if (leaves_pages_in_place()) return unmap_in_place(iova, bytes);
        return unmap_pages_with(another(), iova, bytes);
    }

    // ---- pages that others may have mapped, too: what is counted and what is mapped agree under the lock ----

    [[nodiscard]] bool leaves_pages_in_place() const {
        return allocator_.kind() == IovaAllocatorKind::identity;
    }

    Result<Iova> map_in_place(Memory memory, std::uint64_t bytes, Direction direction, bool first_touch) {
        Cell& cell = shared();
        cell.lock.lock();
        bool is_lost = false;
        const Result<Iova> iova =
            allocator_.identity().map(backend_, memory, bytes / page_bytes, direction, is_lost);
        if (iova.ok()) {
            cell.maps.add(1);
            if (first_touch) cell.first_touches.add(1);
        } else {
            cell.failures.add(1);
            if (is_lost) {
                cell.maps.add(1);
                cell.quarantined.add(1);
            }
        }
        cell.lock.unlock();
        return iova;
    }

    Status unmap_in_place(Iova iova, std::uint64_t bytes) {
        Cell& cell = shared();
        cell.lock.lock();
        const Result<std::uint64_t> cleared =
            allocator_.identity().unmap(backend_, iova, bytes / page_bytes, Invalidate::now);
        if (cleared.ok()) {
            cell.unmaps.add(1);
            cell.invalidations.add(cleared.value());
        } else {
            cell.quarantined.add(1);
            cell.failures.add(1);
        }
        cell.lock.unlock();
        return cleared.error();
    }

    [[gnu::noinline]] Status begin_unmap_in_place(const PageRange& range) {
        shared().lock.lock();
        const Result<std::uint64_t> cleared = allocator_.identity().unmap(
            backend_, range.iova, range.bytes / page_bytes, Invalidate::later);
        // Some of its pages may be cleared, and nobody will ask for their invalidation.
        if (!cleared.ok()) [[unlikely]] allocator_.identity().lose(range.iova, range.bytes / page_bytes);
        shared().lock.unlock();
        if (!cleared.ok()) give_up(1);
        return cleared.error();
    }

    [[gnu::noinline]] void lose_in_place(std::span<const PageRange> ranges) {
        shared().lock.lock();
        for (const PageRange& range : ranges) {
            allocator_.identity().lose(range.iova, range.bytes / page_bytes);
        }
        shared().lock.unlock();
    }

    // ---- unmapping in two steps ----

    void unmap_run(std::span<const PageRange> run) {
        const PageRange& last = run.back();
        const Iova start = run.front().iova;
        const Status unmapped =
            backend_.unmap(start, last.iova.value + last.bytes - start.value, Invalidate::now);
        if (!unmapped.ok()) [[unlikely]] {
            give_up(run.size());
            return;
        }
        with_space([run](auto space) {
            space.cell.lock.lock();
            // One call, but such a backend invalidates for each mapping in it: VFIO's type 1 walks its mappings
            // one by one.
            space.cell.invalidations.add(run.size());
            space.cell.joined.add(run.size() - 1);
            free_unmapped(space, run);
            space.cell.lock.unlock();
        });
    }

    // Under the lock. The last first: see finish_unmaps().
    template <class Space>
    static void free_unmapped(Space& space, std::span<const PageRange> ranges) {
        for (std::size_t i = ranges.size(); i-- > 0;) {
            space.free(ranges[i].iova, ranges[i].bytes / page_bytes);
        }
        space.cell.unmaps.add(ranges.size());
    }

    // Nobody knows what these ranges lead to.
    void give_up(std::uint64_t ranges) {
        Cell& cell = shared();
        cell.lock.lock();
        cell.quarantined.add(ranges);
        cell.failures.add(ranges);
        cell.lock.unlock();
    }

    [[nodiscard]] std::uint64_t sum(Counter Cell::* counter) const {
        std::uint64_t total = 0;
        for (const Cell& cell : cells_) total += (cell.*counter).read();
        return total;
    }

    Backend& backend_;
    Allocator& allocator_;
    Cell cells_[Backend::most_cpus];
};

}  // namespace dmatoll
