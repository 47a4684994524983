// SPDX-License-Identifier: BSD-2-Clause
// The data path: frames between the TAP and the driver, in one thread that sleeps when there is nothing to
// do.
//
// The shape is NAPI's. An interrupt starts polling; polling goes on, a budget at a time, while there is work;
// only then may the next interrupt come (interrupt_gate.hpp). What costs at user level is the system call,
// so:
// - epoll reports edges: an interrupt needs no read() of its counter, and a full transmit ring no change of
// what is waited for;
// - the interrupt line is opened by one write(), and for a message there is no line;
// - frames that were sent raise no interrupt: what they lie in is ours, and nobody waits for it. They are
// taken back when room is needed; only a ring without room asks for the interrupt;
// - a TAP is read until it is empty, a segmentable frame of up to 64 KiB by one read(), and the device told
// once for all of it;
// - received TCP segments and UDP datagrams are joined and written by one writev() (receive_merger.hpp);
// - counters are shown when they are asked for.
#pragma once

#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <span>

#include "e1000/driver.hpp"
#include "e1000/offload.hpp"
#include "fault.hpp"
#include "internet_checksum.hpp"
#include "interrupt_gate.hpp"
#include "network_options.hpp"
#include "network_state.hpp"
#include "packet_arena.hpp"
#include "published_network_counters.hpp"
#include "receive_merger.hpp"
#include "slot_stack.hpp"
#include "tap.hpp"
#include "tap_header.hpp"
#include "vfio_device.hpp"
#include "virtio_header.hpp"
#include "wait_set.hpp"

namespace dmatoll::user {

// Driver: e1000::Driver. Counters: what tells the mapping counters (the Mapper).
template <class Driver, class Mapper>
class EventLoop {
  public:
    // All outlive it.
    EventLoop(Driver& driver, Mapper& mapper, VfioDevice& device, const PacketArena& arena, int tap,
              NetworkState& shared, const NetworkDriverOptions& options)
        : driver_{driver},
          mapper_{mapper},
          gate_{driver, device},
          arena_{arena},
          tap_{tap},
          shared_{shared},
          polls_only_{options.poll},
          offloads_{options.offloads},
          receive_slots_{arena.layout().receive_slots},
          transmit_slots_{arena.layout().transmit_slots},
          merger_{options.join_datagrams} {}
    EventLoop(const EventLoop&) = delete;
    EventLoop& operator=(const EventLoop&) = delete;

    // Starts the driver. After an error call stop() all the same.
    Status start() {
        return driver_.start([this] { return provide(); });
    }

    // Nothing of the device's is left to do when this returns.
    void stop() {
        driver_.stop([this](std::uint64_t slot) { receive_slots_.push(static_cast<std::uint32_t>(slot)); },
                     [this](std::uint64_t slot) { transmit_slots_.push(static_cast<std::uint32_t>(slot)); });
        publish_counters();
    }

    // Moves frames until the wait set reports a signal, or the TAP is gone. Error: device_gone.
    Status run(WaitSet& waiting) {
        polling_ = polls_only_;
        if (!polls_only_) {
            gate_.start(false);
            gate_.open();
        }
        check_link();
        follow_interface();
        waiting.set_patience(polls_only_ ? WaitSet::do_not_sleep : WaitSet::sleep);
        while (true) {
            const Events events = waiting.wait();
            publish(shared_.wakeups, ++wakeups_);
            ++system_calls_;
            if (events.stop || tap_gone_) {
                return {};
            }
            if (events.bell) [[unlikely]] {
                publish_counters();
                follow_interface();
                commit(static_cast<Fault>(shared_.fault.load(std::memory_order_relaxed)));
            }
            if (events.timer) {
                if (const Status alive = on_timer(); !alive.ok()) {
                    return alive;
                }
            }
            if constexpr (requires { mapper_.on_alarm(); }) {
                if (events.alarm) {
                    mapper_.on_alarm();
                }
            }
            if (events.interrupt && !polling_) {
                gate_.close();
                polling_ = true;
            }
            tap_ready_ |= events.tap;
            for (std::uint32_t round = 0; round < rounds_between_waits; ++round) {
                // Less than the budget: nothing was left.
                const bool drained = polling_ && poll_device() < receive_budget;
                if (tap_ready_) {
                    send_batch();
                }
                // Under load the alarm is looked at too late.
                if constexpr (requires { mapper_.flush_if_due(); }) {
                    mapper_.flush_if_due();
                }
                if (drained && !polls_only_) {
                    if (const Status ended = end_polling(); !ended.ok()) {
                        return ended;
                    }
                }
                if (!polling_ && !may_send()) {
                    break;
                }
            }
            // Signals and the clock are looked at now and then under any load.
            waiting.set_patience(polling_ || may_send() ? WaitSet::do_not_sleep : WaitSet::sleep);
        }
    }

    // Somebody deleted the interface: nothing can be done for it any more.
    [[nodiscard]] bool tap_gone() const { return tap_gone_; }

