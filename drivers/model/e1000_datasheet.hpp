// SPDX-License-Identifier: BSD-2-Clause
// The numbers of the 82540EM and its relatives as the model uses them. Written from the datasheet a second
// time and not shared with the driver: a wrong offset in the driver's headers would agree with itself.
//
// [8254x] Intel, PCI/PCI-X Family of Gigabit Ethernet Controllers Software Developer's Manual, 317453.
// [82574] Intel, 82574 GbE Controller Family Datasheet, 317694.
#pragma once

#include <cstdint>

namespace dmatoll::model::datasheet {

// Register offsets [8254x §13.2].
enum Offset : std::uint32_t {
    CTRL = 0x0000,
    STATUS = 0x0008,
    EECD = 0x0010,
    EERD = 0x0014,
    CTRL_EXT = 0x0018,
    MDIC = 0x0020,
    FCAL = 0x0028,
    FCAH = 0x002c,
    FCT = 0x0030,
    VET = 0x0038,
    ICR = 0x00c0,
    ITR = 0x00c4,
    ICS = 0x00c8,
    IMS = 0x00d0,
    IMC = 0x00d8,
    IAM = 0x00e0,  // [82574]
    RCTL = 0x0100,
    FCTTV = 0x0170,
    TCTL = 0x0400,
    TIPG = 0x0410,
    AIFS = 0x0458,
    LEDCTL = 0x0e00,
    PBA = 0x1000,
    FCRTL = 0x2160,
    FCRTH = 0x2168,
    RDBAL = 0x2800,
    RDBAH = 0x2804,
    RDLEN = 0x2808,
    RDH = 0x2810,
    RDT = 0x2818,
    RDTR = 0x2820,
    RXDCTL = 0x2828,
    RADV = 0x282c,
    RSRPD = 0x2c00,
    TDBAL = 0x3800,
    TDBAH = 0x3804,
    TDLEN = 0x3808,
    TDH = 0x3810,
    TDT = 0x3818,
    TIDV = 0x3820,
    TXDCTL = 0x3828,
    TADV = 0x382c,
    TSPMT = 0x3830,
    TARC0 = 0x3840,  // [82574]
    RXCSUM = 0x5000,
    RFCTL = 0x5008,  // [82574]
    MTA = 0x5200,  // 128 words
    RAL = 0x5400,  // 16 pairs with RAH
    RAH = 0x5404,
    VFTA = 0x5600,  // 128 words
    WUC = 0x5800,
    WUFC = 0x5808,
    MRQC = 0x5818,  // [82574]
    MANC = 0x5820,
    GCR = 0x5b00,   // [82574]
    GCR2 = 0x5b64,  // [82574]

    // Statistics [8254x §13.7]; every one is cleared by being read.
    statistics_begin = 0x4000,
    CRCERRS = 0x4000,
    RXERRC = 0x400c,
    MPC = 0x4010,
    RLEC = 0x4040,
    PRC64 = 0x405c,  // and five more size classes
    GPRC = 0x4074,
    BPRC = 0x4078,
    MPRC = 0x407c,
    GPTC = 0x4080,
    GORCL = 0x4088,
    GORCH = 0x408c,
    GOTCL = 0x4090,
    GOTCH = 0x4094,
    RNBC = 0x40a0,
    RUC = 0x40a4,
    ROC = 0x40ac,
    TORL = 0x40c0,
    TORH = 0x40c4,
    TOTL = 0x40c8,
    TOTH = 0x40cc,
    TPR = 0x40d0,
    TPT = 0x40d4,
    PTC64 = 0x40d8,  // and five more size classes
    MPTC = 0x40f0,
    BPTC = 0x40f4,
    TSCTC = 0x40f8,
    TSCTFC = 0x40fc,
    statistics_end = 0x4100,

