// SPDX-License-Identifier: BSD-2-Clause
// Received TCP segments joined to large ones: what joins, what must not, and that the result is a valid
// frame.
#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <memory>
#include <vector>

#include "internet_checksum.hpp"
#include "merged_frame.hpp"
#include "receive_merger.hpp"
#include "tap_header.hpp"

namespace {

using dmatoll::test::be16;
using dmatoll::test::headroom;
using dmatoll::test::written;
using dmatoll::user::add_to_sum;
using dmatoll::user::fold;
using dmatoll::user::load;
using dmatoll::user::Merge;
using dmatoll::user::MergedFrame;
using dmatoll::user::ReceiveMerger;
using dmatoll::user::store;
using dmatoll::user::TapHeader;
namespace tap_header = dmatoll::user::tap_header;

constexpr std::uint8_t ack = 0x10;
constexpr std::uint8_t psh = 0x08;

struct Frame {
    std::uint32_t sequence = 1000;
    std::uint32_t payload = 1448;
    std::uint8_t flags = ack;
    std::uint16_t port = 5201;
    std::uint32_t acknowledgement = 77;
    std::uint16_t window = 500;
    std::uint8_t timestamp = 1;
    bool ipv6 = false;
    std::uint16_t fragment = 0x4000;  // do not fragment
    std::uint32_t padding = 0;        // behind the IP packet
};

// A receive slot with the frame in it, checksums right.
class Slot {
  public:
    explicit Slot(const Frame& f) : bytes_(4096) {
        std::byte* const frame = data();
        const std::uint32_t ip_bytes = f.ipv6 ? 40 : 20;
        const std::uint32_t tcp_length = 32 + f.payload;
        store<std::uint16_t>(frame + 12, be16(f.ipv6 ? 0x86dd : 0x0800));
        std::byte* const ip = frame + 14;
        std::uint64_t sum = be16(6) + std::uint64_t{be16(tcp_length)};
        if (f.ipv6) {
            ip[0] = std::byte{0x60};
            store<std::uint16_t>(ip + 4, be16(tcp_length));
            ip[6] = std::byte{6};
            ip[7] = std::byte{64};
            for (int i = 8; i < 40; ++i) ip[i] = static_cast<std::byte>(i);
            sum = add_to_sum(sum, {ip + 8, 32});
        } else {
            ip[0] = std::byte{0x45};
            store<std::uint16_t>(ip + 2, be16(20 + tcp_length));
            store<std::uint16_t>(ip + 4, be16(f.sequence));  // an identification that differs
            store<std::uint16_t>(ip + 6, be16(f.fragment));
            ip[8] = std::byte{64};
            ip[9] = std::byte{6};
            for (int i = 12; i < 20; ++i) ip[i] = static_cast<std::byte>(i);
            store<std::uint16_t>(ip + 10, static_cast<std::uint16_t>(~fold(add_to_sum(0, {ip, 20}))));
            sum = add_to_sum(sum, {ip + 12, 8});
        }
        std::byte* const tcp = ip + ip_bytes;
        store<std::uint16_t>(tcp, be16(40000));
        store<std::uint16_t>(tcp + 2, be16(f.port));
        store<std::uint32_t>(tcp + 4, __builtin_bswap32(f.sequence));
        store<std::uint32_t>(tcp + 8, __builtin_bswap32(f.acknowledgement));
        tcp[12] = std::byte{0x80};
        tcp[13] = static_cast<std::byte>(f.flags);
        store<std::uint16_t>(tcp + 14, be16(f.window));
        tcp[27] = static_cast<std::byte>(f.timestamp);
        for (std::uint32_t i = 0; i < f.payload; ++i) tcp[32 + i] = static_cast<std::byte>(f.sequence + i);
        store<std::uint16_t>(tcp + 16, static_cast<std::uint16_t>(~fold(add_to_sum(sum, {tcp, tcp_length}))));
        length_ = 14 + ip_bytes + tcp_length + f.padding;
    }

    std::byte* data() { return bytes_.data() + headroom; }
    std::uint32_t length() const { return length_; }

