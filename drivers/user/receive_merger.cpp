// SPDX-License-Identifier: BSD-2-Clause
#include "receive_merger.hpp"

#include <cstring>

#include "internet_checksum.hpp"
#include "tap_header.hpp"

namespace dmatoll::user {
namespace {

// Frames with IPv4 and no options, IPv6 and no extensions.
constexpr std::uint32_t ethernet_bytes = 14;
constexpr std::uint32_t ipv4_bytes = 20;
constexpr std::uint32_t ipv6_bytes = 40;
constexpr std::uint32_t tcp_bytes = 20;
constexpr std::uint32_t udp_bytes = 8;
constexpr std::uint32_t largest_ip_packet = 65535;

constexpr std::uint8_t protocol_tcp = 6;
constexpr std::uint8_t protocol_udp = 17;
constexpr std::uint32_t tcp_checksum_offset = 16;
constexpr std::uint32_t udp_checksum_offset = 6;
constexpr std::uint8_t flag_psh = 0x08;
constexpr std::uint8_t flag_ack = 0x10;

constexpr std::uint16_t swap16(std::uint16_t value) { return __builtin_bswap16(value); }

struct Headers {
    bool ipv6;
    bool udp;
    std::uint32_t ip_bytes;
    std::uint32_t transport_at;
    std::uint32_t header_bytes;
    std::uint32_t payload_bytes;
    std::uint32_t sequence;  // TCP
    std::uint8_t flags;      // TCP
};

std::uint64_t pseudo_header_sum(const std::byte* ip, bool ipv6, bool udp, std::uint32_t transport_length) {
    const std::uint64_t fixed = swap16(udp ? protocol_udp : protocol_tcp) +
                                std::uint64_t{swap16(static_cast<std::uint16_t>(transport_length))};
    return ipv6 ? add_to_sum(fixed, {ip + 8, 32}) : add_to_sum(fixed, {ip + 12, 8});
}

bool parse_tcp(const std::byte* tcp, std::uint32_t packet_end, Headers& headers) {
    if (headers.transport_at + tcp_bytes > packet_end) {
        return false;
    }
    const std::uint32_t tcp_header = (load<std::uint8_t>(tcp + 12) >> 4) * 4U;
    headers.header_bytes = headers.transport_at + tcp_header;
    // The low four bits beside the header length are reserved, or an extension that this does not know.
    if (tcp_header < tcp_bytes || headers.header_bytes >= packet_end ||
        (load<std::uint8_t>(tcp + 12) & 0xf) != 0) {
        return false;
    }
    headers.sequence = __builtin_bswap32(load<std::uint32_t>(tcp + 4));
    headers.flags = load<std::uint8_t>(tcp + 13);
    return (headers.flags & ~flag_psh) == flag_ack;
}

bool parse_udp(const std::byte* udp, std::uint32_t packet_end, Headers& headers) {
    headers.header_bytes = headers.transport_at + udp_bytes;
    headers.sequence = 0;
    headers.flags = 0;
    // A checksum of zero is none: a frame made of several would get some.
    return headers.header_bytes < packet_end &&
           swap16(load<std::uint16_t>(udp + 4)) == packet_end - headers.transport_at &&
           load<std::uint16_t>(udp + udp_checksum_offset) != 0;
}

// Whether the frame may be joined with others at all: TCP or UDP, data, plain headers, consistent lengths.
bool parse(const std::byte* frame, std::uint32_t length, Headers& headers) {
    if (length < ethernet_bytes + ipv4_bytes + udp_bytes) {
        return false;
    }
    const std::byte* const ip = frame + ethernet_bytes;
    const std::uint16_t type = load<std::uint16_t>(frame + 12);
    std::uint32_t packet_bytes = 0;
    std::uint8_t protocol = 0;
    if (type == swap16(0x0800)) {
        const std::uint16_t fragment = load<std::uint16_t>(ip + 6);
        if (load<std::uint8_t>(ip) != 0x45 || (fragment & swap16(0x3fff)) != 0) {
            return false;
        }
        headers.ipv6 = false;
        headers.ip_bytes = ipv4_bytes;
        packet_bytes = swap16(load<std::uint16_t>(ip + 2));
        protocol = load<std::uint8_t>(ip + 9);
    } else if (type == swap16(0x86dd)) {
        if (load<std::uint8_t>(ip) >> 4 != 6) {
            return false;
        }
        headers.ipv6 = true;
        headers.ip_bytes = ipv6_bytes;
        packet_bytes = ipv6_bytes + swap16(load<std::uint16_t>(ip + 4));
        protocol = load<std::uint8_t>(ip + 6);
    } else {
        return false;
    }
    headers.udp = protocol == protocol_udp;
    headers.transport_at = ethernet_bytes + headers.ip_bytes;
    const std::uint32_t packet_end = ethernet_bytes + packet_bytes;
    if (packet_end > length || headers.transport_at + udp_bytes > packet_end) {
        return false;
    }
    const std::byte* const transport = frame + headers.transport_at;
    if (headers.udp ? !parse_udp(transport, packet_end, headers)
                    : protocol != protocol_tcp || !parse_tcp(transport, packet_end, headers)) {
        return false;
    }
    headers.payload_bytes = packet_end - headers.header_bytes;
    return true;
}

bool checksums_good(const std::byte* frame, const Headers& headers) {
    const std::byte* const ip = frame + ethernet_bytes;
    if (!headers.ipv6 && fold(add_to_sum(0, {ip, ipv4_bytes})) != 0xffff) {
        return false;
    }
    const std::uint32_t length = headers.header_bytes - headers.transport_at + headers.payload_bytes;
    return fold(add_to_sum(pseudo_header_sum(ip, headers.ipv6, headers.udp, length),
                           {frame + headers.transport_at, length})) == 0xffff;
}

bool same_bytes(const std::byte* one, const std::byte* other, std::uint32_t from, std::uint32_t to) {
    return std::memcmp(one + from, other + from, to - from) == 0;
}

// Same protocol, addresses, ports, acknowledgement, window and options. What may differ is what the kernel
// computes anew when it cuts a large segment: lengths, the identification of unfragmented IPv4, sequence,
// checksums, PSH.
bool same_flow(const std::byte* one, const std::byte* other, const Headers& headers) {
    constexpr std::uint32_t ip = ethernet_bytes;
    const std::uint32_t at = headers.transport_at;
    const bool same_ip =
        headers.ipv6 ? same_bytes(one, other, 0, ip + 4) && same_bytes(one, other, ip + 6, ip + ipv6_bytes)
                     : same_bytes(one, other, 0, ip + 2) && same_bytes(one, other, ip + 6, ip + 10) &&
                           same_bytes(one, other, ip + 12, ip + 20);
    const bool same_ports = same_bytes(one, other, at, at + 4);
    return same_ip && same_ports &&
           (headers.udp ||
            (same_bytes(one, other, at + 8, at + 13) && same_bytes(one, other, at + 14, at + 16) &&
             same_bytes(one, other, at + 18, headers.header_bytes)));
}

}  // namespace

Merge ReceiveMerger::offer(std::byte* frame, std::uint32_t length, std::uint32_t slot, bool verified) {
    Headers headers{};
    if (!parse(frame, length, headers) || (headers.udp && !datagrams_)) {
        return Merge::alone;
    }
    if (!merged_.empty()) {
        // A shorter segment was the last of its burst, so whatever follows begins a new frame.
        const bool fits =
            merged_.count < MergedFrame::most_pieces && headers.payload_bytes <= segment_bytes_ &&
            header_bytes_ - ethernet_bytes + payload_bytes_ + headers.payload_bytes <= largest_ip_packet;
        const bool follows = headers.udp || headers.sequence == next_sequence_;
        if (!fits || !follows || headers.header_bytes != header_bytes_ ||
            !same_flow(first_, frame, headers)) {
            return Merge::refused;
        }
    }
    if (!verified && !checksums_good(frame, headers)) {
        return Merge::alone;
    }

    if (merged_.empty()) {
        first_ = frame;
        first_length_ = headers.header_bytes + headers.payload_bytes;
        header_bytes_ = headers.header_bytes;
        segment_bytes_ = headers.payload_bytes;
        udp_ = headers.udp;
        payload_bytes_ = 0;
        push_ = 0;
        merged_.pieces[0] = {frame - sizeof(TapHeader), sizeof(TapHeader) + first_length_};
    } else {
        merged_.pieces[merged_.count] = {frame + headers.header_bytes, headers.payload_bytes};
    }
    merged_.slots[merged_.count++] = slot;
    payload_bytes_ += headers.payload_bytes;
    next_sequence_ = headers.sequence + headers.payload_bytes;
    push_ |= headers.flags & flag_psh;
    return headers.payload_bytes < segment_bytes_ || push_ != 0 ? Merge::complete : Merge::merged;
}

MergedFrame& ReceiveMerger::finish() {
    std::byte* const ip = first_ + ethernet_bytes;
    const bool ipv6 = load<std::uint8_t>(ip) >> 4 == 6;
    const std::uint32_t transport_at = ethernet_bytes + (ipv6 ? ipv6_bytes : ipv4_bytes);
    std::byte* const transport = first_ + transport_at;
    const std::uint32_t length = header_bytes_ - transport_at + payload_bytes_;
    const std::uint32_t checksum_offset = udp_ ? udp_checksum_offset : tcp_checksum_offset;
    TapHeader header{};
    // The checksums were verified. To say so to a TAP, the frame is handed over as one whose checksum is
    // still to be formed (the kernel takes no notice of DATA_VALID there): it is trusted here, and formed if
    // the frame is sent on.
    header.flags = tap_header::needs_checksum;
    header.checksum_start = static_cast<std::uint16_t>(transport_at);
    header.checksum_offset = static_cast<std::uint16_t>(checksum_offset);
    if (merged_.count > 1) {
        header.segmentation = udp_ ? tap_header::udp : ipv6 ? tap_header::tcp_ipv6 : tap_header::tcp_ipv4;
        header.segment_bytes = static_cast<std::uint16_t>(segment_bytes_);
        header.header_bytes = static_cast<std::uint16_t>(header_bytes_);
        if (ipv6) {
            store<std::uint16_t>(ip + 4, swap16(static_cast<std::uint16_t>(length)));
        } else {
            store<std::uint16_t>(ip + 2, swap16(static_cast<std::uint16_t>(ipv4_bytes + length)));
            store<std::uint16_t>(ip + 10, 0);
            store<std::uint16_t>(ip + 10, static_cast<std::uint16_t>(~fold(add_to_sum(0, {ip, ipv4_bytes}))));
        }
        if (udp_) {
            store<std::uint16_t>(transport + 4, swap16(static_cast<std::uint16_t>(length)));
        } else {
            store<std::uint8_t>(transport + 13, load<std::uint8_t>(transport + 13) | push_);
        }
    }
    store<std::uint16_t>(transport + checksum_offset, fold(pseudo_header_sum(ip, ipv6, udp_, length)));
    std::memcpy(first_ - sizeof(header), &header, sizeof(header));
    return merged_;
}

}  // namespace dmatoll::user
