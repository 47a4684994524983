// SPDX-License-Identifier: BSD-2-Clause
// A port's data path: requests become commands, and commands that the device is done with give their requests
// back.
//
// Queued commands run side by side; any other command runs alone [AHCI §5.5.1, ATA8 §4.15]. So a flush, a
// trim, or anything for a disk without native queueing waits until the queue has run dry, and what comes
// after it waits for it. They take turns: neither a stream of reads and writes nor one of flushes keeps the
// other away.
//
// [AHCI] Serial ATA AHCI 1.3.1. [ATA8] ATA8-ACS.
#pragma once

#include <atomic>
#include <bit>
#include <cstdint>
#include <span>

#include "../core/address.hpp"
#include "../core/barrier.hpp"
#include "../core/counter.hpp"
#include "../core/counters.hpp"
#include "../core/mapper.hpp"
#include "../core/platform.hpp"
#include "../core/result.hpp"
#include "command.hpp"
#include "disk.hpp"
#include "port_engine.hpp"
#include "registers.hpp"
#include "request.hpp"
#include "settings.hpp"

namespace dmatoll::ahci {

// Beside the causes of PxIS, in bits that are reserved there: what the driver finds out itself.
namespace trouble {
inline constexpr std::uint32_t timed_out = 1u << 8;
inline constexpr std::uint32_t impossible = 1u << 9;  // the device wrote what it must not write, or is gone
inline constexpr std::uint32_t short_data = 1u
                                            << 10;  // a command that was not queued moved less than it should
inline constexpr std::uint32_t adapter_reset = 1u << 11;  // the port lost all it had with the whole adapter
inline constexpr std::uint32_t stopped = 1u << 12;        // the same, by a reset that is not ours
inline constexpr std::uint32_t announced = 1u << 13;      // ... and that hold() was told of: nobody's fault
inline constexpr std::uint32_t innocent = adapter_reset | announced;  // what is with the disk did not cause it
}  // namespace trouble
static_assert((error_causes & (trouble::timed_out | trouble::impossible | trouble::short_data |
                               trouble::innocent | trouble::stopped)) == 0);

// What the driver remembers of a request: all that it takes to give it to the device once more. Memory that
// the device can write is not asked for it. The submitter's until it is issued, then whose bit says so in the
// queue.
struct Slot {
    std::uint64_t first_block;
    std::uint32_t blocks;
    std::uint32_t bytes;
    std::uint32_t regions;  // of `segments`; 0: nothing is mapped
    Operation operation;
    bool force_unit_access;
    bool in_use;
    bool queued;            // goes to the device as a queued command
    bool seen_done;         // watch() found it so
    std::uint8_t ticks;     // calls of watch() since it was issued
    std::uint8_t attempts;  // that failed
    DeviceSegment segments[most_segments];
};
static_assert(command_timeout_ticks < 256 && most_attempts < 256);

constexpr Direction direction_of(Operation operation) {
    return operation == Operation::read ? Direction::from_device : Direction::to_device;
}

template <LockingPlatform P, ScatterMapper M>
class RequestQueue {
  public:
    RequestQueue() = default;
    RequestQueue(const RequestQueue&) = delete;
    RequestQueue& operator=(const RequestQueue&) = delete;

    // The engine runs, with memory for the disk's queue depth. All outlive the queue. Error: no_memory.
    Status open(P& platform, M& mapper, PortEngine<P>& engine, const Disk& disk, std::uint32_t attempts) {
        const Result<void*> memory = platform.allocate(disk.queue_depth * sizeof(Slot));
        if (!memory.ok()) return memory.error();
        slots_ = static_cast<Slot*>(memory.value());
        platform_ = &platform;
        mapper_ = &mapper;
        offset_ = engine.offset();
        headers_ = engine.headers();
        tables_ = engine.tables();
        first_table_ = engine.table_iova(0);
        disk_ = disk;
        attempts_ = static_cast<std::uint8_t>(attempts);
        block_shift_ = static_cast<std::uint32_t>(std::countr_zero(disk.block_bytes));
        unreachable_ = engine.address_bits() < 64 ? ~std::uint64_t{0} << engine.address_bits() : 0;
        gone_ = false;
        frozen_ = 0;
        fruitless_ = 0;
        shortage_ticks_.store(0, std::memory_order_relaxed);
        trouble_.store(0, std::memory_order_relaxed);
        return {};
    }
    // Nothing is outstanding.
    void close() {
        if (slots_ != nullptr) platform_->free(slots_, disk_.queue_depth * sizeof(Slot));
        slots_ = nullptr;
    }
    [[nodiscard]] bool is_open() const { return slots_ != nullptr; }
    [[nodiscard]] const Disk& disk() const { return disk_; }
    [[nodiscard]] bool gone() const { return gone_; }

