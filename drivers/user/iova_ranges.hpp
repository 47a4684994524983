// SPDX-License-Identifier: BSD-2-Clause
// Which I/O virtual addresses may be used: what VFIO reports, and what the hardware translates of it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "mapping/iova/space.hpp"

namespace dmatoll::user {

// The ranges in a `vfio_iommu_type1_info` with its capabilities behind it, as VFIO_IOMMU_GET_INFO fills it.
// Nothing if the bytes carry no IOVA capability, or one that points outside of them.
std::optional<std::vector<IovaRange>> parse_iova_ranges(std::span<const std::byte> info);

// Bits of address that a VT-d unit translates: the MGAW field of its capability register [VT-d 4.1 §11.4.2].
constexpr unsigned vtd_address_bits(std::uint64_t capability) {
    return static_cast<unsigned>((capability >> 16) & 0x3f) + 1;
}

}  // namespace dmatoll::user
