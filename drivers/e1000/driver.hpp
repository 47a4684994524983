// SPDX-License-Identifier: BSD-2-Clause
// The driver of the Intel 82540EM: the same source in the kernel, in a user process and on the model.
//
// [8254x] Intel, PCI/PCI-X Family of Gigabit Ethernet Controllers Software Developer's Manual, 317453.
#pragma once

#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>

#include "../core/address.hpp"
#include "../core/barrier.hpp"
#include "../core/counter.hpp"
#include "../core/counters.hpp"
#include "../core/mac_address.hpp"
#include "../core/mapper.hpp"
#include "../core/platform.hpp"
#include "../core/register.hpp"
#include "../core/result.hpp"
#include "../core/ring.hpp"
#include "../core/wait.hpp"
#include "descriptors.hpp"
#include "eeprom.hpp"
#include "offload.hpp"
#include "phy.hpp"
#include "registers.hpp"
#include "statistics.hpp"

namespace dmatoll::e1000 {

struct Settings {
    std::uint32_t receive_descriptors = 256;     // a power of two, 64 to 4096
    std::uint32_t transmit_descriptors = 256;    // likewise
    std::uint32_t receive_buffer_bytes = 2048;   // a power of two, 256 to 16384
    std::uint32_t interrupts_per_second = 8000;  // at most; 60 to 1000000, or 0: as many as there are causes
};

inline constexpr std::uint32_t fewest_descriptors = 64;
inline constexpr std::uint32_t most_descriptors = 4096;

// One descriptor takes at most this much. The manual's limit is 16288 bytes [8254x §3.3.3]; a power of two
// below it.
inline constexpr std::uint32_t most_bytes_per_descriptor = 8192;

// A frame has at most this many segments: a linear part and the 17 fragments of Linux's largest buffer.
inline constexpr std::uint32_t most_segments = 18;

// What the largest frame needs at worst: its context; one descriptor for every page that it fills; and two
// more for each segment, which can begin and end inside a page. Holds for every Mapper whose extent() is at
// least the rest of the page. With fewer free descriptors than this transmit() may answer ring_full: stop the
// queue below it.
inline constexpr std::uint32_t most_descriptors_per_frame =
    1 + static_cast<std::uint32_t>(longest_segmented_frame / page_bytes) + 2 * most_segments;
static_assert(most_descriptors_per_frame < fewest_descriptors);

// cookie: the surroundings' own (a page's address, a slot's number); the driver only carries it. The memory
// is receive_buffer_bytes long and the Mapper takes it in one piece: under page-by-page strategies it lies in
// one page.
struct ReceiveBuffer {
    Memory memory;
    std::uint64_t cookie;
};

// The TCP or UDP checksum as the device found it. unknown: the device did not look.
enum class Checksum : std::uint8_t { unknown, good, bad };

struct ReceivedFrame {
    std::uint64_t cookie;
    std::uint32_t length;  // without CRC; 1 to receive_buffer_bytes
    Checksum checksum;
};

struct Segment {
    Memory memory;
    std::uint32_t length;
};

struct LinkState {
    bool up = false;
    std::uint32_t megabits = 0;
    bool full_duplex = false;
};

struct InterruptCauses {
    bool receive = false;
    bool transmit = false;
    bool link = false;
    bool any = false;          // false: the interrupt is somebody else's
    bool device_gone = false;  // the device does not answer any more; then none of the others is set
};

// Who may call what at the same time: the receive side (receive, refill), the transmit side (transmit,
// ring_transmit_doorbell) and the reclaim side (reclaim) may each run on a CPU of its own; two callers of the
// same side may not. enable_interrupts, disable_interrupts, transmit_room, receive_starved, link, mac,
// counters and statistics may be called from anywhere; take_interrupt and update_statistics by one caller at
// a time each. probe, start, stop and set_phy_loopback have the driver to themselves.
template <Platform P, Mapper M>
class Driver {
  public:
    // Both outlive the driver. Touches nothing.
    Driver(P& platform, M& mapper, const Settings& settings)
        : platform_{platform}, mapper_{mapper}, settings_{settings} {}
    Driver(const Driver&) = delete;
    Driver& operator=(const Driver&) = delete;

