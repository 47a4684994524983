// SPDX-License-Identifier: BSD-2-Clause
#pragma once

#include <cstdint>

namespace dmatoll::workloads {

// The echo service's own port is 7 [RFC 862]; this one needs no privilege.
inline constexpr std::uint16_t default_echo_port = 7007;

}  // namespace dmatoll::workloads