  private:
    // NAPI's weight.
    static constexpr std::uint32_t receive_budget = 64;
    // Frames read from the TAP before the device is told and received frames get their turn. Sixteen of 64
    // KiB fill a ring of 256.
    static constexpr std::uint32_t send_budget = 16;
    static constexpr std::uint32_t reclaim_budget = 256;
    static constexpr std::uint32_t rounds_between_waits = 64;

    Result<e1000::ReceiveBuffer> provide() {
        if (receive_slots_.empty()) [[unlikely]] {
            return Error::no_memory;
        }
        const std::uint32_t slot = receive_slots_.pop();
        return e1000::ReceiveBuffer{memory_at(arena_.receive_slot(slot) + ArenaLayout::receive_headroom),
                                    slot};
    }

    void reclaim() {
        driver_.reclaim(reclaim_budget, [this](std::uint64_t slot, std::uint32_t, std::uint32_t) {
            transmit_slots_.push(static_cast<std::uint32_t>(slot));
        });
    }

    // One NAPI poll. Returns how many descriptors were taken, up to receive_budget.
    std::uint32_t poll_device() {
        reclaim();
        const std::uint32_t taken = driver_.receive(
            receive_budget, [this](const e1000::ReceivedPiece& frame) { deliver(frame); },
            [this](std::uint64_t slot) { receive_slots_.push(static_cast<std::uint32_t>(slot)); });
        if (taken != 0) {
            write_merged();
        }
        // Also when no frame was taken: what is dropped of an endless one uses up descriptors all the same.
        driver_.refill([this] { return provide(); });
        return taken;
    }

    // Opens the gate, if nothing came in the meantime.
    Status end_polling() {
        // Causes go first, then the rings are looked at once more: what comes later interrupts,
        // what came before is seen here. The other way round each poll would be followed by an interrupt that
        // has nothing to say.
        const e1000::InterruptCauses causes = driver_.take_interrupt();
        if (causes.device_gone) [[unlikely]] {
            return Error::device_gone;
        }
        if (causes.link) [[unlikely]] {
            check_link();
        }
        if (poll_device() == 0) {
            system_calls_ += gate_.open();
            polling_ = false;
        }
        return {};
    }

    void deliver(const e1000::ReceivedPiece& received) {
        const auto slot = static_cast<std::uint32_t>(received.cookie);
        std::byte* const frame = arena_.receive_slot(slot) + ArenaLayout::receive_headroom;
        const bool good = offloads_ && received.checksum == e1000::Checksum::good;
        if (!received.last || !pieces_.empty()) [[unlikely]] {
            deliver_piece(received, frame, slot, good);
            return;
        }
        Merge merge = offloads_ ? merger_.offer(frame, received.length, slot, good) : Merge::alone;
        if (merge == Merge::refused) {
            write_merged();
            merge = merger_.offer(frame, received.length, slot, good);
        }
        if (merge == Merge::complete) {
            write_merged();
        } else if (merge == Merge::alone) {
            // Behind what came before it.
            write_merged();
            TapHeader header{};
            header.flags = good ? tap_header::data_valid : 0;
            std::byte* const start = frame - sizeof(header);
            store(start, header);
            count_write(::write(tap_, start, sizeof(header) + received.length));
            receive_slots_.push(slot);
        }
    }

    // A frame of several buffers goes to the TAP alone.
    void deliver_piece(const e1000::ReceivedPiece& received, std::byte* frame, std::uint32_t slot,
                       bool good) {
        if (pieces_.empty()) {
            write_merged();
            pieces_.pieces[0] = {frame - sizeof(TapHeader), sizeof(TapHeader) + received.length};
        } else {
            pieces_.pieces[pieces_.count] = {frame, received.length};
        }
        pieces_.slots[pieces_.count++] = slot;
        if (!received.last) {
            return;
        }
        TapHeader header{};
        header.flags = good ? tap_header::data_valid : 0;
        store(static_cast<std::byte*>(pieces_.pieces[0].iov_base), header);
        write_pieces(pieces_);
    }

    void write_merged() {
        if (merger_.empty()) {
            return;
        }
        write_pieces(merger_.finish());
    }

    void write_pieces(MergedFrame& merged) {
        const auto pieces = merged.vector();
        count_write(pieces.size() == 1 ? ::write(tap_, pieces[0].iov_base, pieces[0].iov_len)
                                       : ::writev(tap_, pieces.data(), static_cast<int>(pieces.size())));
        for (const std::uint32_t slot : merged.used_slots()) {
            receive_slots_.push(slot);
        }
        merged.clear();
    }

    // A frame that the TAP does not take (the interface is down, or there is no memory) is lost, as on any
    // NIC.
    void count_write(ssize_t written) {
        ++system_calls_;
        if (written < 0) [[unlikely]] {
            ++writes_failed_;
        } else {
            ++frames_written_;
        }
    }

    [[nodiscard]] bool may_send() const {
        return tap_ready_ && !transmit_slots_.empty() &&
               driver_.transmit_room() >= e1000::most_descriptors_per_frame;
    }

