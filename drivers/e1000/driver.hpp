// SPDX-License-Identifier: BSD-2-Clause
// The driver of the Intel 82540EM, 82545EM and 82574L: the same source in the kernel, in a user process and
// on the model.
//
// [8254x] Intel, PCI/PCI-X Family of Gigabit Ethernet Controllers Software Developer's Manual, 317453.
// [82574] Intel, 82574 GbE Controller Family Datasheet, 317694.
#pragma once

#include <cstdint>
#include <span>

#include "../core/counter.hpp"
#include "../core/counters.hpp"
#include "../core/mac_address.hpp"
#include "../core/mapper.hpp"
#include "../core/platform.hpp"
#include "../core/register.hpp"
#include "../core/result.hpp"
#include "address_filter.hpp"
#include "eeprom.hpp"
#include "frames.hpp"
#include "interrupts.hpp"
#include "link.hpp"
#include "offload.hpp"
#include "part.hpp"
#include "pci_express.hpp"
#include "quiet.hpp"
#include "receive_side.hpp"
#include "registers.hpp"
#include "settings.hpp"
#include "statistics.hpp"
#include "transmit_side.hpp"

namespace dmatoll::e1000 {

// Who may call what at the same time: the receive side (receive, refill), the transmit side (transmit,
// ring_transmit_doorbell) and the reclaim side (reclaim) may each run on a CPU of its own; two callers of the
// same side may not. enable_interrupts, disable_interrupts, transmit_room, receive_starved, link, mac,
// counters and statistics may be called from anywhere; take_interrupt, update_statistics and
// set_receive_filter by one caller at a time each. probe, start, stop and set_phy_loopback have the driver to
// themselves.
template <Platform P, Mapper M>
class Driver {
  public:
    // All but the settings outlive the driver. Touches nothing.
    Driver(P& platform, M& mapper, const Part& part, const Settings& settings)
        : platform_{platform},
          part_{part},
          settings_{settings},
          receive_side_{platform, mapper},
          transmit_side_{platform, mapper} {}
    Driver(const Driver&) = delete;
    Driver& operator=(const Driver&) = delete;

    // Brings the device into a state in which it does no DMA whatever it did before, resets it and reads its
    // MAC address. To be called before bus mastering is set: an earlier driver's rings may still be
    // programmed. Errors: invalid_argument (settings), device_gone, timed_out (reset, EEPROM),
    // device_misbehaves (EEPROM contents, registers that do not take).
    Status probe() {
        if (!valid(settings_, part_)) {
            platform_.log(
                LogLevel::error,
                "settings refused: descriptors are a power of two from 64 to 4096, receive buffers "
                "one from 256 to 16384 bytes, interrupts per second 0 or 60 to 1000000, the largest "
                "frame 1514 to 9014 bytes");
            return Error::invalid_argument;
        }
        if (read_register<DeviceStatus>(platform_).raw == all_ones) {
            platform_.log(LogLevel::error,
                          "status register reads all ones: the device is gone or its memory is off");
            return Error::device_gone;
        }
        if (const Status quieted = quiet(platform_, part_); !quieted.ok()) return quieted;
        quiet_ = true;
        const Result<MacAddress> mac = eeprom::read_mac_address(platform_, part_);
        if (!mac.ok()) {
            platform_.log(
                LogLevel::error,
                mac.error() == Error::device_misbehaves
                    ? "EEPROM refused: its words do not add up to BABAh, or its address is no station's"
                    : "EEPROM does not answer");
            return mac.error();
        }
        mac_ = mac.value();
        return {};
    }

    // Settings::largest_frame from the next start() on. Error: invalid_argument (not stopped, or a size that
    // the part does not take).
    Status set_largest_frame(std::uint32_t bytes) {
        Settings changed = settings_;
        changed.largest_frame = bytes;
        if (receive_side_.allocated() || !valid(changed, part_)) return Error::invalid_argument;
        settings_ = changed;
        return {};
    }

    // The last stop() may have failed at this: a device that still works on old rings gets no new ones. To be
    // called while it is stopped, before its bus mastering is switched on again. Errors: quiet()'s.
    Status ensure_quiet() {
        if (quiet_) return {};
        const Status quieted = quiet(platform_, part_);
        quiet_ = quieted.ok();
        return quieted;
    }

