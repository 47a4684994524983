// SPDX-License-Identifier: BSD-2-Clause
// Registers, reset, EEPROM, PHY, interrupts and statistics of the model.
#include "e1000_device.hpp"

#include <algorithm>
#include <utility>

namespace dmatoll::model {

using namespace datasheet;

namespace {

// [8254x §13.4.1, RST]: about 1 us before the part may be touched again.
constexpr std::uint64_t reset_ns = 1'000;
// How much longer the 82574 loads its PHY's configuration, as its drivers wait.
constexpr std::uint64_t phy_configuration_ns = 25'000'000;
// A word of the serial EEPROM, and an MDI frame: the order of magnitude of the real ones.
constexpr std::uint64_t eeprom_word_ns = 40'000;
constexpr std::uint64_t mdi_frame_ns = 30'000;
// Units of ITR and of the delay timers [8254x §13.4.18, §13.4.30].
constexpr std::uint64_t throttle_unit_ns = 256;
constexpr std::uint64_t timer_unit_ns = 1'024;

// What stands in a register or table whose value after a reset is undefined.
constexpr std::uint32_t undefined = 0xa5a5'a5a0;

bool is_known(std::uint32_t offset, bool is_82574) {
    if (offset == IAM || offset == TARC0 || offset == RFCTL || offset == MRQC || offset == GCR ||
        offset == GCR2)
        return is_82574;
    if (offset >= statistics_begin && offset < statistics_end) return true;
    if (offset >= MTA && offset < MTA + 0x200) return true;
    if (offset >= RAL && offset < RAL + 0x80) return true;
    if (offset >= VFTA && offset < VFTA + 0x200) return true;
    constexpr std::array known{CTRL,   STATUS, EECD,   EERD,  CTRL_EXT, MDIC,  FCAL,  FCAH, FCT,  VET,
                               ICR,    ITR,    ICS,    IMS,   IMC,      RCTL,  FCTTV, TCTL, TIPG, AIFS,
                               LEDCTL, PBA,    FCRTL,  FCRTH, RDBAL,    RDBAH, RDLEN, RDH,  RDT,  RDTR,
                               RXDCTL, RADV,   RSRPD,  TDBAL, TDBAH,    TDLEN, TDH,   TDT,  TIDV, TXDCTL,
                               TADV,   TSPMT,  RXCSUM, WUC,   WUFC,     MANC};
    return std::find(known.begin(), known.end(), offset) != known.end();
}

bool is_wide_low(std::uint32_t offset) {
    return offset == GORCL || offset == GOTCL || offset == TORL || offset == TOTL;
}

bool is_wide_high(std::uint32_t offset) { return offset >= 4 && is_wide_low(offset - 4); }

}  // namespace

const char* name_of(Fault fault) {
    switch (fault) {
        case Fault::receive_length_zero:
            return "receive_length_zero";
        case Fault::receive_length_beyond_buffer:
            return "receive_length_beyond_buffer";
        case Fault::receive_length_huge:
            return "receive_length_huge";
        case Fault::receive_length_short:
            return "receive_length_short";
        case Fault::receive_no_write_back:
            return "receive_no_write_back";
        case Fault::receive_early_write_back:
            return "receive_early_write_back";
        case Fault::receive_status_before_length:
            return "receive_status_before_length";
        case Fault::receive_without_eop:
            return "receive_without_eop";
        case Fault::receive_bad_crc:
            return "receive_bad_crc";
        case Fault::receive_rest_late:
            return "receive_rest_late";
        case Fault::receive_wrong_size:
            return "receive_wrong_size";
        case Fault::transmit_no_write_back:
            return "transmit_no_write_back";
        case Fault::transmit_write_back_beyond_tail:
            return "transmit_write_back_beyond_tail";
        case Fault::reset_stuck:
            return "reset_stuck";
        case Fault::eeprom_stuck:
            return "eeprom_stuck";
        case Fault::eeprom_bad_sum:
            return "eeprom_bad_sum";
        case Fault::mdic_stuck:
            return "mdic_stuck";
        case Fault::link_loss:
            return "link_loss";
        case Fault::gone:
            return "gone";
        case Fault::dma_after_stop:
            return "dma_after_stop";
    }
    return "unknown";
}

E1000Device::E1000Device(SoftwareIommu& iommu, const DeviceOptions& options)
    : iommu_{iommu}, options_{options} {
    for (std::uint32_t word = 0; word < 3; ++word) {
        eeprom_[word] = static_cast<std::uint16_t>(options_.mac[2 * word] | options_.mac[2 * word + 1] << 8);
    }
    // Initialisation control word 1 and the identifiers [8254x §5.6].
    eeprom_[0x0a] = 0x40a0;
    eeprom_[0x0d] = options_.part == DevicePart::i82540em   ? 0x100e
                    : options_.part == DevicePart::i82545em ? 0x100f
                                                            : 0x10d3;
    eeprom_[0x0e] = 0x8086;
    std::uint16_t sum = 0;
    for (std::uint32_t word = 0; word + 1 < eeprom_words; ++word)
        sum = static_cast<std::uint16_t>(sum + eeprom_[word]);
    eeprom_.back() = static_cast<std::uint16_t>(eeprom_sum - sum);
    power_up();
}

void E1000Device::power_up() {
    reset();
    finish_reset();
    write_phy(phy_control, phy_control_reset);
}

void E1000Device::reset() {
    std::fill(registers_.begin(), registers_.end(), 0);
    for (std::uint32_t word = 0; word < 128; ++word) {
        reg(MTA + 4 * word) = undefined;
        reg(VFTA + 4 * word) = undefined;
    }
    reg(RDBAL) = reg(RDBAH) = reg(TDBAL) = reg(TDBAH) = undefined;
    checksum_context_ = segmentation_context_ = {};
    assembly_ = {};
    looped_.clear();
    transmitter_halted_ = receiver_halted_ = false;
    receive_interrupt_ns_ = transmit_interrupt_ns_ = 0;
    resetting_ = true;
    reset_done_ns_ = now_ns_ + reset_ns;
}

void E1000Device::finish_reset() {
    resetting_ = false;
    reg(CTRL) = ctrl_fd;
    reg(EECD) = 1u << 8;  // EE_PRES
    reg(PBA) = 0x0010'0030;
    if (is_82574()) {
        reg(EECD) |= eecd_auto_read_done;
        reg(PBA) = 0x0014'0014;
        reg(CTRL) |= ctrl_must_be_clear;
    }
    load_address();
    update_link();
}

// The part loads its first receive address from the EEPROM after a reset [8254x §13.5.2].
void E1000Device::load_address() {
    reg(RAL) = eeprom_[0] | static_cast<std::uint32_t>(eeprom_[1]) << 16;
    reg(RAH) = eeprom_[2] | 1u << 31;
}

void E1000Device::violation(std::string text) { violations_.push_back(std::move(text)); }

bool E1000Device::take(Fault fault) {
    const auto found = armed_.find(fault);
    if (found == armed_.end()) return false;
    ++happened_[fault];
    if (--found->second == 0) armed_.erase(found);
    return true;
}

std::uint32_t E1000Device::read32(std::uint32_t offset) {
    const std::scoped_lock guard{mutex_};
    if (active(Fault::gone)) {
        ++happened_[Fault::gone];
        return ~std::uint32_t{0};
    }
    if (offset % 4 != 0 || !is_known(offset, is_82574())) {
        violation("read of an unknown register, offset " + std::to_string(offset));
        return 0;
    }
    if (resetting_ && now_ns_ < reset_done_ns_) violation("register read within 1 us of a reset");
    if (offset >= statistics_begin && offset < statistics_end) return read_statistic(offset);
    switch (offset) {
        case CTRL:
            return resetting_ ? reg(CTRL) | ctrl_rst : reg(CTRL);
        case STATUS:
            return (link_up() ? status_lu : 0) | status_fd | status_speed_1000 |
                   (is_82574() && (reg(CTRL) & ctrl_master_disable) == 0 ? status_master_enabled : 0);
        case EERD:
            if (!active(Fault::eeprom_stuck) && now_ns_ >= eeprom_done_ns_ && (reg(EERD) & eerd_start) != 0) {
                const std::uint32_t word = is_82574() ? reg(EERD) >> 2 & 0x3fff : reg(EERD) >> 8 & 0xff;
                const std::uint32_t value = word < eeprom_words ? eeprom_[word] : 0xffff;
                reg(EERD) = value << 16 | (is_82574() ? word << 2 | eerd_done_82574 : word << 8 | eerd_done);
            }
            return reg(EERD);
        case MDIC:
            if (!active(Fault::mdic_stuck) && now_ns_ >= mdi_done_ns_) reg(MDIC) |= mdic_ready;
            return reg(MDIC);
        case ICR: {
            const std::uint32_t causes = reg(ICR) | (is_82574() && line_ ? icr_asserted : 0);
            // The 82574 keeps them while no interrupt is asserted, or reading is no acknowledgement [82574
            // §10.2.4].
            const bool acknowledges = line_ && (reg(CTRL_EXT) & ctrl_ext_iame) != 0;
            if (!is_82574() || reg(IMS) == 0 || acknowledges) reg(ICR) = 0;
            if (is_82574() && acknowledges) reg(IMS) &= ~reg(IAM);
            update_line();
            return causes;
        }
        case IMC:
        case ICS:
            return 0;  // write-only
        default:
            return reg(offset);
    }
}

void E1000Device::write32(std::uint32_t offset, std::uint32_t value) {
    const std::scoped_lock guard{mutex_};
    if (active(Fault::gone)) {
        ++happened_[Fault::gone];
        return;
    }
    if (offset % 4 != 0 || !is_known(offset, is_82574())) {
        violation("write to an unknown register, offset " + std::to_string(offset));
        return;
    }
    if (resetting_) {
        if (now_ns_ < reset_done_ns_) violation("register written within 1 us of a reset");
        return;
    }
    ++writes_[offset];
    if (offset >= statistics_begin && offset < statistics_end) return;  // read-only
    const bool receiving = (reg(RCTL) & rctl_en) != 0;
    const bool transmitting = (reg(TCTL) & tctl_en) != 0;
    switch (offset) {
        case CTRL:
            if ((value & ctrl_phy_rst) != 0) write_phy(phy_control, phy_control_reset);
            if ((value & ctrl_rst) != 0 && is_82574() && (reg(CTRL) & ctrl_master_disable) == 0) {
                violation("reset while requests to memory may be under way");
            }
            reg(CTRL) = value & ~(ctrl_rst | ctrl_phy_rst);
            if ((value & ctrl_rst) != 0) {
                if (active(Fault::reset_stuck)) {
                    ++happened_[Fault::reset_stuck];
                    resetting_ = true;
                    reset_done_ns_ = now_ns_ + reset_ns;
                } else if (options_.reset_resets) {
                    reset();
                }
            }
            update_link();
            break;
        case EERD:
            check_configured();
            start_eeprom_read(value);
            break;
        case MDIC:
            check_configured();
            start_mdi(value);
            break;
        case ICR:
            reg(ICR) &= ~value;
            update_line();
            break;
        case ICS:
            raise(value & 0x1ffff);
            break;
        case IMS:
            reg(IMS) |= value & 0x1ffff;
            update_line();
            break;
        case IMC:
            reg(IMS) &= ~value;
            update_line();
            break;
        case RCTL:
            reg(RCTL) = value;
            if (!receiving && (value & rctl_en) != 0) check_ring("receive", RDBAL);
            break;
        case TCTL:
            reg(TCTL) = value;
            if (!transmitting && (value & tctl_en) != 0) {
                check_ring("transmit", TDBAL);
                if (is_82574()) check_bits_of_82574();
            }
            if (options_.acts_on_doorbell) transmit(~std::uint32_t{0});
            break;
        case RDBAL:
        case RDBAH:
        case RDLEN:
        case RDH:
            if (receiving) violation("receive ring moved while the receiver is on");
            reg(offset) = value;
            break;
        case TDBAL:
        case TDBAH:
        case TDLEN:
        case TDH:
            if (transmitting) violation("transmit ring moved while the transmitter is on");
            reg(offset) = value;
            if (offset == TDH) assembly_ = {};
            break;
        case RDT:
            reg(RDT) = value;
            if (receiving && value >= reg(RDLEN) / descriptor_bytes)
                violation("receive tail beyond the ring");
            break;
        case TDT:
            reg(TDT) = value;
            if (transmitting && value >= reg(TDLEN) / descriptor_bytes)
                violation("transmit tail beyond the ring");
            if (options_.acts_on_doorbell) transmit(~std::uint32_t{0});
            break;
        case STATUS:
            break;  // read-only
        default:
            reg(offset) = value;
    }
}

void E1000Device::check_configured() {
    if (is_82574() && now_ns_ < reset_done_ns_ + phy_configuration_ns)
        violation("NVM or PHY asked while the PHY's configuration is being loaded");
}

// What its datasheet has software set, or leave clear, before it works.
void E1000Device::check_bits_of_82574() {
    const auto require = [this](bool met, const char* what) {
        if (!met) violation(std::string{"started without "} + what);
    };
    require((reg(GCR) >> 22 & 1) != 0, "GCR bit 22");
    require((reg(GCR2) & 1) != 0, "GCR2 bit 0");
    require((reg(CTRL) & ctrl_must_be_clear) == 0, "CTRL bit 29 as 0b");
    require((reg(TXDCTL) >> 22 & 1) != 0, "TXDCTL bit 22");
    require((reg(TARC0) >> 26 & 1) != 0 && (reg(TARC0) >> 27 & 0xf) == 0, "TARC0 bits 30:26 as 00001b");
    require((reg(CTRL_EXT) >> 22 & 3) == 1, "CTRL_EXT bits 23:22 as 01b");
}

void E1000Device::check_ring(const char* name, std::uint32_t base_low) {
    const std::uint32_t length = reg(base_low + (RDLEN - RDBAL));
    const std::uint32_t entries = length / descriptor_bytes;
    if (length == 0 || length % ring_granularity_bytes != 0) {
        violation(std::string{name} + " ring enabled with a length of " + std::to_string(length) + " bytes");
    }
    if (reg(base_low) % descriptor_bytes != 0)
        violation(std::string{name} + " ring is not aligned to 16 bytes");
    if (reg(base_low + (RDH - RDBAL)) >= std::max(entries, 1u) ||
        reg(base_low + (RDT - RDBAL)) >= std::max(entries, 1u)) {
        violation(std::string{name} + " ring enabled with head or tail beyond its end");
    }
}

void E1000Device::set_bus_master(bool on) {
    const std::scoped_lock guard{mutex_};
    bus_master_ = on;
}

void E1000Device::set_time(std::uint64_t now_ns) {
    const std::scoped_lock guard{mutex_};
    now_ns_ = std::max(now_ns_, now_ns);
    land_late_writes(now_ns_);
    if (resetting_ && now_ns_ >= reset_done_ns_ && !active(Fault::reset_stuck)) finish_reset();
    if (receive_interrupt_ns_ != 0 && now_ns_ >= receive_interrupt_ns_) {
        receive_interrupt_ns_ = 0;
        raise(cause_rxt0);
    }
    if (transmit_interrupt_ns_ != 0 && now_ns_ >= transmit_interrupt_ns_) {
        transmit_interrupt_ns_ = 0;
        raise(cause_txdw);
    }
    update_line();
}

void E1000Device::raise(std::uint32_t causes) {
    // With a delay timer set, the cause is raised when it expires [8254x §13.4.30, §13.4.40]; the absolute
    // timers only shorten that.
    if ((causes & cause_rxt0) != 0 && reg(RDTR) != 0 && receive_interrupt_ns_ == 0 && now_ns_ != 0) {
        const std::uint32_t delay = reg(RADV) != 0 ? std::min(reg(RADV), reg(RDTR)) : reg(RDTR);
        receive_interrupt_ns_ = now_ns_ + std::uint64_t{delay} * timer_unit_ns;
        causes &= ~cause_rxt0;
    }
    reg(ICR) |= causes;
    update_line();
}

void E1000Device::update_line() {
    const bool wanted = (reg(ICR) & reg(IMS)) != 0;
    if (!wanted) {
        line_ = false;
    } else if (!line_ && now_ns_ >= next_interrupt_ns_) {
        line_ = true;
        ++interrupts_raised_;
        next_interrupt_ns_ = now_ns_ + std::uint64_t{reg(ITR) & 0xffff} * throttle_unit_ns;
    }
}

bool E1000Device::in_loopback() const { return (phy_[phy_control] & phy_control_loopback) != 0; }

bool E1000Device::link_up() const {
    return (reg(CTRL) & ctrl_slu) != 0 && (in_loopback() || !active(Fault::link_loss)) && !resetting_;
}

void E1000Device::update_link() {
    const bool up = link_up();
    if (up == link_was_up_) return;
    link_was_up_ = up;
    raise(cause_lsc);
    if (up && options_.acts_on_doorbell) transmit(~std::uint32_t{0});
}

void E1000Device::start_eeprom_read(std::uint32_t value) {
    if ((value & eerd_start) == 0) return;
    if (active(Fault::eeprom_stuck)) ++happened_[Fault::eeprom_stuck];
    reg(EERD) = (value & (is_82574() ? 0xfffc : 0xff00)) | eerd_start;
    eeprom_done_ns_ = now_ns_ + eeprom_word_ns;
}

void E1000Device::start_mdi(std::uint32_t value) {
    if (now_ns_ < mdi_done_ns_) violation("MDIC written while a transaction is under way");
    if (active(Fault::mdic_stuck)) ++happened_[Fault::mdic_stuck];
    mdi_done_ns_ = now_ns_ + mdi_frame_ns;
    const std::uint32_t number = value >> 16 & 0x1f;
    const std::uint32_t operation = value >> 26 & 3;
    reg(MDIC) = value & ~(mdic_ready | mdic_error);
    if ((value >> 21 & 0x1f) != phy_address || (operation != 1 && operation != 2)) {
        reg(MDIC) |= mdic_error;
    } else if (active(Fault::mdic_stuck)) {
        return;
    } else if (operation == 1) {
        write_phy(number, static_cast<std::uint16_t>(value));
    } else {
        reg(MDIC) = (reg(MDIC) & 0xffff'0000) | read_phy(number);
    }
    if ((value & mdic_interrupt) != 0) raise(cause_mdac);
}

std::uint16_t E1000Device::read_phy(std::uint32_t number) {
    const bool up = in_loopback() || !active(Fault::link_loss);
    switch (number) {
        case phy_status:
            return static_cast<std::uint16_t>(0x7949 | (up ? 1 << 2 | 1 << 5 : 0));
        case phy_specific_status:  // 1000 Mb/s, full duplex, resolved, link
            return static_cast<std::uint16_t>(2 << 14 | 1 << 13 | (up ? 1 << 11 | 1 << 10 : 0));
        default:
            return phy_[number];
    }
}

void E1000Device::write_phy(std::uint32_t number, std::uint16_t value) {
    if (number == phy_control && (value & phy_control_reset) != 0) {
        phy_.fill(0);
        phy_[phy_identifier_1] = 0x0141;  // M88E1011
        phy_[phy_identifier_2] = 0x0c20;
        phy_[4] = 0x0de1;
        phy_[5] = 0x45e1;
        phy_[9] = 0x0e00;
        phy_[10] = 0x3c00;
        value = phy_control_negotiate | phy_control_full_duplex | phy_control_speed_1000;
    }
    if (number == phy_status || number == phy_identifier_1 || number == phy_identifier_2) return;
    phy_[number] = number == phy_control ? static_cast<std::uint16_t>(value & ~phy_control_restart) : value;
    if (number == phy_control) update_link();
}

// They stick at their largest value [8254x §13.7].
void E1000Device::count(std::uint32_t offset, std::uint64_t amount) {
    const std::uint64_t sum = reg(offset) + amount;
    reg(offset) = static_cast<std::uint32_t>(std::min<std::uint64_t>(sum, ~std::uint32_t{0}));
}

void E1000Device::count_octets(std::uint32_t low, std::uint64_t octets) {
    const std::uint64_t sum = (std::uint64_t{reg(low + 4)} << 32 | reg(low)) + octets;
    reg(low) = static_cast<std::uint32_t>(sum);
    reg(low + 4) = static_cast<std::uint32_t>(sum >> 32);
}

void E1000Device::count_size(std::uint32_t first, std::size_t bytes_with_crc) {
    constexpr std::array<std::size_t, 5> bounds{64, 127, 255, 511, 1023};
    const auto found = std::lower_bound(bounds.begin(), bounds.end(), bytes_with_crc);
    count(first + 4 * static_cast<std::uint32_t>(found - bounds.begin()));
}

std::uint32_t E1000Device::read_statistic(std::uint32_t offset) {
    // The halves of a wide one are read low first; reading the high half clears both [8254x §13.7.26].
    if (is_wide_low(offset)) return reg(offset);
    if (is_wide_high(offset)) reg(offset - 4) = 0;
    return std::exchange(reg(offset), 0);
}

bool E1000Device::may_access() {
    if (active(Fault::gone) || resetting_) return false;
    if (!bus_master_) {
        ++accesses_while_quiet_;
        violation("memory access before bus mastering was set");
        return false;
    }
    if ((reg(RCTL) & rctl_en) == 0 && (reg(TCTL) & tctl_en) == 0) ++accesses_while_quiet_;
    return true;
}

bool E1000Device::dma_read(Iova iova, std::span<std::byte> destination) {
    if (!may_access()) return false;
    if (iommu_.read(iova, destination)) return true;
    ++aborted_accesses_;
    return false;
}

bool E1000Device::dma_write(Iova iova, std::span<const std::byte> source) {
    if (!may_access()) return false;
    if (iommu_.write(iova, source)) return true;
    ++aborted_accesses_;
    return false;
}

void E1000Device::step(std::uint32_t descriptors) {
    const std::scoped_lock guard{mutex_};
    if (active(Fault::dma_after_stop) && last_descriptor_.value != 0) {
        ++happened_[Fault::dma_after_stop];
        stray_read(last_descriptor_, descriptor_bytes);
        if (last_receive_buffer_.value != 0)
            stray_write(last_receive_buffer_, shortest_frame, std::byte{0xdd});
    }
    transmit(descriptors);
}

bool E1000Device::stray_read(Iova iova, std::uint32_t bytes) {
    const std::scoped_lock guard{mutex_};
    if ((reg(RCTL) & rctl_en) == 0 && (reg(TCTL) & tctl_en) == 0) ++accesses_while_quiet_;
    std::vector<std::byte> sink(bytes);
    if (iommu_.read(iova, sink)) return true;
    ++aborted_accesses_;
    return false;
}

bool E1000Device::stray_write(Iova iova, std::uint32_t bytes, std::byte pattern) {
    const std::scoped_lock guard{mutex_};
    if ((reg(RCTL) & rctl_en) == 0 && (reg(TCTL) & tctl_en) == 0) ++accesses_while_quiet_;
    const std::vector<std::byte> source(bytes, pattern);
    if (iommu_.write(iova, source)) return true;
    ++aborted_accesses_;
    return false;
}

void E1000Device::inject(Fault fault, std::uint32_t count) {
    const std::scoped_lock guard{mutex_};
    armed_[fault] = count;
    if (fault == Fault::link_loss) {
        ++happened_[fault];
        update_link();
    }
    if (fault == Fault::eeprom_bad_sum) {
        ++happened_[fault];
        eeprom_.back() = static_cast<std::uint16_t>(eeprom_.back() + 1);
    }
}

void E1000Device::clear(Fault fault) {
    const std::scoped_lock guard{mutex_};
    if (armed_.erase(fault) == 0) return;
    if (fault == Fault::eeprom_bad_sum) eeprom_.back() = static_cast<std::uint16_t>(eeprom_.back() - 1);
    if (fault == Fault::link_loss) update_link();
}

std::uint32_t E1000Device::happened(Fault fault) const {
    const std::scoped_lock guard{mutex_};
    const auto found = happened_.find(fault);
    return found == happened_.end() ? 0 : found->second;
}

std::vector<WireFrame> E1000Device::take_wire() {
    const std::scoped_lock guard{mutex_};
    return std::exchange(wire_, {});
}

bool E1000Device::interrupt_line() {
    const std::scoped_lock guard{mutex_};
    update_line();
    return line_;
}

std::uint64_t E1000Device::interrupts_raised() const {
    const std::scoped_lock guard{mutex_};
    return interrupts_raised_;
}

std::vector<std::string> E1000Device::violations() const {
    const std::scoped_lock guard{mutex_};
    return violations_;
}

void E1000Device::forget_violations() {
    const std::scoped_lock guard{mutex_};
    violations_.clear();
}

std::uint64_t E1000Device::writes_of(std::uint32_t offset) const {
    const std::scoped_lock guard{mutex_};
    const auto found = writes_.find(offset);
    return found == writes_.end() ? 0 : found->second;
}

std::uint64_t E1000Device::accesses_while_quiet() const {
    const std::scoped_lock guard{mutex_};
    return accesses_while_quiet_;
}

std::uint64_t E1000Device::aborted_accesses() const {
    const std::scoped_lock guard{mutex_};
    return aborted_accesses_;
}

Iova E1000Device::last_receive_buffer() const {
    const std::scoped_lock guard{mutex_};
    return last_receive_buffer_;
}

Iova E1000Device::last_transmit_buffer() const {
    const std::scoped_lock guard{mutex_};
    return last_transmit_buffer_;
}

std::uint16_t E1000Device::phy_register(std::uint32_t number) const {
    const std::scoped_lock guard{mutex_};
    return phy_.at(number);
}

std::uint16_t E1000Device::eeprom_word(std::uint32_t word) const {
    const std::scoped_lock guard{mutex_};
    return eeprom_.at(word);
}

void E1000Device::set_eeprom_word(std::uint32_t word, std::uint16_t value) {
    const std::scoped_lock guard{mutex_};
    // The sum stays right: what is tested with this is the word.
    eeprom_.back() = static_cast<std::uint16_t>(eeprom_.back() + eeprom_.at(word) - value);
    eeprom_.at(word) = value;
}

std::uint32_t E1000Device::peek(std::uint32_t offset) const {
    const std::scoped_lock guard{mutex_};
    return registers_.at(offset / 4);
}

void E1000Device::poke(std::uint32_t offset, std::uint32_t value) {
    const std::scoped_lock guard{mutex_};
    registers_.at(offset / 4) = value;
}

}  // namespace dmatoll::model
