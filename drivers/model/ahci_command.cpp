// SPDX-License-Identifier: BSD-2-Clause
// Command lists, command tables and received FIS, as the controller handles them.
#include <algorithm>
#include <bit>
#include <cstring>

#include "ahci_device.hpp"

namespace dmatoll::model {

using namespace ahci_datasheet;

namespace {

std::uint32_t word_at(std::span<const std::byte> bytes, std::size_t offset) {
    std::uint32_t value = 0;
    for (std::size_t i = 0; i < 4; ++i) value |= std::to_integer<std::uint32_t>(bytes[offset + i]) << 8 * i;
    return value;
}

std::uint8_t byte_at(std::span<const std::byte> bytes, std::size_t offset) {
    return std::to_integer<std::uint8_t>(bytes[offset]);
}

// The six bytes of an address in a register FIS: three, the device register between, three.
constexpr std::array<std::size_t, 6> address_bytes{4, 5, 6, 8, 9, 10};

constexpr std::uint32_t fatal = is_tfes | is_hbfs | is_hbds | is_ifs;

}  // namespace

// PxCI is written [AHCI 1.3.1 §3.3.14, §5.5.1].
void AhciDevice::issue(Port& port, std::uint32_t slots) {
    if ((port.cmd & cmd_st) == 0) {
        if (slots != 0) violation(port, "PxCI written while PxCMD.ST is clear");
        return;
    }
    for (std::uint32_t index = 0; index < most_slots; ++index) {
        if ((slots >> index & 1) == 0) continue;
        const std::string name = "slot " + std::to_string(index);
        if (index >= options_.slots) {
            violation(port, name + " issued, which the HBA does not have");
            continue;
        }
        Slot& slot = port.slots[index];
        if (slot.issued) {
            violation(port, name + " issued while it is still in use");
            continue;
        }
        const bool queued = (port.sact >> index & 1) != 0;
        if (queued && !options_.native_queueing)
            violation(port, name + " issued as a queued command on an HBA without CAP.SNCQ");
        const bool mixed = std::ranges::any_of(
            port.slots, [&](const Slot& other) { return other.issued && other.queued != queued; });
        if (mixed) violation(port, "queued commands mixed with others");
        slot = {};
        slot.issued = true;
        slot.queued = queued;
        slot.order = next_order_++;
        port.ci |= 1u << index;
    }
    std::uint32_t in_use = 0;
    for (std::uint32_t index = 0; index < most_slots; ++index) {
        if (port.slots[index].issued) in_use |= 1u << index;
    }
    if ((port.sact & ~in_use) != 0)
        violation(port, "a bit set in PxSACT whose command was not issued with it");
    dispatch(port);
    if (!deferred_ && options_.command_ns == 0) execute_due(port);
}

// Gives the disk what it can take: one command that is not queued, or any number that are.
void AhciDevice::dispatch(Port& port) {
    while (running(port) && port.link == Link::up && !port.signature_due &&
           (port.status & (status_bsy | status_drq)) == 0) {
        // Round and round, from the slot after the last one [AHCI 1.3.1 §5.3, pSlotLoc].
        std::uint32_t next = most_slots;
        for (std::uint32_t step = 1; step <= most_slots && next == most_slots; ++step) {
            const std::uint32_t index = (port.last_slot + step) % most_slots;
            if (port.slots[index].issued && !port.slots[index].sent) next = index;
        }
        if (next == most_slots || !send(port, next)) return;
    }
}

// Header, command FIS and PRD table, without the byte count that the HBA itself writes. False: halted.
bool AhciDevice::fetch(Port& port, std::uint32_t index, std::vector<std::byte>& seen) {
    std::array<std::byte, command_header_bytes> header{};
    if (!dma_read(Iova{port.list + index * command_header_bytes}, header)) {
        halt(port, is_hbfs);
        return false;
    }
    Slot& slot = port.slots[index];
    slot.flags = word_at(header, 0);
    std::uint64_t table = word_at(header, 8) & ~(command_table_alignment - 1);
    if (options_.wide_addresses) table |= std::uint64_t{word_at(header, 12)} << 32;
    slot.table = Iova{table};
    const std::size_t bytes = prdt_offset + std::size_t{slot.flags >> header_prdtl_shift} * prd_bytes;
    seen.assign(header.begin(), header.end());
    std::fill_n(seen.begin() + 4, 4, std::byte{0});
    seen.resize(command_header_bytes + bytes);
    if (!dma_read(slot.table, std::span{seen}.subspan(command_header_bytes))) {
        halt(port, is_hbfs);
        return false;
    }
    return true;
}

// [AHCI 1.3.1 §4.2.2]
void AhciDevice::check_header(const Port& port, std::uint32_t index, std::span<const std::byte> header) {
    const std::uint32_t flags = word_at(header, 0);
    const auto require = [&](bool met, const char* what) {
        if (!met) violation(port, "slot " + std::to_string(index) + ": " + what);
    };
    require((flags & header_cfl) == register_fis_bytes / 4, "a command FIS that is not 5 words long");
    require((flags & header_a) == 0, "a packet command for a disk");
    require((flags & header_b) == 0, "BIST");
    require((flags & header_pmp) == 0, "a port of a port multiplier");
    require((flags & 1u << 11) == 0, "reserved bits in the command header");
    require(std::ranges::all_of(header.subspan(16), [](std::byte byte) { return byte == std::byte{0}; }),
            "reserved words in the command header");
    require(word_at(header, 8) % command_table_alignment == 0, "a command table not aligned to 128 bytes");
    require(options_.wide_addresses || word_at(header, 12) == 0,
            "a command table above 4 GiB on an HBA without CAP.S64A");
    require(!port.slots[index].queued || (flags & header_p) == 0, "prefetching of a queued command");
}

// [AHCI 1.3.1 §4.2.3]; the FIS [SATA 3.x §10.5].
void AhciDevice::check_table(const Port& port, std::uint32_t index, const Slot& slot,
                             std::span<const std::byte> table) {
    const auto require = [&](bool met, const char* what) {
        if (!met) violation(port, "slot " + std::to_string(index) + ": " + what);
    };
    require(byte_at(table, 0) == fis_register_to_device, "a command FIS of another type");
    require((byte_at(table, 1) & ~fis_command) == 0, "reserved bits in the command FIS");
    require(slot.command.is_command != ((slot.flags & header_r) != 0),
            "a control FIS without the header's reset bit, or that bit with a command");
    for (std::size_t offset = prdt_offset; offset + prd_bytes <= table.size(); offset += prd_bytes) {
        require(word_at(table, offset) % 2 == 0, "a PRD with an odd address");
        require(word_at(table, offset + 12) % 2 == 1, "a PRD with an odd length");
        require((word_at(table, offset + 12) & ~(prd_dbc | prd_i)) == 0 && word_at(table, offset + 8) == 0,
                "reserved bits in a PRD");
        require(options_.wide_addresses || word_at(table, offset + 4) == 0,
                "a PRD above 4 GiB on an HBA without CAP.S64A");
    }
    for (std::uint32_t other = 0; other < most_slots; ++other) {
        const Slot& beside = port.slots[other];
        require(other == index || !beside.issued || !beside.sent || beside.table != slot.table,
                "a command table that another slot is using");
    }
}

// Fetches a command and gives it to the disk. False: nothing more can be given to it now.
bool AhciDevice::send(Port& port, std::uint32_t index) {
    Slot& slot = port.slots[index];
    port.last_slot = index;
    port.cmd = (port.cmd & ~cmd_ccs) | index << cmd_ccs_shift;
    std::vector<std::byte> seen;
    if (!fetch(port, index, seen)) return false;
    const auto header = std::span<const std::byte>{seen}.first(command_header_bytes);
    const auto table = std::span<const std::byte>{seen}.subspan(command_header_bytes);
    Command& command = slot.command;
    command.is_command = (byte_at(table, 1) & fis_command) != 0;
    command.code = byte_at(table, 2);
    command.features = static_cast<std::uint16_t>(byte_at(table, 3) | byte_at(table, 11) << 8);
    for (std::size_t i = 0; i < address_bytes.size(); ++i)
        command.address |= std::uint64_t{byte_at(table, address_bytes[i])} << 8 * i;
    command.device = byte_at(table, 7);
    command.count = static_cast<std::uint16_t>(byte_at(table, 12) | byte_at(table, 13) << 8);
    command.control = byte_at(table, 15);
    check_header(port, index, header);
    check_table(port, index, slot, table);
    slot.seen = std::move(seen);
    slot.sent = true;
    slot.due_ns = now_ns_ + options_.command_ns;

    if (!command.is_command) {
        // A software reset: two control FIS, SRST set and clear again [AHCI 1.3.1 §10.4.1].
        const std::uint8_t control = command.control;
        port.ci &= ~(1u << index);
        slot = {};
        if ((control & control_srst) != 0) {
            reset_disk(port);
            port.status = status_bsy;
            port.in_soft_reset = true;
        } else if (port.in_soft_reset) {
            port.in_soft_reset = false;
            port.link_since_ns = now_ns_;
            port.signature_due = true;
            port.status = status_bsy;
        }
        return true;
    }
    ++commands_[command.code];
    const bool queued = command.code == read_fpdma_queued || command.code == write_fpdma_queued;
    if (queued != slot.queued)
        violation(port, queued ? "a queued command issued without its bit in PxSACT"
                               : "a bit in PxSACT for a command that is not queued");
    if (queued && (command.count >> 3 != index || (command.count & 7) != 0))
        violation(port, "slot " + std::to_string(index) + ": the tag of a queued command is another one");
    slot.queued = queued;
    if (!queued) {
        port.status |= status_bsy;
        return false;
    }
    // The disk has taken it: it releases the bus, and PxCI is cleared [AHCI 1.3.1 §5.5.1].
    port.held |= 1u << index;
    port.ci &= ~(1u << index);
    return true;
}

// Which command is next: in order, or drawn. -1: none.
int AhciDevice::next_slot(const Port& port, bool due_only) {
    if (!running(port) || port.link != Link::up) return -1;
    std::vector<int> ready;
    bool due = !due_only;
    for (std::uint32_t index = 0; index < most_slots; ++index) {
        const Slot& slot = port.slots[index];
        if (!slot.sent || slot.hung) continue;
        ready.push_back(static_cast<int>(index));
        due = due || slot.due_ns <= now_ns_;
    }
    if (ready.empty() || !due) return -1;
    // One is due: which one it really is, is the disk's choice.
    if (!in_order_) return ready[order_() % ready.size()];
    return *std::ranges::min_element(
        ready, {}, [&](int index) { return port.slots[static_cast<std::size_t>(index)].order; });
}

void AhciDevice::execute_due(Port& port) {
    for (int index = next_slot(port, true); index >= 0; index = next_slot(port, true))
        run(port, static_cast<std::uint32_t>(index));
}

std::uint32_t AhciDevice::step(std::uint32_t commands) {
    const std::scoped_lock guard{mutex_};
    if (active(AhciFault::gone)) return 0;
    if (active(AhciFault::dma_after_stop)) {
        ++happened_[AhciFault::dma_after_stop];
        if (last_received_.value != 0) stray_write(last_received_, device_bits_bytes, std::byte{0xdd});
        if (last_data_.value != 0 && last_data_was_written_) stray_write(last_data_, 512, std::byte{0xdd});
        if (last_data_.value != 0 && !last_data_was_written_) stray_read(last_data_, 512);
    }
    std::uint32_t done = 0;
    for (bool any = true; any && done < commands;) {
        any = false;
        for (Port& port : ports_) {
            const int index = done < commands ? next_slot(port, false) : -1;
            if (index < 0) continue;
            run(port, static_cast<std::uint32_t>(index));
            ++done;
            any = true;
        }
    }
    return done;
}

bool AhciDevice::execute(std::uint32_t number, std::uint32_t index) {
    const std::scoped_lock guard{mutex_};
    Port& port = ports_.at(number);
    if (active(AhciFault::gone) || !running(port) || port.link != Link::up) return false;
    const Slot& slot = port.slots.at(index);
    if (!slot.sent || slot.hung) return false;
    run(port, index);
    return true;
}

// The disk executes one of the commands that it has.
void AhciDevice::run(Port& port, std::uint32_t index) {
    Slot& slot = port.slots[index];
    if (take(AhciFault::command_never_completes, port.number)) {
        slot.hung = true;
        return;
    }
    if (take(AhciFault::interface_error, port.number)) {
        port.serr |= serr_err_p | serr_err_c | serr_diag_c | serr_diag_h;
        halt(port, is_ifs);
        return;
    }
    if (take(AhciFault::interface_error_survived, port.number)) {
        port.serr |= serr_err_i | serr_diag_c;
        raise(port, is_infs);
    }
    if (take(AhciFault::host_bus_error, port.number)) {
        halt(port, is_hbfs);
        return;
    }
    // The PRD table is read when the data flows: it must be as it was.
    std::vector<std::byte> seen;
    if (!fetch(port, index, seen)) return;
    if (seen != slot.seen)
        violation(port, "slot " + std::to_string(index) + ": header or table changed while it is in use");
    slot.seen = std::move(seen);
    end(port, index, perform(port, index));
}

void AhciDevice::end(Port& port, std::uint32_t index, const Outcome& outcome) {
    Slot& slot = port.slots[index];
    const std::uint32_t bit = 1u << index;
    switch (outcome.kind) {
        case Outcome::Kind::halted:
            return;
        case Outcome::Kind::stuck:
            slot.hung = true;
            return;
        case Outcome::Kind::failed:
            remember_error(port, index, slot.queued, slot.command, outcome);
            if (slot.queued) {
                // It aborts all the others, too [ATA8-ACS §4.15].
                port.queued_error = true;
                port.held = 0;
                port.tags_at_error = port.sact;
                const std::uint8_t status = status_ready | status_err;
                const std::array<std::uint8_t, device_bits_bytes> fis{
                    fis_device_bits, fis_interrupt, status & 0x77, outcome.error, 0, 0, 0, 0};
                port.status = static_cast<std::uint8_t>((port.status & status_bsy) | status);
                port.error = outcome.error;
                if (receive_fis(port, received_device_bits, std::as_bytes(std::span{fis})))
                    halt(port, is_tfes);
                return;
            }
            // PxCI keeps its bit: with PxCMD.CCS it names the command [AHCI 1.3.1 §6.2.2.1].
            if (send_register_fis(port, status_ready | status_err, outcome.error, outcome.address,
                                  slot.command.count))
                halt(port, is_tfes);
            return;
        case Outcome::Kind::done:
            break;
    }
    // The byte count is the HBA's to write, and not meant for queued commands [AHCI 1.3.1 §4.2.2].
    std::uint32_t bytes = outcome.bytes;
    const bool lies = take(AhciFault::byte_count_lies, port.number);
    if (lies) bytes += 512;
    if (!slot.queued || lies) {
        const std::array<std::byte, 4> count{std::byte(bytes), std::byte(bytes >> 8), std::byte(bytes >> 16),
                                             std::byte(bytes >> 24)};
        if (!dma_write(Iova{port.list + index * command_header_bytes + 4}, count)) {
            halt(port, is_hbfs);
            return;
        }
    }
    if (slot.queued) {
        const std::array<std::uint8_t, device_bits_bytes> fis{fis_device_bits,
                                                              fis_interrupt,
                                                              status_ready,
                                                              0,
                                                              static_cast<std::uint8_t>(bit),
                                                              static_cast<std::uint8_t>(bit >> 8),
                                                              static_cast<std::uint8_t>(bit >> 16),
                                                              static_cast<std::uint8_t>(bit >> 24)};
        if (!receive_fis(port, received_device_bits, std::as_bytes(std::span{fis}))) return;
        port.status = static_cast<std::uint8_t>((port.status & (status_bsy | status_drq)) | status_ready);
        port.error = 0;
        port.sact &= ~bit;
        port.held &= ~bit;
        slot = {};
        raise(port, is_sdbs);
    } else if (outcome.pio) {
        // Its end is the PIO setup FIS that came before the data [AHCI 1.3.1 §5.3].
        port.status = status_ready;
        port.error = 0;
        port.ci &= ~bit;
        slot = {};
        raise(port, is_pss);
    } else {
        if (!send_register_fis(port, status_ready, 0, slot.command.address, slot.command.count)) return;
        port.ci &= ~bit;
        slot = {};
        raise(port, is_dhrs);
    }
    dispatch(port);
}

// An error that stops the port until software starts it again [AHCI 1.3.1 §6.2.2].
void AhciDevice::halt(Port& port, std::uint32_t causes) {
    if ((causes & fatal) != 0) port.halted = true;
    raise(port, causes);
}

// The first piece of what the oldest command has still to do.
void AhciDevice::prepare_straggler(Port& port) {
    port.straggler = {};
    const Slot* oldest = nullptr;
    for (const Slot& slot : port.slots) {
        if (slot.sent && !slot.hung && (oldest == nullptr || slot.order < oldest->order)) oldest = &slot;
    }
    if (oldest == nullptr || port.halted || oldest->flags >> header_prdtl_shift == 0) return;
    const auto prd = std::span<const std::byte>{oldest->seen}.subspan(command_header_bytes + prdt_offset);
    const std::uint64_t high = options_.wide_addresses ? word_at(prd, 4) : 0;
    port.straggler.iova = Iova{high << 32 | (word_at(prd, 0) & ~1u)};
    port.straggler.writes = (oldest->flags & header_w) == 0;
    const bool reads_blocks =
        oldest->command.code == read_fpdma_queued || oldest->command.code == read_dma_ext;
    if (reads_blocks && oldest->command.address < port.disk->blocks())
        port.straggler.data = port.disk->read(oldest->command.address);
    port.straggler.data.resize(std::min<std::size_t>((word_at(prd, 12) & prd_dbc) + 1, 512));
}

void AhciDevice::make_last_access(Port& port) {
    if (!port.straggler.data.empty() && bus_master_) {
        if (port.straggler.writes) {
            dma_write(port.straggler.iova, port.straggler.data);
        } else {
            dma_read(port.straggler.iova, port.straggler.data);
        }
    }
    port.straggler = {};
}

bool AhciDevice::receive_fis(Port& port, std::uint32_t offset, std::span<const std::byte> fis) {
    if ((port.cmd & cmd_fre) == 0) return true;
    last_received_ = Iova{port.received + offset};
    if (dma_write(last_received_, fis)) return true;
    halt(port, is_hbfs);
    return false;
}

bool AhciDevice::send_register_fis(Port& port, std::uint8_t status, std::uint8_t error, std::uint64_t address,
                                   std::uint16_t count) {
    std::array<std::uint8_t, register_fis_bytes> fis{};
    fis[0] = fis_register_to_host;
    fis[1] = fis_interrupt;
    fis[2] = status;
    fis[3] = error;
    for (std::size_t i = 0; i < address_bytes.size(); ++i)
        fis[address_bytes[i]] = static_cast<std::uint8_t>(address >> 8 * i);
    fis[12] = static_cast<std::uint8_t>(count);
    fis[13] = static_cast<std::uint8_t>(count >> 8);
    port.status = status;
    port.error = error;
    return receive_fis(port, received_register, std::as_bytes(std::span{fis}));
}

// Walks the PRD table as it is in memory now; `access` moves a piece of data and says whether it could.
bool AhciDevice::transfer(Port& port, Slot& slot, std::size_t bytes, Outcome& outcome, auto&& access) {
    const auto table = std::span<const std::byte>{slot.seen}.subspan(command_header_bytes);
    const std::uint32_t entries = slot.flags >> header_prdtl_shift;
    bool interrupts = false;
    std::size_t done = 0;
    for (std::uint32_t i = 0; i < entries && done < bytes; ++i) {
        const std::size_t offset = prdt_offset + std::size_t{i} * prd_bytes;
        // What must not be odd is not: the lowest bits are not there in the HBA [AHCI 1.3.1 §4.2.3.3].
        std::uint64_t address = word_at(table, offset) & ~1u;
        if (options_.wide_addresses) address |= std::uint64_t{word_at(table, offset + 4)} << 32;
        const std::uint32_t length = ((word_at(table, offset + 12) & prd_dbc) | 1) + 1;
        const std::size_t piece = std::min<std::size_t>(length, bytes - done);
        last_data_ = Iova{address};
        if (!access(Iova{address}, done, piece)) {
            outcome.kind = Outcome::Kind::halted;
            halt(port, is_hbfs);
            return false;
        }
        done += piece;
        interrupts = interrupts || (word_at(table, offset + 12) & prd_i) != 0;
    }
    outcome.bytes += static_cast<std::uint32_t>(done);
    if (interrupts) raise(port, is_dps);
    if (done == bytes) return true;
    // No room, or no data, for all of it: the disk waits, and only a COMRESET ends that [AHCI 1.3.1 §6.1.5].
    violation(port, "a PRD table of " + std::to_string(done) + " bytes for " + std::to_string(bytes));
    outcome.kind = Outcome::Kind::stuck;
    raise(port, is_ofs);
    return false;
}

bool AhciDevice::to_memory(Port& port, Slot& slot, std::span<const std::byte> data, Outcome& outcome) {
    if ((slot.flags & header_w) != 0) violation(port, "a command header that says write for a read");
    last_data_was_written_ = true;
    return transfer(port, slot, data.size(), outcome, [&](Iova iova, std::size_t offset, std::size_t bytes) {
        return dma_write(iova, data.subspan(offset, bytes));
    });
}

bool AhciDevice::from_memory(Port& port, Slot& slot, std::span<std::byte> data, Outcome& outcome) {
    if ((slot.flags & header_w) == 0) violation(port, "a command header that says read for a write");
    last_data_was_written_ = false;
    return transfer(port, slot, data.size(), outcome, [&](Iova iova, std::size_t offset, std::size_t bytes) {
        return dma_read(iova, data.subspan(offset, bytes));
    });
}

bool AhciDevice::may_access() {
    if (active(AhciFault::gone) || (resetting_ && !active(AhciFault::dma_after_stop))) return false;
    if (!bus_master_) {
        ++accesses_while_quiet_;
        violation("memory access before bus mastering was set");
        return false;
    }
    const bool quiet =
        std::ranges::none_of(ports_, [](const Port& port) { return (port.cmd & (cmd_cr | cmd_fr)) != 0; });
    if (quiet) ++accesses_while_quiet_;
    return true;
}

bool AhciDevice::dma_read(Iova iova, std::span<std::byte> destination) {
    if (!may_access()) return false;
    if (iommu_.read(iova, destination)) return true;
    ++aborted_accesses_;
    return false;
}

bool AhciDevice::dma_write(Iova iova, std::span<const std::byte> source) {
    if (!may_access()) return false;
    if (iommu_.write(iova, source)) return true;
    ++aborted_accesses_;
    return false;
}

bool AhciDevice::stray_read(Iova iova, std::uint32_t bytes) {
    const std::scoped_lock guard{mutex_};
    std::vector<std::byte> sink(bytes);
    return dma_read(iova, sink);
}

bool AhciDevice::stray_write(Iova iova, std::uint32_t bytes, std::byte pattern) {
    const std::scoped_lock guard{mutex_};
    return dma_write(iova, std::vector<std::byte>(bytes, pattern));
}

}  // namespace dmatoll::model