    // As Driver::submit().
    [[gnu::always_inline]] Status submit(std::uint32_t tag, const Request& request) {
        if (tag >= disk_.queue_depth) [[unlikely]]
            return Error::invalid_argument;
        Slot& slot = slots_[tag];
        if (slot.in_use) [[unlikely]]
            return Error::invalid_argument;
        const Status prepared = request.operation <= Operation::write ? prepare_transfer(tag, slot, request)
                                                                      : prepare_other(tag, slot, request);
        if (!prepared.ok()) [[unlikely]]
            return prepared;
        slot.operation = request.operation;
        slot.in_use = true;
        slot.seen_done = false;
        slot.ticks = 0;
        slot.attempts = 0;

        const std::uint32_t bit = 1u << tag;
        lock_.lock();
        requests_[static_cast<std::uint32_t>(request.operation)].add(1);
        bytes_[static_cast<std::uint32_t>(request.operation)].add(slot.bytes);
        if (slot.queued && (plain_ | held_plain_ | frozen_ | trouble_.load(std::memory_order_relaxed)) == 0)
            [[likely]] {
            issue_queued(bit);
            lock_.unlock();
            return {};
        }
        return hold(slot, bit);
    }

    // As Driver::complete(). interrupts: it is called after one.
    template <class Sink>
    [[gnu::always_inline]] std::uint32_t complete(bool interrupts, Sink&& sink) {
        lock_.lock();
        const std::uint32_t done = take_finished(interrupts);
        polls_.add(1);
        if (done != 0) [[likely]] {
            fruitless_ = 0;
            if ((held_queued_ | held_plain_) != 0) [[unlikely]]
                issue_held();
        } else {
            idle_polls_.add(1);
        }
        lock_.unlock();
        return give_back(done, sink);
    }

    [[nodiscard]] bool needs_recovery() const { return trouble_.load(std::memory_order_relaxed) != 0; }
    void add_trouble(std::uint32_t causes) { trouble_.fetch_or(causes, std::memory_order_relaxed); }

    // As Driver::watch(). With `interrupts` what is found is left to them until the next call, so that one
    // which is on its way is not taken for lost.
    template <class Sink>
    bool watch(bool interrupts, Sink&& sink) {
        std::uint32_t done = 0;
        lock_.lock();
        if (frozen_ == 0 && (queued_ | plain_) != 0) {
            const std::uint32_t causes = platform_->read32(offset_.bytes + PortInterruptStatus::offset);
            if (causes == all_ones) {
                add_trouble(trouble::impossible);
            } else {
                if ((causes & error_causes) != 0) add_trouble(causes & error_causes);
                const std::uint32_t finished = find_finished(false);
                for (std::uint32_t left = queued_ | plain_; left != 0; left &= left - 1) {
                    const auto tag = static_cast<std::uint32_t>(std::countr_zero(left));
                    Slot& slot = slots_[tag];
                    if ((finished >> tag & 1) != 0) {
                        if (!interrupts || slot.seen_done) done |= 1u << tag;
                        slot.seen_done = true;
                    } else if (++slot.ticks >= command_timeout_ticks) {
                        slot.ticks = command_timeout_ticks;
                        add_trouble(trouble::timed_out);
                    }
                }
                if (done != 0) {
                    queued_ &= ~done;
                    plain_ &= ~done;
                    fruitless_ = 0;
                    if (interrupts) lost_interrupts_.add(1);
                }
                issue_held();
            }
        }
        lock_.unlock();
        give_back(done, sink);
        return needs_recovery();
    }

