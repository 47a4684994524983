// SPDX-License-Identifier: BSD-2-Clause
#include "iova_ranges.hpp"

#include <linux/vfio.h>

#include <cstring>

namespace dmatoll::user {
namespace {

// A T at `offset`, or nothing if it does not lie within the bytes.
template <class T>
std::optional<T> read_at(std::span<const std::byte> bytes, std::size_t offset) {
    if (offset > bytes.size() || bytes.size() - offset < sizeof(T)) {
        return std::nullopt;
    }
    T value;
    std::memcpy(&value, bytes.data() + offset, sizeof(T));
    return value;
}

}  // namespace

std::optional<std::vector<IovaRange>> parse_iova_ranges(std::span<const std::byte> info) {
    const auto header = read_at<vfio_iommu_type1_info>(info, 0);
    if (!header || !(header->flags & VFIO_IOMMU_INFO_CAPS)) {
        return std::nullopt;
    }
    std::size_t offset = header->cap_offset;
    // Every capability takes room of its own: a chain longer than that runs in a circle.
    for (std::size_t left = info.size() / sizeof(vfio_info_cap_header); offset != 0 && left != 0; --left) {
        const auto capability = read_at<vfio_info_cap_header>(info, offset);
        if (!capability) {
            return std::nullopt;
        }
        if (capability->id == VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE) {
            using Capability = vfio_iommu_type1_info_cap_iova_range;
            const auto count = read_at<std::uint32_t>(info, offset + offsetof(Capability, nr_iovas));
            if (!count) {
                return std::nullopt;
            }
            std::vector<IovaRange> ranges;
            std::size_t at = offset + sizeof(Capability);
            for (std::uint32_t i = 0; i < *count; ++i, at += sizeof(vfio_iova_range)) {
                const auto range = read_at<vfio_iova_range>(info, at);
                if (!range) {
                    return std::nullopt;
                }
                ranges.push_back(IovaRange{range->start, range->end});
            }
            return ranges;
        }
        offset = capability->next;
    }
    return std::nullopt;
}

}  // namespace dmatoll::user