    // Sets up the rings, fills the receive ring, brings the link up and switches reception and transmission
    // on. Interrupts stay masked. provide_buffer: () -> Result<ReceiveBuffer>. It may answer no_memory early,
    // but not at once: one buffer is the least. Does not wait for the link. After an error stop() gives back
    // everything that was taken. Errors: invalid_argument (not stopped), those of the Platform and of the
    // Mapper, device_gone, timed_out and device_misbehaves (PHY, registers).
    template <class Provide>
    Status start(Provide&& provide_buffer) {
        if (receive_side_.allocated()) return Error::invalid_argument;
        if (const Status quieted = ensure_quiet(); !quieted.ok()) return quieted;
        quiet_ = false;
        if (const Status allocated = receive_side_.allocate(settings_); !allocated.ok()) return allocated;
        if (const Status allocated = transmit_side_.allocate(settings_); !allocated.ok()) return allocated;
        if (part_.pci_express) prepare_pci_express(platform_);
        statistics_.discard(platform_);
        program_receive_filter(platform_, mac_, accept_all_multicast);
        transmit_side_.program(part_);
        receive_side_.program();

        const Error filled = receive_side_.fill(provide_buffer);
        if (receive_side_.starved()) {
            platform_.log(LogLevel::error, "not one receive buffer could be had and mapped");
            return filled;
        }

        if (const Status up = bring_up_link(platform_); !up.ok()) {
            platform_.log(LogLevel::error, "the PHY does not answer");
            return up;
        }
        throttle_interrupts(platform_, settings_.interrupts_per_second);
        // A cause that was pending from before belongs to nobody.
        forget_interrupt_causes(platform_);
        transmit_side_.enable(part_);
        receive_side_.enable();
        const ReceiveControl receive_control = read_register<ReceiveControl>(platform_);
        if (receive_control.raw == all_ones) return Error::device_gone;
        if (!receive_control.test(ReceiveControl::enable) ||
            !read_register<TransmitControl>(platform_).test(TransmitControl::enable)) {
            platform_.log(LogLevel::error, "reception or transmission did not switch on");
            return Error::device_misbehaves;
        }
        return {};
    }

    // Switches the device off and takes everything back: return_buffer(cookie) for every receive buffer,
    // transmit_done(cookie) for every frame that was not reclaimed, sent or not. The device does no DMA after
    // the return. Nothing of the data path runs any more or will. May follow any outcome of start(), and be
    // called twice.
    template <class ReturnBuffer, class TransmitDone>
    void stop(ReturnBuffer&& return_buffer, TransmitDone&& transmit_done) {
        // The reset below forgets them.
        if (receive_side_.allocated()) statistics_.update(platform_);
        // The next driver may not be one that looks at it.
        if (looped_) static_cast<void>(set_phy_loopback(false));
        quiet_ = quiet(platform_, part_).ok();
        if (!quiet_) {
            platform_.log(LogLevel::error,
                          "the device did not become quiet: its bus mastering must stay off");
        }
        receive_side_.take_back(return_buffer);
        transmit_side_.take_back(transmit_done);
        transmit_side_.release();
        receive_side_.release();
    }

    // Takes up to `budget` frames back from the device. deliver(ReceivedPiece): the buffer is the callee's
    // now, and unmapped. drop(cookie): likewise, but what is in it is no good. A frame of several pieces
    // counts once; while its end has not come it stays with the device. One longer than
    // Settings.largest_frame is dropped whole, and is one receive error. Returns how many frames were taken,
    // dropped ones among them; fewer than the budget means that no more are ready. refill() gives the device
    // new buffers. Each call counts as a poll; as an idle one if neither it nor any reclaim() since the last
    // poll found something.
    template <class Deliver, class ReturnBuffer>
    std::uint32_t receive(std::uint32_t budget, Deliver&& deliver, ReturnBuffer&& drop) {
        const std::uint32_t taken = receive_side_.receive(budget, deliver, drop);
        polls_.add(1);
        const std::uint64_t reclaimed = transmit_side_.frames();
        if (taken == 0 && reclaimed == reclaimed_at_poll_) idle_polls_.add(1);
        reclaimed_at_poll_ = reclaimed;
        return taken;
    }

    // Gives the device a buffer for every free receive descriptor, as far as there are buffers, and rings the
    // doorbell once. A buffer that cannot be mapped is kept and tried again at the next call.
    template <class Provide>
    void refill(Provide&& provide_buffer) {
        static_cast<void>(receive_side_.fill(provide_buffer));
    }

    // Frames on their way to a NIC that has no buffers are lost, and with an empty ring no interrupt ever
    // comes again: the surroundings call refill() later if this is so.
    [[nodiscard]] bool receive_starved() const { return receive_side_.starved(); }

