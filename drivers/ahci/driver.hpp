// SPDX-License-Identifier: BSD-2-Clause
// The driver of an AHCI host bus adapter and its disks: the same source in the kernel, in a user process and
// on the model.
//
// [AHCI] Serial ATA Advanced Host Controller Interface, revision 1.3.1.
#pragma once

#include <atomic>
#include <bit>
#include <cstdint>

#include "../core/counter.hpp"
#include "../core/counters.hpp"
#include "../core/mapper.hpp"
#include "../core/platform.hpp"
#include "../core/register.hpp"
#include "../core/result.hpp"
#include "../core/wait.hpp"
#include "adapter.hpp"
#include "disk.hpp"
#include "port.hpp"
#include "port_engine.hpp"
#include "registers.hpp"
#include "request.hpp"
#include "request_queue.hpp"
#include "settings.hpp"

namespace dmatoll::ahci {

// The 32-bit registers of the Platform are BAR 5 here, the ABAR.
//
// Who may call what at the same time: submit, complete, needs_recovery, present, counters from anywhere, in
// process and softirq context; watch and recover by one caller a port each, recover in a context that may
// sleep; take_interrupt by one caller at a time, in any context, the hard interrupt included;
// enable_interrupts and disable_interrupts by one caller at a time. probe, ensure_quiet, start and stop have
// the driver to themselves and may sleep. A tag is its submitter's until submit() took it, and again from the
// moment on at which a sink was told of it.
template <AdapterPlatform P, ScatterMapper M>
class Driver {
  public:
    // All but the settings outlive the driver. Touches nothing.
    Driver(P& platform, M& mapper, const Settings& settings)
        : platform_{platform}, mapper_{mapper}, settings_{settings} {}
    Driver(const Driver&) = delete;
    Driver& operator=(const Driver&) = delete;

    // Takes the adapter over from the firmware and resets it: it does no DMA afterwards, whatever it did
    // before. To be called before bus mastering is set. Errors: invalid_argument (settings), device_gone,
    // timed_out (reset), device_misbehaves (registers that make no sense).
    Status probe() {
        if (!valid(settings_)) {
            platform_.log(LogLevel::error, "settings refused: the queue depth is 1 to 32, and attempts are 1 to 3");
            return Error::invalid_argument;
        }
        if (read_register<Capabilities>(platform_).raw == all_ones) {
            platform_.log(LogLevel::error,
                          "capability register reads all ones: the device is gone or its memory is off");
            return Error::device_gone;
        }
        // Only with this bit are the other registers AHCI's [AHCI §3.1.2].
        write_register(platform_, GlobalControl{}.set(GlobalControl::ahci_enable));
        take_over_from_firmware(platform_);
        if (const Status quiet = reset_adapter(platform_, ports_within(settings_.register_bytes));
            !quiet.ok())
            return quiet;
        quiet_ = true;
        capabilities_ = read_register<Capabilities>(platform_);
        implemented_ =
            read_register<PortsImplemented>(platform_).raw & ports_within(settings_.register_bytes);
        if (implemented_ == 0 || capabilities_.raw == all_ones ||
            !read_register<GlobalControl>(platform_).test(GlobalControl::ahci_enable)) {
            platform_.log(LogLevel::error,
                          "the adapter has no port whose registers can be reached, or does not do AHCI");
            return Error::device_misbehaves;
        }
        return {};
    }

    // How long IOVAs may be for this adapter, 32 or 64 bits; after probe(). A request whose memory is mapped
    // beyond is refused with mapping_failed.
    [[nodiscard]] std::uint32_t address_bits() const { return ahci::address_bits(capabilities_); }

    // The last stop() may have failed at this: an adapter that still works on old memory gets no new one. To
    // be called while it is stopped, before its bus mastering is switched on again. Errors:
    // reset_adapter()'s.
    Status ensure_quiet() {
        if (quiet_) return {};
        const Status quieted = reset_adapter(platform_, ports_within(settings_.register_bytes));
        quiet_ = quieted.ok();
        return quieted;
    }

