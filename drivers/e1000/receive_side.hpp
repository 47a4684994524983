// SPDX-License-Identifier: BSD-2-Clause
// The receive side: its ring, the buffers that are with the device, and the frames that come back in them.
//
// [8254x] Intel 317453.
#pragma once

#include <atomic>
#include <cstdint>

#include "../core/address.hpp"
#include "../core/barrier.hpp"
#include "../core/counter.hpp"
#include "../core/mapper.hpp"
#include "../core/platform.hpp"
#include "../core/register.hpp"
#include "../core/result.hpp"
#include "../core/ring.hpp"
#include "address_filter.hpp"
#include "descriptor_ring.hpp"
#include "descriptors.hpp"
#include "frames.hpp"
#include "part.hpp"
#include "registers.hpp"
#include "settings.hpp"
#include "units.hpp"

namespace dmatoll::e1000 {

// What the largest frame that can be asked for fills of the smallest buffers.
inline constexpr std::uint32_t most_pieces = (jumbo_frame + vlan_tag_bytes + 255) / 256;
static_assert(most_pieces < fewest_descriptors);

// One a descriptor.
struct ReceiveSlot {
    Iova iova;
    std::uint64_t cookie;
};
static_assert(sizeof(ReceiveSlot) == 16);

// receive() and fill() belong to one caller at a time. starved() and the counts may be read from anywhere.
// All else has the driver to itself. What the caller of the data path may rely on is said in driver.hpp.
template <Platform P, Mapper M>
class ReceiveSide {
  public:
    ReceiveSide(P& platform, M& mapper) : platform_{platform}, mapper_{mapper} {}

    // After an error release() gives back what there is. Errors: those of the Platform.
    Status allocate(const Settings& settings) {
        buffer_bytes_ = settings.receive_buffer_bytes;
        largest_frame_ = settings.largest_frame + vlan_tag_bytes;
        longest_piece_ = buffer_bytes_ < largest_frame_ ? buffer_bytes_ : largest_frame_;
        pieces_of_largest_frame_ = (largest_frame_ + buffer_bytes_ - 1) / buffer_bytes_;
        return ring_.allocate(platform_, settings.receive_descriptors);
    }

    // Everything was taken back.
    void release() {
        ring_.release(platform_);
        next_.store(0, std::memory_order_relaxed);
        filled_.store(0, std::memory_order_relaxed);
        unfinished_.store(0, std::memory_order_relaxed);
        discarding_ = false;
    }

    [[nodiscard]] bool allocated() const { return ring_.descriptors != nullptr; }

    // [8254x §14.4]: the ring, still empty.
    void program() {
        ring_.program<ReceiveBaseLow, ReceiveBaseHigh, ReceiveLength>(platform_);
        write_register(platform_, ReceiveHead{});
        // ITR alone moderates.
        prepare_receiver(platform_);
        write_register(platform_, ReceiveChecksumControl{}
                                      .set(ReceiveChecksumControl::ip_offload)
                                      .set(ReceiveChecksumControl::tcp_udp_offload));
        write_register(platform_, ReceiveTail{});
    }

    // QEMU's receiver sleeps for a second after each write of RCTL: there is one, and one more
    // where the surroundings then ask for fewer groups.
    void enable() {
        ReceiveControl control = receiver_on(buffer_bytes_);
        control.set(ReceiveControl::multicast_promiscuous)
            .set(ReceiveControl::broadcast_accept)
            .set(ReceiveControl::multicast_offset, multicast_bits_47_36)
            .set(ReceiveControl::long_packets, largest_frame_ > standard_frame + vlan_tag_bytes ? 1 : 0)
            .set(ReceiveControl::minimum_threshold, ReceiveControl::threshold_eighth);
        write_register(platform_, control);
    }

    // Takes what is meant for other stations, or for any group, or does not. enable() begins with the groups.
    void set_promiscuous(bool stations, bool groups) {
        const ReceiveControl now = read_register<ReceiveControl>(platform_);
        ReceiveControl wanted{now};
        wanted.set(ReceiveControl::unicast_promiscuous, stations ? 1 : 0)
            .set(ReceiveControl::multicast_promiscuous, groups ? 1 : 0);
        if (now.raw == all_ones || wanted.raw == now.raw) return;
        write_register(platform_, wanted);
    }

    // The device is off: return_buffer(cookie) for every buffer that it had, and for the spare one.
    template <class ReturnBuffer>
    void take_back(ReturnBuffer&& return_buffer) {
        const std::uint32_t end = filled_.load(std::memory_order_relaxed);
        std::uint32_t index = next_.load(std::memory_order_relaxed);
        for (; index != end; ++index) {
            const ReceiveSlot& slot = ring_.slots[ring_.size.slot(index)];
            mapper_.unmap(slot.iova, buffer_bytes_, Direction::from_device, 0);
            return_buffer(slot.cookie);
        }
        next_.store(index, std::memory_order_relaxed);
        if (has_spare_) {
            has_spare_ = false;
            return_buffer(spare_.cookie);
        }
    }