    // Hands a frame to the device. The buffers stay as they are until reclaim() (or stop()) gives the cookie
    // back. With `more_coming` the device is not told yet: the next call without it, or
    // ring_transmit_doorbell(), does so for all. On an error nothing was taken, nothing stays mapped, and
    // frames that waited for the doorbell have been announced. Frames that are to be segmented went through
    // prepare_segmentation(). Errors: ring_full (reclaim and try again), invalid_argument (too long, too many
    // or empty segments, offsets that the device cannot use), and the Mapper's.
    [[gnu::always_inline]] Status transmit(std::span<const Segment> segments, const TransmitOffload& offload,
                                           std::uint64_t cookie, bool more_coming = false) {
        return transmit_side_.transmit(segments, offload, cookie, more_coming);
    }

    // Announces what transmit() left unannounced; nothing if there is nothing.
    void ring_transmit_doorbell() { transmit_side_.ring_doorbell(); }

    // Takes back up to `budget` frames that the device is done with: done(cookie, frames on the wire, bytes
    // on the wire). The buffers are unmapped. Returns how many cookies were given back.
    template <class TransmitDone>
    std::uint32_t reclaim(std::uint32_t budget, TransmitDone&& done) {
        return transmit_side_.reclaim(budget, done);
    }

    // Free transmit descriptors. With most_descriptors_per_frame or more the next transmit() does not answer
    // ring_full. Exact on the transmit side but for what reclaim() frees meanwhile; elsewhere a moment old,
    // and never too large by what is known there.
    [[nodiscard]] std::uint32_t transmit_room() const { return transmit_side_.room(); }

    // Reads and clears the pending causes; the interrupt line falls. What to do: receive() and reclaim(),
    // link().
    InterruptCauses take_interrupt() { return take_interrupt_causes(platform_, interrupts_); }

    // `transmit`: also when frames were sent. Without, that cause stays masked: disable_interrupts() before
    // changes it.
    void enable_interrupts(bool transmit = true) { unmask_interrupts(platform_, transmit); }
    void disable_interrupts() { mask_interrupts(platform_); }

    LinkState link() { return read_link_state(platform_); }

    // Which frames are taken beside those for our own address and for all. From start() on until the first
    // call: all multicast, too. To be called while the driver runs; start() forgets it. Frames that come
    // while it changes may be missed.
    void set_receive_filter(const ReceiveFilter& filter) {
        program_receive_filter(platform_, mac_, filter);
        receive_side_.set_promiscuous(filter.promiscuous, filter.promiscuous || filter.all_multicast);
    }

    // Sends frames back at the PHY instead of onto the wire; off: negotiates again, which takes the link down
    // for a while. Errors: those of the PHY.
    Status set_phy_loopback(bool on) {
        const Status set = set_link_loopback(platform_, on);
        looped_ = on || (looped_ && !set.ok());
        return set;
    }

    [[nodiscard]] const Part& part() const { return part_; }
    [[nodiscard]] const MacAddress& mac() const { return mac_; }
    [[nodiscard]] const Settings& settings() const { return settings_; }

    [[nodiscard]] NetworkCounters counters() const {
        return NetworkCounters{.frames_transmitted = transmit_side_.frames(),
                               .frames_received = receive_side_.frames(),
                               .bytes_transmitted = transmit_side_.bytes(),
                               .bytes_received = receive_side_.bytes(),
                               .transmit_errors = transmit_side_.errors(),
                               .receive_errors = receive_side_.errors(),
                               .receive_missed = statistics_.missed_packets(),
                               .interrupts = interrupts_.read(),
                               .polls = polls_.read(),
                               .idle_polls = idle_polls_.read()};
    }

    // Reads the device's registers; counters().receive_missed comes from there, too.
    void update_statistics() { statistics_.update(platform_); }
    [[nodiscard]] DeviceStatistics statistics() const { return statistics_.read(); }

  private:
    // Read-only while the data path runs.
    P& platform_;
    const Part& part_;
    Settings settings_;
    MacAddress mac_{};
    bool quiet_ = false;   // no ring is programmed, nothing moves
    bool looped_ = false;  // the PHY sends frames back, or may

    // Each keeps what it writes in cache lines of its own.
    ReceiveSide<P, M> receive_side_;
    TransmitSide<P, M> transmit_side_;

    // receive()'s: a poll is idle by what both sides found.
    alignas(64) std::uint64_t reclaimed_at_poll_ = 0;
    Counter polls_;
    Counter idle_polls_;

    alignas(64) Counter interrupts_;
    StatisticsAccumulator statistics_;
};

}  // namespace dmatoll::e1000
