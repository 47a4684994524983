// SPDX-License-Identifier: BSD-2-Clause
// The data path without a TAP: the driver process itself makes frames, or takes them, as fast as it can. What
// is left is the driver, the mapping and the device, with no IP stack and no copying into the kernel.
//
// Polls like event_loop.hpp. While there is work it makes no system call but one look at signals and the
// clock in many rounds; without work it lets interrupts through and sleeps, unless it is to poll only.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "core/mac_address.hpp"
#include "e1000/driver.hpp"
#include "fault.hpp"
#include "internet_checksum.hpp"
#include "interrupt_gate.hpp"
#include "network_options.hpp"
#include "network_state.hpp"
#include "packet_arena.hpp"
#include "published_network_counters.hpp"
#include "slot_stack.hpp"
#include "vfio_device.hpp"
#include "wait_set.hpp"

namespace dmatoll::user {

// Ethernet addresses, a type that is set aside for local experiments [IEEE 802 §9.2.3], and the frame's
// number.
struct RawHeader {
    static constexpr std::uint16_t local_experiment = __builtin_bswap16(0x88b5);

    MacAddress destination;
    MacAddress source;
    std::uint16_t type;
    std::array<std::byte, 2> aligning;
    std::uint64_t number;
};
static_assert(sizeof(RawHeader) == 24);

// Driver: e1000::Driver. Mapper: tells the mapping counters.
template <class Driver, class Mapper>
class RawLoop {
  public:
    // All outlive it. `options.raw` is not `none`.
    RawLoop(Driver& driver, Mapper& mapper, VfioDevice& device, const PacketArena& arena,
            NetworkState& shared, const NetworkDriverOptions& options)
        : driver_{driver},
          mapper_{mapper},
          gate_{driver, device},
          arena_{arena},
          frames_{arena.transmit_area()},
          shared_{shared},
          raw_{options.raw},
          polls_only_{options.poll},
          frame_bytes_{options.frame_bytes - crc_bytes},
          peer_{options.peer_mac},
          // A frame that comes back needs a receive buffer: more in flight would only be lost.
          most_in_flight_{raw_ == Raw::loopback ? options.receive_descriptors / 2
                                                : options.transmit_descriptors},
          slot_mask_{options.transmit_descriptors - 1},
          receive_slots_{arena.layout().receive_slots} {}
    RawLoop(const RawLoop&) = delete;
    RawLoop& operator=(const RawLoop&) = delete;

    // Starts the driver. After an error call stop() all the same.
    Status start() {
        if (const Status started = driver_.start([this] { return provide(); }); !started.ok()) {
            return started;
        }
        prepare_frames();
        return raw_ == Raw::loopback ? driver_.set_phy_loopback(true) : Status{};
    }

    // Nothing of the device's is left to do when this returns.
    void stop() {
        driver_.stop([this](std::uint64_t slot) { receive_slots_.push(static_cast<std::uint32_t>(slot)); },
                     [](std::uint64_t) {});
        publish_counters();
    }

