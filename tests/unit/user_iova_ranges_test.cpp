// SPDX-License-Identifier: BSD-2-Clause
// What VFIO_IOMMU_GET_INFO answers, as bytes: well-formed, cut short, and running in circles.
#include <gtest/gtest.h>

#include <cstring>
#include <vector>

#include "iova_ranges.hpp"

namespace {

using dmatoll::user::parse_iova_ranges;

// A vfio_iommu_type1_info by its documented layout: argsz, flags, page sizes, offset of the first capability.
class Info {
  public:
    Info() {
        put32(0);
        put32(3);  // page sizes and capabilities
        put64(0x40201000);
        put32(0);
        put32(0);  // padding to 8
    }

    // Links the capability behind the one before it.
    Info& capability(std::uint16_t id) {
        const auto here = static_cast<std::uint32_t>(bytes_.size());
        std::memcpy(bytes_.data() + next_at_, &here, sizeof(here));
        next_at_ = bytes_.size() + 4;
        put16(id);
        put16(1);
        put32(0);
        return *this;
    }
    Info& put16(std::uint16_t value) { return put(value); }
    Info& put32(std::uint32_t value) { return put(value); }
    Info& put64(std::uint64_t value) { return put(value); }
    Info& point_next_to(std::uint32_t offset) {
        std::memcpy(bytes_.data() + next_at_, &offset, sizeof(offset));
        return *this;
    }

    std::vector<std::byte> bytes_;

  private:
    template <class T>
    Info& put(T value) {
        const std::size_t at = bytes_.size();
        bytes_.resize(at + sizeof(value));
        std::memcpy(bytes_.data() + at, &value, sizeof(value));
        return *this;
    }

    std::size_t next_at_ = 16;
};

constexpr std::uint16_t iova_range_capability = 1;
constexpr std::uint16_t dma_available_capability = 3;

Info two_ranges() {
    Info info;
    info.capability(dma_available_capability).put32(65535).put32(0);
    info.capability(iova_range_capability).put32(2).put32(0);
    info.put64(0).put64(0xfedfffff).put64(0xfef00000).put64(0x1ffffffffffffff);
    return info;
}

TEST(UserIovaRanges, FindsTheCapabilityBehindAnother) {
    const auto ranges = parse_iova_ranges(two_ranges().bytes_);
    ASSERT_TRUE(ranges.has_value());
    ASSERT_EQ(ranges->size(), 2u);
    EXPECT_EQ((*ranges)[0].first, 0u);
    EXPECT_EQ((*ranges)[0].last, 0xfedfffffu);
    EXPECT_EQ((*ranges)[1].first, 0xfef00000u);
    EXPECT_EQ((*ranges)[1].last, 0x1ffffffffffffffu);
}

TEST(UserIovaRanges, EveryCutOffAnswerIsRefused) {
    const std::vector<std::byte> whole = two_ranges().bytes_;
    for (std::size_t length = 0; length < whole.size(); ++length) {
        EXPECT_FALSE(parse_iova_ranges({whole.data(), length}).has_value()) << length << " bytes";
    }
}

TEST(UserIovaRanges, MoreRangesAnnouncedThanThereAre) {
    Info info;
    info.capability(iova_range_capability).put32(0xffffffff).put32(0).put64(0).put64(0xffff);
    EXPECT_FALSE(parse_iova_ranges(info.bytes_).has_value());
}

TEST(UserIovaRanges, AChainThatRunsInACircleEnds) {
    Info info;
    info.capability(dma_available_capability).put32(1).put32(0);
    info.point_next_to(24);
    EXPECT_FALSE(parse_iova_ranges(info.bytes_).has_value());
}

TEST(UserIovaRanges, APointerOutsideIsRefused) {
    Info info;
    info.point_next_to(0xfffffff8);
    EXPECT_FALSE(parse_iova_ranges(info.bytes_).has_value());
}

TEST(UserIovaRanges, NoCapabilitiesAnnounced) {
    Info info = two_ranges();
    const std::uint32_t page_sizes_only = 1;
    std::memcpy(info.bytes_.data() + 4, &page_sizes_only, sizeof(page_sizes_only));
    EXPECT_FALSE(parse_iova_ranges(info.bytes_).has_value());
}

TEST(UserIovaRanges, WidthOfAVtdUnit) {
    // QEMU's intel-iommu with aw-bits 39 and 48.
    EXPECT_EQ(dmatoll::user::vtd_address_bits(0xd2008c22260206), 39u);
    EXPECT_EQ(dmatoll::user::vtd_address_bits(0xd2008c222f0606), 48u);
}

}  // namespace
