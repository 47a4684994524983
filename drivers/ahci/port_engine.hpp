// SPDX-License-Identifier: BSD-2-Clause
// A port's machinery: its memory, its command list and its link started and stopped, and commands of the
// driver's own. Nothing here is on the data path, and all of it waits.
//
// [AHCI] Serial ATA AHCI 1.3.1. [ATA8] ATA8-ACS.
#pragma once

#include <cstddef>
#include <cstdint>

#include "../core/address.hpp"
#include "../core/barrier.hpp"
#include "../core/copy.hpp"
#include "../core/platform.hpp"
#include "../core/register.hpp"
#include "../core/result.hpp"
#include "../core/wait.hpp"
#include "adapter.hpp"
#include "command.hpp"
#include "identify.hpp"
#include "registers.hpp"

namespace dmatoll::ahci {

// [AHCI §10.1.2]: 500 ms for a command list or the reception of FISes to stop.
inline constexpr std::uint32_t engine_stop_timeout_us = 500'000;
// [AHCI §10.4.2]: at least a millisecond of COMRESET. A device shows itself within 10 ms, and has its link
// soon.
inline constexpr std::uint32_t link_reset_ms = 1;
inline constexpr std::uint32_t presence_timeout_us = 200'000;
inline constexpr std::uint32_t link_timeout_us = 1'000'000;
// A disk that spins up says so by being busy.
inline constexpr std::uint32_t ready_timeout_us = 30'000'000;
inline constexpr std::uint32_t own_command_timeout_us = 5'000'000;

// Failures that stop a port, in the bits of PxIS.
inline constexpr std::uint32_t error_causes =
    PortInterruptStatus::connect_change.mask | PortInterruptStatus::phy_ready_change.mask |
    PortInterruptStatus::overflow.mask | PortInterruptStatus::interface_fatal.mask |
    PortInterruptStatus::host_bus_data.mask | PortInterruptStatus::host_bus_fatal.mask |
    PortInterruptStatus::task_file_error.mask;
inline constexpr std::uint32_t completion_causes =
    PortInterruptStatus::register_fis.mask | PortInterruptStatus::set_device_bits_fis.mask;

template <Platform P>
class PortEngine {
  public:
    PortEngine() = default;
    PortEngine(const PortEngine&) = delete;
    PortEngine& operator=(const PortEngine&) = delete;

    // The platform outlives it. address_bits: of an IOVA that the adapter takes.
    void attach(P& platform, std::uint32_t port, std::uint32_t address_bits) {
        platform_ = &platform;
        port_ = port;
        offset_ = offset_of_port(port);
        address_bits_ = address_bits;
    }

    // Memory for that many command slots. Errors: those of the Platform; mapping_failed: it lies where the
    // adapter does not reach.
    Status allocate(std::uint32_t slots) {
        const Result<RingMemory> ring = platform_->allocate_ring(PortMemoryLayout::bytes(slots));
        if (!ring.ok()) return ring.error();
        memory_ = ring.value();
        if (address_bits_ < 64 && (memory_.iova.value + memory_.bytes - 1) >> address_bits_ != 0) {
            log(LogLevel::error, "its memory got an IOVA beyond 4 GiB, and the adapter has 32 bits for it");
            return Error::mapping_failed;
        }
        for (std::uint32_t slot = 0; slot < slots; ++slot) headers()[slot].table = table_iova(slot).value;
        return {};
    }
    // The port is stopped, for good.
    void release() {
        if (memory_.cpu != nullptr) platform_->free_ring(memory_);
        memory_ = RingMemory{};
    }
    [[nodiscard]] bool allocated() const { return memory_.cpu != nullptr; }

    [[nodiscard]] PortOffset offset() const { return offset_; }
    [[nodiscard]] CommandHeader* headers() const {
        return static_cast<CommandHeader*>(at(PortMemoryLayout::command_list));
    }
    [[nodiscard]] CommandTable* tables() const {
        return static_cast<CommandTable*>(at(PortMemoryLayout::tables));
    }
    [[nodiscard]] Iova table_iova(std::uint32_t slot) const {
        return memory_.iova + PortMemoryLayout::tables + slot * sizeof(CommandTable);
    }

    template <class R>
    R read() {
        return read_register<R>(*platform_, offset_);
    }
    template <class R>
    void write(const R& value) {
        write_register(*platform_, offset_, value);
    }
    template <class R>
    void write_raw(std::uint32_t raw) {
        write_bits<R>(*platform_, offset_, raw);
    }

