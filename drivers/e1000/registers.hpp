// SPDX-License-Identifier: BSD-2-Clause
// Registers of the 82540EM, the 82545EM and the 82574L.
//
// [8254x] Intel, PCI/PCI-X Family of Gigabit Ethernet Controllers Software Developer's Manual, 317453. Every
// register is in chapter 13, under the abbreviation that the comment gives.
// [82574] Intel, 82574 GbE Controller Family Datasheet, 317694, chapter 10: what is marked so is there only. The
// document itself was not at hand: see pci_express.hpp.
#pragma once

#include <cstdint>

#include "../core/register.hpp"

namespace dmatoll::e1000 {

// CTRL
struct DeviceControl : Register<DeviceControl, 0x0000, Access::read_write> {
    static constexpr Field full_duplex = bit(0);
    static constexpr Field master_disable = bit(2);  // [82574]
    static constexpr Field link_reset = bit(3);
    static constexpr Field auto_speed_detection = bit(5);
    static constexpr Field set_link_up = bit(6);
    static constexpr Field invert_loss_of_signal = bit(7);
    static constexpr Field speed = bits(9, 8);  // 0: 10, 1: 100, 2: 1000 Mb/s
    static constexpr Field force_speed = bit(11);
    static constexpr Field force_duplex = bit(12);
    static constexpr Field reset = bit(26);  // clears itself
    static constexpr Field receive_flow_control = bit(27);
    static constexpr Field transmit_flow_control = bit(28);
    static constexpr Field must_be_clear = bit(29);  // [82574]
    static constexpr Field vlan_mode = bit(30);
    static constexpr Field phy_reset = bit(31);

    static constexpr std::uint32_t speed_1000 = 2;
};

// STATUS
struct DeviceStatus : Register<DeviceStatus, 0x0008, Access::read_only> {
    static constexpr Field full_duplex = bit(0);
    static constexpr Field link_up = bit(1);
    static constexpr Field transmission_paused = bit(4);
    static constexpr Field speed = bits(7, 6);
    static constexpr Field master_enabled = bit(19);  // [82574]: requests may be under way
};

// EECD
struct EepromControl : Register<EepromControl, 0x0010, Access::read_write> {
    static constexpr Field automatic_read_done = bit(9);  // [82574]: what a reset loads is loaded
};

// EERD
struct EepromRead : Register<EepromRead, 0x0014, Access::read_write> {
    static constexpr Field start = bit(0);
    static constexpr Field done = bit(4);
    static constexpr Field address = bits(15, 8);
    static constexpr Field data = bits(31, 16);
};

// EERD as [82574] has it
struct NvmRead : Register<NvmRead, 0x0014, Access::read_write> {
    static constexpr Field start = bit(0);
    static constexpr Field done = bit(1);
    static constexpr Field address = bits(15, 2);
    static constexpr Field data = bits(31, 16);
};

// CTRL_EXT [82574]
struct ExtendedDeviceControl : Register<ExtendedDeviceControl, 0x0018, Access::read_write> {
    static constexpr Field must_be_set = bit(22);
    static constexpr Field must_be_clear = bit(23);
    static constexpr Field acknowledge_by_reading = bit(27);  // IAME
};

// MDIC
struct MdiControl : Register<MdiControl, 0x0020, Access::read_write> {
    static constexpr Field data = bits(15, 0);
    static constexpr Field register_address = bits(20, 16);
    static constexpr Field phy_address = bits(25, 21);
    static constexpr Field operation = bits(27, 26);
    static constexpr Field ready = bit(28);
    static constexpr Field interrupt_enable = bit(29);
    static constexpr Field error = bit(30);

    static constexpr std::uint32_t operation_write = 1;
    static constexpr std::uint32_t operation_read = 2;
};

// The causes are the same bits in ICR, ICS, IMS and IMC.
template <class Self, std::uint32_t Offset, Access Mode>
struct InterruptRegister : Register<Self, Offset, Mode> {
    using Base = Register<Self, Offset, Mode>;
    using Field = typename Base::Field;
    static constexpr Field transmit_descriptor_written_back = Base::bit(0);
    static constexpr Field transmit_queue_empty = Base::bit(1);
    static constexpr Field link_status_change = Base::bit(2);
    static constexpr Field receive_sequence_error = Base::bit(3);
    static constexpr Field receive_descriptor_minimum = Base::bit(4);
    static constexpr Field receiver_overrun = Base::bit(6);
    static constexpr Field receiver_timer = Base::bit(7);
};

// ICR
struct InterruptCauseRead : InterruptRegister<InterruptCauseRead, 0x00c0, Access::read_clear> {};
// ICS: causes as if they had come about
struct InterruptCauseSet : InterruptRegister<InterruptCauseSet, 0x00c8, Access::write_only> {};
// IMS
struct InterruptMaskSet : InterruptRegister<InterruptMaskSet, 0x00d0, Access::write_one_to_set> {};
// IMC
struct InterruptMaskClear : InterruptRegister<InterruptMaskClear, 0x00d8, Access::write_only> {};

// IAM [82574]: what reading ICR masks
struct InterruptAcknowledgeMask : Register<InterruptAcknowledgeMask, 0x00e0, Access::read_write> {};

// ITR
struct InterruptThrottling : Register<InterruptThrottling, 0x00c4, Access::read_write> {
    static constexpr Field interval = bits(15, 0);  // units of 256 ns; 0: no throttling
};

// RCTL
struct ReceiveControl : Register<ReceiveControl, 0x0100, Access::read_write> {
    static constexpr Field enable = bit(1);
    static constexpr Field store_bad_packets = bit(2);
    static constexpr Field unicast_promiscuous = bit(3);
    static constexpr Field multicast_promiscuous = bit(4);
    static constexpr Field long_packets = bit(5);
    static constexpr Field loopback = bits(7, 6);
    static constexpr Field minimum_threshold = bits(9, 8);   // of free descriptors: 0: 1/2, 1: 1/4, 2: 1/8
    static constexpr Field multicast_offset = bits(13, 12);  // which bits of an address select from the table
    static constexpr Field broadcast_accept = bit(15);
    static constexpr Field buffer_size =
        bits(17, 16);  // 0: 2048, 1: 1024, 2: 512, 3: 256; times 16 with the extension, except 0
    static constexpr Field vlan_filter = bit(18);
    static constexpr Field discard_pause_frames = bit(22);
    static constexpr Field buffer_size_extension = bit(25);
    static constexpr Field strip_crc = bit(26);

