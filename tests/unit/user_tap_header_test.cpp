// SPDX-License-Identifier: BSD-2-Clause
// Headers from a TAP: what a good one asks of the device, and that no bad one gets through.
#include <gtest/gtest.h>

#include <vector>

#include "internet_checksum.hpp"
#include "virtio_header.hpp"

namespace {

using dmatoll::Error;
using dmatoll::user::TapHeader;
namespace tap_header = dmatoll::user::tap_header;

constexpr std::size_t tcp_at = 34;

// On a link with an MTU of 1500.
dmatoll::Result<dmatoll::e1000::TransmitOffload> to_offload(const TapHeader& header,
                                                            std::span<std::byte> frame) {
    return dmatoll::user::to_offload(header, frame, dmatoll::e1000::standard_frame);
}

// Ethernet, IPv4 or IPv6, TCP with 12 bytes of options, payload.
std::vector<std::byte> tcp_frame(std::size_t payload, bool ipv6 = false, bool tagged = false) {
    const std::size_t network = tagged ? 18 : 14;
    const std::size_t transport = network + (ipv6 ? 40 : 20);
    std::vector<std::byte> frame(transport + 32 + payload);
    const std::uint16_t type = ipv6 ? 0x86dd : 0x0800;
    if (tagged) {
        frame[12] = std::byte{0x81};
    }
    frame[network - 2] = static_cast<std::byte>(type >> 8);
    frame[network - 1] = static_cast<std::byte>(type & 0xff);
    frame[network] = ipv6 ? std::byte{0x60} : std::byte{0x45};
    frame[transport + 12] = std::byte{0x80};
    return frame;
}

TapHeader segmentable(std::uint16_t start = tcp_at) {
    return {.flags = tap_header::needs_checksum,
            .segmentation = tap_header::tcp_ipv4,
            .header_bytes = 66,
            .segment_bytes = 1448,
            .checksum_start = start,
            .checksum_offset = 16};
}

TEST(UserTapHeader, APlainFrameAsksNothing) {
    auto frame = tcp_frame(100);
    const auto offload = to_offload({}, frame);
    ASSERT_TRUE(offload.ok());
    EXPECT_FALSE(offload.value().checksum);
    EXPECT_FALSE(offload.value().segment);
}

TEST(UserTapHeader, Checksum) {
    auto frame = tcp_frame(100);
    const auto offload = to_offload(
        {.flags = tap_header::needs_checksum, .checksum_start = tcp_at, .checksum_offset = 16}, frame);
    ASSERT_TRUE(offload.ok());
    EXPECT_TRUE(offload.value().checksum);
    EXPECT_FALSE(offload.value().segment);
    EXPECT_EQ(offload.value().checksum_start, tcp_at);
    EXPECT_EQ(offload.value().checksum_offset, 16);
}

TEST(UserTapHeader, SegmentationReadsTheHeaderLengthFromTheFrame) {
    auto frame = tcp_frame(20000);
    TapHeader header = segmentable();
    header.header_bytes = 9999;  // a hint that is wrong
    const auto offload = to_offload(header, frame);
    ASSERT_TRUE(offload.ok());
    EXPECT_TRUE(offload.value().segment);
    EXPECT_EQ(offload.value().header_bytes, 66);
    EXPECT_EQ(offload.value().segment_bytes, 1448);
    EXPECT_EQ(offload.value().network_start, 14);
    EXPECT_FALSE(offload.value().ipv6);
}

TEST(UserTapHeader, SegmentationOfTaggedIpv6) {
    auto frame = tcp_frame(20000, true, true);
    TapHeader header = segmentable(58);
    header.segmentation = tap_header::tcp_ipv6;
    header.segment_bytes = 1428;
    const auto offload = to_offload(header, frame);
    ASSERT_TRUE(offload.ok());
    EXPECT_TRUE(offload.value().ipv6);
    EXPECT_EQ(offload.value().network_start, 18);
    EXPECT_EQ(offload.value().header_bytes, 90);
}

TEST(UserTapHeader, OneSegmentIsAnOrdinaryFrame) {
    auto frame = tcp_frame(1448);
    const auto offload = to_offload(segmentable(), frame);
    ASSERT_TRUE(offload.ok());
    EXPECT_FALSE(offload.value().segment);
    EXPECT_TRUE(offload.value().checksum);
}

TEST(UserTapHeader, AChecksumBeyondTheDevicesReachIsFinishedHere) {
    std::vector<std::byte> frame(600);
    frame[12] = std::byte{0x86};
    frame[13] = std::byte{0xdd};
    for (std::size_t i = 300; i < frame.size(); ++i) {
        frame[i] = static_cast<std::byte>(i * 7);
    }
    const auto offload = to_offload(
        {.flags = tap_header::needs_checksum, .checksum_start = 300, .checksum_offset = 16}, frame);
    ASSERT_TRUE(offload.ok());
    EXPECT_FALSE(offload.value().checksum);
    // Before, the field held a pseudo-header's sum (whatever was in it): after, all of it adds up to that
    // sum's complement, that is, the sum from the start on is the old field's and nothing else.
    std::uint16_t sum =
        dmatoll::user::fold(dmatoll::user::add_to_sum(0, std::span<const std::byte>{frame}.subspan(300)));
    const auto old_field = static_cast<std::uint16_t>(static_cast<std::uint8_t>(316 * 7) |
                                                      static_cast<std::uint8_t>(317 * 7) << 8);
    EXPECT_EQ(static_cast<std::uint16_t>(~sum), old_field);
}

TEST(UserTapHeader, AJumboLinkTakesLongerFramesAndSegments) {
    constexpr std::uint32_t largest = 9000 + dmatoll::e1000::link_header_bytes;
    std::vector<std::byte> tagged(largest + dmatoll::e1000::vlan_tag_bytes);
    EXPECT_TRUE(dmatoll::user::to_offload({}, tagged, largest).ok());
    tagged.push_back({});
    EXPECT_EQ(dmatoll::user::to_offload({}, tagged, largest).error(), Error::invalid_argument);

    auto frame = tcp_frame(20000);
    TapHeader header = segmentable();
    header.segment_bytes = 8948;
    const auto offload = dmatoll::user::to_offload(header, frame, largest);
    ASSERT_TRUE(offload.ok());
    EXPECT_EQ(offload.value().segment_bytes, 8948);
    header.segment_bytes = 8948 + dmatoll::e1000::vlan_tag_bytes + 1;
    EXPECT_EQ(dmatoll::user::to_offload(header, frame, largest).error(), Error::invalid_argument);
}

TEST(UserTapHeader, RefusesWhatContradictsTheFrame) {
    const auto error = [](TapHeader header, std::vector<std::byte> frame) {
        return to_offload(header, frame).error();
    };
    EXPECT_EQ(error({}, std::vector<std::byte>(13)), Error::invalid_argument);
    EXPECT_EQ(error({}, std::vector<std::byte>(1519)), Error::invalid_argument);

    TapHeader header{.flags = tap_header::needs_checksum, .checksum_start = tcp_at, .checksum_offset = 16};
    EXPECT_EQ(error(header, std::vector<std::byte>(tcp_at + 17)), Error::invalid_argument)
        << "field behind the end";
    header.checksum_start = 0xffff;
    header.checksum_offset = 0xffff;
    EXPECT_EQ(error(header, tcp_frame(100)), Error::invalid_argument);
    header.checksum_start = 13;
    EXPECT_EQ(error(header, tcp_frame(100)), Error::invalid_argument) << "inside the Ethernet header";

    header = segmentable();
    header.flags = 0;
    EXPECT_EQ(error(header, tcp_frame(20000)), Error::invalid_argument) << "segments without checksums";
    header = segmentable();
    header.segmentation = 3;
    EXPECT_EQ(error(header, tcp_frame(20000)), Error::not_supported) << "UDP fragmentation";
    header.segmentation = tap_header::tcp_ipv4 | 0x80;
    EXPECT_EQ(error(header, tcp_frame(20000)), Error::not_supported) << "ECN was not offered";
    header = segmentable();
    header.segment_bytes = 0;
    EXPECT_EQ(error(header, tcp_frame(20000)), Error::invalid_argument);
    header.segment_bytes = 4000;
    EXPECT_EQ(error(header, tcp_frame(20000)), Error::invalid_argument) << "segments longer than the link's";
    header = segmentable();
    header.segmentation = tap_header::tcp_ipv6;
    EXPECT_EQ(error(header, tcp_frame(20000)), Error::invalid_argument) << "IPv4 that calls itself IPv6";
    header = segmentable();
    header.checksum_offset = 6;
    EXPECT_EQ(error(header, tcp_frame(20000)), Error::invalid_argument) << "UDP's checksum in TCP";
    for (const std::uint8_t words : {0, 4}) {
        auto frame = tcp_frame(20000);
        frame[tcp_at + 12] = static_cast<std::byte>(words << 4);
        EXPECT_EQ(error(segmentable(), frame), Error::invalid_argument)
            << "TCP header of " << int{words} << " words";
    }
}

TEST(UserInternetChecksum, MatchesTheDefinitionAtEveryLength) {
    std::vector<std::byte> bytes(300);
    for (std::size_t i = 0; i < bytes.size(); ++i) {
        bytes[i] = static_cast<std::byte>(i * 31 + 250);
    }
    for (std::size_t length = 0; length <= bytes.size(); ++length) {
        std::uint32_t expected = 0;
        for (std::size_t i = 0; i < length; ++i) {
            expected += std::to_integer<std::uint32_t>(bytes[i]) << (i % 2 == 0 ? 0 : 8);
        }
        while (expected >> 16) {
            expected = (expected & 0xffff) + (expected >> 16);
        }
        EXPECT_EQ(dmatoll::user::fold(dmatoll::user::add_to_sum(0, {bytes.data(), length})), expected)
            << length;
    }
    const std::vector<std::byte> ones(128, std::byte{0xff});
    EXPECT_EQ(dmatoll::user::fold(dmatoll::user::add_to_sum(0xffff, ones)), 0xffff) << "carries";
}

}  // namespace
