// SPDX-License-Identifier: BSD-2-Clause
// The disk's side: ATA commands, and the error log of queued ones.
#include <algorithm>
#include <bit>
#include <cstring>

#include "ahci_device.hpp"

namespace dmatoll::model {

using namespace ahci_datasheet;

namespace {

constexpr std::uint64_t address_28 = 0x0fff'ffff;

std::uint32_t or_all(std::uint32_t count, std::uint32_t zero_means) {
    return count == 0 ? zero_means : count;
}

// The last byte makes the sum of all zero [ATA8-ACS, log 10h].
void put_checksum(std::span<std::byte> page) {
    std::uint8_t sum = 0;
    for (const std::byte byte : page.first(page.size() - 1))
        sum = static_cast<std::uint8_t>(sum + std::to_integer<std::uint8_t>(byte));
    page.back() = static_cast<std::byte>(0x100 - sum);
}

}  // namespace

AhciDevice::Outcome AhciDevice::perform(Port& port, std::uint32_t index) {
    Slot& slot = port.slots[index];
    const Command& command = slot.command;
    const AhciDisk& disk = *port.disk;
    const Outcome aborted{.kind = Outcome::Kind::failed, .error = error_abrt};
    const bool reads_error_log = command.code == read_log_ext && (command.address & 0xff) == log_queued_error;
    // After an error of a queued command nothing else is executed until its log has been read [ATA8-ACS
    // §4.15].
    if (port.queued_error && !(reads_error_log && disk.options().error_log)) return aborted;
    if (!slot.queued && port.held != 0) {
        port.queued_error = true;
        port.held = 0;
        return aborted;
    }
    if (take(AhciFault::command_aborted, port.number)) return aborted;
    const bool addresses = command.code != flush_cache && command.code != flush_cache_ext &&
                           command.code != identify_device && command.code != set_features &&
                           command.code != read_log_ext && command.code != data_set_management;
    if (addresses && (command.device & device_lba) == 0) {
        violation(port, "slot " + std::to_string(index) + ": an address that is not logical");
        return aborted;
    }
    const std::uint64_t short_address = (command.address & 0xff'ffff) | std::uint64_t{command.device & 0xfu}
                                                                            << 24;
    const bool forced = (command.device & device_fua) != 0;
    switch (command.code) {
        case read_dma_ext:
            return read_blocks(port, slot, command.address, or_all(command.count, 65536));
        case write_dma_ext:
            return write_blocks(port, slot, command.address, or_all(command.count, 65536), false);
        case write_dma_fua_ext:
            if (!disk.options().force_unit_access) return aborted;
            return write_blocks(port, slot, command.address, or_all(command.count, 65536), true);
        case read_dma:
            return read_blocks(port, slot, short_address & address_28, or_all(command.count & 0xff, 256));
        case write_dma:
            return write_blocks(port, slot, short_address & address_28, or_all(command.count & 0xff, 256),
                                false);
        case read_fpdma_queued:
        case write_fpdma_queued: {
            if (disk.options().queue_depth == 0) return aborted;
            if (index >= disk.options().queue_depth) {
                violation(port, "a tag beyond the disk's queue: " + std::to_string(index));
                return aborted;
            }
            const std::uint32_t count = or_all(command.features, 65536);
            const bool reads = command.code == read_fpdma_queued;
            // The data of a queued command is announced by a DMA setup FIS [SATA 3.x §10.5].
            const std::uint32_t bytes = count * disk.block_bytes();
            std::array<std::uint8_t, dma_setup_bytes> fis{};
            fis[0] = fis_dma_setup;
            fis[1] = reads ? fis_to_host : 0;
            fis[4] = static_cast<std::uint8_t>(index);
            for (std::size_t i = 0; i < 4; ++i) fis[20 + i] = static_cast<std::uint8_t>(bytes >> 8 * i);
            if (!receive_fis(port, received_dma_setup, std::as_bytes(std::span{fis})))
                return {.kind = Outcome::Kind::halted};
            return reads ? read_blocks(port, slot, command.address, count)
                         : write_blocks(port, slot, command.address, count, forced);
        }
        case flush_cache:
        case flush_cache_ext:
            if (!disk.options().flush) return aborted;
            port.disk->flush();
            return {};
        case data_set_management:
            return trim(port, slot);
        case set_features:
            return configure(port, command);
        case read_log_ext:
            return read_log(port, slot);
        case identify_device: {
            if (disk.options().packet_device) return aborted;
            const AhciDisk::Identity words = disk.identify();
            std::array<std::byte, 512> page;
            for (std::size_t i = 0; i < words.size(); ++i) {
                page[2 * i] = static_cast<std::byte>(words[i]);
                page[2 * i + 1] = static_cast<std::byte>(words[i] >> 8);
            }
            return send_page(port, slot, page);
        }
        default:
            return aborted;
    }
}

AhciDevice::Outcome AhciDevice::read_blocks(Port& port, Slot& slot, std::uint64_t first,
                                            std::uint32_t count) {
    Outcome outcome;
    const AhciDisk& disk = *port.disk;
    if (first >= disk.blocks() || count > disk.blocks() - first)
        return {.kind = Outcome::Kind::failed, .error = error_idnf, .address = first};
    if (take(AhciFault::completes_without_data, port.number)) return outcome;
    std::vector<std::byte> data;
    data.reserve(std::size_t{count} * disk.block_bytes());
    for (std::uint64_t block = first; block < first + count; ++block) {
        if (disk.fails(block, false)) {
            // What came before it has been transferred.
            if (!data.empty() && !to_memory(port, slot, data, outcome)) return outcome;
            return {.kind = Outcome::Kind::failed, .error = error_unc, .address = block};
        }
        const AhciDisk::Block content = disk.read(block);
        data.insert(data.end(), content.begin(), content.end());
    }
    to_memory(port, slot, data, outcome);
    return outcome;
}

AhciDevice::Outcome AhciDevice::write_blocks(Port& port, Slot& slot, std::uint64_t first, std::uint32_t count,
                                             bool through) {
    Outcome outcome;
    AhciDisk& disk = *port.disk;
    if (first >= disk.blocks() || count > disk.blocks() - first)
        return {.kind = Outcome::Kind::failed, .error = error_idnf, .address = first};
    if (through) ++forced_writes_;
    std::vector<std::byte> data(std::size_t{count} * disk.block_bytes());
    if (!from_memory(port, slot, data, outcome)) return outcome;
    for (std::uint32_t i = 0; i < count; ++i) {
        if (disk.fails(first + i, true))
            return {.kind = Outcome::Kind::failed, .error = error_idnf, .address = first + i};
        disk.write(first + i,
                   std::span{data}.subspan(std::size_t{i} * disk.block_bytes(), disk.block_bytes()), through);
    }
    return outcome;
}

// [ACS-2, DATA SET MANAGEMENT]
AhciDevice::Outcome AhciDevice::trim(Port& port, Slot& slot) {
    Outcome outcome;
    const Outcome aborted{.kind = Outcome::Kind::failed, .error = error_abrt};
    AhciDisk& disk = *port.disk;
    const Command& command = slot.command;
    if (!disk.options().trim || command.features != feature_trim || command.count == 0 ||
        command.count > disk.options().most_trim_pages)
        return aborted;
    std::vector<std::byte> ranges(std::size_t{command.count} * trim_page_bytes);
    if (!from_memory(port, slot, ranges, outcome)) return outcome;
    for (const bool really : {false, true}) {
        for (std::size_t offset = 0; offset < ranges.size(); offset += trim_entry_bytes) {
            std::uint64_t entry = 0;
            for (std::size_t i = 0; i < 8; ++i)
                entry |= std::to_integer<std::uint64_t>(ranges[offset + i]) << 8 * i;
            const std::uint64_t first = entry & 0xffff'ffff'ffff;
            const std::uint64_t count = entry >> 48;
            if (count == 0) continue;
            if (first >= disk.blocks() || count > disk.blocks() - first) return aborted;
            if (really) disk.trim(first, count);
        }
    }
    return outcome;
}

// [ATA8-ACS, SET FEATURES]
AhciDevice::Outcome AhciDevice::configure(Port& port, const Command& command) {
    switch (command.features & 0xff) {
        case feature_enable_write_cache:
        case feature_disable_write_cache:
            if (!port.disk->options().write_cache) break;
            port.disk->enable_write_cache((command.features & 0xff) == feature_enable_write_cache);
            return {};
        case feature_set_transfer_mode:
            return {};
        default:
            break;
    }
    return {.kind = Outcome::Kind::failed, .error = error_abrt};
}

// [ATA8-ACS, READ LOG EXT]
AhciDevice::Outcome AhciDevice::read_log(Port& port, Slot& slot) {
    const Command& command = slot.command;
    const auto log = static_cast<std::uint8_t>(command.address);
    const std::uint64_t page = (command.address >> 8 & 0xff) | (command.address >> 24 & 0xff00);
    if (!port.disk->options().error_log || page != 0 || command.count != 1)
        return {.kind = Outcome::Kind::failed, .error = error_abrt};
    if (log == log_directory) {
        std::array<std::byte, log_page_bytes> directory{};
        directory[0] = std::byte{1};
        directory[2 * log_queued_error] = std::byte{1};  // pages
        return send_page(port, slot, directory);
    }
    if (log != log_queued_error) return {.kind = Outcome::Kind::failed, .error = error_abrt};
    std::array<std::byte, log_page_bytes> copy = port.error_log;
    const bool other_tag = take(AhciFault::error_log_other_tag, port.number);
    if (other_tag) {
        // The highest one that was not outstanding; if all were, just another one.
        const std::uint32_t free = ~port.tags_at_error;
        copy[0] = free != 0 ? static_cast<std::byte>(std::bit_width(free) - 1) : copy[0] ^ std::byte{0x1f};
    }
    if (take(AhciFault::error_log_not_queued, port.number)) copy[0] |= static_cast<std::byte>(log_not_queued);
    put_checksum(copy);
    if (take(AhciFault::error_log_bad_checksum, port.number)) copy[0] ^= std::byte{1};
    const Outcome outcome = send_page(port, slot, copy);
    if (outcome.kind == Outcome::Kind::done) {
        port.queued_error = false;
        port.error_log.fill(std::byte{0});
    }
    return outcome;
}

// A page by programmed I/O: announced by a PIO setup FIS [SATA 3.x §10.5].
AhciDevice::Outcome AhciDevice::send_page(Port& port, Slot& slot, std::span<const std::byte> page) {
    Outcome outcome{.pio = true};
    std::array<std::uint8_t, pio_setup_bytes> fis{};
    fis[0] = fis_pio_setup;
    fis[1] = fis_interrupt | fis_to_host;
    fis[2] = status_ready | status_drq;
    fis[15] = status_ready;
    fis[16] = static_cast<std::uint8_t>(page.size());
    fis[17] = static_cast<std::uint8_t>(page.size() >> 8);
    if (!receive_fis(port, received_pio_setup, std::as_bytes(std::span{fis})))
        return {.kind = Outcome::Kind::halted};
    if (take(AhciFault::completes_without_data, port.number)) return outcome;
    to_memory(port, slot, page, outcome);
    return outcome;
}

// The error log of queued commands [ATA8-ACS, log 10h].
void AhciDevice::remember_error(Port& port, std::uint32_t tag, bool queued, const Command& command,
                                const Outcome& outcome) {
    std::array<std::byte, log_page_bytes>& log = port.error_log;
    // It is about queued commands; those that are aborted because of an error leave its log as it is.
    if (!queued && !port.queued_error) return;
    if (port.queued_error && log[3] != std::byte{0}) return;
    log.fill(std::byte{0});
    log[0] = static_cast<std::byte>(queued ? tag : log_not_queued);
    log[2] = static_cast<std::byte>(status_ready | status_err);
    log[3] = static_cast<std::byte>(outcome.error);
    constexpr std::array<std::size_t, 6> places{4, 5, 6, 8, 9, 10};
    for (std::size_t i = 0; i < places.size(); ++i)
        log[places[i]] = static_cast<std::byte>(outcome.address >> 8 * i);
    log[7] = static_cast<std::byte>(command.device);
    log[12] = static_cast<std::byte>(command.count);
    log[13] = static_cast<std::byte>(command.count >> 8);
}

}  // namespace dmatoll::model
