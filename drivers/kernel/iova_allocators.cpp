// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// The IOVA allocators by number, for the C side: the catalogue's order.
#include "core/iova_allocator.hpp"

#include "core/address.hpp"
#include "core/strategy.hpp"
#include "glue.h"
#include "strategy_at.hpp"

using namespace dmatoll;

extern "C" {

int dmatoll_iova_allocator_find(const char* name) {
    const IovaAllocatorEntry* const found = iova_allocators::find(name);
    return found != nullptr ? static_cast<int>(found - iova_allocators::catalogue.data()) : -1;
}

const char* dmatoll_iova_allocator_name(int allocator) {
    const auto number = static_cast<unsigned int>(allocator);
    return number < iova_allocators::catalogue.size() ? iova_allocators::catalogue[number].name : nullptr;
}

const char* dmatoll_iova_allocator_refusal(int allocator, int strategy, bool lists,
                                           const dmatoll_strategy_settings* settings) {
    const bool large_pages =
        dmatoll_strategy_has_page_size(strategy) && settings->page_size == large_page_bytes;
    return iova_allocators::refusal(iova_allocators::catalogue[static_cast<unsigned int>(allocator)].kind,
                                    {.placement = Placement::kernel,
                                     .strategy = kernel::strategy_at(strategy),
                                     .lists = lists,
                                     .large_pages = large_pages});
}

}  // extern "C"
