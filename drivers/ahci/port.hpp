// SPDX-License-Identifier: BSD-2-Clause
// A port and its disk: brought up, and brought back after an error.
//
// [AHCI] Serial ATA AHCI 1.3.1. [ATA8] ATA8-ACS.
#pragma once

#include <bit>
#include <cstdint>

#include "../core/counter.hpp"
#include "../core/mapper.hpp"
#include "../core/platform.hpp"
#include "../core/result.hpp"
#include "../core/wait.hpp"
#include "disk.hpp"
#include "identify.hpp"
#include "port_engine.hpp"
#include "queued_error_log.hpp"
#include "registers.hpp"
#include "request.hpp"
#include "request_queue.hpp"
#include "settings.hpp"

namespace dmatoll::ahci {

// What a port may ask of the adapter when its own means are at an end.
template <class A>
concept AdapterReset = requires(A adapter, std::uint32_t seen) {
    // Resets the whole adapter, unless it was reset since resets() was `seen`; the ports other than the one
    // that asks recover by themselves. Error: those of reset_adapter(), whoever asked for the reset.
    { adapter.reset(seen) } -> std::same_as<Status>;
    // Changes with every reset; odd while one is under way.
    { adapter.resets() } -> std::same_as<std::uint32_t>;
    // The adapter obeys nothing: it is kept from all memory, and no port of it will work again.
    { adapter.forbid_dma() } -> std::same_as<void>;
    { adapter.dma_is_forbidden() } -> std::same_as<bool>;
};

template <AdapterPlatform P, ScatterMapper M>
class Port {
  public:
    Port() = default;
    Port(const Port&) = delete;
    Port& operator=(const Port&) = delete;

    PortEngine<P>& engine() { return engine_; }
    RequestQueue<P, M>& queue() { return queue_; }
    const RequestQueue<P, M>& queue() const { return queue_; }

    // The link is up. depth: command slots to use, as far as the disk has that many; attempts: at a request.
    // Interrupts of the port are on afterwards, the adapter's own switch aside. After an error close() gives back what there is.
    // Errors: those of the Platform, of PortEngine::start() and of parse_identify().
    Status open(M& mapper, std::uint32_t depth, std::uint32_t attempts, bool adapter_queues) {
        depth_ = depth;
        adapter_queues_ = adapter_queues;
        if (const Status allocated = engine_.allocate(depth); !allocated.ok()) return allocated;
        if (const Status started = engine_.make_ready(); !started.ok()) {
            const Error error = started.error();
            engine_.log(error == Error::not_supported ? LogLevel::information : LogLevel::error,
                        error == Error::not_supported ? "the device is no ATA disk: passed over"
                        : error == Error::timed_out   ? "the device stays busy"
                                                      : "the device went away while it was started");
            return started;
        }
        if (const Status identified = identify(identity_); !identified.ok()) return identified;
        if (const Status opened = queue_.open(engine_.platform(), mapper, engine_, identity_.disk, attempts);
            !opened.ok())
            return opened;
        engine_.clear_errors();
        if (const Status started = engine_.start_command_list(); !started.ok()) {
            engine_.log(LogLevel::error, "the command list does not start");
            return started;
        }
        unmask();
        return {};
    }

    // The first half of an end: true if the port touches no memory any more. Has the port to itself.
    bool stop() { return !engine_.allocated() || engine_.stop().ok(); }

    // The second half: whatever was outstanding ends with `gone`. The port, or all of the adapter, is quiet.
    template <class Sink>
    void close(Sink&& sink) {
        if (queue_.is_open()) queue_.end_all(sink);
        queue_.close();
        engine_.release();
    }