    // Starts every port that has a disk; which these are ports() says. A device that is no disk, and a disk
    // that fails, are passed over with a line in the log. Interrupts stay off. Takes up to half a minute for
    // a disk that spins up. After an error stop() gives back everything that was taken. Errors:
    // invalid_argument (not stopped), those of the Platform, device_gone; if there are disks and not one
    // works: what was wrong with the last.
    Status start() {
        if (ports_ != 0) return Error::invalid_argument;
        if (const Status quieted = ensure_quiet(); !quieted.ok()) return quieted;
        quiet_ = false;
        dma_is_forbidden_.store(false);
        for_each(implemented_, [&](std::uint32_t port) {
            port_[port].engine().attach(platform_, port, address_bits());
            port_[port].engine().power_up();
        });
        const std::uint32_t linked = wait_for_links();

        const std::uint32_t slots = capabilities_.get(Capabilities::number_of_command_slots) + 1;
        const std::uint32_t depth = settings_.queue_depth < slots ? settings_.queue_depth : slots;
        Error last = Error::none;
        for (std::uint32_t left = linked; left != 0; left &= left - 1) {
            const auto port = static_cast<std::uint32_t>(std::countr_zero(left));
            const Status opened =
                port_[port].open(mapper_, depth, settings_.attempts, capabilities_.test(Capabilities::native_command_queueing));
            if (opened.ok()) {
                ports_ |= 1u << port;
                continue;
            }
            last = opened.error();
            if (last == Error::no_memory || last == Error::no_iova_space || last == Error::mapping_failed)
                return last;
            if (!port_[port].stop()) return last;
            port_[port].close([](std::uint32_t, Outcome) {});
        }
        if (read_register<GlobalControl>(platform_).raw == all_ones) return Error::device_gone;
        return ports_ != 0 || last == Error::not_supported ? Status{} : Status{last};
    }

    // Stops the adapter and gives everything back: sink(port, tag, Outcome::gone) for every request that was
    // taken and has not ended. The device does no DMA from then on. Nothing of the data path runs any
    // more or will. What is in a disk's write cache stays there: flush before. May follow any outcome of
    // start(), and be called twice.
    template <class Sink>
    void stop(Sink&& sink) {
        disable_interrupts();
        // By the book port by port; the reset also ends what a port did not let go of.
        for_each(implemented_, [&](std::uint32_t port) { static_cast<void>(port_[port].stop()); });
        quiet_ = reset_adapter(platform_, ports_within(settings_.register_bytes)).ok();
        if (!quiet_) {
            platform_.log(LogLevel::error,
                          "the adapter did not become quiet: its bus mastering must stay off");
            platform_.forbid_dma();
        }
        for_each(implemented_, [&](std::uint32_t port) {
            port_[port].close([&](std::uint32_t tag, Outcome outcome) { sink(port, tag, outcome); });
        });
        ports_ = 0;
    }

    // A bit for each port with a disk, from start() to stop().
    [[nodiscard]] std::uint32_t ports() const { return ports_; }
    // Of a port with a disk.
    [[nodiscard]] const Disk& disk(std::uint32_t port) const { return port_[port].queue().disk(); }
    // False once the disk went away: every submit() answers device_gone.
    [[nodiscard]] bool present(std::uint32_t port) const { return has(port) && !port_[port].queue().gone(); }

    // Gives a request to the disk; sink(tag, Outcome) of complete(), recover() or watch(), or stop()'s, gives
    // it back. tag: less than the disk's queue depth, and not in use. What cannot run beside others waits
    // inside the driver. What segments and ranges point at is looked at during the call only; the memory is
    // the device's until the request is given back. On an error nothing was taken, nothing stays mapped.
    // Errors: invalid_argument (beyond the end, no block or too many, memory of another size, not even, no
    // such port or tag, an operation that the disk does not have), device_gone, and the Mapper's: after
    // no_memory and no_iova_space it may be tried again when another request has ended, and when some time
    // has passed. If that goes on for half a minute, and no request is there that could end, it is
    // mapping_failed.
    [[gnu::always_inline]] Status submit(std::uint32_t port, std::uint32_t tag, const Request& request) {
        if (!has(port)) [[unlikely]]
            return Error::invalid_argument;
        return port_[port].queue().submit(tag, request);
    }