    // Lets the link come up; the port has no memory yet. [AHCI §10.1.1]
    void power_up() {
        write(PortInterruptEnable{});
        // No partial and no slumber: a link that sleeps costs its wake-up at the next request.
        write(PortSerialControl{}.set(PortSerialControl::power_transitions,
                                      PortSerialControl::no_partial_no_slumber));
        PortCommand command = read<PortCommand>();
        if (command.test(PortCommand::cold_presence_detection)) command.set(PortCommand::power_on);
        write(command.set(PortCommand::spin_up)
                  .set(PortCommand::interface_control, PortCommand::interface_active));
    }

    [[nodiscard]] bool link_is_up() {
        return read<PortSerialStatus>().get(PortSerialStatus::detection) ==
               PortSerialStatus::device_with_link;
    }
    [[nodiscard]] bool sees_nothing() {
        return read<PortSerialStatus>().get(PortSerialStatus::detection) == PortSerialStatus::nothing;
    }

    // From a port whose link is up to one that start_command_list() starts. [AHCI §10.3]. Errors: timed_out
    // (the device stays busy), not_supported (no disk), device_gone.
    Status make_ready() {
        // A link that was reset left it running, and what it was told must not change then.
        if (!read<PortCommand>().test(PortCommand::fis_receive_enable)) receive_fises();
        clear_errors();
        const Status ready =
            wait_until(*platform_, ready_timeout_us, 1000, [&] { return !is_busy() || !link_is_up(); });
        if (!ready.ok()) return ready.error();
        if (!link_is_up()) return Error::device_gone;
        if (read<PortSignature>().raw != PortSignature::ata_disk) return Error::not_supported;
        // What the link reported on its way up is no error.
        clear_errors();
        return {};
    }

    // From now on what is issued runs. Errors: timed_out (the device is busy), device_misbehaves (it does not
    // start), device_gone.
    Status start_command_list() { return start_list(PortMemoryLayout::command_list); }

    // What the device had is forgotten: PxCI and PxSACT are zero afterwards. Error: timed_out.
    Status stop_command_list() {
        write(read<PortCommand>().clear(PortCommand::start));
        return wait_until(*platform_, engine_stop_timeout_us, 100,
                          [&] { return !read<PortCommand>().test(PortCommand::command_list_running); });
    }

    // [AHCI §10.3.2]: the command list first. On success the port touches no memory any more. Error:
    // timed_out.
    Status stop() {
        write(PortInterruptEnable{});
        if (const Status stopped = stop_command_list(); !stopped.ok()) return stopped;
        write(read<PortCommand>().clear(PortCommand::fis_receive_enable));
        return wait_until(*platform_, engine_stop_timeout_us, 100,
                          [&] { return !read<PortCommand>().test(PortCommand::fis_receive_running); });
    }

    // COMRESET, and ready again; the command list is stopped. [AHCI §10.4.2]. Errors: device_gone (no link),
    // those of make_ready().
    Status reset_link() {
        const PortSerialControl control = PortSerialControl{}.set(PortSerialControl::power_transitions,
                                                                  PortSerialControl::no_partial_no_slumber);
        write(PortSerialControl{control}.set(PortSerialControl::detection, PortSerialControl::reset_link));
        wait_ms(*platform_, link_reset_ms);
        write(control);
        return wait_for_link();
    }

    // After a reset of the whole adapter. Errors: as reset_link().
    Status power_up_again() {
        power_up();
        return wait_for_link();
    }

    [[nodiscard]] bool is_busy() {
        return (read<PortTaskFile>().raw & (PortTaskFile::busy.mask | PortTaskFile::data_request.mask)) != 0;
    }

    void clear_errors() {
        write_raw<PortSerialError>(all_ones);
        write_raw<PortInterruptStatus>(all_ones);
    }

    // The port is ready and its command list stopped, and so they leave it. `data`: what the device sent,
    // copied out of its reach. Errors: timed_out, not_supported (the device ended it with an error),
    // device_misbehaves (less data), device_gone.
    Status identify(std::uint16_t (&data)[identify_words]) {
        return read_block(make_fis(Command::identify_device, 0, 0, 0, 0), data);
    }
    Status read_log(std::uint32_t address, std::uint8_t (&data)[PortMemoryLayout::own_data_bytes]) {
        return read_block(make_fis(Command::read_log_ext, 0, address, 1, 0), data);
    }