    // Reads frames from the TAP and hands them to the device.
    void send_batch() {
        // No room: nothing is read until reclaiming makes some, which the transmit interrupt starts. Until
        // then frames wait in the queue of the TAP.
        if (!may_send()) {
            reclaim();
        }
        for (std::uint32_t i = 0; i < send_budget && may_send(); ++i) {
            const std::uint32_t slot = transmit_slots_.pop();
            if (!send_one(slot)) {
                transmit_slots_.push(slot);
            }
        }
        driver_.ring_transmit_doorbell();
        ask_for_room(tap_ready_ && !may_send());
    }

    // Only while frames wait for room does a sent one raise the interrupt.
    void ask_for_room(bool wanted) {
        if (wanted == asks_for_room_) [[likely]] {
            return;
        }
        asks_for_room_ = wanted;
        if (polls_only_) {
            return;
        }
        gate_.set_transmit(wanted);
    }

    // False: the slot is still free, either because the TAP is empty or because the frame could not be sent.
    bool send_one(std::uint32_t slot) {
        std::byte* const frame = arena_.transmit_slot(slot) + ArenaLayout::transmit_frame_offset;
        std::byte* const start = frame - sizeof(TapHeader);
        const ssize_t got = ::read(tap_, start, sizeof(TapHeader) + ArenaLayout::largest_transmit_frame);
        ++system_calls_;
        if (got <= static_cast<ssize_t>(sizeof(TapHeader))) {
            tap_ready_ = false;
            // EFAULT while it is being deleted.
            tap_gone_ |= got < 0 && (errno == EBADFD || errno == EFAULT);
            return false;
        }
        ++frames_read_;
        const std::span<std::byte> bytes{frame, static_cast<std::size_t>(got) - sizeof(TapHeader)};
        const Result<e1000::TransmitOffload> offload =
            to_offload(load<TapHeader>(start), bytes, driver_.settings().largest_frame);
        if (!offload.ok()) [[unlikely]] {
            ++frames_refused_;
            return false;
        }
        if (offload.value().segment && !e1000::prepare_segmentation(bytes, offload.value()).ok())
            [[unlikely]] {
            ++frames_refused_;
            return false;
        }
        const Segment segment{memory_at(frame), static_cast<std::uint32_t>(bytes.size())};
        // There is room (may_send), so an error is the frame's own, or the IOMMU's. The driver counts it.
        return driver_.transmit({&segment, 1}, offload.value(), slot, true).ok();
    }

    // Error: device_gone.
    Status on_timer() {
        // Without interrupts nobody else looks whether the device is still there.
        if (polls_only_ && driver_.take_interrupt().device_gone) [[unlikely]] {
            return Error::device_gone;
        }
        publish_hardware_of(driver_, shared_);
        check_link();
        publish_counters();
        // Slots that ran out while a mapping failed, for example: with an empty ring no interrupt would ever
        // come again.
        driver_.refill([this] { return provide(); });
        return {};
    }

    void check_link() {
        const e1000::LinkState link = driver_.link();
        if (link.up != link_up_) {
            link_up_ = link.up;
            set_carrier(tap_, link.up);
        }
        publish(shared_.link_megabits, link.up ? link.megabits : 0);
    }

    // The interface may show what is meant for others; see interface_watch.hpp.
    void follow_interface() {
        const bool wanted = shared_.promiscuous.load(std::memory_order_relaxed) != 0;
        if (wanted != promiscuous_) {
            promiscuous_ = wanted;
            driver_.set_receive_filter({.promiscuous = wanted, .all_multicast = true});
        }
    }

    // At the bell, and with every tick of the clock: on the data path it would cost as much as a frame.
    void publish_counters() {
        reclaim();  // what was sent is counted by it
        publish_counters_of(driver_, mapper_, system_calls_, shared_);
        publish(shared_.tap_frames_read, frames_read_);
        publish(shared_.tap_frames_written, frames_written_);
        publish(shared_.tap_frames_refused, frames_refused_);
        publish(shared_.tap_writes_failed, writes_failed_);
        finish_publication(shared_);
    }

    Driver& driver_;
    Mapper& mapper_;
    InterruptGate<Driver, VfioDevice> gate_;
    const PacketArena& arena_;
    const int tap_;
    NetworkState& shared_;
    const bool polls_only_;
    const bool offloads_;
    SlotStack receive_slots_;
    SlotStack transmit_slots_;
    ReceiveMerger merger_;
    MergedFrame pieces_;      // of a frame that is longer than a buffer
    bool polling_ = false;    // the gate is closed
    bool tap_ready_ = false;  // the TAP was not found empty since its last edge
    bool tap_gone_ = false;
    bool link_up_ = false;
    bool promiscuous_ = false;
    bool asks_for_room_ = false;

    std::uint64_t wakeups_ = 0;
    std::uint64_t system_calls_ = 0;
    std::uint64_t frames_read_ = 0;
    std::uint64_t frames_written_ = 0;
    std::uint64_t frames_refused_ = 0;
    std::uint64_t writes_failed_ = 0;
};

}  // namespace dmatoll::user