    // Reads and acknowledges what is pending. Returns a bit for each port whose complete() is due, and then
    // recover() if it needs that; 0: the interrupt is somebody else's.
    std::uint32_t take_interrupt() {
        const std::uint32_t pending = read_register<InterruptStatus>(platform_).raw;
        if (pending == 0) return 0;
        if (pending == all_ones && ports_ != all_ones) [[unlikely]] {
            for_each(ports_,
                     [&](std::uint32_t port) { port_[port].queue().add_trouble(trouble::impossible); });
            return ports_;
        }
        for (std::uint32_t left = pending & implemented_; left != 0; left &= left - 1) {
            const auto port = static_cast<std::uint32_t>(std::countr_zero(left));
            const PortOffset offset = offset_of_port(port);
            const std::uint32_t causes = read_register<PortInterruptStatus>(platform_, offset).raw;
            write_bits<PortInterruptStatus>(platform_, offset, causes);
            if ((causes & error_causes) != 0) [[unlikely]]
                note_errors(port, causes);
        }
        // Behind the ports' own: it would be set again at once [AHCI §10.7.2.1].
        write_bits_of_adapter(pending);
        interrupts_.add(1);
        return pending & ports_;
    }

    // Gives back what the disk has done: sink(tag, Outcome::done), unmapped. Returns how many. Each call
    // counts as a poll.
    template <class Sink>
    [[gnu::always_inline]] std::uint32_t complete(std::uint32_t port, Sink&& sink) {
        if (!has(port)) [[unlikely]]
            return 0;
        return port_[port].queue().complete(interrupts_enabled_.load(std::memory_order_relaxed), sink);
    }

    // After complete() or take_interrupt(): an error. Nothing is issued at this port before recover().
    [[nodiscard]] bool needs_recovery(std::uint32_t port) const {
        return has(port) && port_[port].queue().needs_recovery();
    }

    // Finds out what happened, brings the port back, by a reset if it takes one, ends what failed with its
    // Outcome, and gives the rest to the disk again. A disk that does not come back ends everything with
    // `gone`. Afterwards needs_recovery() may say yes again. Takes seconds, and in the worst case minutes: a
    // disk may spin up. sink(tag, Outcome).
    template <class Sink>
    void recover(std::uint32_t port, Sink&& sink) {
        if (!has(port)) return;
        port_[port].recover(AdapterOfPorts{*this, port}, sink);
    }

    // To be called for each port every watch_period_ms: gives back what no interrupt told of, and counts it;
    // takes time for requests that the disk does not answer, without a clock on the data path, and for those
    // that are refused for want of memory; sees errors where interrupts are off. True: recover() is due.
    template <class Sink>
    bool watch(std::uint32_t port, Sink&& sink) {
        if (!has(port)) return false;
        typename RequestQueue<P, M>::Work all{};
        for_each(ports_, [&](std::uint32_t other) {
            const auto work = port_[other].queue().work();
            all.taken += work.taken;
            all.any_left |= work.any_left;
        });
        port_[port].queue().count_shortage(all);
        return port_[port].queue().watch(interrupts_enabled_.load(std::memory_order_relaxed), sink);
    }

    // Before somebody else resets the adapter, or takes its power: what is with the disks and what is
    // submitted from now on waits until recover(), which is due at every port afterwards. Meanwhile
    // take_interrupt() alone touches registers. Not beside watch and recover.
    void hold() {
        for_each(ports_, [&](std::uint32_t port) {
            port_[port].queue().freeze_for_reset(trouble::stopped | trouble::announced);
        });
    }

    void enable_interrupts() {
        interrupts_enabled_.store(true, std::memory_order_relaxed);
        write_register(platform_, global_control(true));
    }
    void disable_interrupts() {
        interrupts_enabled_.store(false, std::memory_order_relaxed);
        write_register(platform_, global_control(false));
    }

    [[nodiscard]] const Settings& settings() const { return settings_; }

    [[nodiscard]] StorageCounters counters() const {
        StorageCounters sum{};
        for (const Port<P, M>& port : port_) {
            port.queue().add_to(sum);
            sum.recoveries += port.recoveries();
        }
        sum.interrupts = interrupts_.read();
        return sum;
    }

  private:
    // What a port that recovers sees of the others.
    struct AdapterOfPorts {
        Driver& driver;
        std::uint32_t port;
        Status reset(std::uint32_t seen) { return driver.reset_for(port, seen); }
        std::uint32_t resets() { return driver.resets_.load(std::memory_order_acquire); }
        void forbid_dma() { driver.forbid_dma_for(port); }
        bool dma_is_forbidden() { return driver.dma_is_forbidden_.load(std::memory_order_acquire); }
    };

