// SPDX-License-Identifier: BSD-2-Clause
// Strategy `on-demand`: as `persistent` a mapping is made at the first touch and kept, but of so many pages
// at most. For one beyond that those go, in a batch with one invalidation, that have not been used for the
// longest time. The method is that of Yassour, Ben-Yehuda and Wasserman (on-demand mapping with a quota of
// pinned memory, 2010). Without a quota it is `strict` page by page; with one that holds all that is ever
// used, `persistent`.
//
// Window unbounded: the device reaches what it was given until that makes room for something else.
//
// If all of the quota is in use, a page beyond it is mapped for one use, and its mapping ends with it. Such
// maps are no first touches: that is how their number shows.
#pragma once

#include <cstdint>

#include "../core/platform.hpp"
#include "../core/result.hpp"
#include "../core/strategy.hpp"
#include "../core/strategy_parameters.hpp"
#include "page_by_page.hpp"

namespace dmatoll {

template <class Domain, Platform P>
class OnDemand : public PageByPage<OnDemand<Domain, P>, Domain, P> {
    using Base = PageByPage<OnDemand<Domain, P>, Domain, P>;
    friend Base;

  public:
    static constexpr const Strategy& strategy = strategies::on_demand;
    // Pages that are mapped at a time, those beyond the quota included.
    static constexpr std::uint32_t default_capacity = 65536;

    // Both outlive it.
    OnDemand(Domain& domain, P& platform) : Base{domain, platform} {}

    // Call once, before anything is mapped. Errors: invalid_argument, no_memory.
    Status set_up(std::uint32_t quota, std::uint32_t capacity = default_capacity) {
        if (!parameters::quota_pages.takes(quota)) return Error::invalid_argument;
        quota_ = quota;
        // Enough for one invalidation to serve many, little enough for most of the quota to stay.
        batch_ = quota / 8 + 1 < Base::most_doomed ? quota / 8 + 1 : Base::most_doomed;
        return Base::set_up_pages(capacity);
    }

  private:
    bool make_room() {
        if (Base::pages_.count() >= quota_) Base::doom_idle(batch_);
        return Base::pages_.count() < quota_;
    }

    // What was mapped beyond the quota goes first, whichever page that is by now.
    void on_unused(typename Base::Index index) {
        if (Base::pages_.count() > quota_) [[unlikely]] {
            Base::doom(index);
        } else {
            Base::pages_.put_to_rest(index);
        }
    }

    std::uint32_t quota_ = 0;
    std::uint32_t batch_ = 0;
};

}  // namespace dmatoll
