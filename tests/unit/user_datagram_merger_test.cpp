// SPDX-License-Identifier: BSD-2-Clause
// Received UDP datagrams joined to one frame that the kernel cuts up again: what joins, what must not, and
// that the result is a valid frame.
#include <gtest/gtest.h>

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

constexpr std::uint32_t ip_at = 14;
constexpr std::uint32_t udp_at = 34;
constexpr std::uint32_t payload_at = 42;

struct Datagram {
    std::uint32_t payload = 1472;
    std::uint8_t fill = 1;
    std::uint16_t port = 5201;
    std::uint8_t lifetime = 64;
    bool checksum = true;
    std::uint16_t fragment = 0x4000;  // do not fragment
};

class Slot {
  public:
    explicit Slot(const Datagram& d) : bytes_(4096) {
        std::byte* const frame = data();
        std::byte* const ip = frame + ip_at;
        std::byte* const udp = frame + udp_at;
        const std::uint32_t udp_length = 8 + d.payload;
        store<std::uint16_t>(frame + 12, be16(0x0800));
        ip[0] = std::byte{0x45};
        store<std::uint16_t>(ip + 2, be16(20 + udp_length));
        store<std::uint16_t>(ip + 4, be16(d.fill));  // an identification that differs
        store<std::uint16_t>(ip + 6, be16(d.fragment));
        ip[8] = static_cast<std::byte>(d.lifetime);
        ip[9] = std::byte{17};
        for (int i = 12; i < 20; ++i) ip[i] = static_cast<std::byte>(i);
        store<std::uint16_t>(ip + 10, static_cast<std::uint16_t>(~fold(add_to_sum(0, {ip, 20}))));
        store<std::uint16_t>(udp, be16(40000));
        store<std::uint16_t>(udp + 2, be16(d.port));
        store<std::uint16_t>(udp + 4, be16(udp_length));
        for (std::uint32_t i = 0; i < d.payload; ++i) udp[8 + i] = static_cast<std::byte>(d.fill);
        const std::uint64_t pseudo = add_to_sum(be16(17) + std::uint64_t{be16(udp_length)}, {ip + 12, 8});
        if (d.checksum) {
            store<std::uint16_t>(udp + 6,
                                 static_cast<std::uint16_t>(~fold(add_to_sum(pseudo, {udp, udp_length}))));
        }
        length_ = payload_at + d.payload;
    }

    std::byte* data() { return bytes_.data() + headroom; }
    std::uint32_t length() const { return length_; }

  private:
    std::vector<std::byte> bytes_;
    std::uint32_t length_ = 0;
};

Merge offer(ReceiveMerger& merger, Slot& slot, bool verified = false) {
    return merger.offer(slot.data(), slot.length(), 1, verified);
}

TEST(UserDatagramMerger, DatagramsOfOneFlowBecomeOneValidFrame) {
    Slot a{{.fill = 1}};
    Slot b{{.fill = 2}};
    Slot c{{.payload = 100, .fill = 3}};
    ReceiveMerger merger;
    EXPECT_EQ(offer(merger, a), Merge::merged);
    EXPECT_EQ(offer(merger, b), Merge::merged);
    EXPECT_EQ(offer(merger, c), Merge::complete) << "a shorter one can only be the last";
    const std::vector<std::byte> all = written(merger.finish());

    const auto header = load<TapHeader>(all.data());
    EXPECT_EQ(header.flags, tap_header::needs_checksum);
    EXPECT_EQ(header.segmentation, tap_header::udp);
    EXPECT_EQ(header.segment_bytes, 1472);
    EXPECT_EQ(header.header_bytes, payload_at);
    EXPECT_EQ(header.checksum_start, udp_at);
    EXPECT_EQ(header.checksum_offset, 6);

    const std::byte* const frame = all.data() + sizeof(TapHeader);
    const std::uint32_t payload = 2 * 1472 + 100;
    ASSERT_EQ(all.size(), sizeof(TapHeader) + payload_at + payload);
    EXPECT_EQ(be16(load<std::uint16_t>(frame + ip_at + 2)), 28 + payload);
    EXPECT_EQ(fold(add_to_sum(0, {frame + ip_at, 20})), 0xffff);
    EXPECT_EQ(be16(load<std::uint16_t>(frame + udp_at + 4)), 8 + payload);
    const std::uint64_t pseudo =
        add_to_sum(be16(17) + std::uint64_t{be16(8 + payload)}, {frame + ip_at + 12, 8});
    EXPECT_EQ(load<std::uint16_t>(frame + udp_at + 6), fold(pseudo));
    EXPECT_EQ(frame[payload_at + 1471], std::byte{1});
    EXPECT_EQ(frame[payload_at + 1472], std::byte{2});
    EXPECT_EQ(frame[payload_at + payload - 1], std::byte{3});
}

TEST(UserDatagramMerger, NothingIsJoinedForATapThatWouldNotCutItUpAgain) {
    Slot a{{.fill = 1}};
    ReceiveMerger merger{false};
    EXPECT_EQ(offer(merger, a, true), Merge::alone);
    EXPECT_TRUE(merger.empty());
}

TEST(UserDatagramMerger, ASingleDatagramIsPassedOnAsVerified) {
    Slot a{{.payload = 18}};
    ReceiveMerger merger;
    EXPECT_EQ(offer(merger, a), Merge::merged);
    const auto header = load<TapHeader>(written(merger.finish()).data());
    EXPECT_EQ(header.segmentation, tap_header::none);
    EXPECT_EQ(header.flags, tap_header::needs_checksum);
    EXPECT_EQ(header.checksum_offset, 6);
}

TEST(UserDatagramMerger, WhatDiffersBeginsANewFrame) {
    for (const Datagram& other : {Datagram{.port = 1}, Datagram{.payload = 1473}, Datagram{.lifetime = 63},
                                  Datagram{.fragment = 0}}) {
        Slot a{{}};
        Slot b{other};
        ReceiveMerger merger;
        ASSERT_EQ(offer(merger, a), Merge::merged);
        EXPECT_EQ(offer(merger, b), Merge::refused);
        merger.finish().clear();
        EXPECT_EQ(offer(merger, b), Merge::merged);
    }
}

TEST(UserDatagramMerger, WhatNeverJoins) {
    for (const Datagram& alone : {Datagram{.checksum = false}, Datagram{.payload = 0},
                                  Datagram{.fragment = 0x2000}, Datagram{.fragment = 1}}) {
        Slot slot{alone};
        ReceiveMerger merger;
        EXPECT_EQ(offer(merger, slot), Merge::alone);
        EXPECT_TRUE(merger.empty());
    }
}

TEST(UserDatagramMerger, ADamagedDatagramIsNeverPassedOffAsVerified) {
    for (std::uint32_t at = ip_at; at < payload_at + 50; ++at) {
        Slot slot{{.payload = 50}};
        slot.data()[at] ^= std::byte{0x04};
        ReceiveMerger merger;
        EXPECT_EQ(offer(merger, slot), Merge::alone) << "byte " << at;
    }
}

TEST(UserDatagramMerger, NeverMorePiecesThanTheKernelCutsAFrameInto) {
    ReceiveMerger merger;
    std::vector<std::unique_ptr<Slot>> slots;
    Merge merge = Merge::merged;
    while (merge == Merge::merged) {
        slots.push_back(std::make_unique<Slot>(Datagram{.payload = 18}));
        merge = offer(merger, *slots.back());
    }
    EXPECT_EQ(merge, Merge::refused);
    EXPECT_LE(merger.finish().count, 64u);
}

}  // namespace
