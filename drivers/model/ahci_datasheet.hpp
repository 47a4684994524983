// SPDX-License-Identifier: BSD-2-Clause
// The numbers of an AHCI controller and of an ATA disk as the model uses them. Written from the documents a
// second time and not shared with the driver: a wrong offset in the driver's headers would agree with itself.
//
// [AHCI 1.3.1] Intel, Serial ATA Advanced Host Controller Interface, revision 1.3.1.
// [SATA 3.x]   SATA-IO, Serial ATA Revision 3: the frame information structures (FIS).
// [ATA8-ACS]   T13, AT Attachment 8 - ATA/ATAPI Command Set; [ACS-2] its successor, for trim.
#pragma once

#include <cstdint>

namespace dmatoll::model::ahci_datasheet {

// Generic host control [AHCI 1.3.1 §3.1].
enum HostOffset : std::uint32_t {
    CAP = 0x00,
    GHC = 0x04,
    IS = 0x08,
    PI = 0x0c,
    VS = 0x10,
    CCC_CTL = 0x14,
    CCC_PORTS = 0x18,
    EM_LOC = 0x1c,
    EM_CTL = 0x20,
    CAP2 = 0x24,
    BOHC = 0x28,
    host_end = 0x2c,

    ports_begin = 0x100,
    port_bytes = 0x80,
};

// Of a port, from ports_begin + port * port_bytes on [AHCI 1.3.1 §3.3].
enum PortOffset : std::uint32_t {
    CLB = 0x00,
    CLBU = 0x04,
    FB = 0x08,
    FBU = 0x0c,
    PXIS = 0x10,
    PXIE = 0x14,
    CMD = 0x18,
    TFD = 0x20,
    SIG = 0x24,
    SSTS = 0x28,
    SCTL = 0x2c,
    SERR = 0x30,
    SACT = 0x34,
    CI = 0x38,
    SNTF = 0x3c,
    FBS = 0x40,
    DEVSLP = 0x44,
};

inline constexpr std::uint32_t most_ports = 32;
inline constexpr std::uint32_t most_slots = 32;

// CAP [AHCI 1.3.1 §3.1.1]
inline constexpr std::uint32_t cap_np_shift = 0;
inline constexpr std::uint32_t cap_ncs_shift = 8;
inline constexpr std::uint32_t cap_sam = 1u << 18;
inline constexpr std::uint32_t cap_iss_gen3 = 3u << 20;
inline constexpr std::uint32_t cap_sclo = 1u << 24;
inline constexpr std::uint32_t cap_sss = 1u << 27;
inline constexpr std::uint32_t cap_sncq = 1u << 30;
inline constexpr std::uint32_t cap_s64a = 1u << 31;
// GHC [§3.1.2]
inline constexpr std::uint32_t ghc_hr = 1u << 0;
inline constexpr std::uint32_t ghc_ie = 1u << 1;
inline constexpr std::uint32_t ghc_ae = 1u << 31;
// VS [§3.1.5]
inline constexpr std::uint32_t version_1_3_1 = 0x0001'0301;
// CAP2 [§3.1.10], BOHC [§3.1.11]
inline constexpr std::uint32_t cap2_boh = 1u << 0;
inline constexpr std::uint32_t bohc_bos = 1u << 0;
inline constexpr std::uint32_t bohc_oos = 1u << 1;
inline constexpr std::uint32_t bohc_sooe = 1u << 2;
inline constexpr std::uint32_t bohc_ooc = 1u << 3;
inline constexpr std::uint32_t bohc_bb = 1u << 4;

// PxIS, PxIE [§3.3.5, §3.3.6]
inline constexpr std::uint32_t is_dhrs = 1u << 0;
inline constexpr std::uint32_t is_pss = 1u << 1;
inline constexpr std::uint32_t is_dss = 1u << 2;
inline constexpr std::uint32_t is_sdbs = 1u << 3;
inline constexpr std::uint32_t is_ufs = 1u << 4;
inline constexpr std::uint32_t is_dps = 1u << 5;
inline constexpr std::uint32_t is_pcs = 1u << 6;
inline constexpr std::uint32_t is_prcs = 1u << 22;
inline constexpr std::uint32_t is_ofs = 1u << 24;
inline constexpr std::uint32_t is_infs = 1u << 26;
inline constexpr std::uint32_t is_ifs = 1u << 27;
inline constexpr std::uint32_t is_hbds = 1u << 28;
inline constexpr std::uint32_t is_hbfs = 1u << 29;
inline constexpr std::uint32_t is_tfes = 1u << 30;
// Those that are cleared by clearing their bit in PxSERR, not here.
inline constexpr std::uint32_t is_from_serr = is_ufs | is_pcs | is_prcs;
inline constexpr std::uint32_t is_written_to_clear = 0xfd80'00af;
inline constexpr std::uint32_t ie_known = 0xfdc0'00ff;

// PxCMD [§3.3.7]
inline constexpr std::uint32_t cmd_st = 1u << 0;
inline constexpr std::uint32_t cmd_sud = 1u << 1;
inline constexpr std::uint32_t cmd_pod = 1u << 2;
inline constexpr std::uint32_t cmd_clo = 1u << 3;
inline constexpr std::uint32_t cmd_fre = 1u << 4;
inline constexpr std::uint32_t cmd_ccs_shift = 8;
inline constexpr std::uint32_t cmd_ccs = 0x1fu << cmd_ccs_shift;
inline constexpr std::uint32_t cmd_fr = 1u << 14;
inline constexpr std::uint32_t cmd_cr = 1u << 15;
inline constexpr std::uint32_t cmd_atapi = 1u << 24;
inline constexpr std::uint32_t cmd_dlae = 1u << 25;
inline constexpr std::uint32_t cmd_icc = 0xfu << 28;

// PxTFD [§3.3.8]; the status bits are the disk's [ATA8-ACS §6]
inline constexpr std::uint8_t status_err = 1 << 0;
inline constexpr std::uint8_t status_drq = 1 << 3;
inline constexpr std::uint8_t status_dsc = 1 << 4;
inline constexpr std::uint8_t status_df = 1 << 5;
inline constexpr std::uint8_t status_drdy = 1 << 6;
inline constexpr std::uint8_t status_bsy = 1 << 7;
inline constexpr std::uint8_t status_ready = status_drdy | status_dsc;
inline constexpr std::uint8_t status_no_device = 0x7f;
// Error bits [ATA8-ACS §6]
inline constexpr std::uint8_t error_abrt = 1 << 2;
inline constexpr std::uint8_t error_idnf = 1 << 4;
inline constexpr std::uint8_t error_unc = 1 << 6;
inline constexpr std::uint8_t error_icrc = 1 << 7;
inline constexpr std::uint8_t diagnostic_passed = 1;  // in the error register after a reset

// PxSIG [§3.3.9]
inline constexpr std::uint32_t signature_none = 0xffff'ffff;
inline constexpr std::uint32_t signature_disk = 0x0000'0101;
inline constexpr std::uint32_t signature_packet = 0xeb14'0101;

// PxSSTS, PxSCTL [§3.3.10, §3.3.11]
inline constexpr std::uint32_t ssts_det = 0xf;
inline constexpr std::uint32_t ssts_det_present = 1;
inline constexpr std::uint32_t ssts_det_up = 3;
inline constexpr std::uint32_t ssts_det_offline = 4;
inline constexpr std::uint32_t ssts_spd_gen3 = 3u << 4;
inline constexpr std::uint32_t ssts_ipm_active = 1u << 8;
inline constexpr std::uint32_t sctl_det = 0xf;
inline constexpr std::uint32_t sctl_det_comreset = 1;
inline constexpr std::uint32_t sctl_det_offline = 4;
inline constexpr std::uint32_t sctl_known = 0xfff;

// PxSERR [§3.3.12]
inline constexpr std::uint32_t serr_err_i = 1u << 0;
inline constexpr std::uint32_t serr_err_c = 1u << 9;
inline constexpr std::uint32_t serr_err_p = 1u << 10;
inline constexpr std::uint32_t serr_err_e = 1u << 11;
inline constexpr std::uint32_t serr_diag_n = 1u << 16;
inline constexpr std::uint32_t serr_diag_c = 1u << 21;
inline constexpr std::uint32_t serr_diag_h = 1u << 22;
inline constexpr std::uint32_t serr_diag_f = 1u << 25;
inline constexpr std::uint32_t serr_diag_x = 1u << 26;
inline constexpr std::uint32_t serr_known = 0x07ff'0f03;

// Command list [§4.2.2]
inline constexpr std::uint32_t command_header_bytes = 32;
inline constexpr std::uint32_t command_list_bytes = most_slots * command_header_bytes;
inline constexpr std::uint32_t command_list_alignment = 1024;
inline constexpr std::uint32_t header_cfl = 0x1f;
inline constexpr std::uint32_t header_a = 1u << 5;
inline constexpr std::uint32_t header_w = 1u << 6;
inline constexpr std::uint32_t header_p = 1u << 7;
inline constexpr std::uint32_t header_r = 1u << 8;
inline constexpr std::uint32_t header_b = 1u << 9;
inline constexpr std::uint32_t header_c = 1u << 10;
inline constexpr std::uint32_t header_pmp = 0xfu << 12;
inline constexpr std::uint32_t header_prdtl_shift = 16;
// Command table [§4.2.3]
inline constexpr std::uint32_t command_table_alignment = 128;
inline constexpr std::uint32_t prdt_offset = 0x80;
inline constexpr std::uint32_t prd_bytes = 16;
inline constexpr std::uint32_t prd_dbc = 0x3f'ffff;
inline constexpr std::uint32_t prd_i = 1u << 31;

// Received FIS [§4.2.1]
inline constexpr std::uint32_t received_bytes = 256;
inline constexpr std::uint32_t received_dma_setup = 0x00;
inline constexpr std::uint32_t received_pio_setup = 0x20;
inline constexpr std::uint32_t received_register = 0x40;
inline constexpr std::uint32_t received_device_bits = 0x58;
inline constexpr std::uint32_t received_unknown = 0x60;

// FIS types and their lengths [SATA 3.x §10.5]
inline constexpr std::uint8_t fis_register_to_device = 0x27;
inline constexpr std::uint8_t fis_register_to_host = 0x34;
inline constexpr std::uint8_t fis_dma_setup = 0x41;
inline constexpr std::uint8_t fis_pio_setup = 0x5f;
inline constexpr std::uint8_t fis_device_bits = 0xa1;
inline constexpr std::uint32_t register_fis_bytes = 20;
inline constexpr std::uint32_t dma_setup_bytes = 28;
inline constexpr std::uint32_t pio_setup_bytes = 20;
inline constexpr std::uint32_t device_bits_bytes = 8;
inline constexpr std::uint8_t fis_command = 1 << 7;    // byte 1, to the device
inline constexpr std::uint8_t fis_interrupt = 1 << 6;  // byte 1, to the host
inline constexpr std::uint8_t fis_to_host = 1 << 5;    // byte 1 of DMA and PIO setup: who gets the data
inline constexpr std::uint8_t control_srst = 1 << 2;   // byte 15, to the device

// Commands [ATA8-ACS §7]
enum Command : std::uint8_t {
    data_set_management = 0x06,  // [ACS-2]
    read_dma_ext = 0x25,
    read_log_ext = 0x2f,
    write_dma_ext = 0x35,
    write_dma_fua_ext = 0x3d,
    read_fpdma_queued = 0x60,
    write_fpdma_queued = 0x61,
    read_dma = 0xc8,
    write_dma = 0xca,
    flush_cache = 0xe7,
    flush_cache_ext = 0xea,
    identify_device = 0xec,
    set_features = 0xef,
};
inline constexpr std::uint8_t device_lba = 1 << 6;
inline constexpr std::uint8_t device_fua = 1 << 7;  // of the queued commands
inline constexpr std::uint8_t feature_trim = 1 << 0;
inline constexpr std::uint8_t feature_enable_write_cache = 0x02;
inline constexpr std::uint8_t feature_disable_write_cache = 0x82;
inline constexpr std::uint8_t feature_set_transfer_mode = 0x03;

// Logs are pages of 512 bytes whatever the blocks are [ATA8-ACS, annex A]; the directory is log 0, the error
// log of queued commands log 10h [ATA8-ACS, log 10h].
inline constexpr std::uint32_t log_page_bytes = 512;
inline constexpr std::uint8_t log_directory = 0x00;
inline constexpr std::uint8_t log_queued_error = 0x10;
inline constexpr std::uint8_t log_not_queued = 1 << 7;  // byte 0: the failed command was no queued one
// A trim payload: entries of 8 bytes, 48 bits of address and 16 of length [ACS-2, DATA SET MANAGEMENT].
inline constexpr std::uint32_t trim_page_bytes = 512;
inline constexpr std::uint32_t trim_entry_bytes = 8;

}  // namespace dmatoll::model::ahci_datasheet
