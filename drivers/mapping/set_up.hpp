// SPDX-License-Identifier: BSD-2-Clause
// What each strategy is told before it maps anything, wherever it runs: its parameters. Call once, when the domain's IOVAs
// are known. `slots` are of the strategies that copy. Errors are the strategy's.
#pragma once

#include "../core/result.hpp"
#include "../core/strategy_parameters.hpp"
#include "contiguous.hpp"
#include "copy.hpp"
#include "deferred.hpp"
#include "hybrid_copy.hpp"
#include "on_demand.hpp"
#include "optimistic.hpp"
#include "shared.hpp"

namespace dmatoll {

// Those that have nothing to set up. One that has is told by name below, or does not compile.
template <class M>
    requires(!requires { &M::set_up; })
Status set_up_strategy(M&, const StrategySettings&, const CopySlots&) {
    return {};
}

template <class Domain, Platform P>
Status set_up_strategy(Shared<Domain, P>& mapper, const StrategySettings&, const CopySlots&) {
    return mapper.set_up();
}

template <class Domain, Platform P, Alarm A>
Status set_up_strategy(Deferred<Domain, P, A>& mapper, const StrategySettings& settings, const CopySlots&) {
    return mapper.set_up({.entries = settings.deferred_entries,
                          .milliseconds = settings.deferred_milliseconds,
                          .per_cpu = settings.deferred_per_cpu != 0});
}

template <class Domain, Platform P, Alarm A>
Status set_up_strategy(Contiguous<Domain, P, A>& mapper, const StrategySettings& settings, const CopySlots&) {
    return mapper.set_up(settings.contiguous_milliseconds);
}

template <class Domain, Platform P, Alarm A>
Status set_up_strategy(Optimistic<Domain, P, A>& mapper, const StrategySettings& settings, const CopySlots&) {
    return mapper.set_up(
        {.entries = settings.optimistic_entries, .milliseconds = settings.optimistic_milliseconds});
}

template <class Domain, Platform P>
Status set_up_strategy(Copy<Domain, P>& mapper, const StrategySettings&, const CopySlots& slots) {
    return mapper.set_up(slots);
}

template <class Domain, Platform P>
Status set_up_strategy(HybridCopy<Domain, P>& mapper, const StrategySettings& settings,
                       const CopySlots& slots) {
    return mapper.set_up(slots, settings.copy_threshold);
}

template <class Domain, Platform P>
Status set_up_strategy(OnDemand<Domain, P>& mapper, const StrategySettings& settings, const CopySlots&) {
    return mapper.set_up(settings.quota_pages);
}

}  // namespace dmatoll
