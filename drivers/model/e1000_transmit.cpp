// SPDX-License-Identifier: BSD-2-Clause
// The transmit side of the 82540EM's model: descriptors, checksum insertion, segmentation [8254x §3.3 to
// §3.5].
#include <algorithm>
#include <cstring>
#include <utility>

#include "checksum.hpp"
#include "e1000_device.hpp"

namespace dmatoll::model {

using namespace datasheet;

// The three formats share where address, command and type stand.
struct E1000Device::Descriptor {
    std::array<std::byte, descriptor_bytes> raw{};

    [[nodiscard]] std::uint64_t field(std::size_t offset, std::size_t bytes) const {
        std::uint64_t value = 0;
        for (std::size_t i = 0; i < bytes; ++i)
            value |= std::to_integer<std::uint64_t>(raw[offset + i]) << (8 * i);
        return value;
    }
    [[nodiscard]] Iova address() const { return Iova{field(0, 8)}; }
    [[nodiscard]] std::uint8_t command() const { return static_cast<std::uint8_t>(field(11, 1)); }
    [[nodiscard]] std::uint32_t type() const { return static_cast<std::uint32_t>(field(8, 4) >> 20 & 0xf); }
    [[nodiscard]] bool is_extended() const { return (command() & command_dext) != 0; }
    [[nodiscard]] bool is_context() const { return is_extended() && type() == 0; }
    // 16 bits in a legacy descriptor, 20 in a data or context descriptor.
    [[nodiscard]] std::uint32_t length() const {
        return static_cast<std::uint32_t>(field(8, 4) & (is_extended() ? 0xf'ffff : 0xffff));
    }
    [[nodiscard]] std::uint8_t checksum_offset() const {
        return static_cast<std::uint8_t>(field(10, 1));
    }  // legacy
    [[nodiscard]] std::uint8_t checksum_start() const {
        return static_cast<std::uint8_t>(field(13, 1));
    }                                                                                               // legacy
    [[nodiscard]] std::uint8_t options() const { return static_cast<std::uint8_t>(field(13, 1)); }  // data
};

namespace {

// Sums [start, end] (end 0: to the frame's end) and puts the complement at `offset`. What stands there is
// summed, too: software has put 0 or the pseudo-header's sum there [8254x §3.5.7]. False: one of the places
// lies outside of the frame.
bool insert_checksum(std::span<std::byte> frame, std::size_t start, std::size_t offset, std::size_t end) {
    const std::size_t stop = end == 0 ? frame.size() : end + 1;
    if (start >= stop || stop > frame.size() || offset + 2 > frame.size()) return false;
    store_be16(frame, offset, static_cast<std::uint16_t>(~ones_sum(frame.subspan(start, stop - start))));
    return true;
}

}  // namespace

void E1000Device::transmit(std::uint32_t descriptors) {
    // Frames that loop back may make the driver's doorbell ring again within this call.
    if (transmitting_) return;
    transmitting_ = true;
    while (descriptors-- > 0 && transmit_one()) {
    }
    transmitting_ = false;
    deliver_looped();
}

// False: nothing is left to do, or the transmitter cannot go on.
bool E1000Device::transmit_one() {
    const std::uint32_t entries = reg(TDLEN) / descriptor_bytes;
    if ((reg(TCTL) & tctl_en) == 0 || transmitter_halted_ || resetting_ || active(Fault::gone) || !link_up())
        return false;
    if (entries == 0 || reg(TDT) >= entries || reg(TDH) >= entries || reg(TDH) == reg(TDT)) return false;

    const std::uint32_t index = reg(TDH);
    const Iova where =
        Iova{std::uint64_t{reg(TDBAH)} << 32 | reg(TDBAL)} + std::uint64_t{index} * descriptor_bytes;
    Descriptor descriptor;
    last_descriptor_ = where;
    // An aborted read leaves the part without anything to go on with; it stops until it is reset.
    if (!dma_read(where, descriptor.raw)) {
        transmitter_halted_ = true;
        return false;
    }
    if (descriptor.is_context()) {
        load_context(descriptor);
    } else if (!gather(descriptor)) {
        transmitter_halted_ = true;
        return false;
    }
    reg(TDH) = (index + 1) % entries;
    if ((descriptor.command() & command_rs) != 0) write_back(descriptor, index);
    if (reg(TDH) == reg(TDT)) raise(cause_txqe);
    return true;
}

void E1000Device::load_context(const Descriptor& descriptor) {
    if (assembly_.open) violation("context descriptor in the midst of a frame");
    const auto byte = [&](std::size_t offset) {
        return static_cast<std::uint8_t>(descriptor.field(offset, 1));
    };
    const auto half = [&](std::size_t offset) {
        return static_cast<std::uint16_t>(descriptor.field(offset, 2));
    };
    const Context context{.loaded = true,
                          .ip_start = byte(0),
                          .ip_offset = byte(1),
                          .ip_end = half(2),
                          .tcp_start = byte(4),
                          .tcp_offset = byte(5),
                          .tcp_end = half(6),
                          .payload = descriptor.length(),
                          .flags = descriptor.command(),
                          .header = byte(13),
                          .segment = half(14)};
    if ((context.flags & command_ic_or_tse) == 0) {
        checksum_context_ = context;
        return;
    }
    if (context.segment == 0 || context.header == 0 || context.payload == 0) {
        violation("segmentation context with an empty header, segment or payload");
    }
    segmentation_context_ = context;
}

// Appends the descriptor's bytes to the frame. False: they could not be read.
bool E1000Device::gather(const Descriptor& descriptor) {
    const std::uint32_t length = descriptor.length();
    const bool end = (descriptor.command() & command_eop) != 0;
    if (!assembly_.open) {
        assembly_ = {
            .bytes = {},
            .open = true,
            .extended = descriptor.is_extended(),
            .segmenting = descriptor.is_extended() && (descriptor.command() & command_ic_or_tse) != 0,
            // Valid in the first descriptor of a frame [8254x §3.3.7.3].
            .options = descriptor.is_extended() ? descriptor.options() : std::uint8_t{0}};
    } else if (assembly_.extended != descriptor.is_extended()) {
        violation("legacy and data descriptors in one frame");
    }
    if (length == 0 && descriptor.address().value == 0) {
        violation("empty transmit descriptor handed over");
    }
    const std::size_t before = assembly_.bytes.size();
    assembly_.bytes.resize(before + length);
    last_transmit_buffer_ = descriptor.address();
    if (length != 0 && !dma_read(descriptor.address(), std::span{assembly_.bytes}.subspan(before))) {
        assembly_ = {};
        return false;
    }
    if (end) {
        finish_frame(descriptor);
        assembly_ = {};
    }
    return true;
}

void E1000Device::finish_frame(const Descriptor& last) {
    if (assembly_.segmenting) {
        send_segments(last);
        return;
    }
    std::vector<std::byte> frame = std::move(assembly_.bytes);
    if (frame.empty() || frame.size() > longest_transmit) {
        violation("transmit frame of " + std::to_string(frame.size()) + " bytes");
        return;
    }
    if (!assembly_.extended) {
        if ((last.command() & command_ic_or_tse) != 0 &&
            !insert_checksum(frame, last.checksum_start(), last.checksum_offset(), 0)) {
            violation("checksum outside of the frame");
        }
    } else if (assembly_.options != 0) {
        const Context& context = checksum_context_;
        if (!context.loaded) violation("checksum asked for without a context");
        if ((assembly_.options & option_txsm) != 0 &&
            !insert_checksum(frame, context.tcp_start, context.tcp_offset, context.tcp_end)) {
            violation("TCP or UDP checksum outside of the frame");
        }
        if ((assembly_.options & option_ixsm) != 0 &&
            !insert_checksum(frame, context.ip_start, context.ip_offset, context.ip_end)) {
            violation("IP checksum outside of the frame");
        }
    }
    send(std::move(frame), (last.command() & command_ifcs) != 0);
}

// [8254x §3.5.4 to §3.5.6]: every segment gets a copy of the header with the lengths, the identification, the
// sequence number and the flags changed, and its own checksums.
void E1000Device::send_segments(const Descriptor& last) {
    const Context& context = segmentation_context_;
    const std::span<const std::byte> bytes = assembly_.bytes;
    const bool tcp = (context.flags & context_tcp) != 0;
    const bool ipv4 = (context.flags & context_ipv4) != 0;
    const std::size_t least_header = context.tcp_start + (tcp ? 20u : 8u);
    if (!context.loaded || context.segment == 0) {
        violation("segmentation without a context");
        return;
    }
    if (bytes.size() != std::size_t{context.header} + context.payload || context.header < least_header ||
        context.ip_start + (ipv4 ? 20u : 40u) > context.tcp_start) {
        violation("segmentation of " + std::to_string(bytes.size()) + " bytes with a header of " +
                  std::to_string(context.header) + " and a payload of " + std::to_string(context.payload));
        return;
    }
    const std::span<const std::byte> header = bytes.first(context.header);
    std::span<const std::byte> payload = bytes.subspan(context.header);
    for (std::uint32_t number = 0; !payload.empty(); ++number) {
        const std::size_t piece = std::min<std::size_t>(payload.size(), context.segment);
        const bool is_last = piece == payload.size();
        std::vector<std::byte> frame(header.begin(), header.end());
        frame.insert(frame.end(), payload.begin(), payload.begin() + static_cast<std::ptrdiff_t>(piece));
        payload = payload.subspan(piece);

        const std::size_t ip = context.ip_start;
        const std::size_t transport = context.tcp_start;
        const auto transport_bytes = static_cast<std::uint32_t>(frame.size() - transport);
        if (ipv4) {
            store_be16(frame, ip + 2, static_cast<std::uint32_t>(frame.size() - ip));
            store_be16(frame, ip + 4, load_be16(frame, ip + 4) + number);
        } else {
            store_be16(frame, ip + 4, static_cast<std::uint32_t>(frame.size() - ip - 40));
        }
        if (tcp) {
            store_be32(frame, transport + 4, load_be32(frame, transport + 4) + number * context.segment);
            if (!is_last) frame[transport + 13] &= std::byte{0xf6};  // FIN and PSH only in the last
        } else {
            store_be16(frame, transport + 4, transport_bytes);
        }
        if ((assembly_.options & option_txsm) != 0) {
            // The pseudo-header's sum is in place but for the length [8254x §3.5.7].
            std::uint32_t sum = load_be16(frame, context.tcp_offset) + transport_bytes;
            sum = (sum & 0xffff) + (sum >> 16);
            store_be16(frame, context.tcp_offset, sum);
            if (!insert_checksum(frame, transport, context.tcp_offset, context.tcp_end)) {
                violation("TCP or UDP checksum outside of the segment");
            }
        }
        if ((assembly_.options & option_ixsm) != 0 &&
            !insert_checksum(frame, ip, context.ip_offset, context.ip_end)) {
            violation("IP checksum outside of the segment");
        }
        send(std::move(frame), (last.command() & command_ifcs) != 0);
    }
    count(TSCTC);
}

void E1000Device::send(std::vector<std::byte> frame, bool insert_crc) {
    bool crc_good = true;
    if (!insert_crc) {
        // Software brings the CRC itself.
        if (frame.size() < crc_bytes) return;
        const std::uint32_t crc = ethernet_crc(std::span{frame}.first(frame.size() - crc_bytes));
        std::uint32_t given = 0;
        std::memcpy(&given, frame.data() + frame.size() - crc_bytes, crc_bytes);
        crc_good = given == crc;
        frame.resize(frame.size() - crc_bytes);
    }
    if ((reg(TCTL) & tctl_psp) != 0 && frame.size() < shortest_frame) frame.resize(shortest_frame);

    const std::size_t on_wire = frame.size() + crc_bytes;
    count(GPTC);
    count(TPT);
    count_octets(GOTCL, on_wire);
    count_octets(TOTL, on_wire);
    count_size(PTC64, on_wire);
    const bool multicast = (std::to_integer<unsigned>(frame[0]) & 1) != 0;
    const bool broadcast =
        frame.size() >= 6 &&
        std::all_of(frame.begin(), frame.begin() + 6, [](std::byte byte) { return byte == std::byte{0xff}; });
    if (broadcast) {
        count(BPTC);
    } else if (multicast) {
        count(MPTC);
    }
    if (in_loopback()) {
        looped_.push_back(std::move(frame));
    } else {
        wire_.push_back({std::move(frame), crc_good});
    }
}

// Only the status is written back; the rest of the descriptor stays [8254x §3.3.3.2].
void E1000Device::write_back(const Descriptor& descriptor, std::uint32_t index) {
    if (take(Fault::transmit_no_write_back)) return;
    const Iova ring{std::uint64_t{reg(TDBAH)} << 32 | reg(TDBAL)};
    constexpr std::uint64_t status_offset = 12;
    const std::array done{descriptor.raw[status_offset] | static_cast<std::byte>(transmit_dd)};
    dma_write(ring + (std::uint64_t{index} * descriptor_bytes + status_offset), done);
    if (take(Fault::transmit_write_back_beyond_tail)) {
        dma_write(ring + (std::uint64_t{reg(TDT)} * descriptor_bytes + status_offset), done);
    }
    if ((descriptor.command() & command_ide) != 0 && reg(TIDV) != 0) {
        const std::uint32_t delay = reg(TADV) != 0 ? std::min(reg(TADV), reg(TIDV)) : reg(TIDV);
        if (transmit_interrupt_ns_ == 0) transmit_interrupt_ns_ = now_ns_ + std::uint64_t{delay} * 1'024;
    } else {
        raise(cause_txdw);
    }
}

void E1000Device::deliver_looped() {
    while (!looped_.empty()) {
        const std::vector<std::vector<std::byte>> frames = std::exchange(looped_, {});
        for (const std::vector<std::byte>& frame : frames) receive_locked(frame, false);
    }
}

}  // namespace dmatoll::model