    template <class Deliver, class ReturnBuffer>
    std::uint32_t receive(std::uint32_t budget, Deliver&& deliver, ReturnBuffer&& drop) {
        std::uint32_t index = next_.load(std::memory_order_relaxed);
        // From filled_ on nothing is with the device: a status there is a leftover, or a lie.
        const std::uint32_t filled = filled_.load(std::memory_order_relaxed);
        if (discarding_) [[unlikely]]
            index = discard(index, filled, drop);
        std::uint32_t frames = 0;
        std::uint64_t bytes = 0;
        // Where the loop began, had every frame taken one descriptor: index - begin counts frames.
        std::uint32_t begin = index;
        std::uint32_t end = ahead(filled, index) < budget ? filled : index + budget;
        while (index != end) {
            const std::uint32_t position = ring_.size.slot(index);
            const ReceiveDescriptor& descriptor = ring_.descriptors[position];
            const std::uint8_t status = read_once(descriptor.status);
            constexpr std::uint8_t whole =
                ReceiveDescriptor::descriptor_done | ReceiveDescriptor::end_of_packet;
            if ((status & whole) != whole) [[unlikely]] {
                if ((status & ReceiveDescriptor::descriptor_done) == 0) break;
                const LongFrame frame = receive_long(index, filled, deliver, drop);
                if (frame.pieces == 0) break;
                if (frame.bytes != 0) {
                    ++frames;
                    bytes += frame.bytes;
                }
                index += frame.pieces;
                begin += frame.pieces - 1;
                end = ahead(filled, index) < budget - (index - begin) ? filled : begin + budget;
                // What is ready by now may be the rest of what was dropped.
                if (discarding_) break;
                continue;
            }
            // The length and the errors are valid only once the status says so.
            dma_read_barrier();
            const std::uint32_t length = read_once(descriptor.length);
            const std::uint8_t errors = read_once(descriptor.errors);
            const ReceiveSlot slot = ring_.slots[position];
            ++index;
            // Unmapped before anybody looks inside. The length is believed as far as the buffer reaches.
            mapper_.unmap(slot.iova, buffer_bytes_, Direction::from_device,
                          length < buffer_bytes_ ? length : buffer_bytes_);

            // Without a whole link header it is no frame, and who takes it would read what lay there before.
            if ((errors & ReceiveDescriptor::frame_errors) != 0 || length < link_header_bytes ||
                length > longest_piece_) [[unlikely]] {
                errors_.add(1);
                drop(slot.cookie);
                continue;
            }
            ++frames;
            bytes += length;
            deliver(ReceivedPiece{slot.cookie, length, checksum_of(status, errors), true});
        }
        next_.store(index, std::memory_order_relaxed);
        if (frames != 0) {
            frames_.add(frames);
            bytes_.add(bytes);
        }
        return index - begin;
    }

    // Gives the device a buffer for every free descriptor and rings the doorbell once. Returns why it ended:
    // none if the ring is full.
    template <class Provide>
    Error fill(Provide&& provide_buffer) {
        // Tail one behind head: equal they would mean that the device has no buffer at all.
        const std::uint32_t end = next_.load(std::memory_order_relaxed) + ring_.size.slots() - 1;
        const std::uint32_t begin = filled_.load(std::memory_order_relaxed);
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
            const Result<Iova> mapped = mapper_.map(buffer.memory, buffer_bytes_, Direction::from_device);
            if (!mapped.ok()) [[unlikely]] {
                spare_ = buffer;
                has_spare_ = true;
                reason = mapped.error();
                break;
            }
            const std::uint32_t position = ring_.size.slot(index);
            ring_.slots[position] = ReceiveSlot{mapped.value(), buffer.cookie};
            // All of it: a status left over from the last round would be taken for a frame.
            ring_.descriptors[position] = ReceiveDescriptor{.address = mapped.value().value,
                                                            .length = 0,
                                                            .checksum = 0,
                                                            .status = 0,
                                                            .errors = 0,
                                                            .special = 0};
            ++index;
        }
        if (index != begin) {
            filled_.store(index, std::memory_order_relaxed);
            // The descriptors must be complete before the tail leads the device to them.
            dma_write_barrier();
            platform_.write32(ReceiveTail::offset, ring_.size.slot(index));
        }
        return reason;
    }

    // Elsewhere than on the receive side the answer is a moment old.
    [[nodiscard]] bool starved() const {
        return ahead(filled_.load(std::memory_order_relaxed), next_.load(std::memory_order_relaxed)) <=
               unfinished_.load(std::memory_order_relaxed);
    }

    [[nodiscard]] std::uint64_t frames() const { return frames_.read(); }
    [[nodiscard]] std::uint64_t bytes() const { return bytes_.read(); }
    [[nodiscard]] std::uint64_t errors() const { return errors_.read(); }

  private:
    struct LongFrame {
        std::uint32_t pieces = 0;  // 0: it is not complete
        std::uint32_t bytes = 0;   // 0: it was dropped
    };