    bar_bytes = 0x20000,
};

// CTRL, STATUS
inline constexpr std::uint32_t ctrl_fd = 1u << 0;
inline constexpr std::uint32_t ctrl_slu = 1u << 6;
inline constexpr std::uint32_t ctrl_rst = 1u << 26;
inline constexpr std::uint32_t ctrl_phy_rst = 1u << 31;
inline constexpr std::uint32_t status_fd = 1u << 0;
inline constexpr std::uint32_t status_lu = 1u << 1;
inline constexpr std::uint32_t status_speed_1000 = 2u << 6;

// [82574] only
inline constexpr std::uint32_t ctrl_master_disable = 1u << 2;
inline constexpr std::uint32_t status_master_enabled = 1u << 19;
inline constexpr std::uint32_t eecd_auto_read_done = 1u << 9;
inline constexpr std::uint32_t ctrl_ext_iame = 1u << 27;
inline constexpr std::uint32_t icr_asserted = 1u << 31;
inline constexpr std::uint32_t ctrl_must_be_clear = 1u << 29;
inline constexpr std::uint32_t rfctl_exten = 1u << 15;

// EERD, MDIC
inline constexpr std::uint32_t eerd_start = 1u << 0;
inline constexpr std::uint32_t eerd_done = 1u << 4;
inline constexpr std::uint32_t eerd_done_82574 = 1u << 1;
inline constexpr std::uint32_t mdic_ready = 1u << 28;
inline constexpr std::uint32_t mdic_interrupt = 1u << 29;
inline constexpr std::uint32_t mdic_error = 1u << 30;

// Interrupt causes
inline constexpr std::uint32_t cause_txdw = 1u << 0;
inline constexpr std::uint32_t cause_txqe = 1u << 1;
inline constexpr std::uint32_t cause_lsc = 1u << 2;
inline constexpr std::uint32_t cause_rxdmt0 = 1u << 4;
inline constexpr std::uint32_t cause_rxo = 1u << 6;
inline constexpr std::uint32_t cause_rxt0 = 1u << 7;
inline constexpr std::uint32_t cause_mdac = 1u << 9;

// RCTL, TCTL, RXCSUM
inline constexpr std::uint32_t rctl_en = 1u << 1;
inline constexpr std::uint32_t rctl_sbp = 1u << 2;
inline constexpr std::uint32_t rctl_upe = 1u << 3;
inline constexpr std::uint32_t rctl_mpe = 1u << 4;
inline constexpr std::uint32_t rctl_lpe = 1u << 5;
inline constexpr std::uint32_t rctl_lbm = 3u << 6;
inline constexpr std::uint32_t rctl_bam = 1u << 15;
inline constexpr std::uint32_t rctl_bsex = 1u << 25;
inline constexpr std::uint32_t rctl_secrc = 1u << 26;
inline constexpr std::uint32_t tctl_en = 1u << 1;
inline constexpr std::uint32_t tctl_psp = 1u << 3;
inline constexpr std::uint32_t rxcsum_ipofl = 1u << 8;
inline constexpr std::uint32_t rxcsum_tuofl = 1u << 9;

// Transmit descriptors: the command byte [8254x §3.3.3.1, §3.3.7.1], the context's [§3.3.6.1], data options
// [§3.3.7.3]
inline constexpr std::uint8_t command_eop = 1 << 0;
inline constexpr std::uint8_t command_ifcs = 1 << 1;
inline constexpr std::uint8_t command_ic_or_tse = 1 << 2;
inline constexpr std::uint8_t command_rs = 1 << 3;
inline constexpr std::uint8_t command_dext = 1 << 5;
inline constexpr std::uint8_t command_ide = 1 << 7;
inline constexpr std::uint8_t context_tcp = 1 << 0;
inline constexpr std::uint8_t context_ipv4 = 1 << 1;
inline constexpr std::uint8_t option_ixsm = 1 << 0;
inline constexpr std::uint8_t option_txsm = 1 << 1;
inline constexpr std::uint8_t transmit_dd = 1 << 0;

// Receive descriptors [8254x §3.2.3]
inline constexpr std::uint8_t receive_dd = 1 << 0;
inline constexpr std::uint8_t receive_eop = 1 << 1;
inline constexpr std::uint8_t receive_ixsm = 1 << 2;
inline constexpr std::uint8_t receive_tcpcs = 1 << 5;
inline constexpr std::uint8_t receive_ipcs = 1 << 6;
inline constexpr std::uint8_t error_ce = 1 << 0;
inline constexpr std::uint8_t error_tcpe = 1 << 5;
inline constexpr std::uint8_t error_ipe = 1 << 6;
inline constexpr std::uint8_t error_rxe = 1 << 7;

inline constexpr std::uint32_t descriptor_bytes = 16;
// Ring lengths are multiples of this [8254x §13.4.27].
inline constexpr std::uint32_t ring_granularity_bytes = 128;
// The longest frame without long packets, CRC included [8254x §13.4.22, LPE].
inline constexpr std::uint32_t longest_frame = 1522;
// The longest with them, CRC included [8254x §13.4.22, LPE].
inline constexpr std::uint32_t longest_long_frame = 16384;
// The shortest, CRC left out.
inline constexpr std::uint32_t shortest_frame = 60;
inline constexpr std::uint32_t crc_bytes = 4;
// The longest transmit packet [8254x §3.3.3].
inline constexpr std::uint32_t longest_transmit = 16288;

// MII registers of the PHY [802.3 clause 22] and of the M88E1000 family [8254x chapter 8]
inline constexpr std::uint32_t phy_address = 1;
inline constexpr std::uint32_t phy_control = 0;
inline constexpr std::uint32_t phy_status = 1;
inline constexpr std::uint32_t phy_identifier_1 = 2;
inline constexpr std::uint32_t phy_identifier_2 = 3;
inline constexpr std::uint32_t phy_specific_status = 17;
inline constexpr std::uint16_t phy_control_reset = 1 << 15;
inline constexpr std::uint16_t phy_control_loopback = 1 << 14;
inline constexpr std::uint16_t phy_control_negotiate = 1 << 12;
inline constexpr std::uint16_t phy_control_restart = 1 << 9;
inline constexpr std::uint16_t phy_control_full_duplex = 1 << 8;
inline constexpr std::uint16_t phy_control_speed_1000 = 1 << 6;

inline constexpr std::uint32_t eeprom_words = 64;
inline constexpr std::uint16_t eeprom_sum = 0xbaba;

}  // namespace dmatoll::model::datasheet
