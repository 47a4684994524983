// SPDX-License-Identifier: BSD-2-Clause
// Strategy `deferred`: every buffer is mapped for one use, as with `strict`, but one invalidation serves many
// unmappings, or, where the backend invalidates with each, one call does.
//
// The method is that of Linux's flush queue [drivers/iommu/dma-iommu.c; M. Gross 2008], with one queue for a
// domain: unmap() clears the page-table entries and queues the range. When the queue is full, or its oldest
// range has been there for the longest time allowed, all of the domain is invalidated, and then only are the
// IOVAs free. A range that was handed out earlier would lead the device to the buffer before, by what its
// IOTLB still holds. Window bounded: that time. Where the backend cannot clear without invalidating, the
// unmapping itself waits in the queue, and ranges that adjoin are unmapped together (Domain); the bound is
// the same, but until then the device reaches the buffer for certain, and not by its IOTLB only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "../core/address.hpp"
#include "../core/counters.hpp"
#include "../core/mapper.hpp"
#include "../core/platform.hpp"
#include "../core/result.hpp"
#include "../core/strategy.hpp"
#include "../core/strategy_parameters.hpp"
#include "alarm.hpp"
#include "page_range.hpp"
#include "scatter_list.hpp"

namespace dmatoll {

struct DeferredLimits {
    std::uint32_t entries = StrategySettings{}.deferred_entries;
    std::uint32_t milliseconds = StrategySettings{}.deferred_milliseconds;
};

template <class Domain, Platform P, Alarm A>
class Deferred {
  public:
    static constexpr const Strategy& strategy = strategies::deferred;

    // All outlive it.
    Deferred(Domain& domain, P& platform, A& alarm) : domain_{domain}, platform_{platform}, alarm_{alarm} {}
    Deferred(const Deferred&) = delete;
    Deferred& operator=(const Deferred&) = delete;

    // Call once, before anything is mapped. Errors: invalid_argument, no_memory.
    Status set_up(const DeferredLimits& limits) {
        if (queue_ != nullptr || !parameters::deferred_entries.takes(limits.entries) ||
            !parameters::deferred_milliseconds.takes(limits.milliseconds)) {
            return Error::invalid_argument;
        }
        const Result<void*> memory = platform_.allocate(limits.entries * sizeof(PageRange));
        if (!memory.ok()) return memory.error();
        queue_ = static_cast<PageRange*>(memory.value());
        entries_ = limits.entries;
        longest_ns_ = std::uint64_t{limits.milliseconds} * 1'000'000;
        return {};
    }

    std::uint32_t extent(Memory, std::uint32_t length, Direction) const { return length; }

    Result<Iova> map(Memory memory, std::uint32_t length, Direction direction) {
        const Result<Iova> pages =
            domain_.map_pages(Memory{page_floor(memory.address)},
                              pages_spanned(memory.address, length) * page_bytes, direction);
        if (!pages.ok()) return pages;
        return pages.value() + offset_in_page(memory.address);
    }

    void unmap(Iova iova, std::uint32_t length, Direction, std::uint32_t) {
        unmap_range({Iova{page_floor(iova.value)}, pages_spanned(iova.value, length) * page_bytes});
    }

    Result<std::uint32_t> map_list(std::span<const Segment> segments, Direction direction,
                                   std::span<DeviceSegment> room) {
        return map_as_one_range(domain_, segments, direction, room);
    }

    void unmap_list(std::span<const DeviceSegment> mapped, Direction, std::uint32_t) { unmap_range(range_of(mapped)); }

    // What the alarm was set for. From any context that may unmap.
    void on_alarm() {
        lock_.lock();
        alarm_is_set_ = false;
        if (queued_ != 0) {
            const std::uint64_t age = platform_.now_ns() - oldest_ns_;
            if (age >= longest_ns_) {
                flush();
            } else {
                // The range for which it had been set went with a full queue: this is a younger one.
                set_alarm(longest_ns_ - age);
            }
        }
        lock_.unlock();
    }

    // For surroundings that poll, and look at their alarm only now and then: flushes if it is time, whether
    // the alarm has rung or not.
    void flush_if_due() {
        lock_.lock();
        if (queued_ != 0 && platform_.now_ns() - oldest_ns_ >= longest_ns_) flush();
        lock_.unlock();
    }

    // Flushes, and gives the queue back. The driver has stopped and no alarm is on its way any more.
    // Afterwards set_up() may be called again.
    void release_all() {
        if (queue_ == nullptr) return;
        flush();
        platform_.free(queue_, entries_ * sizeof(PageRange));
        queue_ = nullptr;
        alarm_is_set_ = false;
    }

    [[nodiscard]] MappingCounters counters() const { return domain_.counters(); }
    // Ranges that wait. Not concurrent with the data path.
    [[nodiscard]] std::uint32_t queued() const { return queued_; }

  private:
    void unmap_range(const PageRange& range) {
        // A refusal is counted and quarantined by the domain.
        if (!domain_.begin_unmap(range).ok()) [[unlikely]]
            return;
        lock_.lock();
        queue_[queued_++] = range;
        if (queued_ == entries_) {
            flush();
        } else if (queued_ == 1) {
            note_the_oldest();
        }
        lock_.unlock();
    }

    // Under the lock, which also keeps back what is unmapped while the invalidation is on its way: what it
    // covers was unmapped before it began.
    void flush() {
        domain_.finish_unmaps(std::span{queue_, queued_});
        queued_ = 0;
    }

    void note_the_oldest() {
        oldest_ns_ = platform_.now_ns();
        // One that is set already comes no later than this one would.
        if (!alarm_is_set_) set_alarm(longest_ns_);
    }

    void set_alarm(std::uint64_t nanoseconds) {
        alarm_is_set_ = true;
        alarm_.set(nanoseconds);
    }

    Domain& domain_;
    P& platform_;
    A& alarm_;
    typename Domain::Lock lock_{};
    PageRange* queue_ = nullptr;
    std::uint32_t entries_ = 0;
    std::uint32_t queued_ = 0;
    std::uint64_t longest_ns_ = 0;
    std::uint64_t oldest_ns_ = 0;
    bool alarm_is_set_ = false;
};

}  // namespace dmatoll