    // A frame over several buffers, whose first descriptor is `index`, done and not the last. Looked through
    // to its end before anything is delivered: whole or not at all. While it is incomplete everything stays.
    template <class Deliver, class ReturnBuffer>
    [[gnu::noinline]] LongFrame receive_long(std::uint32_t index, std::uint32_t filled, Deliver&& deliver,
                                             ReturnBuffer&& drop) {
        // What was checked is what is used, whatever the device writes meanwhile.
        std::uint16_t lengths[most_pieces];
        std::uint32_t pieces = 0;
        std::uint32_t bytes = 0;
        std::uint8_t status = 0;
        std::uint8_t errors = 0;
        bool plausible = true;
        do {
            if (pieces == pieces_of_largest_frame_) [[unlikely]] {
                // It is dropped up to its end, which may be far off.
                errors_.add(1);
                discarding_ = true;
                unfinished_.store(0, std::memory_order_relaxed);
                return LongFrame{.pieces = ahead(discard(index, filled, drop), index), .bytes = 0};
            }
            const ReceiveDescriptor& descriptor = ring_.descriptors[ring_.size.slot(index + pieces)];
            status = index + pieces == filled ? std::uint8_t{0} : read_once(descriptor.status);
            if ((status & ReceiveDescriptor::descriptor_done) == 0) {
                unfinished_.store(pieces, std::memory_order_relaxed);
                return {};
            }
            dma_read_barrier();
            const std::uint32_t length = read_once(descriptor.length);
            errors = read_once(descriptor.errors);
            // The device fills a buffer before it goes on to the next [8254x §3.2.2]: whoever takes the
            // frame finds its headers in the first piece.
            const bool last_piece = (status & ReceiveDescriptor::end_of_packet) != 0;
            plausible =
                plausible && (last_piece ? length != 0 && length <= buffer_bytes_ : length == buffer_bytes_);
            lengths[pieces++] = static_cast<std::uint16_t>(length);
            bytes += length;
        } while ((status & ReceiveDescriptor::end_of_packet) == 0);
        unfinished_.store(0, std::memory_order_relaxed);
        if (!plausible || bytes < link_header_bytes || bytes > largest_frame_ ||
            (errors & ReceiveDescriptor::frame_errors) != 0) [[unlikely]] {
            errors_.add(1);
            for (std::uint32_t i = 0; i < pieces; ++i) drop(take(index + i, 0));
            return LongFrame{.pieces = pieces, .bytes = 0};
        }
        const std::uint32_t last = pieces - 1;
        for (std::uint32_t i = 0; i < last; ++i) {
            deliver(ReceivedPiece{take(index + i, lengths[i]), lengths[i], Checksum::unknown, false});
        }
        deliver(ReceivedPiece{take(index + last, lengths[last]), lengths[last], checksum_of(status, errors),
                              true});
        return LongFrame{.pieces = pieces, .bytes = bytes};
    }

    // Drops what is done up to the end of the frame that is being discarded; returns the index behind it.
    template <class ReturnBuffer>
    [[gnu::noinline, gnu::cold]] std::uint32_t discard(std::uint32_t index, std::uint32_t filled,
                                                       ReturnBuffer&& drop) {
        while (discarding_ && index != filled) {
            const std::uint8_t status = read_once(ring_.descriptors[ring_.size.slot(index)].status);
            if ((status & ReceiveDescriptor::descriptor_done) == 0) break;
            discarding_ = (status & ReceiveDescriptor::end_of_packet) == 0;
            drop(take(index++, 0));
        }
        return index;
    }

    // The buffer behind a descriptor that is done, unmapped; its cookie.
    std::uint64_t take(std::uint32_t index, std::uint32_t written) {
        const ReceiveSlot slot = ring_.slots[ring_.size.slot(index)];
        mapper_.unmap(slot.iova, buffer_bytes_, Direction::from_device, written);
        return slot.cookie;
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

    // Read-only while the data path runs.
    P& platform_;
    M& mapper_;
    std::uint32_t buffer_bytes_ = 0;
    std::uint32_t largest_frame_ = 0;  // with a VLAN tag
    std::uint32_t longest_piece_ = 0;
    std::uint32_t pieces_of_largest_frame_ = 0;
    DescriptorRing<ReceiveDescriptor, ReceiveSlot> ring_;

    // Written on the receive side only; in cache lines of their own. [next_, filled_) is with the device.
    alignas(64) std::atomic<std::uint32_t> next_{0};
    std::atomic<std::uint32_t> filled_{0};
    // Descriptors from next_ on that are done, but wait for the end of their frame; 0 or old otherwise.
    std::atomic<std::uint32_t> unfinished_{0};
    bool discarding_ = false;  // in the middle of a frame that is dropped
    bool has_spare_ = false;
    ReceiveBuffer spare_{};  // could not be mapped when it was provided
    Counter frames_;
    Counter bytes_;
    Counter errors_;
};

}  // namespace dmatoll::e1000
