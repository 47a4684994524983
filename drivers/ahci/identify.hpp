// SPDX-License-Identifier: BSD-2-Clause
// What IDENTIFY DEVICE says, checked before anything relies on it.
//
// [ATA8] ATA8-ACS, IDENTIFY DEVICE in §7.16; by word number. Words 169 and 217 as in later revisions of the
// same table.
#pragma once

#include <cstdint>

#include "../core/result.hpp"
#include "command.hpp"
#include "disk.hpp"
#include "settings.hpp"

namespace dmatoll::ahci {

inline constexpr std::uint32_t identify_words = 256;

struct Identity {
    Disk disk{};
    bool logs = false;  // READ LOG EXT is there
};

namespace detail {

// A word of flags that says of itself whether it holds any: bits 15 and 14 are 0 and 1.
constexpr std::uint16_t valid_flags(std::uint16_t word) { return (word & 0xc000) == 0x4000 ? word : 0; }

// Of a text of `words` words, the first character in the upper half of each.
template <std::uint32_t Words>
constexpr void copy_text(const std::uint16_t* from, char (&to)[Words * 2 + 1]) {
    std::uint32_t begin = 0;
    std::uint32_t end = 0;
    for (std::uint32_t i = 0; i < Words * 2; ++i) {
        const auto character = static_cast<unsigned char>(i % 2 == 0 ? from[i / 2] >> 8 : from[i / 2] & 0xff);
        to[i] = character < 0x20 || character > 0x7e ? '?' : static_cast<char>(character);
        // Zeroes fill up, too, where somebody did not read the standard.
        if (character == 0) to[i] = ' ';
        if (to[i] != ' ') end = i + 1;
    }
    while (begin < end && to[begin] == ' ') ++begin;
    for (std::uint32_t i = begin; i < end; ++i) to[i - begin] = to[i];
    for (std::uint32_t i = end - begin; i <= Words * 2; ++i) to[i] = '\0';
}

constexpr bool is_power_of_two(std::uint64_t value) { return value != 0 && (value & (value - 1)) == 0; }

}  // namespace detail

// adapter_depth: command slots that may be used; adapter_queues: the adapter can do native queueing. On an
// error `why` is a line for the log. Errors: device_misbehaves (data that contradicts itself), not_supported
// (no disk that this driver can drive).
constexpr Status parse_identify(const std::uint16_t (&words)[identify_words], std::uint32_t adapter_depth,
                                bool adapter_queues, Identity& identity, const char*& why) {
    using detail::valid_flags;
    // Word 255: where its lower byte is A5h, all bytes add up to zero.
    if ((words[255] & 0xff) == 0xa5) {
        std::uint32_t sum = 0;
        for (const std::uint16_t word : words) sum += (word & 0xffu) + (word >> 8u);
        if ((sum & 0xff) != 0) {
            why = "IDENTIFY DEVICE data refused: its checksum is wrong";
            return Error::device_misbehaves;
        }
    }
    if ((words[0] & 0x8000) != 0) {
        why = "the device is no ATA disk: passed over";
        return Error::not_supported;
    }
    // Words 82 to 84: what there is; 85 to 87: what is switched on, 87 saying whether they hold anything.
    const bool enabled_words = valid_flags(words[87]) != 0;
    // Word 49: DMA and LBA; words 83 and 86: addresses of 48 bits.
    if ((words[49] & 0x0300) != 0x0300 || (valid_flags(words[83]) & 1u << 10) == 0 ||
        (enabled_words && (words[86] & 1u << 10) == 0)) {
        why = "the disk has no DMA with addresses of 48 bits: passed over";
        return Error::not_supported;
    }

    Disk& disk = identity.disk;
    disk.blocks = std::uint64_t{words[100]} | std::uint64_t{words[101]} << 16 |
                  std::uint64_t{words[102]} << 32 | std::uint64_t{words[103]} << 48;
    disk.block_bytes = 512;
    std::uint32_t blocks_per_physical = 0;  // as a power of two
    const std::uint16_t sizes = valid_flags(words[106]);
    if ((sizes & 1u << 12) != 0) {
        const std::uint64_t in_words = std::uint64_t{words[117]} | std::uint64_t{words[118]} << 16;
        if (in_words < 256 || in_words > 2048 || !detail::is_power_of_two(in_words)) {
            why = "IDENTIFY DEVICE data refused: its blocks are no power of two from 512 to 4096 bytes";
            return Error::device_misbehaves;
        }
        disk.block_bytes = static_cast<std::uint32_t>(in_words) * 2;
    }
    if ((sizes & 1u << 13) != 0) blocks_per_physical = sizes & 0xf;
    disk.physical_block_bytes = disk.block_bytes << blocks_per_physical;
    // A hint only: one that no disk has is none.
    if (disk.physical_block_bytes > most_transfer_bytes) disk.physical_block_bytes = disk.block_bytes;
    // 48 bits of address; and the size in bytes is a number of 63 bits for those who count so.
    if (disk.blocks == 0 || disk.blocks > std::uint64_t{1} << 48 ||
        disk.blocks > (~std::uint64_t{0} >> 1) / disk.block_bytes) {
        why = "IDENTIFY DEVICE data refused: its number of blocks is impossible";
        return Error::device_misbehaves;
    }

    // Word 76: serial ATA capabilities, all zeroes or all ones where there are none; word 75: the depth, less
    // one.
    const bool serial_ata = words[76] != 0 && words[76] != 0xffff;
    disk.native_queueing = adapter_queues && serial_ata && (words[76] & 1u << 8) != 0;
    disk.queue_depth = adapter_depth;
    if (disk.native_queueing && (words[75] & 0x1fu) + 1 < adapter_depth)
        disk.queue_depth = (words[75] & 0x1fu) + 1;

    disk.write_cache = enabled_words && (words[85] & 1u << 5) != 0;
    disk.flush = (valid_flags(words[83]) & 1u << 13) != 0;
    disk.force_unit_access = (valid_flags(words[84]) & 1u << 6) != 0;
    identity.logs = (valid_flags(words[84]) & 1u << 5) != 0;
    if (disk.write_cache && !disk.flush) {
        why = "the disk has a write cache and no FLUSH CACHE EXT: what it says to be written may be lost";
        return Error::not_supported;
    }

    // Word 169: trim; word 105: how many blocks of entries a command takes, 0 where the disk does not say.
    disk.trim = (words[169] & 1) != 0;
    disk.most_trim_ranges = disk.trim ? most_trim_entries : 0;
    // Word 217: 1 for a medium that does not rotate, a speed, or nothing.
    disk.rotational = words[217] != 1;

    detail::copy_text<20>(words + 27, disk.model);
    detail::copy_text<10>(words + 10, disk.serial);
    detail::copy_text<4>(words + 23, disk.firmware);
    why = nullptr;
    return {};
}

// Whether requests that were meant for the one may go to the other. A write cache is none of it: see
// loses_writes().
constexpr bool same_disk(const Disk& one, const Disk& other) {
    if (one.blocks != other.blocks || one.block_bytes != other.block_bytes ||
        one.queue_depth != other.queue_depth || one.native_queueing != other.native_queueing ||
        one.force_unit_access != other.force_unit_access || one.flush != other.flush ||
        one.trim != other.trim)
        return false;
    for (std::uint32_t i = 0; i < sizeof(one.model); ++i)
        if (one.model[i] != other.model[i]) return false;
    for (std::uint32_t i = 0; i < sizeof(one.serial); ++i)
        if (one.serial[i] != other.serial[i]) return false;
    return true;
}

// A reset may switch a write cache on again, and whoever was told that there is none sends no flush.
constexpr bool loses_writes(const Disk& was, const Disk& is) { return !was.write_cache && is.write_cache; }

}  // namespace dmatoll::ahci