    // ---- for the one that recovers the port, or stops it ----

    struct Failure {
        std::uint32_t causes = 0;  // of PxIS, and trouble::*
        std::uint32_t queued = 0;  // tags that the device has not answered
        std::uint32_t plain = 0;
        std::uint32_t held = 0;  // tags that wait inside the driver
    };

    // From now on nothing is issued and no register is believed; what came in time is given back.
    template <class Sink>
    Failure freeze(Sink&& sink) {
        lock_.lock();
        const std::uint32_t done = take_finished(false);
        if (done != 0) fruitless_ = 0;
        frozen_ = 1;
        const Failure failure{trouble_.exchange(0, std::memory_order_relaxed), queued_, plain_,
                              held_queued_ | held_plain_};
        lock_.unlock();
        give_back(done, sink);
        return failure;
    }
    // For a reset of the whole adapter that is not this port's: trouble::adapter_reset, or trouble::stopped,
    // announced or not.
    void freeze_for_reset(std::uint32_t whose) {
        lock_.lock();
        frozen_ = 1;
        // Whatever reset of ours came before this one: the adapter has lost its state since.
        if ((whose & trouble::stopped) != 0) trouble_.fetch_and(~trouble::adapter_reset, std::memory_order_relaxed);
        if (!gone_) add_trouble(whose);
        lock_.unlock();
    }
    // The port runs and the device has nothing: what is to go to it again goes. `unchanged` is asked under
    // the lock; if it says no, nothing happens. Returns what it said.
    template <class Unchanged>
    bool thaw(Unchanged&& unchanged) {
        lock_.lock();
        const bool as_it_was = unchanged();
        if (as_it_was) {
            frozen_ = 0;
            issue_held();
        }
        lock_.unlock();
        return as_it_was;
    }

    [[nodiscard]] bool timed_out(std::uint32_t tag) const {
        return slots_[tag].ticks >= command_timeout_ticks;
    }

    // While frozen. One attempt more, or false: it had them all.
    bool charge(std::uint32_t tag) { return ++slots_[tag].attempts < attempts_; }

    // While frozen: the request goes to the device again once it thaws; `alone`: not as a queued command.
    void again(std::uint32_t tag, bool alone) {
        Slot& slot = slots_[tag];
        if (alone) slot.queued = false;
        slot.seen_done = false;
        slot.ticks = 0;
        write_command(tag, slot);
        const std::uint32_t bit = 1u << tag;
        lock_.lock();
        queued_ &= ~bit;
        plain_ &= ~bit;
        (slot.queued ? held_queued_ : held_plain_) |= bit;
        lock_.unlock();
    }

    // While frozen: ends a request that the device does not work on any more.
    template <class Sink>
    void end(std::uint32_t tag, Outcome outcome, Sink&& sink) {
        Slot& slot = slots_[tag];
        const std::uint32_t bit = 1u << tag;
        lock_.lock();
        queued_ &= ~bit;
        plain_ &= ~bit;
        held_queued_ &= ~bit;
        held_plain_ &= ~bit;
        requests_[static_cast<std::uint32_t>(slot.operation)].take_back();
        bytes_[static_cast<std::uint32_t>(slot.operation)].add(~std::uint64_t{slot.bytes} + 1);
        errors_.add(1);
        lock_.unlock();
        release(slot, 0);
        slot.in_use = false;
        sink(tag, outcome);
    }

    // While frozen: for good. Everything that was taken ends with `gone`, and nothing is taken any more.
    template <class Sink>
    void end_all(Sink&& sink) {
        lock_.lock();
        gone_ = true;
        std::uint32_t left = queued_ | plain_ | held_queued_ | held_plain_;
        trouble_.store(0, std::memory_order_relaxed);
        lock_.unlock();
        for (; left != 0; left &= left - 1)
            end(static_cast<std::uint32_t>(std::countr_zero(left)), Outcome::gone, sink);
    }

