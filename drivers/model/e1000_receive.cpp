// SPDX-License-Identifier: BSD-2-Clause
// The receive side of the 82540EM's model [8254x §3.2].
#include <algorithm>
#include <cstring>
#include <utility>

#include "checksum.hpp"
#include "e1000_device.hpp"

namespace dmatoll::model {

using namespace datasheet;

namespace {

struct Verdict {
    std::uint8_t status = 0;
    std::uint8_t errors = 0;
};

constexpr std::size_t ethernet_header = 14;
// How late a late write is: within what a driver has to wait for after it switched the units off [8254x
// §14.5].
constexpr std::uint64_t late_ns = 5'000'000;

// What the part finds out about a frame's checksums [8254x §3.2.9]. `frame` is without CRC. Frames that it
// does not understand (fragments, options of IPv6, other protocols) are not checked.
Verdict judge(std::span<const std::byte> frame, bool check_ip, bool check_transport) {
    Verdict verdict;
    if (frame.size() < ethernet_header + 20) return verdict;
    const std::uint16_t type = load_be16(frame, 12);
    const std::span<const std::byte> packet = frame.subspan(ethernet_header);
    std::span<const std::byte> transport;
    std::uint32_t pseudo = 0;
    unsigned protocol = 0;

    if (type == 0x0800) {
        const std::size_t header = std::to_integer<std::size_t>(packet[0] & std::byte{0x0f}) * 4;
        const std::size_t total = load_be16(packet, 2);
        if (header < 20 || total < header || total > packet.size()) return verdict;
        if (check_ip) {
            verdict.status |= receive_ipcs;
            if (ones_sum(packet.first(header)) != 0xffff) verdict.errors |= error_ipe;
        }
        if ((load_be16(packet, 6) & 0x3fff) != 0) return verdict;  // a fragment
        protocol = std::to_integer<unsigned>(packet[9]);
        pseudo = ones_sum(packet.subspan(12, 8));
        transport = packet.subspan(header, total - header);
    } else if (type == 0x86dd && packet.size() >= 40) {
        const std::size_t payload = load_be16(packet, 4);
        if (40 + payload > packet.size()) return verdict;
        protocol = std::to_integer<unsigned>(packet[6]);
        pseudo = ones_sum(packet.subspan(8, 32));
        transport = packet.subspan(40, payload);
    } else {
        return verdict;
    }
    const bool tcp = protocol == 6 && transport.size() >= 20;
    const bool udp = protocol == 17 && transport.size() >= 8;
    if (!check_transport || (!tcp && !udp)) return verdict;
    if (udp && load_be16(transport, 6) == 0) return verdict;  // the sender made none
    verdict.status |= receive_tcpcs;
    const std::uint32_t start = pseudo + protocol + static_cast<std::uint32_t>(transport.size());
    if (ones_sum(transport, start) != 0xffff) verdict.errors |= error_tcpe;
    return verdict;
}

}  // namespace

Arrival E1000Device::receive_frame(std::span<const std::byte> frame, bool damaged) {
    std::vector<std::byte> padded(frame.begin(), frame.end());
    if (padded.size() < shortest_frame) padded.resize(shortest_frame);
    return receive_as_it_is(padded, damaged);
}

Arrival E1000Device::receive_as_it_is(std::span<const std::byte> frame, bool damaged) {
    const std::scoped_lock guard{mutex_};
    if (active(Fault::gone) || active(Fault::link_loss) || !link_up() || in_loopback())
        return Arrival::no_link;
    return receive_locked(frame, damaged);
}

Arrival E1000Device::receive_locked(std::span<const std::byte> frame, bool damaged) {
    if ((reg(RCTL) & rctl_en) == 0 || resetting_ || active(Fault::gone)) return Arrival::receiver_off;
    if (receiver_halted_) return Arrival::dma_refused;

    std::vector<std::byte> bytes(frame.begin(), frame.end());
    const std::uint32_t crc = ethernet_crc(bytes);
    bytes.resize(bytes.size() + crc_bytes);
    std::memcpy(bytes.data() + bytes.size() - crc_bytes, &crc, crc_bytes);

    count(TPR);
    count_octets(TORL, bytes.size());
    if (!accepts(bytes)) return Arrival::filtered;
    const bool undersize = bytes.size() < shortest_frame + crc_bytes;
    const bool oversize = bytes.size() > ((reg(RCTL) & rctl_lpe) != 0 ? longest_long_frame : longest_frame);
    if (undersize || oversize) {
        count(undersize ? RUC : ROC);
        count(RLEC);
        // The injected fault is a part that does not mind.
        if (!take(Fault::receive_wrong_size)) return Arrival::wrong_size;
    }
    // The injected fault is a part that stores damaged frames although it was not told to.
    const bool stores_it = take(Fault::receive_bad_crc);
    damaged = damaged || stores_it;
    if (damaged) count(CRCERRS);
    if (damaged && !stores_it && (reg(RCTL) & rctl_sbp) == 0) return Arrival::damaged;
    return store(std::move(bytes), damaged);
}

bool E1000Device::accepts(std::span<const std::byte> frame) const {
    const std::uint32_t rctl = reg(RCTL);
    if (std::all_of(frame.begin(), frame.begin() + 6,
                    [](std::byte byte) { return byte == std::byte{0xff}; })) {
        return (rctl & rctl_bam) != 0;
    }
    const auto byte = [&](std::size_t i) { return std::to_integer<std::uint32_t>(frame[i]); };
    const std::uint32_t low = byte(0) | byte(1) << 8 | byte(2) << 16 | byte(3) << 24;
    const std::uint32_t high = byte(4) | byte(5) << 8;
    for (std::uint32_t i = 0; i < 16; ++i) {
        const std::uint32_t limit = reg(RAH + 8 * i);
        if ((limit >> 31) != 0 && (limit & 0xffff) == high && reg(RAL + 8 * i) == low) return true;
    }
    const bool to_group = (byte(0) & 1) != 0;
    if ((rctl & (to_group ? rctl_mpe : rctl_upe)) != 0) return true;
    if (!to_group && !options_.hashes_stations) return false;
    // Twelve bits of the address select a bit of the table; which twelve, RCTL.MO says [8254x §13.5.1].
    constexpr std::array<std::uint32_t, 4> shifts{4, 3, 2, 0};
    const std::uint32_t hash = (high >> shifts[rctl >> 12 & 3]) & 0xfff;
    return (reg(MTA + 4 * (hash >> 5)) >> (hash & 31) & 1) != 0;
}

std::uint32_t E1000Device::receive_buffer_bytes() const {
    const std::uint32_t size = reg(RCTL) >> 16 & 3;
    if ((reg(RCTL) & rctl_bsex) == 0) return 2048u >> size;
    return size == 0 ? 2048u : 32768u >> size;  // 16384, 8192, 4096; 0 is reserved
}

// `frame` is with its CRC.
Arrival E1000Device::store(std::vector<std::byte> frame, bool damaged) {
    const std::uint32_t entries = reg(RDLEN) / descriptor_bytes;
    const std::uint32_t size = receive_buffer_bytes();
    const Verdict verdict = judge(std::span{frame}.first(frame.size() - crc_bytes),
                                  (reg(RXCSUM) & rxcsum_ipofl) != 0, (reg(RXCSUM) & rxcsum_tuofl) != 0);
    const std::uint32_t packet_sum_start = reg(RXCSUM) & 0xff;
    const std::uint16_t packet_sum = packet_sum_start < frame.size()
                                         ? ones_sum(std::span{frame}.subspan(packet_sum_start))
                                         : std::uint16_t{0};
    const std::size_t with_crc = frame.size();
    const bool broadcast =
        std::all_of(frame.begin(), frame.begin() + 6, [](std::byte byte) { return byte == std::byte{0xff}; });
    const bool multicast = (frame[0] & std::byte{1}) != std::byte{0};
    if ((reg(RCTL) & rctl_secrc) != 0) frame.resize(frame.size() - crc_bytes);

    const auto needed = static_cast<std::uint32_t>((frame.size() + size - 1) / size);
    const std::uint32_t available =
        entries == 0 || reg(RDT) >= entries ? 0 : (reg(RDT) + entries - reg(RDH)) % entries;
    if (available < needed) {
        count(MPC);
        count(RNBC);
        raise(cause_rxo);
        return Arrival::no_descriptor;
    }

    const bool rest_late = needed > 1 && take(Fault::receive_rest_late);
    std::span<const std::byte> rest = frame;
    while (!rest.empty()) {
        const std::uint32_t index = reg(RDH);
        const Iova where =
            Iova{std::uint64_t{reg(RDBAH)} << 32 | reg(RDBAL)} + std::uint64_t{index} * descriptor_bytes;
        std::array<std::byte, descriptor_bytes> descriptor{};
        last_descriptor_ = where;
        if (!dma_read(where, descriptor)) {
            receiver_halted_ = true;
            return Arrival::dma_refused;
        }
        std::uint64_t address = 0;
        std::memcpy(&address, descriptor.data(), sizeof(address));
        if (address == 0) violation("receive descriptor without a buffer handed over");
        if (std::to_integer<unsigned>(descriptor[12]) != 0) {
            violation("receive descriptor handed over whose status was not cleared");
        }
        last_receive_buffer_ = Iova{address};

        const std::size_t piece = std::min<std::size_t>(rest.size(), size);
        const bool is_last = piece == rest.size();
        const bool late = rest_late && rest.size() != frame.size();
        const std::span<const std::byte> data = rest.first(piece);
        rest = rest.subspan(piece);
        reg(RDH) = (index + 1) % entries;

        std::uint8_t status = receive_dd;
        std::uint8_t errors = 0;
        if (is_last) {
            status |= receive_eop;
            status |= options_.checks_received ? verdict.status : receive_ixsm;
            if (options_.checks_received) errors |= verdict.errors;
            if (damaged) errors |= error_ce;
        }
        std::uint32_t length = static_cast<std::uint32_t>(piece);
        const bool early = take(Fault::receive_early_write_back);
        const bool status_first = take(Fault::receive_status_before_length);
        const bool skip_write_back = take(Fault::receive_no_write_back);
        if (take(Fault::receive_length_zero)) length = 0;
        if (take(Fault::receive_length_beyond_buffer)) length = size + 1;
        if (take(Fault::receive_length_huge)) length = 0xffff;
        if (take(Fault::receive_length_short)) length = ethernet_header - 1;
        if (take(Fault::receive_without_eop)) status &= static_cast<std::uint8_t>(~receive_eop);

        // Writes are posted: one that is refused is lost, and the part goes on as if it had arrived.
        if (early || late) {
            late_.push_back({Iova{address}, {data.begin(), data.end()}, now_ns_ + late_ns});
        } else {
            dma_write(Iova{address}, data);
        }
        if (skip_write_back) continue;
        const auto fill = [&](std::uint32_t bytes) {
            const auto half = [&](std::size_t offset, std::uint32_t value) {
                descriptor[offset] = static_cast<std::byte>(value);
                descriptor[offset + 1] = static_cast<std::byte>(value >> 8);
            };
            if ((reg(RFCTL) & rfctl_exten) != 0) {
                // [82574] the extended form, as Linux's e1000e reads it
                descriptor = {};
                half(8, status);
                descriptor[11] = static_cast<std::byte>(errors);
                half(12, bytes);
                return;
            }
            half(8, bytes);
            half(10, packet_sum);
            descriptor[12] = static_cast<std::byte>(status);
            descriptor[13] = static_cast<std::byte>(errors);
        };
        fill(length);
        if (status_first || late) {
            late_.push_back({where, {descriptor.begin(), descriptor.end()}, now_ns_ + late_ns});
        }
        if (status_first) fill(0);
        if (!late) dma_write(where, descriptor);
    }

    if (!damaged) {
        count(GPRC);
        count_octets(GORCL, with_crc);
        count_size(PRC64, with_crc);
        if (broadcast) {
            count(BPRC);
        } else if (multicast) {
            count(MPRC);
        }
    }
    std::uint32_t causes = cause_rxt0;
    const std::uint32_t left = (reg(RDT) + entries - reg(RDH)) % entries;
    if (left <= entries >> (1 + (reg(RCTL) >> 8 & 3))) causes |= cause_rxdmt0;
    raise(causes);
    return Arrival::stored;
}

void E1000Device::release_late_writes() {
    const std::scoped_lock guard{mutex_};
    land_late_writes(~std::uint64_t{0});
}

void E1000Device::land_late_writes(std::uint64_t due_ns) {
    for (const LateWrite& write : late_) {
        if (write.due_ns <= due_ns && !iommu_.write(write.iova, write.bytes)) ++aborted_accesses_;
    }
    std::erase_if(late_, [due_ns](const LateWrite& write) { return write.due_ns <= due_ns; });
}

}  // namespace dmatoll::model