    // Moves frames until the wait set reports a signal. Error: device_gone.
    Status run(WaitSet& waiting) {
        if (!polls_only_) {
            gate_.start(true);
        }
        check_link();
        waiting.set_patience(WaitSet::do_not_sleep);
        while (true) {
            const Events events = waiting.wait();
            publish(shared_.wakeups, ++wakeups_);
            if (events.stop) {
                return {};
            }
            if (events.interrupt) {
                gate_.close();
            }
            if (events.bell) [[unlikely]] {
                publish_counters();
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
            bool idle = false;
            for (std::uint32_t round = 0; round < rounds_between_waits && !idle; ++round) {
                if (!move_batch() && !polls_only_) {
                    const Result<bool> slept = end_polling();
                    if (!slept.ok()) {
                        return slept.error();
                    }
                    idle = slept.value();
                }
                // Under load the alarm is looked at too late.
                if constexpr (requires { mapper_.flush_if_due(); }) {
                    mapper_.flush_if_due();
                }
            }
            waiting.set_patience(idle ? WaitSet::sleep : WaitSet::do_not_sleep);
        }
    }

  private:
    static constexpr std::uint32_t crc_bytes = 4;
    // Frames for one doorbell, and NAPI's weight.
    static constexpr std::uint32_t send_budget = 64;
    static constexpr std::uint32_t receive_budget = 64;
    static constexpr std::uint32_t rounds_between_waits = 64;

    Result<e1000::ReceiveBuffer> provide() {
        if (receive_slots_.empty()) [[unlikely]] {
            return Error::no_memory;
        }
        const std::uint32_t slot = receive_slots_.pop();
        return e1000::ReceiveBuffer{memory_at(arena_.receive_slot(slot) + ArenaLayout::receive_headroom),
                                    slot};
    }

    // A page each, so that a strategy that maps one exposes no other.
    [[nodiscard]] std::byte* frame(std::uint64_t number) const {
        return frames_ + (number & slot_mask_) * page_bytes;
    }

    void prepare_frames() {
        RawHeader header{};
        header.destination = raw_ == Raw::loopback ? driver_.mac() : peer_;
        header.source = driver_.mac();
        header.type = RawHeader::local_experiment;
        for (std::uint64_t slot = 0; slot <= slot_mask_; ++slot) {
            std::memset(frame(slot), 0, page_bytes);
            store(frame(slot), header);
        }
    }

    // False if there was nothing to do.
    bool move_batch() {
        std::uint32_t moved = 0;
        if (raw_ != Raw::receive) {
            moved += driver_.reclaim(send_budget, [](std::uint64_t, std::uint32_t, std::uint32_t) {});
            moved += send_batch();
        }
        if (raw_ != Raw::transmit) {
            moved += receive_batch();
        }
        return moved != 0;
    }

    std::uint32_t send_batch() {
        if (!may_send_) [[unlikely]] {
            return 0;
        }
        std::uint32_t room = driver_.transmit_room();
        room = room > e1000::most_descriptors_per_frame ? room - e1000::most_descriptors_per_frame : 0;
        if (raw_ == Raw::loopback) {
            const std::uint64_t in_flight = sent_ - next_number_;
            room = static_cast<std::uint32_t>(
                std::min<std::uint64_t>(room, in_flight < most_in_flight_ ? most_in_flight_ - in_flight : 0));
        }
        // In registers: a store to a frame could change any member, for all that the compiler knows.
        const std::uint64_t begin = sent_;
        const std::uint64_t end = begin + std::min(room, send_budget);
        std::uint64_t number = begin;
        const std::uint32_t bytes = frame_bytes_;
        Driver& driver = driver_;
        for (; number != end; ++number) {
            std::byte* const start = frame(number);
            store(start + offsetof(RawHeader, number), number);
            const Segment segment{memory_at(start), bytes};
            if (!driver.transmit({&segment, 1}, {}, 0, true).ok()) [[unlikely]] {
                break;
            }
        }
        sent_ = number;
        driver_.ring_transmit_doorbell();
        return static_cast<std::uint32_t>(number - begin);
    }

    std::uint32_t receive_batch() {
        const std::uint32_t taken = driver_.receive(
            receive_budget,
            [this](const e1000::ReceivedPiece& piece) {
                if (raw_ == Raw::loopback) {
                    check(piece);
                }
                receive_slots_.push(static_cast<std::uint32_t>(piece.cookie));
            },
            [this](std::uint64_t slot) { receive_slots_.push(static_cast<std::uint32_t>(slot)); });
        // Also when no frame was taken: what is dropped of an endless one uses up descriptors all the same.
        driver_.refill([this] { return provide(); });
        return taken;
    }

    // What came back is what was sent: of its length, and the next in line. Gaps are losses.
    void check(const e1000::ReceivedPiece& piece) {
        const std::byte* const start =
            arena_.receive_slot(static_cast<std::uint32_t>(piece.cookie)) + ArenaLayout::receive_headroom;
        const auto type = load<std::uint16_t>(start + offsetof(RawHeader, type));
        const auto number = load<std::uint64_t>(start + offsetof(RawHeader, number));
        if (!piece.last || piece.length != frame_bytes_ || type != RawHeader::local_experiment ||
            number < next_number_ || number >= sent_) [[unlikely]] {
            ++bad_;
            return;
        }
        lost_ += number - next_number_;
        next_number_ = number + 1;
    }

    // Opens the gate; false if something came in the meantime. Causes go before the rings are
    // looked at once more, for the reason that event_loop.hpp tells. Error: device_gone.
    Result<bool> end_polling() {
        const e1000::InterruptCauses causes = driver_.take_interrupt();
        if (causes.device_gone) [[unlikely]] {
            return Error::device_gone;
        }
        if (causes.link) [[unlikely]] {
            check_link();
        }
        if (move_batch()) {
            return false;
        }
        gate_.open();
        return true;
    }

    // Error: device_gone.
    Status on_timer() {
        if (polls_only_ && driver_.take_interrupt().device_gone) [[unlikely]] {
            return Error::device_gone;
        }
        publish_hardware_of(driver_, shared_);
        check_link();
        may_send_ = true;
        publish_counters();
        driver_.refill([this] { return provide(); });
        // Frames that are still out after two seconds do not come back, and with all that may be in flight
        // out no other would ever be sent.
        if (raw_ == Raw::loopback && next_number_ == number_at_timer_) {
            lost_ += sent_ - next_number_;
            next_number_ = sent_;
        }
        number_at_timer_ = next_number_;
        return {};
    }

    void check_link() {
        const e1000::LinkState link = driver_.link();
        may_send_ |= link.up;
        publish(shared_.link_megabits, link.up ? link.megabits : 0);
    }

    // At the bell, and with every tick of the clock.
    void publish_counters() {
        publish_counters_of(driver_, mapper_, wakeups_, shared_);
        publish(shared_.raw_frames_lost, lost_);
        publish(shared_.raw_frames_bad, bad_);
        finish_publication(shared_);
    }

    Driver& driver_;
    Mapper& mapper_;
    InterruptGate<Driver, VfioDevice> gate_;
    const PacketArena& arena_;
    std::byte* const frames_;
    NetworkState& shared_;
    const Raw raw_;
    const bool polls_only_;
    const std::uint32_t frame_bytes_;  // without CRC
    const MacAddress peer_;
    const std::uint32_t most_in_flight_;
    const std::uint64_t slot_mask_;
    SlotStack receive_slots_;

    // There was a link, or two seconds to get one: a PHY in loopback need not report any.
    bool may_send_ = false;
    std::uint64_t sent_ = 0;             // number of the next frame
    std::uint64_t next_number_ = 0;      // loopback: that is to come back next
    std::uint64_t number_at_timer_ = 0;  // next_number_ two seconds ago
    std::uint64_t lost_ = 0;
    std::uint64_t bad_ = 0;
    std::uint64_t wakeups_ = 0;
};

}  // namespace dmatoll::user