  private:
    std::vector<std::byte> bytes_;
    std::uint32_t length_ = 0;
};

Merge offer(ReceiveMerger& merger, Slot& slot, std::uint32_t number, bool verified = false) {
    return merger.offer(slot.data(), slot.length(), number, verified);
}

class UserReceiveMerger : public testing::TestWithParam<bool> {};

TEST_P(UserReceiveMerger, ThreeSegmentsBecomeOneValidFrame) {
    const bool ipv6 = GetParam();
    const std::uint32_t network = 14;
    const std::uint32_t tcp_at = network + (ipv6 ? 40 : 20);
    Slot a{{.sequence = 0xfffffa00, .ipv6 = ipv6}};  // wraps
    Slot b{{.sequence = 0xfffffa00 + 1448, .ipv6 = ipv6}};
    Slot c{{.sequence = 0xfffffa00 + 2896, .payload = 100, .flags = ack | psh, .ipv6 = ipv6}};
    ReceiveMerger merger;
    EXPECT_EQ(offer(merger, a, 7), Merge::merged);
    EXPECT_EQ(offer(merger, b, 8), Merge::merged);
    EXPECT_EQ(offer(merger, c, 9), Merge::complete);
    MergedFrame& merged = merger.finish();
    ASSERT_EQ(merged.count, 3u);
    EXPECT_EQ(merged.used_slots()[0], 7u);
    EXPECT_EQ(merged.used_slots()[2], 9u);

    const std::vector<std::byte> all = written(merged);
    const auto header = load<TapHeader>(all.data());
    EXPECT_EQ(header.flags, tap_header::needs_checksum);
    EXPECT_EQ(header.segmentation, ipv6 ? tap_header::tcp_ipv6 : tap_header::tcp_ipv4);
    EXPECT_EQ(header.segment_bytes, 1448);
    EXPECT_EQ(header.header_bytes, tcp_at + 32);
    EXPECT_EQ(header.checksum_start, tcp_at);
    EXPECT_EQ(header.checksum_offset, 16);

    const std::byte* const frame = all.data() + sizeof(TapHeader);
    const std::uint32_t payload = 1448 * 2 + 100;
    ASSERT_EQ(all.size(), sizeof(TapHeader) + tcp_at + 32 + payload);
    const std::byte* const ip = frame + network;
    if (ipv6) {
        EXPECT_EQ(be16(load<std::uint16_t>(ip + 4)), 32 + payload);
    } else {
        EXPECT_EQ(be16(load<std::uint16_t>(ip + 2)), 52 + payload);
        EXPECT_EQ(fold(add_to_sum(0, {ip, 20})), 0xffff);
    }
    EXPECT_EQ(load<std::uint8_t>(frame + tcp_at + 13), ack | psh);
    std::uint64_t pseudo = be16(6) + std::uint64_t{be16(32 + payload)};
    pseudo = ipv6 ? add_to_sum(pseudo, {ip + 8, 32}) : add_to_sum(pseudo, {ip + 12, 8});
    EXPECT_EQ(load<std::uint16_t>(frame + tcp_at + 16), fold(pseudo));
    for (std::uint32_t i = 0; i < payload; ++i) {
        ASSERT_EQ(frame[tcp_at + 32 + i], static_cast<std::byte>(0xfffffa00 + i)) << i;
    }
}

INSTANTIATE_TEST_SUITE_P(Versions, UserReceiveMerger, testing::Bool());

TEST(UserReceiveMergerRules, ASingleSegmentStaysAsItIsButForItsChecksum) {
    Slot a{{.payload = 10, .padding = 0}};
    ReceiveMerger merger;
    EXPECT_EQ(offer(merger, a, 1), Merge::merged);
    const auto header = load<TapHeader>(written(merger.finish()).data());
    EXPECT_EQ(header.segmentation, tap_header::none);
    EXPECT_EQ(header.flags, tap_header::needs_checksum);
}

TEST(UserReceiveMergerRules, PaddingIsCutOff) {
    Slot a{{.payload = 1, .padding = 20}};
    ReceiveMerger merger;
    EXPECT_EQ(offer(merger, a, 1), Merge::merged);
    EXPECT_EQ(written(merger.finish()).size(), sizeof(TapHeader) + 14 + 20 + 32 + 1);
}

TEST(UserReceiveMergerRules, WhatDiffersBeginsANewFrame) {
    const Frame next{.sequence = 1000 + 1448};
    const auto differing = [&](auto change) {
        Frame frame = next;
        change(frame);
        return frame;
    };
    const std::array others{
        differing([](Frame& f) { f.sequence += 1; }),  differing([](Frame& f) { f.sequence = 1000; }),
        differing([](Frame& f) { f.port = 1; }),       differing([](Frame& f) { f.acknowledgement = 1; }),
        differing([](Frame& f) { f.window = 1; }),     differing([](Frame& f) { f.timestamp = 2; }),
        differing([](Frame& f) { f.payload = 1449; }), differing([](Frame& f) { f.ipv6 = true; }),
        differing([](Frame& f) { f.fragment = 0; })};
    for (std::size_t i = 0; i < others.size(); ++i) {
        Slot a{{}};
        Slot b{others[i]};
        ReceiveMerger merger;
        ASSERT_EQ(offer(merger, a, 1), Merge::merged);
        EXPECT_EQ(offer(merger, b, 2), Merge::refused) << i;
        merger.finish().clear();
        EXPECT_EQ(offer(merger, b, 2), Merge::merged) << i;
    }
    Slot a{{}};
    Slot b{next};
    ReceiveMerger merger;
    ASSERT_EQ(offer(merger, a, 1), Merge::merged);
    EXPECT_EQ(offer(merger, b, 2), Merge::merged) << "the frame that the others differ from";
}

TEST(UserReceiveMergerRules, WhatNeverJoins) {
    for (const Frame& frame :
         {Frame{.flags = ack | 0x01}, Frame{.flags = ack | 0x02}, Frame{.flags = ack | 0x04},
          Frame{.flags = ack | 0x20}, Frame{.flags = ack | 0x40}, Frame{.flags = 0}, Frame{.payload = 0},
          Frame{.fragment = 0x2000}, Frame{.fragment = 1}}) {
        Slot slot{frame};
        ReceiveMerger merger;
        EXPECT_EQ(offer(merger, slot, 1), Merge::alone);
        EXPECT_TRUE(merger.empty());
    }
}

TEST(UserReceiveMergerRules, ADamagedFrameIsNeverPassedOffAsVerified) {
    // Every byte of the IP packet is covered by a checksum; damage in the lengths makes the frame
    // implausible.
    for (std::uint32_t at = 14; at < 14 + 20 + 32 + 50; ++at) {
        Slot slot{{.payload = 50}};
        slot.data()[at] ^= std::byte{0x04};
        ReceiveMerger merger;
        EXPECT_EQ(offer(merger, slot, 1), Merge::alone) << "byte " << at;
    }
}

TEST(UserReceiveMergerRules, EveryCutOffFrameIsLeftAlone) {
    Slot slot{{.payload = 50}};
    const std::vector<std::byte> whole{slot.data(), slot.data() + slot.length()};
    for (std::uint32_t length = 1; length < whole.size(); ++length) {
        // Exactly as large as the frame, for the sanitizer.
        const auto exact = std::make_unique<std::byte[]>(length);
        std::memcpy(exact.get(), whole.data(), length);
        ReceiveMerger merger;
        EXPECT_EQ(merger.offer(exact.get(), length, 1, false), Merge::alone) << length;
    }
}

TEST(UserReceiveMergerRules, NeverMoreThan64KiBNorMorePiecesThanThereIsRoomFor) {
    for (const std::uint32_t payload : {1448U, 16U}) {
        ReceiveMerger merger;
        std::vector<std::unique_ptr<Slot>> slots;
        std::uint32_t sequence = 5;
        Merge merge = Merge::merged;
        while (merge == Merge::merged) {
            slots.push_back(std::make_unique<Slot>(Frame{.sequence = sequence, .payload = payload}));
            merge = offer(merger, *slots.back(), 1);
            sequence += payload;
        }
        EXPECT_EQ(merge, Merge::refused);
        MergedFrame& merged = merger.finish();
        EXPECT_LE(merged.count, MergedFrame::most_pieces);
        EXPECT_LE(written(merged).size(), sizeof(TapHeader) + 14 + 65535);
        EXPECT_GE(merged.count, 45u) << "as many as fit";
    }
}

}  // namespace