    // How many times in a row, this one included, a recovery that found nobody guilty had requests to see to
    // and not one done since the last.
    std::uint32_t count_fruitless() {
        lock_.lock();
        const std::uint32_t count = ++fruitless_;
        lock_.unlock();
        return count;
    }
    // The device said which request it failed, and why: it works, if not with that one.
    void forget_fruitless() {
        lock_.lock();
        fruitless_ = 0;
        lock_.unlock();
    }

    // ---- for the one that watches whether a shortage lasts ----

    struct Work {
        std::uint64_t taken = 0;  // requests, ever
        bool any_left = false;    // not ended
    };
    Work work() {
        lock_.lock();
        Work work{.taken = errors_.read(), .any_left = (queued_ | plain_ | held_queued_ | held_plain_) != 0};
        // Those that ended with an error were taken back.
        for (const Counter& requests : requests_) work.taken += requests.read();
        lock_.unlock();
        return work;
    }
    // Every tick; all_ports: their sum.
    void count_shortage(const Work& all_ports) {
        const bool lasts = refused_.exchange(false, std::memory_order_relaxed) && !all_ports.any_left &&
                           all_ports.taken == taken_before_;
        taken_before_ = all_ports.taken;
        shortage_ticks_.store(lasts ? shortage_ticks_.load(std::memory_order_relaxed) + 1 : 0,
                              std::memory_order_relaxed);
    }

    void add_to(StorageCounters& sum) const {
        constexpr auto at = [](Operation operation) { return static_cast<std::uint32_t>(operation); };
        sum.read_requests += requests_[at(Operation::read)].read();
        sum.write_requests += requests_[at(Operation::write)].read();
        sum.flush_requests += requests_[at(Operation::flush)].read();
        sum.trim_requests += requests_[at(Operation::trim)].read();
        sum.bytes_read += bytes_[at(Operation::read)].read();
        sum.bytes_written += bytes_[at(Operation::write)].read();
        sum.request_errors += errors_.read();
        sum.lost_interrupts += lost_interrupts_.read();
        sum.polls += polls_.read();
        sum.idle_polls += idle_polls_.read();
    }

  private:
    static_assert(Operation::read < Operation::write && Operation::write < Operation::flush);

    // ---- from a request to a command; outside of the lock ----

    [[gnu::always_inline]] Status prepare_transfer(std::uint32_t tag, Slot& slot, const Request& request) {
        const bool write = request.operation == Operation::write;
        const std::uint64_t bytes = std::uint64_t{request.blocks} << block_shift_;
        if (request.blocks == 0 || bytes > most_transfer_bytes || request.first_block >= disk_.blocks ||
            request.blocks > disk_.blocks - request.first_block || request.segments.empty() ||
            request.segments.size() > most_segments ||
            (request.force_unit_access && !(write && disk_.force_unit_access))) [[unlikely]]
            return Error::invalid_argument;

        const Result<std::uint32_t> mapped =
            mapper_->map_list(request.segments, direction_of(request.operation), slot.segments);
        if (!mapped.ok()) [[unlikely]]
            return refusal(mapped.error());
        slot.first_block = request.first_block;
        slot.blocks = request.blocks;
        slot.bytes = static_cast<std::uint32_t>(bytes);
        slot.regions = mapped.value();
        slot.force_unit_access = request.force_unit_access;
        slot.queued = disk_.native_queueing;

        PhysicalRegion* region = tables_[tag].regions;
        std::uint64_t total = 0;
        std::uint64_t starts_and_lengths = 0;
        std::uint64_t ends = 0;
        for (const DeviceSegment& segment : std::span{slot.segments, slot.regions}) {
            *region++ = PhysicalRegion{segment.iova.value, 0, segment.length - 1};
            total += segment.length;
            starts_and_lengths |= segment.iova.value | segment.length;
            ends |= segment.iova.value + (segment.length - 1);
        }
        // One that is short would end within a block, one that is long beyond the request: neither is handed
        // over.
        if (total != bytes || (starts_and_lengths & 1) != 0 || (ends & unreachable_) != 0) [[unlikely]] {
            release(slot, 0);
            return (ends & unreachable_) != 0 ? Error::mapping_failed : Error::invalid_argument;
        }
        write_header(tag, write, slot.regions);
        write_fis(tag, slot, write);
        return {};
    }

