// SPDX-License-Identifier: BSD-2-Clause
// Strategy `deferred`: every buffer is mapped for one use, as with `strict`, but one invalidation serves many
// unmappings, or, where the backend invalidates with each, one call does.
//
// The method is that of Linux's flush queue [drivers/iommu/dma-iommu.c; M. Gross 2008], with one queue for a
// domain, or one for each CPU as Linux has them: unmap() clears the page-table entries and queues the range.
// When the queue is full, or its oldest range has been there for the longest time allowed, all of the domain
// is invalidated, and then only are the IOVAs free. A range that was handed out earlier would lead the device
// to the buffer before, by what its IOTLB still holds. Window bounded: that time. Where the backend cannot
// clear without invalidating, the unmapping itself waits in the queue, and ranges that adjoin are unmapped
// together (Domain); the bound is the same, but until then the device reaches the buffer for certain, and not
// by its IOTLB only.
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
    std::uint32_t entries = StrategySettings{}.deferred_entries;  // of a queue
    std::uint32_t milliseconds = StrategySettings{}.deferred_milliseconds;
    bool per_cpu = StrategySettings{}.deferred_per_cpu != 0;

    // CPUs beyond that share one.
    static constexpr std::uint32_t most_queues = 64;

    [[nodiscard]] constexpr std::uint32_t queues(std::uint32_t cpus) const {
        return !per_cpu ? 1 : cpus < most_queues ? cpus : most_queues;
    }
};

template <class Domain, Platform P, Alarm A>
class Deferred {
  public:
    static constexpr const Strategy& strategy = strategies::deferred;
    static constexpr std::uint32_t most_queues = DeferredLimits::most_queues;

    // All outlive it.
    Deferred(Domain& domain, P& platform, A& alarm) : domain_{domain}, platform_{platform}, alarm_{alarm} {}
    Deferred(const Deferred&) = delete;
    Deferred& operator=(const Deferred&) = delete;

    // Call once, before anything is mapped. Errors: invalid_argument, not_supported (a queue for each CPU where
    // the surroundings know of one only), no_memory.
    Status set_up(const DeferredLimits& limits) {
        if (ranges_ != nullptr || !parameters::deferred_entries.takes(limits.entries) ||
            !parameters::deferred_milliseconds.takes(limits.milliseconds)) {
            return Error::invalid_argument;
        }
        std::uint32_t queues = 1;
        if (limits.per_cpu) {
            if constexpr (CpuPlatform<P>) {
                queues = limits.queues(platform_.cpus());
            } else {
                return Error::not_supported;
            }
        }
        const Result<void*> memory = platform_.allocate(bytes_of(queues, limits.entries));
        if (!memory.ok()) return memory.error();
        ranges_ = static_cast<PageRange*>(memory.value());
        queue_count_ = queues;
        entries_ = limits.entries;
        longest_ns_ = std::uint64_t{limits.milliseconds} * 1'000'000;
        for (std::uint32_t i = 0; i < queues; ++i) queues_[i].ranges = ranges_ + std::size_t{i} * entries_;
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
        alarm_lock_.lock();
        alarm_at_ns_ = 0;
        alarm_lock_.unlock();
        for (Queue& queue : queues()) {
            queue.lock.lock();
            if (queue.queued != 0) {
                const std::uint64_t now = platform_.now_ns();
                if (now - queue.oldest_ns >= longest_ns_) {
                    flush(queue);
                } else {
                    // The range for which it had been set went with a full queue, or was another queue's: this is
                    // a younger one.
                    set_alarm(queue.oldest_ns + longest_ns_, now);
                }
            }
            queue.lock.unlock();
        }
    }

    // For surroundings that poll, and look at their alarm only now and then: flushes if it is time, whether
    // the alarm has rung or not.
    void flush_if_due() {
        for (Queue& queue : queues()) {
            queue.lock.lock();
            if (queue.queued != 0 && platform_.now_ns() - queue.oldest_ns >= longest_ns_) flush(queue);
            queue.lock.unlock();
        }
    }

    // Whatever waits, whether it is time or not.
    void flush_now() {
        for (Queue& queue : queues()) {
            queue.lock.lock();
            flush(queue);
            queue.lock.unlock();
        }
    }

    // Flushes, and gives the queues back. The driver has stopped and no alarm is on its way any more.
    // Afterwards set_up() may be called again.
    void release_all() {
        if (ranges_ == nullptr) return;
        for (Queue& queue : queues()) flush(queue);
        platform_.free(ranges_, bytes_of(queue_count_, entries_));
        ranges_ = nullptr;
        alarm_at_ns_ = 0;
    }

    [[nodiscard]] MappingCounters counters() const { return domain_.counters(); }
    // Ranges that wait. Not concurrent with the data path.
    [[nodiscard]] std::uint32_t queued() const {
        std::uint32_t sum = 0;
        for (const Queue& queue : queues_) sum += queue.queued;
        return sum;
    }

  private:
    struct alignas(64) Queue {
        typename Domain::Lock lock{};
        PageRange* ranges = nullptr;
        std::uint32_t queued = 0;
        std::uint64_t oldest_ns = 0;
    };

    static constexpr std::size_t bytes_of(std::uint32_t queues, std::uint32_t entries) {
        return std::size_t{queues} * entries * sizeof(PageRange);
    }

    std::span<Queue> queues() { return {queues_, queue_count_}; }

    Queue& own_queue() {
        if constexpr (CpuPlatform<P>) {
            if (queue_count_ != 1) return queues_[platform_.cpu() % most_queues];
        }
        return queues_[0];
    }

    void unmap_range(const PageRange& range) {
        // A refusal is counted and quarantined by the domain.
        if (!domain_.begin_unmap(range).ok()) [[unlikely]]
            return;
        Queue& queue = own_queue();
        queue.lock.lock();
        queue.ranges[queue.queued++] = range;
        if (queue.queued == entries_) {
            flush(queue);
        } else if (queue.queued == 1) {
            queue.oldest_ns = platform_.now_ns();
            set_alarm(queue.oldest_ns + longest_ns_, queue.oldest_ns);
        }
        queue.lock.unlock();
    }

    // Under the queue's lock, which also keeps back what is unmapped while the invalidation is on its way: what
    // it covers was unmapped before it began.
    void flush(Queue& queue) {
        domain_.finish_unmaps(std::span{queue.ranges, queue.queued});
        queue.queued = 0;
    }

    // One that is set already and comes no later does for all.
    void set_alarm(std::uint64_t at_ns, std::uint64_t now_ns) {
        alarm_lock_.lock();
        if (alarm_at_ns_ == 0 || at_ns < alarm_at_ns_) {
            alarm_at_ns_ = at_ns;
            alarm_.set(at_ns - now_ns);
        }
        alarm_lock_.unlock();
    }

    Domain& domain_;
    P& platform_;
    A& alarm_;
    PageRange* ranges_ = nullptr;  // of all queues
    std::uint32_t queue_count_ = 0;
    std::uint32_t entries_ = 0;
    std::uint64_t longest_ns_ = 0;
    typename Domain::Lock alarm_lock_{};  // taken under a queue's, never the other way round
    std::uint64_t alarm_at_ns_ = 0;       // 0: it is not set
    Queue queues_[most_queues] = {};
};

}  // namespace dmatoll
