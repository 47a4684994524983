// SPDX-License-Identifier: BSD-2-Clause
// A disk as an engine that copies memory on command: what is written to the disk from one IOVA is read from there to
// another. So the adapter reads memory at any address that a command's table names, and writes it at any
// [AHCI 1.3.1 §4.2.3.3]. All of it goes through the driver that disks have, with what that does about errors [AHCI 1.3.1 §6.2.2].
//
// It needs a few blocks of a disk, and takes the last ones of the first disk that has zeros there, or the marks of an
// earlier engine around them: no other data is overwritten.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>

#include "../core/address.hpp"
#include "../core/copy.hpp"
#include "../core/platform.hpp"
#include "../core/result.hpp"
#include "../core/word.hpp"
#include "command.hpp"
#include "driver.hpp"
#include "registers.hpp"
#include "request.hpp"
#include "settings.hpp"

namespace dmatoll::ahci {

// The mapper of a driver whose requests name IOVAs instead of memory: nothing is mapped for them.
struct AddressesAsGiven {
    static std::uint32_t extent(Memory, std::uint32_t length, Direction) { return length; }
    static Result<Iova> map(Memory memory, std::uint32_t, Direction) { return Iova{memory.address}; }
    static void unmap(Iova, std::uint32_t, Direction, std::uint32_t) {}
    static Result<std::uint32_t> map_list(std::span<const Segment> segments, Direction,
                                          std::span<DeviceSegment> room) {
        if (segments.size() > room.size()) return Error::invalid_argument;
        std::uint32_t count = 0;
        for (const Segment& segment : segments)
            room[count++] = DeviceSegment{Iova{segment.memory.address}, segment.length, 0};
        return count;
    }
    static void unmap_list(std::span<const DeviceSegment>, Direction, std::uint32_t) {}
};

// One caller at a time. Interrupts stay off: what is done is found by looking. It is a dma::CopyEngine.
template <AdapterPlatform P>
class DiskCopy {
  public:
    static constexpr std::uint32_t copy_unit_bytes = 512;  // a block
    static constexpr std::uint32_t least_copy_bytes = copy_unit_bytes;
    static constexpr std::uint32_t most_copy_bytes = static_cast<std::uint32_t>(page_bytes);
    static constexpr std::uint32_t usual_copy_bytes = most_copy_bytes;
    static constexpr std::uint32_t most_in_flight = 255;

    // The platform outlives the engine. Touches nothing.
    DiskCopy(P& platform, const Settings& settings)
        : platform_{platform}, driver_{platform, as_given_, once(settings)} {}
    DiskCopy(const DiskCopy&) = delete;
    DiskCopy& operator=(const DiskCopy&) = delete;

    // As Driver's.
    Status probe() { return driver_.probe(); }

    // Takes the engine's own pages, starts the adapter and chooses the disk; comes back when a first copy has
    // arrived. After an error stop() gives back what was taken. Errors: invalid_argument (it has been started),
    // those of Driver::start(), and not_supported (no disk will do).
    Status start() {
        if (is_on()) return Error::invalid_argument;
        const Result<RingMemory> memory = platform_.allocate_ring(own_pages * page_bytes);
        if (!memory.ok()) return memory.error();
        memory_ = memory.value();
        if (const Status started = driver_.start(); !started.ok()) return started;
        for (std::uint32_t left = driver_.ports(); left != 0; left &= left - 1) {
            port_ = static_cast<std::uint32_t>(std::countr_zero(left));
            if (take_blocks()) return {};
        }
        platform_.log(LogLevel::error,
                      "no disk of this adapter will do: one with blocks of 512 bytes is needed that keeps what is "
                      "written to it and has nothing but zeros at its end");
        return Error::not_supported;
    }

    // The device does no DMA after the return. What is in flight is given up. May follow any outcome of start(),
    // and be called twice.
    void stop() {
        if (!is_on()) return;
        block_ = 0;
        driver_.stop([](std::uint32_t, std::uint32_t, Outcome) {});
        platform_.free_ring(memory_);
        memory_ = RingMemory{};
        next_ = done_ = 0;
    }
    // From when start() has its pages until stop() gives them back.
    [[nodiscard]] bool is_on() const { return memory_.cpu != nullptr; }

    // What failed has been recovered from, or the disk is gone: a copy that arrives says which. What was in flight is
    // given up. Errors: device_gone, timed_out and device_misbehaves (it does not copy any more).
    Status restart() {
        next_ = done_ = 0;
        return copies();
    }

    [[nodiscard]] std::uint32_t in_flight() const { return next_ - done_; }

    // Not with most_in_flight in flight. `bytes`: whole blocks, up to most_copy_bytes.
    void submit(Iova source, Iova destination, std::uint32_t bytes) {
        queue_[next_++ % queue_.size()] = Copy{source, destination, bytes};
    }
    void ring_doorbell() {}  // there is nobody to wake: a copy begins when it is collected