    // Brings the device into a state in which it does no DMA whatever it did before, resets it and reads its
    // MAC address. To be called before bus mastering is set: an earlier driver's rings may still be
    // programmed. Errors: invalid_argument (settings), device_gone, timed_out (reset, EEPROM),
    // device_misbehaves (EEPROM contents, registers that do not take).
    Status probe() {
        if (!valid_settings()) {
            platform_.log(LogLevel::error,
                          "settings refused: descriptors are a power of two from 64 to 4096, receive buffers "
                          "one from 256 to 16384 bytes, interrupts per second 0 or 60 to 1000000");
            return Error::invalid_argument;
        }
        if (read_register<DeviceStatus>(platform_).raw == all_ones) {
            platform_.log(LogLevel::error,
                          "status register reads all ones: the device is gone or its memory is off");
            return Error::device_gone;
        }
        if (const Status quieted = quiet(); !quieted.ok()) return quieted;
        const Result<MacAddress> mac = eeprom::read_mac_address(platform_);
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

    // Sets up the rings, fills the receive ring, brings the link up and switches reception and transmission
    // on. Interrupts stay masked. provide_buffer: () -> Result<ReceiveBuffer>. It may answer no_memory early,
    // but not at once: one buffer is the least. Does not wait for the link. After an error stop() gives back
    // everything that was taken. Errors: invalid_argument (not stopped), those of the Platform and of the
    // Mapper, device_gone, timed_out and device_misbehaves (PHY, registers).
    template <class Provide>
    Status start(Provide&& provide_buffer) {
        if (receive_ring_ != nullptr) return Error::invalid_argument;
        if (const Status allocated = allocate(); !allocated.ok()) return allocated;
        statistics_.discard(platform_);
        program_addresses();
        program_transmit();
        program_receive_ring();

        write_register(platform_, ReceiveTail{});
        const Error filled = fill(provide_buffer);
        if (receive_filled_ == 0) {
            platform_.log(LogLevel::error, "not one receive buffer could be had and mapped");
            return filled;
        }

        if (const Status up = link_up(); !up.ok()) {
            platform_.log(LogLevel::error, "the PHY does not answer");
            return up;
        }
        program_throttling();
        // A cause that was pending from before belongs to nobody.
        static_cast<void>(read_register<InterruptCauseRead>(platform_));
        enable_transmit();
        enable_receive();
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
        if (receive_ring_ != nullptr) statistics_.update(platform_);
        if (!quiet().ok()) {
            platform_.log(LogLevel::error,
                          "the device did not become quiet: its bus mastering must stay off");
        }
        if (receive_ring_ != nullptr && receive_slots_ != nullptr) {
            for (; receive_next_ != receive_filled_; ++receive_next_) {
                const ReceiveSlot& slot = receive_slots_[receive_size_.slot(receive_next_)];
                mapper_.unmap(slot.iova, settings_.receive_buffer_bytes, Direction::from_device);
                return_buffer(slot.cookie);
            }
        }
        if (has_spare_) {
            has_spare_ = false;
            return_buffer(spare_.cookie);
        }
        if (transmit_ring_ != nullptr && transmit_slots_ != nullptr) {
            const std::uint32_t next = transmit_next_.load(std::memory_order_relaxed);
            std::uint32_t head = transmit_head_.load(std::memory_order_relaxed);
            while (head != next) {
                const TransmitSlot& first = transmit_slots_[transmit_size_.slot(head)];
                const std::uint64_t cookie = first.cookie;
                head = release_frame(head, first.last);
                transmit_done(cookie);
            }
            transmit_head_.store(head, std::memory_order_relaxed);
        }
        release();
    }

    // Takes up to `budget` descriptors back from the device. deliver(ReceivedFrame): the buffer is the
    // callee's now, and unmapped. drop(cookie): likewise, but what is in it is no good. Returns how many
    // descriptors were taken; fewer than the budget means that no more are ready. refill() gives the device
    // new buffers. Each call counts as a poll; as an idle one if neither it nor any reclaim() since the last
    // poll found something.
    template <class Deliver, class ReturnBuffer>
    std::uint32_t receive(std::uint32_t budget, Deliver&& deliver, ReturnBuffer&& drop) {
        std::uint32_t index = receive_next_;
        std::uint32_t frames = 0;
        std::uint64_t bytes = 0;
        const std::uint32_t begin = index;
        // From receive_filled_ on nothing is with the device: a status there is a leftover, or a lie.
        const std::uint32_t end = ahead(receive_filled_, index) < budget ? receive_filled_ : index + budget;
        while (index != end) {
            const std::uint32_t position = receive_size_.slot(index);
            const ReceiveDescriptor& descriptor = receive_ring_[position];
            const std::uint8_t status = read_once(descriptor.status);
            if ((status & ReceiveDescriptor::descriptor_done) == 0) break;
            // The length and the errors are valid only once the status says so.
            dma_read_barrier();
            const std::uint32_t length = read_once(descriptor.length);
            const std::uint8_t errors = read_once(descriptor.errors);
            const ReceiveSlot slot = receive_slots_[position];
            ++index;
            // Unmapped before the length is believed and anybody looks inside.
            mapper_.unmap(slot.iova, settings_.receive_buffer_bytes, Direction::from_device);

            const bool whole = (status & ReceiveDescriptor::end_of_packet) != 0 && !discarding_;
            if (!whole || (errors & ReceiveDescriptor::frame_errors) != 0 || length == 0 ||
                length > settings_.receive_buffer_bytes) [[unlikely]] {
                // Long frames are off and a buffer holds the longest: a frame over several descriptors is the
                // device's mistake, or a setting with small buffers. It is dropped up to its end and counts
                // once.
                if (!discarding_) receive_errors_.add(1);
                discarding_ = (status & ReceiveDescriptor::end_of_packet) == 0;
                drop(slot.cookie);
                continue;
            }
            ++frames;
            bytes += length;
            deliver(ReceivedFrame{slot.cookie, length, checksum_of(status, errors)});
        }
        receive_next_ = index;

        polls_.add(1);
        const std::uint64_t reclaimed = frames_transmitted_.read();
        if (index == begin && reclaimed == reclaimed_at_poll_) idle_polls_.add(1);
        reclaimed_at_poll_ = reclaimed;
        if (frames != 0) {
            frames_received_.add(frames);
            bytes_received_.add(bytes);
        }
        return index - begin;
    }

    // Gives the device a buffer for every free receive descriptor, as far as there are buffers, and rings the
    // doorbell once. A buffer that cannot be mapped is kept and tried again at the next call.
    template <class Provide>
    void refill(Provide&& provide_buffer) {
        static_cast<void>(fill(provide_buffer));
    }

    // Frames on their way to a NIC that has no buffers are lost, and with an empty ring no interrupt ever
    // comes again: the surroundings call refill() later if this is so.
    [[nodiscard]] bool receive_starved() const { return receive_filled_ == receive_next_; }

    // Hands a frame to the device. The buffers stay as they are until reclaim() (or stop()) gives the cookie
    // back. With `more_coming` the device is not told yet: the next call without it, or
    // ring_transmit_doorbell(), does so for all. On an error nothing was taken, nothing stays mapped, and
    // frames that waited for the doorbell have been announced. Frames that are to be segmented went through
    // prepare_segmentation(). Errors: ring_full (reclaim and try again), invalid_argument (too long, too many
    // or empty segments, offsets that the device cannot use), and the Mapper's.
    Status transmit(std::span<const Segment> segments, const TransmitOffload& offload, std::uint64_t cookie,
                    bool more_coming = false) {
        if (segments.size() - 1 >= most_segments) [[unlikely]]
            return refuse(Error::invalid_argument);
        std::uint32_t total = 0;
        for (const Segment& segment : segments) {
            // Checked one by one, so that the sum cannot wrap.
            if (segment.length - 1 >= longest_segmented_frame) [[unlikely]]
                return refuse(Error::invalid_argument);
            total += segment.length;
        }
        if (!valid_offload(offload, total)) [[unlikely]]
            return refuse(Error::invalid_argument);

        const std::uint32_t begin = transmit_next_.load(std::memory_order_relaxed);
        // Tail one behind head: equal they would mean an empty ring.
        const std::uint32_t end = transmit_head_.load(std::memory_order_acquire) + transmit_size_.slots() - 1;
        if (ahead(end, begin) < most_descriptors_per_frame) [[unlikely]] {
            if (ahead(end, begin) < descriptors_needed(segments)) {
                ring_transmit_doorbell();
                return Error::ring_full;
            }
        }

        std::uint32_t index = begin;
        std::uint32_t command = TransmitDescriptor::insert_crc;
        std::uint32_t options = 0;
        std::uint32_t wire_frames = 1;
        ContextWords context{};
        const bool needs_context = offload.checksum || offload.segment;
        if (needs_context) {
            command |= TransmitDescriptor::extension | TransmitDescriptor::type_data;
            options = TransmitDescriptor::insert_tcp_udp_checksum;
            context = context_for(offload, total);
            if (offload.segment) {
                command |= TransmitDescriptor::segmentation_enable;
                if (!offload.ipv6) options |= TransmitDescriptor::insert_ip_checksum;
            }
            if (context == context_) {
                wire_frames = context_frames_;
            } else {
                if (offload.segment) {
                    const std::uint32_t payload = total - offload.header_bytes;
                    wire_frames = (payload + offload.segment_bytes - 1) / offload.segment_bytes;
                }
                // The device has a context for segmentation and one without. We remember the last one only,
                // whichever it was, and so need not rely on their being independent.
                const std::uint32_t position = transmit_size_.slot(index);
                transmit_ring_[position] = std::bit_cast<TransmitDescriptor>(context);
                transmit_slots_[position].mapped_bytes = 0;
                ++index;
            }
        }

        for (const Segment& segment : segments) {
            Memory memory = segment.memory;
            std::uint32_t left = segment.length;
            while (left != 0) {
                const std::uint32_t extent = mapper_.extent(memory, left);
                if (index == end) [[unlikely]]
                    return undo(begin, index, Error::ring_full);
                const Result<Iova> mapped = mapper_.map(memory, extent, Direction::to_device);
                if (!mapped.ok()) [[unlikely]]
                    return undo(begin, index, mapped.error());
                Iova iova = mapped.value();
                TransmitSlot& slot = transmit_slots_[transmit_size_.slot(index)];
                slot.iova = iova;
                slot.mapped_bytes = extent;
                std::uint32_t rest = extent;
                while (rest > most_bytes_per_descriptor) {
                    put(index++, iova, most_bytes_per_descriptor | command, options);
                    if (index == end) [[unlikely]]
                        return undo(begin, index, Error::ring_full);
                    transmit_slots_[transmit_size_.slot(index)].mapped_bytes = 0;
                    iova = iova + most_bytes_per_descriptor;
                    rest -= most_bytes_per_descriptor;
                }
                put(index++, iova, rest | command, options);
                memory = memory + extent;
                left -= extent;
            }
        }

        const std::uint32_t last = index - 1;
        // Status is asked for on the last descriptor only: it is written back when the whole frame has been
        // fetched.
        transmit_ring_[transmit_size_.slot(last)].command_and_length |=
            TransmitDescriptor::end_of_packet | TransmitDescriptor::report_status;
        TransmitSlot& first = transmit_slots_[transmit_size_.slot(begin)];
        first.cookie = cookie;
        first.last = last;
        first.wire_frames = wire_frames;
        first.wire_bytes = total + (wire_frames - 1) * offload.header_bytes;
        if (needs_context) {
            context_ = context;
            context_frames_ = wire_frames;
        }
        transmit_next_.store(index, std::memory_order_relaxed);
        if (!more_coming) ring_transmit_doorbell();
        return {};
    }

    // Announces what transmit() left unannounced; nothing if there is nothing.
    void ring_transmit_doorbell() {
        const std::uint32_t next = transmit_next_.load(std::memory_order_relaxed);
        if (transmit_announced_.load(std::memory_order_relaxed) == next) return;
        // The descriptors must be complete before the tail leads the device to them; the same store gives
        // reclaim() their slots.
        dma_write_barrier();
        transmit_announced_.store(next, std::memory_order_release);
        platform_.write32(TransmitTail::offset, transmit_size_.slot(next));
    }

    // Takes back up to `budget` frames that the device is done with: done(cookie, frames on the wire, bytes
    // on the wire). The buffers are unmapped. Returns how many cookies were given back.
    template <class TransmitDone>
    std::uint32_t reclaim(std::uint32_t budget, TransmitDone&& done) {
        std::uint32_t head = transmit_head_.load(std::memory_order_relaxed);
        // Only what was announced: a write-back ahead of the doorbell is a lie.
        const std::uint32_t announced = transmit_announced_.load(std::memory_order_acquire);
        std::uint32_t count = 0;
        std::uint64_t frames = 0;
        std::uint64_t bytes = 0;
        while (head != announced && count != budget) {
            const TransmitSlot& first = transmit_slots_[transmit_size_.slot(head)];
            const std::uint32_t last = first.last;
            // Only the write-back says that the buffers were fetched. The head register is no proof: it moves
            // before the write-back, and reading it costs a round trip to the device.
            const std::uint32_t status =
                read_once(transmit_ring_[transmit_size_.slot(last)].options_and_status);
            if ((status & TransmitDescriptor::descriptor_done) == 0) break;
            // Buffers may be given away only after the write-back was seen.
            dma_read_barrier();
            const std::uint64_t cookie = first.cookie;
            const std::uint32_t wire_frames = first.wire_frames;
            const std::uint32_t wire_bytes = first.wire_bytes;
            head = release_frame(head, last);
            ++count;
            frames += wire_frames;
            bytes += wire_bytes;
            done(cookie, wire_frames, wire_bytes);
        }
        if (count != 0) {
            transmit_head_.store(head, std::memory_order_release);
            frames_transmitted_.add(frames);
            bytes_transmitted_.add(bytes);
        }
        return count;
    }

    // Free transmit descriptors. With most_descriptors_per_frame or more the next transmit() does not answer
    // ring_full. Exact on the transmit side but for what reclaim() frees meanwhile; elsewhere a moment old,
    // and never too large by what is known there.
    [[nodiscard]] std::uint32_t transmit_room() const {
        const std::uint32_t head = transmit_head_.load(std::memory_order_acquire);
        const std::uint32_t used = ahead(transmit_next_.load(std::memory_order_relaxed), head);
        // On a third CPU both may have moved on between the two loads, by more than a ring.
        return used < transmit_size_.slots() ? transmit_size_.slots() - 1 - used : 0;
    }

    // Reads and clears the pending causes; the interrupt line falls. What to do: receive() and reclaim(),
    // link().
    InterruptCauses take_interrupt() {
        const InterruptCauseRead causes = read_register<InterruptCauseRead>(platform_);
        if (causes.raw == all_ones) [[unlikely]]
            return InterruptCauses{.device_gone = true};
        InterruptCauses result{};
        result.receive = (causes.raw & receive_causes) != 0;
        result.transmit = (causes.raw & transmit_causes) != 0;
        result.link = (causes.raw & link_causes) != 0;
        result.any = (causes.raw & all_causes) != 0;
        if (result.any) interrupts_.add(1);
        return result;
    }

    void enable_interrupts() { platform_.write32(InterruptMaskSet::offset, all_causes); }
    void disable_interrupts() { platform_.write32(InterruptMaskClear::offset, all_ones); }

    LinkState link() {
        const DeviceStatus status = read_register<DeviceStatus>(platform_);
        if (status.raw == all_ones || !status.test(DeviceStatus::link_up)) return {};
        const std::uint32_t speed = status.get(DeviceStatus::speed);
        return LinkState{.up = true,
                         .megabits = speed == 0   ? 10u
                                     : speed == 1 ? 100u
                                                  : 1000u,
                         .full_duplex = status.test(DeviceStatus::full_duplex)};
    }

    // Sends frames back at the PHY instead of onto the wire; off: negotiates again, which takes the link down
    // for a while. Errors: those of the PHY.
    Status set_phy_loopback(bool on) {
        if (const Status set = phy::set_loopback(platform_, on); !set.ok()) return set;
        write_control(on);
        return {};
    }

    [[nodiscard]] const MacAddress& mac() const { return mac_; }
    [[nodiscard]] const Settings& settings() const { return settings_; }

    [[nodiscard]] NetworkCounters counters() const {
        return NetworkCounters{.frames_transmitted = frames_transmitted_.read(),
                               .frames_received = frames_received_.read(),
                               .bytes_transmitted = bytes_transmitted_.read(),
                               .bytes_received = bytes_received_.read(),
                               .transmit_errors = transmit_errors_.read(),
                               .receive_errors = receive_errors_.read(),
                               .receive_missed = statistics_.missed_packets(),
                               .interrupts = interrupts_.read(),
                               .polls = polls_.read(),
                               .idle_polls = idle_polls_.read()};
    }

    // Reads the device's registers; counters().receive_missed comes from there, too.
    void update_statistics() { statistics_.update(platform_); }
    [[nodiscard]] DeviceStatistics statistics() const { return statistics_.read(); }

  private:
    static constexpr std::uint32_t receive_causes = InterruptCauseRead::receiver_timer.mask |
                                                    InterruptCauseRead::receive_descriptor_minimum.mask |
                                                    InterruptCauseRead::receiver_overrun.mask;
    static constexpr std::uint32_t transmit_causes =
        InterruptCauseRead::transmit_descriptor_written_back.mask;
    static constexpr std::uint32_t link_causes = InterruptCauseRead::link_status_change.mask;
    static constexpr std::uint32_t all_causes = receive_causes | transmit_causes | link_causes;

    // A transaction that is under way when a unit is switched off may still end; it moves one frame at most,
    // and takes thousands of times less than this.
    static constexpr std::uint32_t settle_ms = 10;
    static constexpr std::uint32_t reset_timeout_us = 100'000;

    struct ReceiveSlot {
        Iova iova;
        std::uint64_t cookie;
    };

    // One a descriptor. The frame's own part stands in the slot of its first descriptor; a mapping in the
    // slot of the first descriptor that it feeds.
    struct TransmitSlot {
        Iova iova;
        std::uint64_t cookie;
        std::uint32_t mapped_bytes;  // 0: nothing to unmap
        std::uint32_t last;          // free-running index of the frame's last descriptor
        std::uint32_t wire_frames;
        std::uint32_t wire_bytes;
    };
    static_assert(sizeof(ReceiveSlot) == 16 && sizeof(TransmitSlot) == 32);

    [[nodiscard]] bool valid_settings() const {
        const std::uint32_t rate = settings_.interrupts_per_second;
        return RingSize::valid(settings_.receive_descriptors, fewest_descriptors, most_descriptors) &&
               RingSize::valid(settings_.transmit_descriptors, fewest_descriptors, most_descriptors) &&
               RingSize::valid(settings_.receive_buffer_bytes, 256, 16384) &&
               (rate == 0 || (rate >= 60 && rate <= 1'000'000));
    }

    // Masks interrupts, switches both units off, waits for what is under way, resets, and clears what a reset
    // should clear. The order matters: first nothing new begins, then nothing old is left, then the rings go.
    Status quiet() {
        disable_interrupts();
        // Written only if they hold something: QEMU's receiver sleeps for a second of guest time after every
        // write of RCTL.
        const ReceiveControl receive_control = read_register<ReceiveControl>(platform_);
        if (receive_control.raw == all_ones) return Error::device_gone;
        const bool active = receive_control.test(ReceiveControl::enable) ||
                            read_register<TransmitControl>(platform_).test(TransmitControl::enable);
        if (receive_control.raw != 0) write_register(platform_, ReceiveControl{});
        write_register(platform_, TransmitControl{});
        // Reading pushes the writes out of the bridges on the way.
        static_cast<void>(read_register<DeviceStatus>(platform_));
        if (active) wait_ms(platform_, settle_ms);

        // [8254x §13.4 CTRL]: a reset ends bus transactions in order and takes the receive and transmit units
        // back to their defaults. The bit clears itself.
        write_register(platform_, read_register<DeviceControl>(platform_).set(DeviceControl::reset));
        // The device does not answer reliably for a microsecond, and loads its EEPROM for some milliseconds.
        wait_ms(platform_, 2);
        bool gone = false;
        const Status reset = wait_until(platform_, reset_timeout_us, 100, [&] {
            const DeviceControl control = read_register<DeviceControl>(platform_);
            gone = control.raw == all_ones;
            return !gone && !control.test(DeviceControl::reset);
        });
        if (!reset.ok()) {
            platform_.log(LogLevel::error, gone ? "the device does not answer after its reset"
                                                : "reset did not end within 100 ms");
            return gone ? Error::device_gone : reset.error();
        }
        disable_interrupts();
        static_cast<void>(read_register<InterruptCauseRead>(platform_));

        // QEMU's reset leaves all of these as they were.
        write_register(platform_, ReceiveHead{});
        write_register(platform_, ReceiveTail{});
        write_register(platform_, ReceiveLength{});
        write_register(platform_, ReceiveBaseLow{});
        write_register(platform_, ReceiveBaseHigh{});
        write_register(platform_, TransmitHead{});
        write_register(platform_, TransmitTail{});
        write_register(platform_, TransmitLength{});
        write_register(platform_, TransmitBaseLow{});
        write_register(platform_, TransmitBaseHigh{});
        if (read_register<ReceiveControl>(platform_).test(ReceiveControl::enable) ||
            read_register<TransmitControl>(platform_).test(TransmitControl::enable) ||
            read_register<ReceiveHead>(platform_).raw != 0 ||
            read_register<TransmitHead>(platform_).raw != 0) {
            platform_.log(LogLevel::error,
                          "receiver, transmitter or ring heads did not clear after the reset");
            return Error::device_misbehaves;
        }
        return {};
    }

    Status allocate() {
        receive_size_ = RingSize{settings_.receive_descriptors};
        transmit_size_ = RingSize{settings_.transmit_descriptors};
        const Result<RingMemory> receive_memory =
            platform_.allocate_ring(receive_size_.slots() * std::uint32_t{sizeof(ReceiveDescriptor)});
        if (!receive_memory.ok()) return receive_memory.error();
        receive_memory_ = receive_memory.value();
        receive_ring_ = static_cast<ReceiveDescriptor*>(receive_memory_.cpu);
        const Result<RingMemory> transmit_memory =
            platform_.allocate_ring(transmit_size_.slots() * std::uint32_t{sizeof(TransmitDescriptor)});
        if (!transmit_memory.ok()) return transmit_memory.error();
        transmit_memory_ = transmit_memory.value();
        transmit_ring_ = static_cast<TransmitDescriptor*>(transmit_memory_.cpu);
        const Result<void*> receive_slots = platform_.allocate(receive_size_.slots() * sizeof(ReceiveSlot));
        if (!receive_slots.ok()) return receive_slots.error();
        receive_slots_ = static_cast<ReceiveSlot*>(receive_slots.value());
        const Result<void*> transmit_slots =
            platform_.allocate(transmit_size_.slots() * sizeof(TransmitSlot));
        if (!transmit_slots.ok()) return transmit_slots.error();
        transmit_slots_ = static_cast<TransmitSlot*>(transmit_slots.value());
        return {};
    }

    void release() {
        if (transmit_slots_ != nullptr)
            platform_.free(transmit_slots_, transmit_size_.slots() * sizeof(TransmitSlot));
        if (receive_slots_ != nullptr)
            platform_.free(receive_slots_, receive_size_.slots() * sizeof(ReceiveSlot));
        if (transmit_ring_ != nullptr) platform_.free_ring(transmit_memory_);
        if (receive_ring_ != nullptr) platform_.free_ring(receive_memory_);
        transmit_slots_ = nullptr;
        receive_slots_ = nullptr;
        transmit_ring_ = nullptr;
        receive_ring_ = nullptr;
        receive_next_ = receive_filled_ = 0;
        discarding_ = false;
        transmit_next_.store(0, std::memory_order_relaxed);
        transmit_announced_.store(0, std::memory_order_relaxed);
        transmit_head_.store(0, std::memory_order_relaxed);
        context_ = ContextWords{};
        context_frames_ = 1;
    }

    // [8254x §14.4]: our address in the first pair, the others and the multicast table empty.
    void program_addresses() {
        for (std::uint32_t i = 1; i < receive_addresses; ++i) {
            platform_.write32(ReceiveAddressHigh::offset + i * receive_address_stride, 0);
            platform_.write32(ReceiveAddressLow::offset + i * receive_address_stride, 0);
        }
        for (std::uint32_t i = 0; i < multicast_table_words; ++i) {
            platform_.write32(multicast_table_offset + i * 4, 0);
        }
        ReceiveAddressLow low{};
        low.raw = std::uint32_t{mac_[0]} | std::uint32_t{mac_[1]} << 8 | std::uint32_t{mac_[2]} << 16 |
                  std::uint32_t{mac_[3]} << 24;
        write_register(platform_, low);
        write_register(platform_, ReceiveAddressHigh{}
                                      .set(ReceiveAddressHigh::address,
                                           std::uint32_t{mac_[4]} | std::uint32_t{mac_[5]} << 8)
                                      .set(ReceiveAddressHigh::valid));
    }

    // [8254x §14.4]
    void program_receive_ring() {
        program_base<ReceiveBaseLow, ReceiveBaseHigh>(receive_memory_.iova);
        ReceiveLength length{};
        length.raw = receive_size_.slots() * std::uint32_t{sizeof(ReceiveDescriptor)};
        write_register(platform_, length);
        write_register(platform_, ReceiveHead{});
        // No delay of their own: ITR alone moderates.
        write_register(platform_, ReceiveDelay{});
        write_register(platform_, ReceiveAbsoluteDelay{});
        write_register(platform_, ReceiveChecksumControl{}
                                      .set(ReceiveChecksumControl::ip_offload)
                                      .set(ReceiveChecksumControl::tcp_udp_offload));
    }

    // [8254x §14.5]
    void program_transmit() {
        program_base<TransmitBaseLow, TransmitBaseHigh>(transmit_memory_.iova);
        TransmitLength length{};
        length.raw = transmit_size_.slots() * std::uint32_t{sizeof(TransmitDescriptor)};
        write_register(platform_, length);
        write_register(platform_, TransmitHead{});
        write_register(platform_, TransmitTail{});
        // The values of [8254x §13.4 TIPG] for copper: 8, 8 and 6 byte times on top of the minimum.
        write_register(platform_, TransmitGap{}
                                      .set(TransmitGap::back_to_back, 10)
                                      .set(TransmitGap::part_1, 8)
                                      .set(TransmitGap::part_2, 6));
        write_register(platform_, TransmitDelay{});
        write_register(platform_, TransmitAbsoluteDelay{});
        // A write-back for every descriptor that asks for one, at once: a threshold would hold reclaiming up.
        write_register(platform_, TransmitDescriptorControl{}
                                      .set(TransmitDescriptorControl::write_back_threshold, 1)
                                      .set(TransmitDescriptorControl::granularity_descriptors));
    }

    template <class Low, class High>
    void program_base(Iova iova) {
        Low low{};
        low.raw = static_cast<std::uint32_t>(iova.value);
        write_register(platform_, low);
        High high{};
        high.raw = static_cast<std::uint32_t>(iova.value >> 32);
        write_register(platform_, high);
    }

    void program_throttling() {
        std::uint32_t interval = 0;
        if (settings_.interrupts_per_second != 0) {
            interval = 1'000'000'000u / (settings_.interrupts_per_second * 256u);
        }
        write_register(platform_, InterruptThrottling{}.set(InterruptThrottling::interval, interval));
    }

    Status link_up() {
        write_control(false);
        return phy::bring_up(platform_);
    }

    // [8254x §14.3]: the MAC follows what the PHY negotiated, or is held at what the PHY's loopback runs at.
    // No flow control, in either placement: pause frames would make one end's load the other end's.
    void write_control(bool forced) {
        DeviceControl control = read_register<DeviceControl>(platform_);
        control.clear(DeviceControl::link_reset)
            .clear(DeviceControl::invert_loss_of_signal)
            .clear(DeviceControl::phy_reset)
            .clear(DeviceControl::receive_flow_control)
            .clear(DeviceControl::transmit_flow_control)
            .clear(DeviceControl::vlan_mode)
            .set(DeviceControl::set_link_up)
            .set(DeviceControl::auto_speed_detection, forced ? 0 : 1)
            .set(DeviceControl::force_speed, forced ? 1 : 0)
            .set(DeviceControl::force_duplex, forced ? 1 : 0);
        if (forced)
            control.set(DeviceControl::speed, DeviceControl::speed_1000).set(DeviceControl::full_duplex);
        write_register(platform_, control);
    }

    // Thresholds for collisions from [8254x §13.4 TCTL]: they matter at half duplex only.
    void enable_transmit() {
        write_register(platform_, TransmitControl{}
                                      .set(TransmitControl::enable)
                                      .set(TransmitControl::pad_short_packets)
                                      .set(TransmitControl::collision_threshold, 0x0f)
                                      .set(TransmitControl::collision_distance, 0x40)
                                      .set(TransmitControl::retransmit_late_collision));
    }

    // The one write of RCTL: QEMU's receiver sleeps for a second after each.
    void enable_receive() {
        ReceiveControl control{};
        control.set(ReceiveControl::enable)
            .set(ReceiveControl::multicast_promiscuous)
            .set(ReceiveControl::broadcast_accept)
            .set(ReceiveControl::minimum_threshold, ReceiveControl::threshold_eighth)
            .set(ReceiveControl::strip_crc);
        switch (settings_.receive_buffer_bytes) {
            case 256:
                control.set(ReceiveControl::buffer_size, 3);
                break;
            case 512:
                control.set(ReceiveControl::buffer_size, 2);
                break;
            case 1024:
                control.set(ReceiveControl::buffer_size, 1);
                break;
            case 4096:
                control.set(ReceiveControl::buffer_size, 3).set(ReceiveControl::buffer_size_extension);
                break;
            case 8192:
                control.set(ReceiveControl::buffer_size, 2).set(ReceiveControl::buffer_size_extension);
                break;
            case 16384:
                control.set(ReceiveControl::buffer_size, 1).set(ReceiveControl::buffer_size_extension);
                break;
            default:
                break;  // 2048
        }
        write_register(platform_, control);
    }

    static Checksum checksum_of(std::uint8_t status, std::uint8_t errors) {
        if ((status & ReceiveDescriptor::ignore_checksum) != 0 ||
            (status & ReceiveDescriptor::tcp_checksum_calculated) == 0) {
            return Checksum::unknown;
        }
        constexpr std::uint8_t either =
            ReceiveDescriptor::tcp_checksum_error | ReceiveDescriptor::ip_checksum_error;
        return (errors & either) != 0 ? Checksum::bad : Checksum::good;
    }

    // Why it ended: none if the ring is full.
    template <class Provide>
    Error fill(Provide&& provide_buffer) {
        // Tail one behind head: equal they would mean that the device has no buffer at all.
        const std::uint32_t end = receive_next_ + receive_size_.slots() - 1;
        const std::uint32_t begin = receive_filled_;
        std::uint32_t index = begin;
        Error reason = Error::none;
        while (index != end) {
            ReceiveBuffer buffer{};
            if (has_spare_) [[unlikely]] {
                buffer = spare_;
                has_spare_ = false;
            } else {
                const Result<ReceiveBuffer> provided = provide_buffer();
                if (!provided.ok()) [[unlikely]] {
                    reason = provided.error();
                    break;
                }
                buffer = provided.value();
            }
            const Result<Iova> mapped =
                mapper_.map(buffer.memory, settings_.receive_buffer_bytes, Direction::from_device);
            if (!mapped.ok()) [[unlikely]] {
                spare_ = buffer;
                has_spare_ = true;
                reason = mapped.error();
                break;
            }
            const std::uint32_t position = receive_size_.slot(index);
            receive_slots_[position] = ReceiveSlot{mapped.value(), buffer.cookie};
            // All of it: a status left over from the last round would be taken for a frame.
            receive_ring_[position] = ReceiveDescriptor{.address = mapped.value().value,
                                                        .length = 0,
                                                        .checksum = 0,
                                                        .status = 0,
                                                        .errors = 0,
                                                        .special = 0};
            ++index;
        }
        if (index != begin) {
            receive_filled_ = index;
            // The descriptors must be complete before the tail leads the device to them.
            dma_write_barrier();
            platform_.write32(ReceiveTail::offset, receive_size_.slot(index));
        }
        return reason;
    }

    void put(std::uint32_t index, Iova iova, std::uint32_t command_and_length, std::uint32_t options) {
        // The status is zero in `options`: a write-back of the slot's last frame must not pass for this
        // one's.
        transmit_ring_[transmit_size_.slot(index)] =
            TransmitDescriptor{iova.value, command_and_length, options};
    }

    // Unmaps the buffers of the frame whose descriptors are [head, last]; returns the index behind it.
    std::uint32_t release_frame(std::uint32_t head, std::uint32_t last) {
        const std::uint32_t behind = last + 1;
        for (; head != behind; ++head) {
            const TransmitSlot& slot = transmit_slots_[transmit_size_.slot(head)];
            if (slot.mapped_bytes != 0) mapper_.unmap(slot.iova, slot.mapped_bytes, Direction::to_device);
        }
        return behind;
    }

    [[gnu::noinline, gnu::cold]] Status undo(std::uint32_t begin, std::uint32_t end, Error error) {
        if (end != begin) static_cast<void>(release_frame(begin, end - 1));
        if (error == Error::ring_full) {
            ring_transmit_doorbell();
            return error;
        }
        return refuse(error);
    }

    [[gnu::noinline, gnu::cold]] Status refuse(Error error) {
        ring_transmit_doorbell();
        transmit_errors_.add(1);
        return error;
    }

    // Exactly, a context included whether or not it will be needed.
    [[gnu::noinline, gnu::cold]] std::uint32_t descriptors_needed(std::span<const Segment> segments) {
        std::uint32_t count = 1;
        for (const Segment& segment : segments) {
            Memory memory = segment.memory;
            std::uint32_t left = segment.length;
            while (left != 0) {
                const std::uint32_t extent = mapper_.extent(memory, left);
                count += (extent + most_bytes_per_descriptor - 1) / most_bytes_per_descriptor;
                memory = memory + extent;
                left -= extent;
            }
        }
        return count;
    }

    // Read-only while the data path runs.
    P& platform_;
    M& mapper_;
    const Settings settings_;
    ReceiveDescriptor* receive_ring_ = nullptr;
    ReceiveSlot* receive_slots_ = nullptr;
    TransmitDescriptor* transmit_ring_ = nullptr;
    TransmitSlot* transmit_slots_ = nullptr;
    RingSize receive_size_{};
    RingSize transmit_size_{};
    RingMemory receive_memory_{};
    RingMemory transmit_memory_{};
    MacAddress mac_{};

    // The receive side's. [receive_next_, receive_filled_) is with the device.
    alignas(64) std::uint32_t receive_next_ = 0;
    std::uint32_t receive_filled_ = 0;
    bool discarding_ = false;  // in the middle of a frame that is dropped
    bool has_spare_ = false;
    ReceiveBuffer spare_{};  // could not be mapped when it was provided
    std::uint64_t reclaimed_at_poll_ = 0;
    Counter frames_received_;
    Counter bytes_received_;
    Counter receive_errors_;
    Counter polls_;
    Counter idle_polls_;

    // The transmit side's. [transmit_head_, transmit_announced_) is with the device, up to transmit_next_ it
    // is not told yet.
    alignas(64) std::atomic<std::uint32_t> transmit_next_{0};
    std::atomic<std::uint32_t> transmit_announced_{0};
    ContextWords context_{};  // what the device holds; all zero: nothing yet
    std::uint32_t context_frames_ = 1;
    Counter transmit_errors_;

    // The reclaim side's.
    alignas(64) std::atomic<std::uint32_t> transmit_head_{0};
    Counter frames_transmitted_;
    Counter bytes_transmitted_;

    alignas(64) Counter interrupts_;
    StatisticsAccumulator statistics_;
};

}  // namespace dmatoll::e1000
