// SPDX-License-Identifier: BSD-2-Clause
// Preparing headers for segmentation, and which offload requests are refused.
#include <gtest/gtest.h>

#include "frames.hpp"

namespace dmatoll::test {
namespace {

class PrepareSegmentation : public testing::TestWithParam<bool> {
  protected:
    FrameShape shape{.ipv6 = GetParam(), .payload = 4000};
    e1000::TransmitOffload offload = segmentation_offload(shape, 1420);
};

TEST_P(PrepareSegmentation, LeavesTheLengthsOutAndSumsThePseudoHeader) {
    const Bytes before = make_frame(shape);
    Bytes frame = before;
    ASSERT_TRUE(e1000::prepare_segmentation(frame, offload).ok());
    const std::uint32_t length_field = link_header + (shape.ipv6 ? 4 : 2);
    EXPECT_EQ(model::load_be16(frame, length_field), 0u);
    EXPECT_TRUE(shape.ipv6 || model::load_be16(frame, link_header + 10) == 0);
    const std::uint32_t field = shape.transport_start() + 16;
    EXPECT_EQ(model::load_be16(frame, field), pseudo_header_sum(before, false));
    // Nothing else changed.
    Bytes rest = frame;
    for (const std::uint32_t at : {length_field, shape.ipv6 ? length_field : link_header + 10u, field}) {
        model::store_be16(rest, at, model::load_be16(before, at));
    }
    EXPECT_EQ(rest, before);
}

TEST_P(PrepareSegmentation, RefusesHeadersThatItCannotFollow) {
    Bytes frame = make_frame(shape);
    EXPECT_EQ(e1000::prepare_segmentation(std::span{frame}.first(shape.header_bytes() - 1), offload).error(),
              Error::invalid_argument);
    frame[link_header] = std::byte{0x50};
    EXPECT_EQ(e1000::prepare_segmentation(frame, offload).error(), Error::invalid_argument)
        << "no such IP version";
    e1000::TransmitOffload no_segments = offload;
    no_segments.segment = false;
    Bytes good = make_frame(shape);
    EXPECT_EQ(e1000::prepare_segmentation(good, no_segments).error(), Error::invalid_argument);
}

// Adding the carry can give another carry.
TEST_P(PrepareSegmentation, FoldsEveryCarry) {
    Bytes frame = make_frame(shape);
    const std::uint32_t first = link_header + (shape.ipv6 ? 8 : 12);
    std::fill(frame.begin() + first, frame.begin() + link_header + shape.network_bytes(), std::byte{0xff});
    const std::uint16_t expected = pseudo_header_sum(frame, false);
    ASSERT_TRUE(e1000::prepare_segmentation(frame, offload).ok());
    EXPECT_EQ(model::load_be16(frame, shape.transport_start() + 16), expected);
}

INSTANTIATE_TEST_SUITE_P(Versions, PrepareSegmentation, testing::Bool());

TEST(ValidOffload, RefusesWhatTheDeviceCannotExpress) {
    const FrameShape shape{.payload = 4000};
    const auto valid = [&](auto change, std::uint32_t bytes) {
        e1000::TransmitOffload offload = segmentation_offload(shape, 1448);
        change(offload);
        return e1000::valid_offload(offload, bytes, e1000::standard_frame);
    };
    using Offload = e1000::TransmitOffload;
    const std::uint32_t bytes = shape.header_bytes() + shape.payload;
    EXPECT_TRUE(valid([](Offload&) {}, bytes));
    EXPECT_FALSE(valid([](Offload& o) { o.segment_bytes = 0; }, bytes));
    EXPECT_FALSE(valid([](Offload& o) { o.segment_bytes = 1500; }, bytes)) << "longer than a frame may be";
    EXPECT_FALSE(valid([](Offload& o) { o.header_bytes = 256; }, bytes));
    EXPECT_FALSE(valid([](Offload& o) { o.header_bytes = 50; }, bytes)) << "cuts the TCP header";
    EXPECT_FALSE(valid([](Offload& o) { o.checksum_start = 30; }, bytes)) << "cuts the IP header";
    EXPECT_FALSE(valid([](Offload& o) { o.checksum_offset = 6; }, bytes)) << "UDP";
    EXPECT_FALSE(valid([](Offload&) {}, shape.header_bytes())) << "no payload";
    EXPECT_FALSE(valid([](Offload&) {}, 70'000));
    EXPECT_FALSE(valid([](Offload& o) { o.segment = false; }, bytes)) << "too long in one piece";
    EXPECT_FALSE(valid([](Offload& o) { o.segment = false; }, 51)) << "the field lies beyond the end";
    EXPECT_TRUE(valid([](Offload& o) { o.segment = false; }, 52));
    EXPECT_FALSE(valid([](Offload& o) { o.segment = false, o.checksum_start = 250; }, 1000));
}

}  // namespace
}  // namespace dmatoll::test