    // Makes the oldest copy: done(bytes), or done(0) if it failed. Returns how many it made.
    template <class Done>
    std::uint32_t collect(Done&& done) {
        if (next_ == done_) return 0;
        const Copy copy = queue_[done_ % queue_.size()];
        const Status made = move_both(copy.source, copy.destination, copy.bytes);
        // It was not made, nor will be: who waits for it restarts the device, and is told.
        if (made.error() == Error::device_gone) return 0;
        ++done_;
        done(made.ok() ? copy.bytes : 0u);
        return 1;
    }

    // timed_out: at an address that is not the engine's it did not end, or failed; the driver has recovered from that.
    // Others: device_misbehaves (between the disk and the engine's own pages, however often it was tried); device_gone; of
    // Driver::submit(): the address is odd, or longer than the adapter's.
    Status copy_and_wait(Iova source, Iova destination, std::uint32_t bytes) {
        const Status copied = move_both(source, destination, bytes);
        // Whose memory it was that the device strayed to, it does not stay on the disk. Behind a failure restart() does so.
        if (!copied.ok() || is_own_page(source)) return copied;
        return transfer_own(Operation::write, block_, origin_iova(), bytes);
    }
    [[nodiscard]] std::uint64_t began_ns() const { return began_ns_; }

    // Two pages of the engine's own, which stay mapped for both directions, to copy from and to.
    [[nodiscard]] std::byte* origin() const { return static_cast<std::byte*>(memory_.cpu); }
    [[nodiscard]] std::byte* landing() const { return origin() + page_bytes; }
    [[nodiscard]] Iova origin_iova() const { return memory_.iova; }
    [[nodiscard]] Iova landing_iova() const { return memory_.iova + page_bytes; }
    // Of the pages that the device works by; a port's memory begins with its command list.
    [[nodiscard]] bool is_own(Iova iova) const {
        if (is_own_page(iova)) return true;
        for (std::uint32_t left = driver_.ports(); left != 0; left &= left - 1) {
            const auto port = static_cast<std::uint32_t>(std::countr_zero(left));
            const PortOffset offset = offset_of_port(port);
            const std::uint64_t list =
                std::uint64_t{read_register<PortCommandListHigh>(platform_, offset).raw} << 32 |
                read_register<PortCommandListLow>(platform_, offset).raw;
            const std::uint64_t pages = pages_spanned(0, PortMemoryLayout::bytes(driver_.disk(port).queue_depth));
            if (iova.value - page_floor(list) < pages * page_bytes) return true;
        }
        return false;
    }

  private:
    static constexpr std::uint32_t own_pages = 2;
    // A block with a mark in front and one behind: whoever else comes to use them, by 4 KiB or with a table of partitions,
    // overwrites one of these.
    static constexpr std::uint32_t own_blocks = 2 + most_copy_bytes / copy_unit_bytes;
    static constexpr std::uint64_t mark = 0x7970'6f63'6c74'6d64;  // "dmtlcopy", and zeros to the block's end

    // A command takes microseconds, or milliseconds where a head must move; and an emulated disk as long as its host is
    // busy. The driver gives it command_timeout_ticks: a stray access something above half a second, since it may hang on what
    // the IOMMU refuses, and others as long as any command of a disk's, which may have to spin up.
    static constexpr std::uint32_t look_us = 50;
    static constexpr std::uint32_t stray_tick_us = 10'000;
    static constexpr std::uint32_t own_tick_us = watch_period_ms * 1000;

    // A refused access is refused again.
    static Settings once(Settings settings) {
        settings.attempts = 1;
        return settings;
    }

    [[nodiscard]] bool is_own_page(Iova iova) const {
        return iova.value - memory_.iova.value < own_pages * page_bytes;
    }

    struct Copy {
        Iova source{};
        Iova destination{};
        std::uint32_t bytes = 0;
    };

    Status move_both(Iova source, Iova destination, std::uint32_t bytes) {
        if (const Status written = move(Operation::write, source, bytes); !written.ok()) return written;
        return move(Operation::read, destination, bytes);
    }
    Status move(Operation operation, Iova iova, std::uint32_t bytes) {
        if (is_own_page(iova)) return transfer_own(operation, block_, iova, bytes);
        began_ns_ = platform_.now_ns();
        return transfer(operation, block_, iova, bytes, stray_tick_us);
    }

    // What fails here is no stray access's doing, and must not pass for one that was refused.
    Status transfer_own(Operation operation, std::uint64_t block, Iova iova, std::uint32_t bytes) {
        for (std::uint32_t attempt = 0; attempt < most_attempts; ++attempt) {
            const Status moved = transfer(operation, block, iova, bytes, own_tick_us);
            if (moved.error() != Error::timed_out) return moved;
        }
        platform_.log(LogLevel::error, "the disk does not take or give blocks of the engine's own");
        return Error::device_misbehaves;
    }