    // As Driver::recover(). The port's state is one of few things that are true for all ways through here:
    // the queue is frozen, so nothing is issued and no register passes for a completion. First it is found
    // out whose fault it was, as far as the device can say so; then the port is brought back, by the mildest
    // means that does it; last each request is ended or given another attempt. [AHCI §6.2.2]
    template <AdapterReset A, class Sink>
    void recover(A&& adapter, Sink&& sink) {
        // Each round but the first is due to a reset of the adapter by another port meanwhile.
        for (std::uint32_t round = 0; round < most_rounds; ++round) {
            // Before the causes are taken: a reset that is over then is among them.
            std::uint32_t resets = settled_resets(adapter);
            const Failure failure = queue_.freeze(sink);
            if (queue_.gone()) return;
            if (adapter.dma_is_forbidden()) break;
            if (round == 0) {
                // Whoever saw the trouble may ask once more when it is over already.
                if (failure.causes == 0 && queue_.thaw([&] { return !queue_.needs_recovery(); })) return;
                recoveries_.add(1);
            }
            Verdict verdict{};
            if (!revive(failure, adapter, resets, verdict)) {
                // What was under way here went down with a reset of all: that says nothing about the disk.
                if (adapter.resets() != resets) continue;
                break;
            }
            if (verdict.known) queue_.forget_fruitless();
            const bool blameless = verdict.known || (failure.causes & trouble::innocent) != 0;
            // A link that bounces now and then while nobody wants anything says nothing about the disk.
            const bool wanted = (failure.queued | failure.plain | failure.held) != 0;
            if (wanted && !blameless && queue_.count_fruitless() > most_fruitless_recoveries) {
                engine_.log(LogLevel::error, "the disk answers resets and nothing else: given up");
                break;
            }
            settle(failure, verdict, sink);
            if (queue_.thaw([&] { return adapter.resets() == resets; })) {
                unmask();
                return;
            }
        }
        engine_.log(LogLevel::error, "the disk is gone: all of its requests end");
        // Their memory goes back. A port that does not let go of it takes the adapter with it, and an adapter
        // that does not either is kept from it.
        if (!adapter.dma_is_forbidden() && !is_silent(adapter)) adapter.forbid_dma();
        static_cast<void>(queue_.freeze(sink));
        queue_.end_all(sink);
    }

    [[nodiscard]] std::uint64_t recoveries() const { return recoveries_.read(); }

  private:
    using Failure = typename RequestQueue<P, M>::Failure;

    static constexpr std::uint32_t most_rounds = 4;

    // Whose fault it was. Not known: nobody's in particular.
    struct Verdict {
        bool known = false;
        std::uint32_t tag = 0;
        Outcome outcome = Outcome::transport_error;
    };

    // What leaves a link or a device in a state that only a reset ends.
    static constexpr std::uint32_t reset_causes =
        PortInterruptStatus::connect_change.mask | PortInterruptStatus::phy_ready_change.mask |
        PortInterruptStatus::overflow.mask | PortInterruptStatus::host_bus_fatal.mask | trouble::timed_out |
        trouble::impossible | trouble::adapter_reset | trouble::stopped;

    void unmask() { engine_.template write_raw<PortInterruptEnable>(error_causes | completion_causes); }

    Status identify(Identity& identity) {
        std::uint16_t words[identify_words];
        if (const Status read = engine_.identify(words); !read.ok()) {
            engine_.log(LogLevel::error, read.error() == Error::timed_out
                                             ? "IDENTIFY DEVICE did not end within 5 s"
                                             : "IDENTIFY DEVICE failed");
            return read;
        }
        const char* why = nullptr;
        const Status parsed = parse_identify(words, depth_, adapter_queues_, identity, why);
        if (!parsed.ok()) engine_.log(LogLevel::error, why);
        return parsed;
    }

    template <AdapterReset A>
    std::uint32_t settled_resets(A& adapter) {
        std::uint32_t resets = 0;
        static_cast<void>(wait_until(engine_.platform(), 2 * adapter_reset_timeout_us, 1000, [&] {
            resets = adapter.resets();
            return resets % 2 == 0;
        }));
        return resets;
    }

    // True: the port touches no memory any more. One whose registers are not there says nothing about that.
    template <AdapterReset A>
    bool is_silent(A& adapter) {
        if (engine_.template read<PortCommand>().raw == all_ones) return false;
        return engine_.stop().ok() || adapter.reset(adapter.resets()).ok();
    }

    // True: the port takes commands again and the device has none of ours.
    template <AdapterReset A>
    bool revive(const Failure& failure, A& adapter, std::uint32_t& resets, Verdict& verdict) {
        std::uint32_t causes = failure.causes;
        // What it could say about a request went with its state, and its registers may not answer yet.
        if ((causes & trouble::stopped) != 0) return reset(causes, adapter, resets);
        const std::uint32_t pending = engine_.template read<PortInterruptStatus>().raw;
        if (pending == all_ones) return false;
        // An interrupt that came in between would acknowledge what is looked at here.
        engine_.template write<PortInterruptEnable>(PortInterruptEnable{});
        causes |= pending & error_causes;
        const PortTaskFile task_file = engine_.template read<PortTaskFile>();

        // A cause may be an old one that a late interrupt added: the task file must agree, and while the disk
        // is busy with a command it still shows the last one's error.
        const bool device_error =
            (causes & PortInterruptStatus::task_file_error.mask) != 0 &&
            !task_file.test(PortTaskFile::busy) &&
            (task_file.test(PortTaskFile::error_status) || task_file.test(PortTaskFile::device_fault));
        if (device_error && failure.plain != 0) {
            const DeviceError error{.tag = static_cast<std::uint32_t>(std::countr_zero(failure.plain)),
                                    .status = static_cast<std::uint8_t>(task_file.get(PortTaskFile::status)),
                                    .error = static_cast<std::uint8_t>(task_file.get(PortTaskFile::error))};
            verdict = {.known = true, .tag = error.tag, .outcome = outcome_of(error)};
        }

        // A disk goes on with its queue unless it was the one to find an error: then there is nothing but a
        // reset that makes it forget what it has.
        const bool forgets = failure.queued == 0 || device_error;
        if ((causes & reset_causes) == 0 && forgets && engine_.stop_command_list().ok() &&
            !engine_.is_busy()) {
            engine_.clear_errors();
            // A device that had an error in its queue takes no command before its log was read [ATA8 §4.15].
            const bool ready = !device_error || failure.queued == 0 || find_guilty(failure.queued, verdict);
            if (ready && engine_.start_command_list().ok()) return true;
        }
        return reset(causes, adapter, resets);
    }

