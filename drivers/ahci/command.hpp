// SPDX-License-Identifier: BSD-2-Clause
// What lies in memory between driver and device: the command list, command tables, and the commands in them.
//
// [AHCI] Serial ATA AHCI 1.3.1. [SATA] Serial ATA revision 3.1, the register FIS in §10.5.5. [ATA8] ATA8-ACS,
// the commands in chapter 7.
#pragma once

#include <cstddef>
#include <cstdint>

#include "../core/address.hpp"
#include "settings.hpp"

namespace dmatoll::ahci {

// [AHCI §4.2.2]
struct CommandHeader {
    std::uint32_t control;            // see below
    std::uint32_t bytes_transferred;  // PRDBC: the device's, for commands that are not queued
    std::uint64_t table;              // IOVA
    std::uint32_t reserved[4];
};
static_assert(sizeof(CommandHeader) == 32 && offsetof(CommandHeader, table) == 8);

// A register FIS is five words long; a command that sends data to the device says so.
constexpr std::uint32_t header_control(bool to_device, std::uint32_t regions) {
    return 5u | (to_device ? 1u << 6 : 0u) | regions << 16;
}

// PRD [AHCI §4.2.3.3]
struct PhysicalRegion {
    std::uint64_t address;  // even
    std::uint32_t reserved;
    std::uint32_t bytes_less_one;  // of an even number of bytes, up to 4 MiB
};
static_assert(sizeof(PhysicalRegion) == 16);

// What a command asks of the device, word by word as the register FIS from host to device has it. Two stores
// write it.
struct RegisterFis {
    std::uint64_t first = 0;   // type, flags, command, features, LBA, device
    std::uint64_t second = 0;  // LBA and features continued, count, control
    std::uint64_t third = 0;
};

// [AHCI §4.2.3]. With the room of an aligned table, of which trim uses the part behind its only region.
struct alignas(128) CommandTable {
    RegisterFis command;
    std::uint8_t command_rest[64 - sizeof(RegisterFis)];
    std::uint8_t packet[16];
    std::uint8_t reserved[48];
    PhysicalRegion regions[most_segments];
};
static_assert(sizeof(CommandTable) == 4352 && offsetof(CommandTable, regions) == 128);

enum class Command : std::uint8_t {
    data_set_management = 0x06,
    read_dma_ext = 0x25,
    read_log_ext = 0x2f,
    write_dma_ext = 0x35,
    write_dma_fua_ext = 0x3d,
    read_fpdma_queued = 0x60,
    write_fpdma_queued = 0x61,
    flush_cache_ext = 0xea,
    identify_device = 0xec,
};

// In the device field: addresses are block numbers. Queued commands have force unit access beside it.
inline constexpr std::uint8_t device_lba = 0x40;
inline constexpr std::uint8_t device_force_unit_access = 0x80;
// In the features of DATA SET MANAGEMENT.
inline constexpr std::uint16_t feature_trim = 1;

// block: 48 bits.
constexpr RegisterFis make_fis(Command command, std::uint16_t features, std::uint64_t block,
                               std::uint16_t count, std::uint8_t device) {
    constexpr std::uint64_t host_to_device = 0x27;
    constexpr std::uint64_t is_command = 0x80;
    return RegisterFis{
        .first = host_to_device | is_command << 8 | std::uint64_t{static_cast<std::uint8_t>(command)} << 16 |
                 std::uint64_t{features & 0xffu} << 24 | (block & 0xff'ffff) << 32 |
                 std::uint64_t{device} << 56,
        .second = block >> 24 | std::uint64_t{features} >> 8 << 24 | std::uint64_t{count} << 32};
}

// [ATA8 §7.28, §7.67]: the count travels in the features, the tag in the count. 65536 blocks would be 0.
constexpr RegisterFis make_queued_fis(bool write, std::uint32_t tag, std::uint64_t block,
                                      std::uint32_t blocks, bool force_unit_access) {
    return make_fis(write ? Command::write_fpdma_queued : Command::read_fpdma_queued,
                    static_cast<std::uint16_t>(blocks), block, static_cast<std::uint16_t>(tag << 3),
                    force_unit_access ? device_lba | device_force_unit_access : device_lba);
}

constexpr RegisterFis make_direct_fis(bool write, std::uint64_t block, std::uint32_t blocks,
                                      bool force_unit_access) {
    const Command command = !write              ? Command::read_dma_ext
                            : force_unit_access ? Command::write_dma_fua_ext
                                                : Command::write_dma_ext;
    return make_fis(command, 0, block, static_cast<std::uint16_t>(blocks), device_lba);
}

// An entry of the list that DATA SET MANAGEMENT takes [ATA8 §7.10]. blocks: up to most_trim_blocks.
constexpr std::uint64_t trim_entry(std::uint64_t first, std::uint32_t blocks) {
    return first | std::uint64_t{blocks} << 48;
}

// One block of entries a request, in the command table's unused regions; on a line of its own.
inline constexpr std::uint32_t trim_list_bytes = 512;
inline constexpr std::uint32_t most_trim_entries = trim_list_bytes / sizeof(std::uint64_t);
inline constexpr std::uint32_t trim_list_offset = 256;
static_assert(trim_list_offset >= offsetof(CommandTable, regions) + sizeof(PhysicalRegion) &&
              trim_list_offset + trim_list_bytes <= sizeof(CommandTable));

// What a port's device is given. Offsets within one piece of ring memory; alignments from [AHCI §3.3.1,
// §3.3.3, §4.2.3]. Commands of the driver's own have a list of their own: the slots of the other are their
// submitters', at any time.
struct PortMemoryLayout {
    static constexpr std::uint32_t command_list = 0;     // 1 KiB, aligned so
    static constexpr std::uint32_t own_list = 1024;      // likewise
    static constexpr std::uint32_t received_fis = 2048;  // 256 bytes, aligned so
    static constexpr std::uint32_t own_table = 2304;     // one region
    static constexpr std::uint32_t own_data = 2560;      // where their data goes
    static constexpr std::uint32_t own_data_bytes = 512;
    static constexpr std::uint32_t tables = 3072;
    static constexpr std::uint32_t bytes(std::uint32_t slots) {
        return tables + slots * std::uint32_t{sizeof(CommandTable)};
    }
};
static_assert(PortMemoryLayout::own_table % 128 == 0 &&
              PortMemoryLayout::tables % alignof(CommandTable) == 0 &&
              PortMemoryLayout::own_table + offsetof(CommandTable, regions) + sizeof(PhysicalRegion) <=
                  PortMemoryLayout::own_data &&
              PortMemoryLayout::bytes(most_tags) <= 1 << 20);

}  // namespace dmatoll::ahci
