// SPDX-License-Identifier: BSD-2-Clause
// Registers, resets, links and interrupts of the model.
#include "ahci_device.hpp"

#include <algorithm>
#include <bit>
#include <stdexcept>

namespace dmatoll::model {

using namespace ahci_datasheet;

namespace {

// GHC.HR is cleared within a second [AHCI 1.3.1 §10.4.3], CR and FR within half of one [§10.3]: real parts
// are much faster.
constexpr std::uint64_t hba_reset_ns = 100'000;
constexpr std::uint64_t port_stop_ns = 5'000;
// From the end of a COMRESET to communication; software is to wait for 10 ms at least [§10.1.2].
constexpr std::uint64_t link_ns = 3'000'000;
// COMRESET is held for at least that long [§10.4.2].
constexpr std::uint64_t comreset_ns = 1'000'000;
// The firmware gives the controller up [§10.6.3].
constexpr std::uint64_t hand_over_ns = 5'000'000;

bool is_known_of_port(std::uint32_t offset) { return offset <= DEVSLP && offset % 4 == 0 && offset != 0x1c; }

}  // namespace

const char* name_of(AhciFault fault) {
    switch (fault) {
        case AhciFault::command_never_completes:
            return "command_never_completes";
        case AhciFault::command_aborted:
            return "command_aborted";
        case AhciFault::interface_error:
            return "interface_error";
        case AhciFault::interface_error_survived:
            return "interface_error_survived";
        case AhciFault::host_bus_error:
            return "host_bus_error";
        case AhciFault::byte_count_lies:
            return "byte_count_lies";
        case AhciFault::completes_without_data:
            return "completes_without_data";
        case AhciFault::lost_interrupt:
            return "lost_interrupt";
        case AhciFault::error_log_other_tag:
            return "error_log_other_tag";
        case AhciFault::error_log_not_queued:
            return "error_log_not_queued";
        case AhciFault::error_log_bad_checksum:
            return "error_log_bad_checksum";
        case AhciFault::active_never_issued:
            return "active_never_issued";
        case AhciFault::hba_reset_stuck:
            return "hba_reset_stuck";
        case AhciFault::port_stop_stuck:
            return "port_stop_stuck";
        case AhciFault::fis_stop_stuck:
            return "fis_stop_stuck";
        case AhciFault::link_stuck:
            return "link_stuck";
        case AhciFault::signature_missing:
            return "signature_missing";
        case AhciFault::firmware_keeps_the_hba:
            return "firmware_keeps_the_hba";
        case AhciFault::gone:
            return "gone";
        case AhciFault::dma_after_stop:
            return "dma_after_stop";
    }
    return "unknown";
}

AhciDevice::AhciDevice(SoftwareIommu& iommu, const AhciOptions& options)
    : iommu_{iommu}, options_{options}, order_{options.order_seed}, in_order_{options.order_seed == 0} {
    if (options.slots == 0 || options.slots > most_slots)
        throw std::invalid_argument{"AHCI has 1 to 32 slots"};
    implemented_ = options.ports;
    for (const auto& [number, disk] : options.disks) {
        ports_.at(number).disk = std::make_unique<AhciDisk>(disk);
        ports_[number].plugged = true;
        implemented_ |= 1u << number;
    }
    for (std::uint32_t number = 0; number < most_ports; ++number) {
        ports_[number].number = number;
        ports_[number].implemented = (implemented_ >> number & 1) != 0;
    }
    power_up();
}

void AhciDevice::power_up() {
    bohc_ = options_.firmware_owns ? bohc_bos : 0;
    bus_master_ = false;
    handed_over_ns_ = 0;
    for (Port& port : ports_) reset_port(port, true);
    finish_hba_reset();
}

// Everything but what the firmware initialises, and PxCLB and PxFB [AHCI 1.3.1 §10.4.3].
void AhciDevice::reset_port(Port& port, bool power) {
    if (power) {
        port.list = port.received = 0;
        port.list_set = port.received_set = false;
    }
    port.is = port.ie = port.sctl = port.serr = port.sact = port.ci = 0;
    port.cmd = cmd_pod | (options_.staggered_spin_up ? 0 : cmd_sud);
    port.halted = false;
    port.stopped_ns = port.fis_stopped_ns = 0;
    for (Slot& slot : port.slots) slot = {};
    reset_disk(port);
    port.link = Link::none;
}

void AhciDevice::finish_hba_reset() {
    resetting_ = false;
    ghc_ = options_.only_ahci ? ghc_ae : 0;
    is_ = 0;
    for (Port& port : ports_) {
        if (port.implemented) start_link(port);
    }
    update_interrupts();
}

bool AhciDevice::active(AhciFault fault, std::uint32_t port) const {
    return armed_.contains({fault, any_port}) || armed_.contains({fault, port});
}

bool AhciDevice::take(AhciFault fault, std::uint32_t port) {
    auto found = armed_.find({fault, port});
    if (found == armed_.end()) found = armed_.find({fault, any_port});
    if (found == armed_.end()) return false;
    ++happened_[fault];
    if (--found->second == 0) armed_.erase(found);
    return true;
}

bool AhciDevice::happen(AhciFault fault, std::uint32_t port) {
    if (!active(fault, port)) return false;
    ++happened_[fault];
    return true;
}

void AhciDevice::violation(std::string text) { violations_.push_back(std::move(text)); }

void AhciDevice::violation(const Port& port, std::string text) {
    violation("port " + std::to_string(port.number) + ": " + std::move(text));
}

std::uint64_t AhciDevice::capabilities() const {
    const auto top = static_cast<std::uint32_t>(std::popcount(implemented_));
    return (std::max(top, 1u) - 1) << cap_np_shift | (options_.slots - 1) << cap_ncs_shift | cap_iss_gen3 |
           (options_.only_ahci ? cap_sam : 0) | (options_.overrides_busy ? cap_sclo : 0) |
           (options_.staggered_spin_up ? cap_sss : 0) | (options_.native_queueing ? cap_sncq : 0) |
           (options_.wide_addresses ? cap_s64a : 0);
}

void AhciDevice::check_access(std::uint32_t offset, bool writing) {
    const std::string what =
        (writing ? "write to" : "read of") + std::string{" offset "} + std::to_string(offset);
    if (resetting_ && offset != GHC) violation(what + " while the HBA is in reset");
    // AHCI is switched on before anything else is touched [AHCI 1.3.1 §3.1.2].
    if ((ghc_ & ghc_ae) == 0 && !resetting_ &&
        (writing ? offset != GHC && offset != BOHC : offset >= ports_begin))
        violation(what + " while GHC.AE is clear");
    if ((bohc_ & bohc_bos) != 0 && writing && offset != BOHC && offset != GHC)
        violation(what + " while the firmware owns the HBA");
}

std::uint32_t AhciDevice::read32(std::uint32_t offset) {
    const std::scoped_lock guard{mutex_};
    if (happen(AhciFault::gone)) return ~std::uint32_t{0};
    const bool of_port = offset >= ports_begin;
    const std::uint32_t number = (offset - ports_begin) / port_bytes;
    if (offset % 4 != 0 || (of_port ? number >= most_ports || !ports_[number].implemented ||
                                          !is_known_of_port((offset - ports_begin) % port_bytes)
                                    : offset >= host_end)) {
        violation("read of an unknown register, offset " + std::to_string(offset));
        return 0;
    }
    check_access(offset, false);
    return of_port ? read_port(ports_[number], (offset - ports_begin) % port_bytes) : read_host(offset);
}

void AhciDevice::write32(std::uint32_t offset, std::uint32_t value) {
    const std::scoped_lock guard{mutex_};
    if (happen(AhciFault::gone)) return;
    const bool of_port = offset >= ports_begin;
    const std::uint32_t number = (offset - ports_begin) / port_bytes;
    if (offset % 4 != 0 || (of_port ? number >= most_ports || !ports_[number].implemented ||
                                          !is_known_of_port((offset - ports_begin) % port_bytes)
                                    : offset >= host_end)) {
        violation("write to an unknown register, offset " + std::to_string(offset));
        return;
    }
    check_access(offset, true);
    if (resetting_) return;
    ++writes_[offset];
    if (of_port) {
        write_port(ports_[number], (offset - ports_begin) % port_bytes, value);
    } else {
        write_host(offset, value);
    }
    update_interrupts();
}

std::uint32_t AhciDevice::read_host(std::uint32_t offset) const {
    switch (offset) {
        case CAP:
            return static_cast<std::uint32_t>(capabilities());
        case GHC:
            return ghc_ | (resetting_ ? ghc_hr : 0);
        case IS:
            return is_;
        case PI:
            return implemented_;
        case VS:
            return version_1_3_1;
        case CAP2:
            return options_.firmware_owns ? cap2_boh : 0;
        case BOHC:
            return bohc_;
        default:
            return 0;
    }
}

void AhciDevice::write_host(std::uint32_t offset, std::uint32_t value) {
    switch (offset) {
        case GHC:
            if ((value & ghc_hr) != 0) {
                if (((ghc_ | value) & ghc_ae) == 0) violation("HBA reset while GHC.AE is clear");
                for (Port& port : ports_) {
                    if (port.stopped_ns == 0) prepare_straggler(port);
                }
                resetting_ = true;
                reset_done_ns_ = now_ns_ + hba_reset_ns;
                happen(AhciFault::hba_reset_stuck);
                ghc_ = value & ghc_ae;
                return;
            }
            ghc_ = (value & (ghc_ae | ghc_ie)) | (options_.only_ahci ? ghc_ae : 0);
            break;
        case IS:
            is_ &= ~value;
            // A cause that is still there makes an edge, too: it is a new message with MSI.
            if (is_ == 0) line_ = false;
            break;
        case BOHC:
            if (!options_.firmware_owns) {
                if (value != 0) violation("BOHC written on an HBA that has no hand-over");
                break;
            }
            // The firmware's bits are the firmware's; OOC is written to clear [AHCI 1.3.1 §3.1.11].
            if ((value & bohc_oos) != 0 && (bohc_ & bohc_oos) == 0) handed_over_ns_ = now_ns_ + hand_over_ns;
            bohc_ = (bohc_ & (bohc_bos | bohc_bb)) | (value & (bohc_oos | bohc_sooe)) |
                    (bohc_ & bohc_ooc & ~value);
            break;
        case CAP:
        case PI:
        case VS:
        case CAP2:
            violation("write to a read-only register, offset " + std::to_string(offset));
            break;
        default:
            violation("write to a register of a feature that is not offered, offset " +
                      std::to_string(offset));
    }
}

// Status bits that are other bits' mirrors [AHCI 1.3.1 §3.3.5].
std::uint32_t AhciDevice::interrupt_status(const Port& port) const {
    return port.is | ((port.serr & serr_diag_f) != 0 ? is_ufs : 0) |
           ((port.serr & serr_diag_x) != 0 ? is_pcs : 0) | ((port.serr & serr_diag_n) != 0 ? is_prcs : 0);
}

std::uint32_t AhciDevice::status_of_link(const Port& port) const {
    switch (port.link) {
        case Link::none:
        case Link::held_in_reset:
            return 0;
        case Link::coming:
            return active(AhciFault::link_stuck, port.number) ? ssts_det_present : 0;
        case Link::up:
            return ssts_det_up | ssts_spd_gen3 | ssts_ipm_active;
        case Link::offline:
            return ssts_det_offline;
    }
    return 0;
}

std::uint32_t AhciDevice::read_port(const Port& port, std::uint32_t offset) const {
    // Slots from the top that nobody has issued.
    const auto invented = [&](std::uint32_t slots) {
        if (!active(AhciFault::active_never_issued, port.number)) return slots;
        std::uint32_t free = ~(port.ci | port.sact);
        return slots | (free != 0 ? std::bit_floor(free) : 0);
    };
    switch (offset) {
        case CLB:
            return static_cast<std::uint32_t>(port.list);
        case CLBU:
            return static_cast<std::uint32_t>(port.list >> 32);
        case FB:
            return static_cast<std::uint32_t>(port.received);
        case FBU:
            return static_cast<std::uint32_t>(port.received >> 32);
        case PXIS:
            return interrupt_status(port);
        case PXIE:
            return port.ie;
        case CMD:
            return port.cmd;
        case TFD:
            return port.status | std::uint32_t{port.error} << 8;
        case SIG:
            return port.signature;
        case SSTS:
            return status_of_link(port);
        case SCTL:
            return port.sctl;
        case SERR:
            return port.serr;
        case SACT:
            return invented(port.sact);
        case CI:
            return invented(port.ci);
        default:
            return 0;
    }
}

void AhciDevice::write_port(Port& port, std::uint32_t offset, std::uint32_t value) {
    switch (offset) {
        case CLB:
        case CLBU:
        case FB:
        case FBU:
            write_base(port, offset, value);
            break;
        case PXIS:
            port.is &= ~(value & is_written_to_clear);
            break;
        case PXIE:
            if ((value & ~ie_known) != 0) violation(port, "reserved bits of PxIE set");
            port.ie = value & ie_known;
            break;
        case CMD:
            write_command(port, value);
            break;
        case SCTL:
            write_control(port, value);
            break;
        case SERR:
            port.serr &= ~value;
            break;
        case SACT:
            if ((port.cmd & cmd_st) == 0) {
                violation(port, "PxSACT written while PxCMD.ST is clear");
                break;
            }
            if ((port.sact & value) != 0) violation(port, "a tag made active twice");
            port.sact |= value;
            break;
        case CI:
            issue(port, value);
            break;
        default:
            violation(port, "write to a read-only or absent register, offset " + std::to_string(offset));
    }
}

void AhciDevice::write_base(Port& port, std::uint32_t offset, std::uint32_t value) {
    const bool list = offset == CLB || offset == CLBU;
    if (list ? (port.cmd & (cmd_st | cmd_cr)) != 0 : (port.cmd & (cmd_fre | cmd_fr)) != 0)
        violation(port, list ? "command list moved while it is being processed"
                             : "received FIS area moved while FIS are received");
    std::uint64_t& base = list ? port.list : port.received;
    const std::uint32_t alignment = list ? command_list_alignment : received_bytes;
    if (offset == CLB || offset == FB) {
        if (value % alignment != 0)
            violation(port, list ? "command list not aligned to 1024 bytes"
                                 : "received FIS area not aligned to 256 bytes");
        base = (base & ~std::uint64_t{0xffff'ffff}) | (value & ~(alignment - 1));
        (list ? port.list_set : port.received_set) = true;
    } else if (options_.wide_addresses) {
        base = (base & 0xffff'ffff) | std::uint64_t{value} << 32;
    } else if (value != 0) {
        violation(port, "an address above 4 GiB given to an HBA without CAP.S64A");
    }
}

void AhciDevice::write_command(Port& port, std::uint32_t value) {
    const std::uint32_t before = port.cmd;
    const std::uint32_t writable =
        cmd_st | cmd_fre | cmd_atapi | cmd_dlae | (options_.staggered_spin_up ? cmd_sud : 0);
    if ((value & cmd_atapi) != 0) violation(port, "PxCMD.ATAPI set for a disk");
    if ((value & cmd_fre) != 0 && (before & cmd_fre) == 0) {
        if (!port.received_set) violation(port, "PxCMD.FRE set before PxFB was");
        if ((before & cmd_fr) != 0) violation(port, "PxCMD.FRE set while PxCMD.FR still is");
    }
    if ((value & cmd_fre) == 0 && (before & cmd_fre) != 0 && (before & (cmd_st | cmd_cr)) != 0)
        violation(port, "PxCMD.FRE cleared while the command list is being processed");
    if ((value & cmd_clo) != 0) {
        if (!options_.overrides_busy) violation(port, "PxCMD.CLO set on an HBA without CAP.SCLO");
        if ((before & (cmd_st | cmd_cr)) != 0) violation(port, "PxCMD.CLO set while the port runs");
        if (options_.overrides_busy) port.status &= static_cast<std::uint8_t>(~(status_bsy | status_drq));
    }
    port.cmd = (before & ~writable) | (value & writable);
    if ((port.cmd & ~before & cmd_sud) != 0) start_link(port);
    if ((port.cmd & ~before & cmd_fre) != 0) {
        port.cmd |= cmd_fr;
        port.fis_stopped_ns = 0;
    } else if ((before & ~port.cmd & cmd_fre) != 0) {
        happen(AhciFault::fis_stop_stuck, port.number);
        port.fis_stopped_ns = now_ns_ + port_stop_ns;
    }
    if ((port.cmd & ~before & cmd_st) != 0) start(port);
    if ((before & ~port.cmd & cmd_st) != 0) stop(port);
}

// What must hold before a port is started [AHCI 1.3.1 §10.3.1].
void AhciDevice::start(Port& port) {
    const auto require = [&](bool met, const char* what) {
        if (!met) violation(port, std::string{"PxCMD.ST set "} + what);
    };
    require((port.cmd & cmd_cr) == 0, "while PxCMD.CR still is");
    require((port.cmd & cmd_fre) != 0, "before PxCMD.FRE");
    require(port.list_set, "before PxCLB was");
    require((port.status & (status_bsy | status_drq)) == 0, "while the disk is busy");
    require(port.link == Link::up, "without a disk that communicates");
    require((port.is & (is_tfes | is_hbfs | is_hbds | is_ifs)) == 0, "with an old error in PxIS");
    require(port.held == 0, "while the disk still has queued commands of an earlier run");
    port.cmd |= cmd_cr;
    port.cmd &= ~cmd_ccs;
    port.last_slot = most_slots - 1;
    port.stopped_ns = 0;
    port.halted = false;
}

// PxCI and PxSACT are cleared at once, CR later: until then the HBA may still access memory.
void AhciDevice::stop(Port& port) {
    happen(AhciFault::port_stop_stuck, port.number);
    port.stopped_ns = now_ns_ + port_stop_ns;
    prepare_straggler(port);
    port.ci = port.sact = 0;
    port.cmd &= ~cmd_ccs;
    for (Slot& slot : port.slots) slot = {};
}

void AhciDevice::finish_stop(Port& port) {
    make_last_access(port);
    port.cmd &= ~cmd_cr;
    port.stopped_ns = 0;
    port.halted = false;
}

void AhciDevice::write_control(Port& port, std::uint32_t value) {
    const std::uint32_t before = port.sctl & sctl_det;
    const std::uint32_t det = value & sctl_det;
    if ((value & ~sctl_known) != 0) violation(port, "reserved bits of PxSCTL set");
    port.sctl = value & sctl_known;
    if (det == before) return;
    if ((port.cmd & cmd_st) != 0) violation(port, "PxSCTL.DET changed while PxCMD.ST is set");
    if (before == sctl_det_comreset && now_ns_ < port.link_since_ns + comreset_ns)
        violation(port, "COMRESET held for less than 1 ms");
    if (det == sctl_det_comreset) {
        reset_disk(port);
        port.link = Link::held_in_reset;
        port.link_since_ns = now_ns_;
    } else if (det == 0) {
        port.link = Link::none;
        start_link(port);
    } else if (det == sctl_det_offline) {
        reset_disk(port);
        port.link = Link::offline;
    } else {
        violation(port, "PxSCTL.DET set to a reserved value");
    }
}

// COMRESET, seen from the disk: what it had in work is forgotten, its cache is not.
void AhciDevice::reset_disk(Port& port) {
    port.held = 0;
    port.queued_error = false;
    port.straggler = {};
    port.error_log.fill(std::byte{0});
    port.signature_due = false;
    port.in_soft_reset = false;
    port.status = status_no_device;
    port.error = 0;
    port.signature = signature_none;
    for (Slot& slot : port.slots) slot.hung = slot.sent;
}

void AhciDevice::start_link(Port& port) {
    if (!port.plugged || (port.cmd & cmd_sud) == 0) return;
    port.link = Link::coming;
    port.link_since_ns = now_ns_;
    happen(AhciFault::link_stuck, port.number);
}

// What time brings to a port.
void AhciDevice::advance(Port& port) {
    if (port.stopped_ns != 0 && now_ns_ >= port.stopped_ns &&
        !active(AhciFault::port_stop_stuck, port.number))
        finish_stop(port);
    if (port.fis_stopped_ns != 0 && now_ns_ >= port.fis_stopped_ns &&
        !active(AhciFault::fis_stop_stuck, port.number)) {
        const std::array<std::byte, device_bits_bytes> nothing{};
        if (bus_master_ && port.link == Link::up) dma_write(Iova{port.received + received_unknown}, nothing);
        port.cmd &= ~cmd_fr;
        port.fis_stopped_ns = 0;
    }
    if (port.link == Link::coming && now_ns_ >= port.link_since_ns + link_ns &&
        !active(AhciFault::link_stuck, port.number)) {
        port.link = Link::up;
        port.link_since_ns += link_ns;
        port.signature_due = true;
        port.status = status_bsy;
        port.serr |= serr_diag_x | serr_diag_n;
        raise(port, 0);
        happen(AhciFault::signature_missing, port.number);
    }
    if (port.signature_due && now_ns_ >= port.link_since_ns + options_.spin_up_ns &&
        !active(AhciFault::signature_missing, port.number)) {
        // This one is accepted whether FIS are received or not [AHCI 1.3.1 §3.3.7, FRE].
        port.signature_due = false;
        port.signature = port.disk->options().packet_device ? signature_packet : signature_disk;
        send_register_fis(port, status_ready, diagnostic_passed, port.signature >> 8, 1);
        dispatch(port);
    }
}

bool AhciDevice::running(const Port& port) const {
    return (port.cmd & cmd_st) != 0 && (port.cmd & cmd_cr) != 0 && !port.halted && !resetting_;
}

void AhciDevice::raise(Port& port, std::uint32_t causes) {
    port.is |= causes;
    if ((interrupt_status(port) & port.ie) != 0) {
        is_ |= 1u << port.number;
        swallowed_ = false;
    }
    update_interrupts();
}

// A port whose enabled causes are still there shows in IS again [AHCI 1.3.1 §10.7.2].
void AhciDevice::update_interrupts() {
    for (const Port& port : ports_) {
        if (port.implemented && (interrupt_status(port) & port.ie) != 0) is_ |= 1u << port.number;
    }
    if (resetting_ || (ghc_ & ghc_ie) == 0 || is_ == 0) {
        line_ = swallowed_ = false;
    } else if (!line_ && !swallowed_) {
        if (take(AhciFault::lost_interrupt)) {
            swallowed_ = true;
        } else {
            line_ = true;
            ++interrupts_raised_;
        }
    }
}

void AhciDevice::set_bus_master(bool on) {
    const std::scoped_lock guard{mutex_};
    bus_master_ = on;
}

void AhciDevice::set_time(std::uint64_t now_ns) {
    const std::scoped_lock guard{mutex_};
    now_ns_ = std::max(now_ns_, now_ns);
    if (active(AhciFault::gone)) return;
    if (resetting_ && now_ns_ >= reset_done_ns_ && !active(AhciFault::hba_reset_stuck)) {
        resetting_ = false;
        for (Port& port : ports_) {
            make_last_access(port);
            reset_port(port, false);
        }
        finish_hba_reset();
    }
    if (handed_over_ns_ != 0 && now_ns_ >= handed_over_ns_) {
        if (!happen(AhciFault::firmware_keeps_the_hba)) bohc_ &= ~bohc_bos;
        handed_over_ns_ = 0;
    }
    if (resetting_) return;
    for (Port& port : ports_) {
        if (!port.implemented) continue;
        advance(port);
        if (!deferred_) execute_due(port);
    }
}

void AhciDevice::defer(bool on) {
    const std::scoped_lock guard{mutex_};
    deferred_ = on;
}

void AhciDevice::set_order_seed(std::uint64_t seed) {
    const std::scoped_lock guard{mutex_};
    order_.seed(seed);
    in_order_ = seed == 0;
}

void AhciDevice::remove(std::uint32_t number) {
    const std::scoped_lock guard{mutex_};
    Port& port = ports_.at(number);
    if (!port.plugged) return;
    port.plugged = false;
    reset_disk(port);
    const bool was_up = port.link == Link::up;
    port.link = Link::none;
    if (was_up) port.serr |= serr_diag_n;
    raise(port, 0);
}

void AhciDevice::insert(std::uint32_t number) {
    const std::scoped_lock guard{mutex_};
    Port& port = ports_.at(number);
    if (port.plugged || port.disk == nullptr) return;
    port.plugged = true;
    if ((port.sctl & sctl_det) == 0) start_link(port);
}

void AhciDevice::power_loss(std::uint64_t seed) {
    const std::scoped_lock guard{mutex_};
    for (Port& port : ports_) {
        if (port.disk != nullptr) port.disk->power_loss(seed == 0 ? 0 : seed + port.number);
    }
    power_up();
}

void AhciDevice::inject(AhciFault fault, std::uint32_t count, std::uint32_t port) {
    const std::scoped_lock guard{mutex_};
    armed_[{fault, port}] = count;
    if (fault == AhciFault::gone) line_ = swallowed_ = false;
}

void AhciDevice::clear(AhciFault fault) {
    const std::scoped_lock guard{mutex_};
    std::erase_if(armed_, [&](const auto& item) { return item.first.first == fault; });
}

std::uint32_t AhciDevice::happened(AhciFault fault) const {
    const std::scoped_lock guard{mutex_};
    const auto found = happened_.find(fault);
    return found == happened_.end() ? 0 : found->second;
}

bool AhciDevice::interrupt_line() const {
    const std::scoped_lock guard{mutex_};
    return line_;
}

std::uint64_t AhciDevice::interrupts_raised() const {
    const std::scoped_lock guard{mutex_};
    return interrupts_raised_;
}

std::vector<std::string> AhciDevice::violations() const {
    const std::scoped_lock guard{mutex_};
    return violations_;
}

void AhciDevice::forget_violations() {
    const std::scoped_lock guard{mutex_};
    violations_.clear();
}

std::uint64_t AhciDevice::writes_of(std::uint32_t offset) const {
    const std::scoped_lock guard{mutex_};
    const auto found = writes_.find(offset);
    return found == writes_.end() ? 0 : found->second;
}

std::uint64_t AhciDevice::accesses_while_quiet() const {
    const std::scoped_lock guard{mutex_};
    return accesses_while_quiet_;
}

std::uint64_t AhciDevice::aborted_accesses() const {
    const std::scoped_lock guard{mutex_};
    return aborted_accesses_;
}

std::uint64_t AhciDevice::commands(std::uint8_t code) const {
    const std::scoped_lock guard{mutex_};
    const auto found = commands_.find(code);
    return found == commands_.end() ? 0 : found->second;
}

std::uint64_t AhciDevice::forced_writes() const {
    const std::scoped_lock guard{mutex_};
    return forced_writes_;
}

std::uint32_t AhciDevice::outstanding(std::uint32_t number) const {
    const std::scoped_lock guard{mutex_};
    std::uint32_t slots = 0;
    for (std::uint32_t index = 0; index < most_slots; ++index) {
        if (ports_.at(number).slots[index].issued) slots |= 1u << index;
    }
    return slots;
}

Iova AhciDevice::last_data() const {
    const std::scoped_lock guard{mutex_};
    return last_data_;
}

std::uint32_t AhciDevice::peek(std::uint32_t offset) const {
    const std::scoped_lock guard{mutex_};
    if (offset < ports_begin) return read_host(offset);
    return read_port(ports_.at((offset - ports_begin) / port_bytes), (offset - ports_begin) % port_bytes);
}

}  // namespace dmatoll::model
