/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The parameters of strategies, once for all that show or check them: the module's parameters, which are C, and through
 * strategy_parameters.hpp the user programs' options, the suites' driver settings and the records.
 *
 * X(name, strategy, least, most, usual, whether the window lasts that many milliseconds, what it is)
 */
#pragma once

/* clang-format off */
#define DMATOLL_STRATEGY_PARAMETERS(X)                                                                            \
    X(deferred_entries, "deferred", 1, 16384, 256, 0, "unmapped ranges that wait for one invalidation")           \
    X(deferred_milliseconds, "deferred", 1, 1000, 10, 1, "for how long they wait at most")                           \
    X(deferred_per_cpu, "deferred", 0, 1, 0, 0, "1: a queue for each CPU, as Linux has; 0: one for all")          \
    X(optimistic_entries, "optimistic", 1, 16384, 1024, 0, "pages that stay mapped without a user")               \
    X(optimistic_milliseconds, "optimistic", 1, 1000, 10, 1, "for how long they do at most")                         \
    X(contiguous_milliseconds, "contiguous", 1, 1000, 10, 1, "for how long a buffer that came back waits for its block") \
    X(quota_pages, "on-demand", 0, 32768, 1024, 0, "pages that stay mapped, those in use included")                \
    X(copy_threshold, "hybrid-copy", 0, 65536, 4096, 0, "bytes up to which a buffer is copied, beyond which it is mapped")
/* clang-format on */