    static constexpr std::uint32_t threshold_eighth = 2;
};

// TCTL
struct TransmitControl : Register<TransmitControl, 0x0400, Access::read_write> {
    static constexpr Field enable = bit(1);
    static constexpr Field pad_short_packets = bit(3);
    static constexpr Field collision_threshold = bits(11, 4);
    static constexpr Field collision_distance = bits(21, 12);
    static constexpr Field retransmit_late_collision = bit(24);
    static constexpr Field multiple_requests = bit(28);  // [82574]: several reads of memory under way
};

// TIPG
struct TransmitGap : Register<TransmitGap, 0x0410, Access::read_write> {
    static constexpr Field back_to_back = bits(9, 0);
    static constexpr Field part_1 = bits(19, 10);
    static constexpr Field part_2 = bits(29, 20);
};

// RDBAL, RDBAH, RDLEN, RDH, RDT
struct ReceiveBaseLow : Register<ReceiveBaseLow, 0x2800, Access::read_write> {};
struct ReceiveBaseHigh : Register<ReceiveBaseHigh, 0x2804, Access::read_write> {};
struct ReceiveLength : Register<ReceiveLength, 0x2808, Access::read_write> {};
struct ReceiveHead : Register<ReceiveHead, 0x2810, Access::read_write> {};
struct ReceiveTail : Register<ReceiveTail, 0x2818, Access::read_write> {};
// RDTR, RADV: delays on top of the throttling, in units of 1.024 us
struct ReceiveDelay : Register<ReceiveDelay, 0x2820, Access::read_write> {};
struct ReceiveAbsoluteDelay : Register<ReceiveAbsoluteDelay, 0x282c, Access::read_write> {};

// TDBAL, TDBAH, TDLEN, TDH, TDT
struct TransmitBaseLow : Register<TransmitBaseLow, 0x3800, Access::read_write> {};
struct TransmitBaseHigh : Register<TransmitBaseHigh, 0x3804, Access::read_write> {};
struct TransmitLength : Register<TransmitLength, 0x3808, Access::read_write> {};
struct TransmitHead : Register<TransmitHead, 0x3810, Access::read_write> {};
struct TransmitTail : Register<TransmitTail, 0x3818, Access::read_write> {};
// TIDV, TADV
struct TransmitDelay : Register<TransmitDelay, 0x3820, Access::read_write> {};
struct TransmitAbsoluteDelay : Register<TransmitAbsoluteDelay, 0x382c, Access::read_write> {};

// TXDCTL
struct TransmitDescriptorControl : Register<TransmitDescriptorControl, 0x3828, Access::read_write> {
    static constexpr Field prefetch_threshold = bits(5, 0);
    static constexpr Field host_threshold = bits(13, 8);
    static constexpr Field write_back_threshold = bits(21, 16);
    static constexpr Field must_be_set = bit(22);  // [82574]
    static constexpr Field granularity_descriptors = bit(24);
};

// TARC0 [82574]
struct TransmitArbitration : Register<TransmitArbitration, 0x3840, Access::read_write> {
    static constexpr Field must_be_set = bit(26);
    static constexpr Field must_be_clear = bits(30, 27);
};

// RXCSUM
struct ReceiveChecksumControl : Register<ReceiveChecksumControl, 0x5000, Access::read_write> {
    static constexpr Field packet_start = bits(7, 0);
    static constexpr Field ip_offload = bit(8);
    static constexpr Field tcp_udp_offload = bit(9);
};

// RFCTL [82574]
struct ReceiveFilterControl : Register<ReceiveFilterControl, 0x5008, Access::read_write> {
    static constexpr Field extended_status = bit(15);  // another form of what is written back
};

// MRQC [82574]
struct MultipleReceiveQueues : Register<MultipleReceiveQueues, 0x5818, Access::read_write> {
    static constexpr Field enable = bits(1, 0);
};

// GCR [82574]
struct PciExpressControl : Register<PciExpressControl, 0x5b00, Access::read_write> {
    static constexpr Field must_be_set = bit(22);
};

// GCR2 [82574]
struct PciExpressControl2 : Register<PciExpressControl2, 0x5b64, Access::read_write> {
    static constexpr Field completion_erratum = bit(0);
};

// MTA: 128 words of one bit for each hash value.
inline constexpr std::uint32_t multicast_table_offset = 0x5200;
inline constexpr std::uint32_t multicast_table_words = 128;

// RAL(0), RAH(0); fifteen more pairs follow.
inline constexpr std::uint32_t receive_addresses = 16;
inline constexpr std::uint32_t receive_address_stride = 8;
struct ReceiveAddressLow : Register<ReceiveAddressLow, 0x5400, Access::read_write> {};
struct ReceiveAddressHigh : Register<ReceiveAddressHigh, 0x5404, Access::read_write> {
    static constexpr Field address = bits(15, 0);
    static constexpr Field select = bits(17, 16);  // 0: compared with the destination
    static constexpr Field valid = bit(31);
};

}  // namespace dmatoll::e1000
