// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// The strategies by number, for the C side.
#include <cstdint>

#include "core/strategy.hpp"
#include "glue.h"
#include "settings_of.hpp"
#include "strategy_at.hpp"

using namespace dmatoll;
using dmatoll::kernel::settings_of;
using dmatoll::kernel::strategy_at;

static_assert(DMATOLL_PAGE_BYTES == page_bytes && DMATOLL_LARGE_PAGE_BYTES == large_page_bytes);

extern "C" {

int dmatoll_strategy_find(const char* name) {
    const Strategy* const found = strategies::find(name);
    for (int number = 0; const Strategy* strategy = strategy_at(number); ++number) {
        if (strategy == found) return number;
    }
    return -1;
}

const char* dmatoll_strategy_name(int strategy) {
    const Strategy* const found = strategy_at(strategy);
    return found != nullptr ? found->name : nullptr;
}

const char* dmatoll_strategy_domain(int strategy) { return name_of(strategy_at(strategy)->domain); }

bool dmatoll_strategy_has_page_size(int strategy) {
    const Strategy* const found = strategy_at(strategy);
    return found != nullptr && strategies::has_page_size(*found);
}

bool dmatoll_strategy_protection(int strategy, const dmatoll_strategy_settings* settings, unsigned int line,
                                 const char** pair, const char** granularity, const char** window,
                                 std::uint64_t* bound_ns) {
    const ProtectionByPair by_pair =
        protection_with(settings_of(*settings), *strategy_at(strategy), Placement::kernel);
    const Protection* protection = nullptr;
    if (line == 0) {
        *pair = "kernel_from_device";
        protection = &by_pair.kernel_from_device;
    } else if (line == 1) {
        *pair = "kernel_from_driver";
        protection = &by_pair.kernel_from_driver;
    } else if (line == 2) {
        *pair = "driver_from_device";
        protection = &by_pair.driver_from_device;
    } else {
        return false;
    }
    const std::uint64_t page_size =
        dmatoll_strategy_has_page_size(strategy) ? settings->page_size : page_bytes;
    *granularity = name_of(with_pages_of(page_size, *protection).granularity);
    *window = name_of(protection->window.kind);
    *bound_ns = protection->window.bound_ns;
    return true;
}

}  // extern "C"
