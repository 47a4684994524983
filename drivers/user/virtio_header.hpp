// SPDX-License-Identifier: BSD-2-Clause
// The header that a TAP puts before each frame, and what it means for a device. What is read from a TAP may
// have been written by anybody who can send through it: offsets and lengths count only after a check.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "core/result.hpp"
#include "e1000/offload.hpp"
#include "tap_header.hpp"

namespace dmatoll::user {

// What the device, which sends frames of up to `largest_frame` bytes and a VLAN tag, is to do with `frame`,
// which came behind `header`. May finish the checksum itself, in place, where it lies beyond the reach of the
// device. Errors: invalid_argument (the header contradicts the frame, or the frame is of an impossible
// length), not_supported (a kind of segmentation that nobody offered).
Result<e1000::TransmitOffload> to_offload(const TapHeader& header, std::span<std::byte> frame,
                                          std::uint32_t largest_frame);

}  // namespace dmatoll::user
