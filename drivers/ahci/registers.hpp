// SPDX-License-Identifier: BSD-2-Clause
// Registers of an AHCI host bus adapter (HBA) and of its ports.
//
// [AHCI] Serial ATA Advanced Host Controller Interface, revision 1.3.1, chapter 3: generic host control in
// §3.1, a port's in §3.3, each under the abbreviation that the comment gives.
#pragma once

#include <cstdint>

#include "../core/platform.hpp"
#include "../core/register.hpp"

namespace dmatoll::ahci {

// CAP
struct Capabilities : Register<Capabilities, 0x00, Access::read_only> {
    static constexpr Field number_of_ports = bits(4, 0);           // less one
    static constexpr Field number_of_command_slots = bits(12, 8);  // less one
    static constexpr Field command_list_override = bit(24);
    static constexpr Field staggered_spin_up = bit(27);
    static constexpr Field native_command_queueing = bit(30);
    static constexpr Field addresses_of_64_bits = bit(31);
};

// GHC
struct GlobalControl : Register<GlobalControl, 0x04, Access::read_write> {
    static constexpr Field hba_reset = bit(0);  // clears itself
    static constexpr Field interrupt_enable = bit(1);
    static constexpr Field ahci_enable = bit(31);
};

// IS: a bit a port
struct InterruptStatus : Register<InterruptStatus, 0x08, Access::write_one_to_clear> {};

// PI: a bit a port
struct PortsImplemented : Register<PortsImplemented, 0x0c, Access::read_only> {};

// VS
struct Version : Register<Version, 0x10, Access::read_only> {
    static constexpr Field minor = bits(15, 0);
    static constexpr Field major = bits(31, 16);
};

// CAP2
struct CapabilitiesExtended : Register<CapabilitiesExtended, 0x24, Access::read_only> {
    static constexpr Field firmware_handoff = bit(0);
};

// BOHC
struct FirmwareHandoff : Register<FirmwareHandoff, 0x28, Access::read_write> {
    static constexpr Field owned_by_firmware = bit(0);
    static constexpr Field owned_by_system = bit(1);
    static constexpr Field firmware_interrupt = bit(2);
    static constexpr Field ownership_changed = bit(3);  // write one to clear
    static constexpr Field firmware_busy = bit(4);
};

inline constexpr std::uint32_t first_port_offset = 0x100;
inline constexpr std::uint32_t port_stride = 0x80;

// A port's register; its offset counts from the port's first.
template <class Self, std::uint32_t Offset, Access Mode>
struct PortRegister : Register<Self, Offset, Mode> {
    static_assert(Offset < port_stride);
    using Field = typename Register<Self, Offset, Mode>::Field;
    static constexpr bool is_port_register = true;
};

// PxCLB, PxCLBU, PxFB, PxFBU
struct PortCommandListLow : PortRegister<PortCommandListLow, 0x00, Access::read_write> {};
struct PortCommandListHigh : PortRegister<PortCommandListHigh, 0x04, Access::read_write> {};
struct PortReceivedFisLow : PortRegister<PortReceivedFisLow, 0x08, Access::read_write> {};
struct PortReceivedFisHigh : PortRegister<PortReceivedFisHigh, 0x0c, Access::read_write> {};

// The causes are the same bits in PxIS and PxIE.
template <class Self, std::uint32_t Offset, Access Mode>
struct PortInterruptRegister : PortRegister<Self, Offset, Mode> {
    using Base = PortRegister<Self, Offset, Mode>;
    using Field = typename Base::Field;
    static constexpr Field register_fis = Base::bit(0);         // DHR: a command that is not queued ended
    static constexpr Field set_device_bits_fis = Base::bit(3);  // SDB: queued commands ended
    static constexpr Field connect_change = Base::bit(6);       // PC: follows PxSERR.DIAG.X
    static constexpr Field phy_ready_change = Base::bit(22);    // PRC: follows PxSERR.DIAG.N
    static constexpr Field overflow = Base::bit(24);            // OF: more data than the table has room for
    static constexpr Field interface_fatal = Base::bit(27);     // IF
    static constexpr Field host_bus_data = Base::bit(28);       // HBD
    static constexpr Field host_bus_fatal = Base::bit(29);      // HBF
    static constexpr Field task_file_error = Base::bit(30);     // TFE
};

// PxIS
struct PortInterruptStatus : PortInterruptRegister<PortInterruptStatus, 0x10, Access::write_one_to_clear> {};
// PxIE
struct PortInterruptEnable : PortInterruptRegister<PortInterruptEnable, 0x14, Access::read_write> {};

// PxCMD
struct PortCommand : PortRegister<PortCommand, 0x18, Access::read_write> {
    static constexpr Field start = bit(0);                     // ST
    static constexpr Field spin_up = bit(1);                   // SUD
    static constexpr Field power_on = bit(2);                  // POD
    static constexpr Field command_list_override = bit(3);     // CLO
    static constexpr Field fis_receive_enable = bit(4);        // FRE
    static constexpr Field current_slot = bits(12, 8);         // CCS
    static constexpr Field fis_receive_running = bit(14);      // FR
    static constexpr Field command_list_running = bit(15);     // CR
    static constexpr Field cold_presence_detection = bit(20);  // CPD
    static constexpr Field interface_control = bits(31, 28);   // ICC