    // Whoever is told of a shortage tries again when something ends. With nothing left to end it is told what
    // it is.
    [[gnu::noinline, gnu::cold]] Error refusal(Error error) {
        if (error != Error::no_memory && error != Error::no_iova_space) return error;
        refused_.store(true, std::memory_order_relaxed);
        return shortage_ticks_.load(std::memory_order_relaxed) < most_shortage_ticks ? error
                                                                                     : Error::mapping_failed;
    }

    [[gnu::noinline]] Status prepare_other(std::uint32_t tag, Slot& slot, const Request& request) {
        if (request.operation == Operation::flush ? !disk_.flush : !disk_.trim)
            return Error::invalid_argument;
        slot.first_block = 0;
        slot.blocks = 0;
        slot.bytes = 0;
        slot.regions = 0;
        slot.force_unit_access = false;
        slot.queued = false;
        slot.operation = request.operation;
        if (request.operation == Operation::trim) {
            if (const Status listed = write_trim_list(tag, request.ranges); !listed.ok()) return listed;
        }
        write_command(tag, slot);
        return {};
    }

    // Entries of zero blocks mean nothing and fill up.
    Status write_trim_list(std::uint32_t tag, std::span<const BlockRange> ranges) {
        std::uint64_t* const list = trim_list(tag);
        std::uint32_t entries = 0;
        for (const BlockRange& range : ranges) {
            if (range.blocks == 0 || range.first >= disk_.blocks || range.blocks > disk_.blocks - range.first)
                return Error::invalid_argument;
            for (std::uint32_t done = 0; done < range.blocks;) {
                if (entries == disk_.most_trim_ranges) return Error::invalid_argument;
                const std::uint32_t left = range.blocks - done;
                const std::uint32_t blocks = left < most_trim_blocks ? left : most_trim_blocks;
                list[entries++] = trim_entry(range.first + done, blocks);
                done += blocks;
            }
        }
        if (entries == 0) return Error::invalid_argument;
        while (entries != most_trim_entries) list[entries++] = 0;
        return {};
    }

    [[nodiscard]] std::uint64_t* trim_list(std::uint32_t tag) const {
        return reinterpret_cast<std::uint64_t*>(reinterpret_cast<std::byte*>(&tables_[tag]) +
                                                trim_list_offset);
    }

    [[gnu::always_inline]] void write_header(std::uint32_t tag, bool to_device, std::uint32_t regions) {
        CommandHeader& header = headers_[tag];
        header.control = header_control(to_device, regions);
        header.bytes_transferred = 0;
    }

    [[gnu::always_inline]] void write_fis(std::uint32_t tag, const Slot& slot, bool write) {
        RegisterFis& fis = tables_[tag].command;
        const RegisterFis made =
            slot.queued ? make_queued_fis(write, tag, slot.first_block, slot.blocks, slot.force_unit_access)
                        : make_direct_fis(write, slot.first_block, slot.blocks, slot.force_unit_access);
        fis.first = made.first;
        fis.second = made.second;
    }

    // All of a command from what the slot says; but for a trim's list.
    [[gnu::noinline]] void write_command(std::uint32_t tag, const Slot& slot) {
        CommandTable& table = tables_[tag];
        headers_[tag].table = (first_table_ + tag * sizeof(CommandTable)).value;
        switch (slot.operation) {
            case Operation::read:
            case Operation::write: {
                PhysicalRegion* region = table.regions;
                for (const DeviceSegment& segment : std::span{slot.segments, slot.regions})
                    *region++ = PhysicalRegion{segment.iova.value, 0, segment.length - 1};
                write_header(tag, slot.operation == Operation::write, slot.regions);
                write_fis(tag, slot, slot.operation == Operation::write);
                break;
            }
            case Operation::flush:
                write_header(tag, false, 0);
                table.command = make_fis(Command::flush_cache_ext, 0, 0, 0, device_lba);
                break;
            case Operation::trim:
                table.regions[0] =
                    PhysicalRegion{(first_table_ + (tag * sizeof(CommandTable) + trim_list_offset)).value, 0,
                                   trim_list_bytes - 1};
                write_header(tag, true, 1);
                table.command = make_fis(Command::data_set_management, feature_trim, 0, 1, device_lba);
                break;
        }
    }

