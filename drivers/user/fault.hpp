// SPDX-License-Identifier: BSD-2-Clause
// What --allow-faults lets the control socket ask for: the driver process fails as buggy drivers do.
#pragma once

#include <cstdint>

namespace dmatoll::user {

enum class Fault : std::uint64_t {
    none,
    null,  // a null pointer is dereferenced
    loop,  // an endless loop
};

[[gnu::noinline, gnu::cold]] inline void commit(Fault fault) {
    if (fault == Fault::null) {
        // Both volatile: a pointer that the compiler knows becomes a trap, and a plain store through one that
        // can only be null is left out.
        volatile int* volatile nowhere = nullptr;
        *nowhere = 1;
    }
    while (fault == Fault::loop) {
        asm volatile("");
    }
}

}  // namespace dmatoll::user