    // From or to memory at that IOVA, whatever is there. A driver of its own, with all that it does about errors: once, and
    // not in each loop that is flattened.
    [[gnu::noinline]] Status transfer(Operation operation, std::uint64_t block, Iova iova, std::uint32_t bytes,
                                          std::uint32_t tick_us) {
        const Segment segment{Memory{iova.value}, bytes};
        bool ended = false;
        Outcome outcome = Outcome::gone;
        const auto sink = [&](std::uint32_t, Outcome came_to) {
            ended = true;
            outcome = came_to;
        };
        const Status taken = driver_.submit(port_, 0,
                                            Request{.operation = operation,
                                                    .first_block = block,
                                                    .blocks = bytes / copy_unit_bytes,
                                                    .segments = {&segment, 1}});
        if (!taken.ok()) return taken;
        for (std::uint32_t waited_us = 0; !ended; waited_us += look_us) {
            // Nobody else looks at what went wrong while interrupts are off.
            static_cast<void>(driver_.take_interrupt());
            driver_.complete(port_, sink);
            if (ended) break;
            if (driver_.needs_recovery(port_)) {
                driver_.recover(port_, sink);
                continue;
            }
            platform_.delay_us(look_us);
            if (waited_us % tick_us == 0) static_cast<void>(driver_.watch(port_, sink));
        }
        if (outcome == Outcome::done) return {};
        return outcome == Outcome::gone ? Error::device_gone : Error::timed_out;
    }

    // Of the disk at port_. False: it is left as it is.
    bool take_blocks() {
        const Disk& disk = driver_.disk(port_);
        if (disk.block_bytes != copy_unit_bytes || disk.blocks < own_blocks) return false;
        const std::uint64_t first = disk.blocks - own_blocks;
        const std::uint64_t last = disk.blocks - 1;
        const Result<bool> marked_first = reads(first, &is_mark);
        const Result<bool> marked_last = reads(last, &is_mark);
        if (!marked_first.ok() || !marked_last.ok()) return false;
        if (!marked_first.value() || !marked_last.value()) {
            // An engine that was cut off may have left one of its marks.
            const Result<bool> unused = are_zero(first + marked_first.value(), disk.blocks - marked_last.value());
            if (!unused.ok()) return false;
            if (!unused.value()) {
                platform_.log(LogLevel::warning, "a disk is passed over: there is data in its last ten blocks, and not the zeros that are wanted there");
                return false;
            }
            clear_bytes(origin(), copy_unit_bytes);
            store_word(origin(), mark);
            for (const std::uint64_t block : {first, last})
                if (!transfer_own(Operation::write, block, origin_iova(), copy_unit_bytes).ok()) return false;
        }
        block_ = first + 1;
        if (copies().ok()) return true;
        block_ = 0;
        return false;
    }

    // Whether a block has what `is` looks for.
    Result<bool> reads(std::uint64_t block, bool (*is)(const std::byte*)) {
        const Status read = transfer_own(Operation::read, block, landing_iova(), copy_unit_bytes);
        if (!read.ok()) return read.error();
        return is(landing());
    }
    Result<bool> are_zero(std::uint64_t first, std::uint64_t end) {
        for (std::uint64_t block = first; block != end; ++block) {
            const Result<bool> zero = reads(block, &is_zero);
            if (!zero.ok() || !zero.value()) return zero;
        }
        return true;
    }

    // A word that nobody else has arrives.
    Status copies() {
        const std::uint64_t word = 0xd15c'0000'0000'0000 + ++proofs_;
        store_word(origin(), word);
        store_word(landing(), 0);
        if (const Status copied = copy_and_wait(origin_iova(), landing_iova(), least_copy_bytes); !copied.ok())
            return copied;
        return load_word(landing()) == word ? Status{} : Status{Error::timed_out};
    }

    static bool is_zero(const std::byte* block) { return is_zero_from(block, 0); }
    static bool is_mark(const std::byte* block) { return load_word(block) == mark && is_zero_from(block, sizeof(mark)); }
    static bool is_zero_from(const std::byte* block, std::uint32_t offset) {
        for (std::uint32_t i = offset; i < copy_unit_bytes; ++i) {
            if (block[i] != std::byte{0}) return false;
        }
        return true;
    }

    P& platform_;
    AddressesAsGiven as_given_;
    Driver<P, AddressesAsGiven> driver_;
    RingMemory memory_{};
    std::uint32_t port_ = 0;
    std::uint64_t block_ = 0;  // the first that copies go over; 0: none is taken
    std::uint64_t began_ns_ = 0;
    std::uint64_t proofs_ = 0;
    // [done_, next_) is not made yet.
    std::array<Copy, most_in_flight + 1> queue_{};
    std::uint32_t next_ = 0;
    std::uint32_t done_ = 0;
};

}  // namespace dmatoll::ahci