    bool find_guilty(std::uint32_t queued, Verdict& verdict) {
        if (!identity_.logs) return false;
        std::uint8_t page[log_page_bytes];
        if (!engine_.read_log(queued_error_log_address, page).ok()) {
            engine_.log(LogLevel::warning,
                        "the log of queued errors cannot be read: requests are tried one by one");
            return false;
        }
        const Result<DeviceError> error = parse_queued_error_log(page, queued);
        if (!error.ok()) {
            engine_.log(LogLevel::warning,
                        "the log of queued errors makes no sense: requests are tried one by one");
            return false;
        }
        verdict = {.known = true, .tag = error.value().tag, .outcome = outcome_of(error.value())};
        engine_.clear_errors();
        return true;
    }

    // The link first, all of the adapter if that is not enough, or if it lost its state and nobody has
    // brought it back yet.
    template <AdapterReset A>
    bool reset(std::uint32_t causes, A& adapter, std::uint32_t& resets) {
        const bool lost = (causes & (trouble::stopped | trouble::adapter_reset)) == trouble::stopped;
        if (!lost && engine_.stop_command_list().ok()) {
            const Status started =
                (causes & trouble::adapter_reset) != 0 ? engine_.power_up_again() : engine_.reset_link();
            if (is_back(started)) return true;
            // Nothing is there: resetting the others would not bring it back.
            if (started.error() == Error::device_gone) return false;
        }
        engine_.log(LogLevel::warning, lost ? "the adapter lost its state, not by us: it is brought up again"
                                            : "the port does not come back: the whole adapter is reset");
        const Status reset = adapter.reset(resets);
        resets = settled_resets(adapter);
        return reset.ok() && is_back(engine_.power_up_again());
    }

    // The same disk as before, and it takes commands.
    bool is_back(const Status& started) {
        if (!started.ok()) return false;
        Identity now{};
        if (!identify(now).ok()) return false;
        if (!same_disk(now.disk, identity_.disk)) {
            engine_.log(LogLevel::error, "another disk answers after the reset");
            return false;
        }
        if (loses_writes(identity_.disk, now.disk)) {
            engine_.log(LogLevel::error,
                        "the disk's write cache is on after the reset and was off before: what "
                        "is written would be lost with the power");
            return false;
        }
        engine_.clear_errors();
        return engine_.start_command_list().ok();
    }

    template <class Sink>
    void settle(const Failure& failure, const Verdict& verdict, Sink&& sink) {
        const bool timed_out = (failure.causes & trouble::timed_out) != 0;
        for (std::uint32_t left = failure.queued | failure.plain; left != 0; left &= left - 1) {
            const auto tag = static_cast<std::uint32_t>(std::countr_zero(left));
            if (verdict.known) {
                if (tag != verdict.tag) {
                    queue_.again(tag, false);
                } else if (verdict.outcome == Outcome::transport_error && queue_.charge(tag)) {
                    queue_.again(tag, false);
                } else {
                    queue_.end(tag, verdict.outcome, sink);
                }
                continue;
            }
            // Nobody knows who it was: alone the guilty one shows itself. Where some did not answer in time
            // the others are not blamed, and none where another port or somebody else had everything reset.
            const bool blamed =
                timed_out ? queue_.timed_out(tag) : (failure.causes & trouble::innocent) == 0;
            if (!blamed || queue_.charge(tag)) {
                queue_.again(tag, true);
            } else {
                queue_.end(tag, timed_out ? Outcome::timed_out : Outcome::transport_error, sink);
            }
        }
    }

    PortEngine<P> engine_;
    RequestQueue<P, M> queue_;
    Identity identity_{};
    std::uint32_t depth_ = 1;
    bool adapter_queues_ = false;
    Counter recoveries_;
};

}  // namespace dmatoll::ahci