    static constexpr std::uint32_t interface_active = 1;
};

// PxTFD
struct PortTaskFile : PortRegister<PortTaskFile, 0x20, Access::read_only> {
    static constexpr Field error_status = bit(0);  // STS.ERR
    static constexpr Field data_request = bit(3);  // STS.DRQ
    static constexpr Field device_fault = bit(5);  // STS.DF
    static constexpr Field busy = bit(7);          // STS.BSY
    static constexpr Field status = bits(7, 0);
    static constexpr Field error = bits(15, 8);
};

// PxSIG
struct PortSignature : PortRegister<PortSignature, 0x24, Access::read_only> {
    static constexpr std::uint32_t ata_disk = 0x0000'0101;
};

// PxSSTS
struct PortSerialStatus : PortRegister<PortSerialStatus, 0x28, Access::read_only> {
    static constexpr Field detection = bits(3, 0);

    static constexpr std::uint32_t nothing = 0;
    static constexpr std::uint32_t device_without_link = 1;
    static constexpr std::uint32_t device_with_link = 3;
};

// PxSCTL
struct PortSerialControl : PortRegister<PortSerialControl, 0x2c, Access::read_write> {
    static constexpr Field detection = bits(3, 0);
    static constexpr Field speed_limit = bits(7, 4);
    static constexpr Field power_transitions = bits(11, 8);

    static constexpr std::uint32_t reset_link = 1;
    static constexpr std::uint32_t no_partial_no_slumber = 3;
};

// PxSERR
struct PortSerialError : PortRegister<PortSerialError, 0x30, Access::write_one_to_clear> {};

// PxSACT: a bit for each tag of a queued command
struct PortSerialActive : PortRegister<PortSerialActive, 0x34, Access::write_one_to_set> {};

// PxCI: a bit for each command slot
struct PortCommandIssue : PortRegister<PortCommandIssue, 0x38, Access::write_one_to_set> {};

// Where a port's registers begin, as an offset in the BAR.
struct PortOffset {
    std::uint32_t bytes = first_port_offset;
};

constexpr PortOffset offset_of_port(std::uint32_t port) {
    return PortOffset{first_port_offset + port * port_stride};
}

// Those of the adapter, beside the ones of a port below, which would hide them.
using dmatoll::read_register;
using dmatoll::write_register;

template <class R, Platform P>
R read_register(P& platform, PortOffset port) {
    static_assert(R::is_port_register, "not a register of a port");
    static_assert(readable(R::access), "this register cannot be read");
    R value{};
    value.raw = platform.read32(port.bytes + R::offset);
    return value;
}

template <class R, Platform P>
void write_register(P& platform, PortOffset port, const R& value) {
    static_assert(R::is_port_register, "not a register of a port");
    static_assert(writable(R::access), "this register cannot be written");
    platform.write32(port.bytes + R::offset, value.raw);
}

// All bits at once, where a bit is a port or a tag, or all that is pending is cleared.
template <class R, Platform P>
void write_bits(P& platform, PortOffset port, std::uint32_t raw) {
    R value{};
    value.raw = raw;
    write_register(platform, port, value);
}

}  // namespace dmatoll::ahci