    // ---- issuing; under the lock ----

    // Tags that are in use already or free: PxSACT before PxCI [AHCI §5.5.1].
    void issue_queued(std::uint32_t bits) {
        queued_ |= bits;
        platform_->write32(offset_.bytes + PortSerialActive::offset, bits);
        platform_->write32(offset_.bytes + PortCommandIssue::offset, bits);
    }
    void issue_plain(std::uint32_t bit) {
        plain_ = bit;
        platform_->write32(offset_.bytes + PortCommandIssue::offset, bit);
    }

    // What submit() could not issue at once, and the end of it. Takes the lock over.
    [[gnu::noinline]] Status hold(Slot& slot, std::uint32_t bit) {
        if (gone_) {
            requests_[static_cast<std::uint32_t>(slot.operation)].take_back();
            bytes_[static_cast<std::uint32_t>(slot.operation)].add(~std::uint64_t{slot.bytes} + 1);
            lock_.unlock();
            release(slot, 0);
            slot.in_use = false;
            return Error::device_gone;
        }
        (slot.queued ? held_queued_ : held_plain_) |= bit;
        issue_held();
        lock_.unlock();
        return {};
    }

    [[gnu::noinline]] void issue_held() {
        if (plain_ != 0 || frozen_ != 0 || trouble_.load(std::memory_order_relaxed) != 0) return;
        if (queued_ != 0) {
            // Where somebody waits for the queue to run dry nobody joins it.
            if (held_plain_ == 0 && held_queued_ != 0) release_queued();
        } else if (held_plain_ != 0 && (held_queued_ == 0 || !plain_had_turn_)) {
            plain_had_turn_ = true;
            // Round and round, not always the lowest.
            const std::uint32_t behind = held_plain_ & ~((last_plain_ << 1) - 1);
            const std::uint32_t candidates = behind != 0 ? behind : held_plain_;
            last_plain_ = candidates & ~(candidates - 1);
            held_plain_ &= ~last_plain_;
            issue_plain(last_plain_);
        } else if (held_queued_ != 0) {
            release_queued();
        }
    }
    void release_queued() {
        const std::uint32_t bits = held_queued_;
        plain_had_turn_ = false;
        held_queued_ = 0;
        issue_queued(bits);
    }

    // ---- completion ----

    // Under the lock: which commands the device is done with, without an error. Bits that were never issued
    // are none of it.
    //
    // No bit set is what the last command leaves that ends, and what a reset leaves that nobody told us of:
    // then the port is asked whether it still runs. That is the read of a register more. It is spared where
    // there was one command only and `interrupts` tell of its end, as with one request at a time.
    [[gnu::always_inline]] std::uint32_t find_finished(bool interrupts) {
        if (frozen_ != 0) [[unlikely]]
            return 0;
        if (queued_ != 0) [[likely]] {
            const std::uint32_t active = platform_->read32(offset_.bytes + PortSerialActive::offset);
            if ((active & ~queued_) != 0) [[unlikely]] {
                add_trouble(trouble::impossible);
                return 0;
            }
            if (active == 0 && !(interrupts && (queued_ & (queued_ - 1)) == 0 && !needs_recovery()) &&
                !still_runs()) [[unlikely]]
                return 0;
            return queued_ & ~active;
        }
        if (plain_ != 0) return find_finished_plain();
        return 0;
    }

    [[gnu::noinline]] bool still_runs() {
        const std::uint32_t command = platform_->read32(offset_.bytes + PortCommand::offset);
        if ((command & PortCommand::start.mask) != 0 && command != all_ones) [[likely]]
            return true;
        add_trouble(trouble::stopped);
        return false;
    }