    template <class Visit>
    static void for_each(std::uint32_t ports, Visit&& visit) {
        for (; ports != 0; ports &= ports - 1) visit(static_cast<std::uint32_t>(std::countr_zero(ports)));
    }

    [[nodiscard]] bool has(std::uint32_t port) const {
        return port < most_ports && (ports_ >> port & 1) != 0;
    }

    static GlobalControl global_control(bool interrupts) {
        return GlobalControl{}
            .set(GlobalControl::ahci_enable)
            .set(GlobalControl::interrupt_enable, interrupts ? 1 : 0);
    }

    void write_bits_of_adapter(std::uint32_t pending) {
        InterruptStatus status{};
        status.raw = pending;
        write_register(platform_, status);
    }

    // Which ports have a device with its link up. All of them are waited for together: most have none.
    std::uint32_t wait_for_links() {
        std::uint32_t linked = 0;
        std::uint32_t shown = 0;
        const auto look = [&] {
            for_each(implemented_ & ~linked, [&](std::uint32_t port) {
                if (!port_[port].engine().sees_nothing()) shown |= 1u << port;
                if (port_[port].engine().link_is_up()) linked |= 1u << port;
            });
        };
        static_cast<void>(wait_until(platform_, presence_timeout_us, 1000, [&] {
            look();
            return linked == implemented_;
        }));
        static_cast<void>(wait_until(platform_, link_timeout_us, 1000, [&] {
            look();
            return linked == shown;
        }));
        return linked;
    }

    // Some causes cannot be acknowledged here: the port is silent until it was recovered.
    [[gnu::noinline, gnu::cold]] void note_errors(std::uint32_t port, std::uint32_t causes) {
        write_register(platform_, offset_of_port(port), PortInterruptEnable{});
        if (causes == all_ones) {
            port_[port].queue().add_trouble(trouble::impossible);
        } else {
            port_[port].queue().add_trouble(causes & error_causes);
        }
    }

    // One reset serves all who ask meanwhile: the next would undo what the others are at.
    Status reset_for(std::uint32_t asking, std::uint32_t seen) {
        bool idle = false;
        if (!resetting_.compare_exchange_strong(idle, true)) {
            const Status over =
                wait_until(platform_, 2 * adapter_reset_timeout_us, 1000, [&] { return !resetting_.load(); });
            return over.ok() ? Status{last_reset_.load()} : over;
        }
        if (resets_.load() != seen) {
            const Status over = last_reset_.load();
            resetting_.store(false);
            return over;
        }
        resets_.fetch_add(1);
        // Before the reset: PxSACT and PxCI read as zero after it, as if everything were done.
        for_each(ports_ & ~(1u << asking),
                 [&](std::uint32_t port) { port_[port].queue().freeze_for_reset(trouble::adapter_reset); });
        const Status reset = reset_adapter(platform_, ports_within(settings_.register_bytes));
        if (reset.ok()) {
            write_register(platform_, global_control(interrupts_enabled_.load(std::memory_order_relaxed)));
        }
        last_reset_.store(reset.error());
        resets_.fetch_add(1);
        resetting_.store(false);
        return reset;
    }

    // The other ports' disks are gone with it, which they find out in recoveries of their own.
    void forbid_dma_for(std::uint32_t asking) {
        platform_.log(LogLevel::error, "the adapter does not become quiet: its bus mastering is taken from it");
        platform_.forbid_dma();
        dma_is_forbidden_.store(true, std::memory_order_release);
        // A port that is about to go on after a reset does not.
        resets_.fetch_add(2);
        for_each(ports_ & ~(1u << asking),
                 [&](std::uint32_t port) { port_[port].queue().freeze_for_reset(trouble::adapter_reset); });
    }

    P& platform_;
    M& mapper_;
    Settings settings_;
    Capabilities capabilities_{};
    std::uint32_t implemented_ = 0;
    std::uint32_t ports_ = 0;
    bool quiet_ = false;  // nothing runs since the last reset
    std::atomic<bool> interrupts_enabled_{false};
    std::atomic<bool> dma_is_forbidden_{false};  // since a recovery
    std::atomic<bool> resetting_{false};
    std::atomic<std::uint32_t> resets_{0};
    std::atomic<Error> last_reset_{Error::none};
    Counter interrupts_;
    Port<P, M> port_[most_ports];
};

}  // namespace dmatoll::ahci
