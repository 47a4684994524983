// SPDX-License-Identifier: BSD-2-Clause
// Where an AHCI adapter's registers are, and how much of them is mapped.
#pragma once

#include <cstddef>

namespace dmatoll::user::adapter_registers {

// [AHCI 1.3.1 §3.1.4, §3.3]: 128 bytes for each port behind 256, as far as the ports implemented go.
inline constexpr unsigned bar = 5;
inline constexpr std::size_t fewest_bytes = 4096;
inline constexpr std::size_t most_bytes = 2 * fewest_bytes;

}  // namespace dmatoll::user::adapter_registers