    // With the port's number in front.
    void log(LogLevel level, const char* message) {
        char line[160] = "port ";
        std::size_t length = 5;
        if (port_ >= 10) line[length++] = static_cast<char>('0' + port_ / 10);
        line[length++] = static_cast<char>('0' + port_ % 10);
        line[length++] = ':';
        line[length++] = ' ';
        while (*message != '\0' && length < sizeof(line) - 1) line[length++] = *message++;
        line[length] = '\0';
        platform_->log(level, line);
    }

    [[nodiscard]] P& platform() { return *platform_; }
    [[nodiscard]] std::uint32_t address_bits() const { return address_bits_; }

  private:
    [[nodiscard]] void* at(std::uint32_t offset) const {
        return static_cast<std::byte*>(memory_.cpu) + offset;
    }

    void receive_fises() {
        const Iova received = memory_.iova + PortMemoryLayout::received_fis;
        write_raw<PortReceivedFisLow>(static_cast<std::uint32_t>(received.value));
        write_raw<PortReceivedFisHigh>(static_cast<std::uint32_t>(received.value >> 32));
        write(read<PortCommand>().set(PortCommand::fis_receive_enable));
    }

    // [AHCI §10.3.1]: not while the device is busy. The port looks at the address when it starts, and at no
    // other time.
    Status start_list(std::uint32_t where) {
        if (is_busy()) return Error::timed_out;
        const Iova list = memory_.iova + where;
        write_raw<PortCommandListLow>(static_cast<std::uint32_t>(list.value));
        write_raw<PortCommandListHigh>(static_cast<std::uint32_t>(list.value >> 32));
        write(read<PortCommand>().set(PortCommand::start));
        const PortCommand command = read<PortCommand>();
        if (command.raw == all_ones) return Error::device_gone;
        return command.test(PortCommand::start) ? Status{} : Status{Error::device_misbehaves};
    }

    Status wait_for_link() {
        bool up = false;
        // One that does not even show itself is not waited for as long.
        const bool shown =
            wait_until(*platform_, presence_timeout_us, 1000, [&] { return !sees_nothing(); }).ok();
        if (shown) up = wait_until(*platform_, link_timeout_us, 1000, [&] { return link_is_up(); }).ok();
        if (!up) return Error::device_gone;
        return make_ready();
    }

    template <class T, std::size_t N>
    Status read_block(const RegisterFis& fis, T (&data)[N]) {
        static_assert(sizeof(data) == PortMemoryLayout::own_data_bytes);
        auto* const table = static_cast<CommandTable*>(at(PortMemoryLayout::own_table));
        table->command = fis;
        table->regions[0] = PhysicalRegion{.address = (memory_.iova + PortMemoryLayout::own_data).value,
                                           .reserved = 0,
                                           .bytes_less_one = PortMemoryLayout::own_data_bytes - 1};
        auto* const header = static_cast<CommandHeader*>(at(PortMemoryLayout::own_list));
        header->control = header_control(false, 1);
        header->bytes_transferred = 0;
        header->table = (memory_.iova + PortMemoryLayout::own_table).value;
        if (const Status started = start_list(PortMemoryLayout::own_list); !started.ok()) return started;
        const Status ended = run_first_slot();
        const Status stopped = stop_command_list();
        if (!ended.ok()) return ended;
        if (!stopped.ok()) return stopped;
        const auto* const transferred =
            static_cast<const volatile std::uint32_t*>(&header->bytes_transferred);
        if (*transferred != PortMemoryLayout::own_data_bytes) return Error::device_misbehaves;
        copy_bytes(data, at(PortMemoryLayout::own_data), sizeof(data));
        return {};
    }

    Status run_first_slot() {
        write_raw<PortCommandIssue>(1);
        // The task file still has the last command's error until the device answers this one: not it is
        // asked, but what was cleared.
        std::uint32_t causes = 0;
        const Status ended = wait_until(*platform_, own_command_timeout_us, 100, [&] {
            causes = read<PortInterruptStatus>().raw;
            return (causes & error_causes) != 0 || (read<PortCommandIssue>().raw & 1) == 0;
        });
        if (!ended.ok()) return ended.error();
        if (causes == all_ones) return Error::device_gone;
        const PortTaskFile task_file = read<PortTaskFile>();
        if ((causes & error_causes) != 0 || task_file.test(PortTaskFile::error_status) ||
            task_file.test(PortTaskFile::device_fault))
            return Error::not_supported;
        dma_read_barrier();
        return {};
    }

    P* platform_ = nullptr;
    std::uint32_t port_ = 0;
    std::uint32_t address_bits_ = 64;
    PortOffset offset_{};
    RingMemory memory_{};
};

}  // namespace dmatoll::ahci
