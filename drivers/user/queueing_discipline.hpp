// SPDX-License-Identifier: BSD-2-Clause
// The queue that the kernel puts in front of a network interface.
#pragma once

#include <string>

namespace dmatoll::user {

// Takes it away: the stack then hands each frame to the interface itself, as with a bridge or a veth. For
// interfaces that never refuse a frame, where a queue only costs. Throws Failure, also without the privilege.
void remove_queueing_discipline(const std::string& interface);

}  // namespace dmatoll::user