    [[gnu::noinline]] std::uint32_t find_finished_plain() {
        const std::uint32_t issued = platform_->read32(offset_.bytes + PortCommandIssue::offset);
        if ((issued & ~plain_) != 0) {
            add_trouble(trouble::impossible);
            return 0;
        }
        if (issued != 0 || !still_runs()) return 0;
        // Some adapters clear the bit of a command that failed, too. Not before: until the device answers,
        // the task file has the last command's error.
        const std::uint32_t task_file = platform_->read32(offset_.bytes + PortTaskFile::offset);
        if ((task_file & (PortTaskFile::error_status.mask | PortTaskFile::device_fault.mask)) != 0) {
            add_trouble(PortInterruptStatus::task_file_error.mask);
            return 0;
        }
        const auto tag = static_cast<std::uint32_t>(std::countr_zero(plain_));
        const Slot& slot = slots_[tag];
        dma_read_barrier();
        const auto* const transferred =
            static_cast<const volatile std::uint32_t*>(&headers_[tag].bytes_transferred);
        if (slot.regions != 0 && *transferred != slot.bytes) {
            add_trouble(trouble::short_data);
            return 0;
        }
        return plain_;
    }

    [[gnu::always_inline]] std::uint32_t take_finished(bool interrupts) {
        const std::uint32_t done = find_finished(interrupts);
        queued_ &= ~done;
        plain_ &= ~done;
        return done;
    }

    // Outside of the lock: the tags are this caller's.
    template <class Sink>
    [[gnu::always_inline]] std::uint32_t give_back(std::uint32_t done, Sink&& sink) {
        std::uint32_t count = 0;
        for (; done != 0; done &= done - 1) {
            const auto tag = static_cast<std::uint32_t>(std::countr_zero(done));
            Slot& slot = slots_[tag];
            release(slot, slot.operation == Operation::read ? slot.bytes : 0);
            slot.in_use = false;
            sink(tag, Outcome::done);
            ++count;
        }
        return count;
    }

    [[gnu::always_inline]] void release(Slot& slot, std::uint32_t written) {
        if (slot.regions == 0) return;
        mapper_->unmap_list(std::span<const DeviceSegment>{slot.segments, slot.regions},
                            direction_of(slot.operation), written);
        slot.regions = 0;
    }

    // Read-only while the data path runs.
    P* platform_ = nullptr;
    M* mapper_ = nullptr;
    PortOffset offset_{};
    std::uint32_t block_shift_ = 9;
    Slot* slots_ = nullptr;
    CommandHeader* headers_ = nullptr;
    CommandTable* tables_ = nullptr;
    Iova first_table_{};
    std::uint64_t unreachable_ = 0;  // bits that no IOVA may have
    Disk disk_{};

    // Under the lock. A bit a tag.
    alignas(64) typename P::Lock lock_{};
    std::uint32_t queued_ = 0;       // with the device, side by side
    std::uint32_t plain_ = 0;        // with the device, alone: one at most, and none beside queued_
    std::uint32_t held_queued_ = 0;  // wait
    std::uint32_t held_plain_ = 0;
    std::uint32_t frozen_ = 0;  // 1: the port is being recovered, or gone
    std::uint32_t last_plain_ = 0;
    std::uint32_t fruitless_ = 0;
    bool plain_had_turn_ = false;
    bool gone_ = false;
    std::uint8_t attempts_ = 1;  // at a request
    // Set from anywhere, the hard interrupt included.
    std::atomic<std::uint32_t> trouble_{0};

    // Of a shortage that has refused requests: whether it did since the last tick, and for how many ticks it
    // did while nothing else went on.
    std::atomic<bool> refused_{false};
    std::atomic<std::uint32_t> shortage_ticks_{0};
    std::uint64_t taken_before_ = 0;  // the watcher's

    Counter requests_[4];
    Counter bytes_[4];
    Counter polls_;
    Counter idle_polls_;
    Counter errors_;
    Counter lost_interrupts_;
};

}  // namespace dmatoll::ahci
