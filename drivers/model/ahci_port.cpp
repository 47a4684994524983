// SPDX-License-Identifier: BSD-2-Clause
// A port: its registers, starting and stopping it, and its link.
#include <algorithm>
#include <bit>

#include "ahci_device.hpp"

namespace dmatoll::model {

using namespace ahci_datasheet;

namespace {

// CR and FR are cleared within half a second [AHCI 1.3.1 §10.3]: real parts are much faster.
constexpr std::uint64_t port_stop_ns = 5'000;
// From the end of a COMRESET to communication; software is to wait for 10 ms at least [§10.1.2].
constexpr std::uint64_t link_ns = 3'000'000;
// COMRESET is held for at least that long [§10.4.2].
constexpr std::uint64_t comreset_ns = 1'000'000;

}  // namespace

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

}  // namespace dmatoll::model
