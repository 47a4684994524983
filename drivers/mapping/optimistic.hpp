// SPDX-License-Identifier: BSD-2-Clause
// Strategy `optimistic`: a page that nobody uses any more stays mapped for a while, in the hope that it is
// used again; then neither page table nor IOTLB are touched. What is not, goes in batches. The method is the
// optimistic teardown of Amit et al. (vIOMMU, USENIX ATC 2011).
//
// Window bounded by that while, or by as many pages. It is weaker than that of `deferred` though its bound is
// the same: the page-table entry stays, and the device reaches the page for certain and not by its IOTLB
// only.
//
// Time goes in halves of the bound: at the end of each all goes that was idle before its beginning. So a page
// stays for half of the bound at least and for all of it at most, and no clock is read for it.
#pragma once

#include <cstdint>

#include "../core/platform.hpp"
#include "../core/result.hpp"
#include "../core/strategy.hpp"
#include "../core/strategy_parameters.hpp"
#include "alarm.hpp"
#include "page_by_page.hpp"

namespace dmatoll {

struct OptimisticLimits {
    std::uint32_t entries = StrategySettings{}.optimistic_entries;  // pages
    std::uint32_t milliseconds = StrategySettings{}.optimistic_milliseconds;
};

template <class Domain, Platform P, Alarm A>
class Optimistic : public PageByPage<Optimistic<Domain, P, A>, Domain, P> {
    using Base = PageByPage<Optimistic<Domain, P, A>, Domain, P>;
    friend Base;

  public:
    static constexpr const Strategy& strategy = strategies::optimistic;
    // Pages that are mapped at a time, idle ones included.
    static constexpr std::uint32_t default_capacity = 65536;

    // All outlive it.
    Optimistic(Domain& domain, P& platform, A& alarm) : Base{domain, platform}, alarm_{alarm} {}

    // Call once, before anything is mapped. Errors: invalid_argument, no_memory.
    Status set_up(const OptimisticLimits& limits, std::uint32_t capacity = default_capacity) {
        if (!parameters::optimistic_entries.takes(limits.entries) ||
            !parameters::optimistic_milliseconds.takes(limits.milliseconds)) {
            return Error::invalid_argument;
        }
        entries_ = limits.entries;
        half_ns_ = std::uint64_t{limits.milliseconds} * 500'000;
        return Base::set_up_pages(capacity);
    }

    // What the alarm was set for. From any context that may unmap.
    void on_alarm() {
        Base::lock_.lock();
        if (Base::pages_.idle() != 0) end_half_if_due();
        // Not earlier: who puts a page to rest in between must not begin a half.
        alarm_is_set_ = false;
        if (Base::pages_.idle() != 0) {
            const std::uint64_t age = Base::platform_.now_ns() - half_began_ns_;
            set_alarm(age < half_ns_ ? half_ns_ - age : 1);
        }
        Base::lock_.unlock();
    }

    // For surroundings that poll, and look at their alarm only now and then.
    void flush_if_due() {
        Base::lock_.lock();
        if (Base::pages_.idle() != 0) end_half_if_due();
        Base::lock_.unlock();
    }

    // As the base's. No alarm is on its way any more.
    void release_all() {
        Base::release_all();
        alarm_is_set_ = false;
    }

  private:
    using Index = typename Base::Index;

    bool make_room() { return false; }

    void on_unused(Index index) {
        Base::pages_[index].mark = half_;
        Base::pages_.put_to_rest(index);
        if (Base::pages_.idle() == entries_) [[unlikely]] {
            const std::uint32_t half = (entries_ + 1) / 2;
            Base::doom_idle(half < Base::most_doomed ? half : Base::most_doomed);
        } else if (!alarm_is_set_) [[unlikely]] {
            // Nothing was idle when the last one rang, and nothing has been since.
            half_began_ns_ = Base::platform_.now_ns();
            set_alarm(half_ns_);
        }
    }

    // Leaves the lock, under which it is called, to others in between.
    void end_half_if_due() {
        const std::uint64_t now = Base::platform_.now_ns();
        const std::uint64_t age = now - half_began_ns_;
        if (age < half_ns_) return;
        // Looked at so late, what became idle in this half may have been so for all of the bound; and otherwise
        // the next half is as much shorter.
        const bool is_all_due = age >= 2 * half_ns_;
        half_began_ns_ = is_all_due ? now : half_began_ns_ + half_ns_;
        ++half_;
        while (doom_due(is_all_due)) {
            Base::unmap_doomed();
            Base::lock_.unlock();
            Base::lock_.lock();
        }
        Base::unmap_doomed();
    }

    // One batch of what was idle before the half that has ended began, or, if all is due, before it ended. Whether
    // there may be more.
    bool doom_due(bool is_all_due) {
        for (std::uint32_t count = 0; count < Base::most_doomed; ++count) {
            const Index oldest = Base::pages_.oldest_idle();
            if (oldest == MappedPages::none) return false;
            const std::uint32_t halves_ago = half_ - Base::pages_[oldest].mark;
            if (halves_ago == 0 || (halves_ago == 1 && !is_all_due)) return false;
            Base::doom_idle(1);
        }
        return true;
    }

    void set_alarm(std::uint64_t nanoseconds) {
        alarm_is_set_ = true;
        alarm_.set(nanoseconds);
    }

    A& alarm_;
    std::uint32_t entries_ = 0;
    std::uint32_t half_ = 0;  // its number
    std::uint64_t half_ns_ = 0;
    std::uint64_t half_began_ns_ = 0;
    bool alarm_is_set_ = false;
};

}  // namespace dmatoll
