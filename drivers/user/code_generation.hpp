// SPDX-License-Identifier: BSD-2-Clause
#pragma once

namespace dmatoll::user {

// How the data path of this program was compiled: `native`, or `kernel-like` (see CMakeLists.txt).
const char* code_generation();

}  // namespace dmatoll::user
