// SPDX-License-Identifier: BSD-2-Clause
// Compiled with the flags of the data path that it is linked with, and told by them.
#include "code_generation.hpp"

namespace dmatoll::user {

const char* code_generation() {
#ifdef __SSE2__
    return "native";
#else
    // x86-64 has SSE2 unless somebody takes it away, as the kernel does.
    return "kernel-like";
#endif
}

}  // namespace dmatoll::user
