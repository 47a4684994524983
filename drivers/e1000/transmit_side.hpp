// SPDX-License-Identifier: BSD-2-Clause
// The transmit side: its ring, the contexts that the device holds, and the frames that are with the device.
//
// [8254x] Intel 317453.
#pragma once

#include <atomic>
#include <bit>
#include <cstdint>
#include <span>

#include "../core/address.hpp"
#include "../core/barrier.hpp"
#include "../core/counter.hpp"
#include "../core/mapper.hpp"
#include "../core/platform.hpp"
#include "../core/register.hpp"
#include "../core/result.hpp"
#include "../core/ring.hpp"
#include "descriptor_ring.hpp"
#include "descriptors.hpp"
#include "frames.hpp"
#include "offload.hpp"
#include "part.hpp"
#include "registers.hpp"
#include "settings.hpp"
#include "units.hpp"

namespace dmatoll::e1000 {

// One a descriptor. The frame's own part stands in the slot of its first descriptor; a mapping in the slot of
// the first descriptor that it feeds.
struct TransmitSlot {
    Iova iova;
    std::uint64_t cookie;
    std::uint32_t mapped_bytes;  // 0: nothing to unmap
    std::uint32_t last;          // free-running index of the frame's last descriptor
    std::uint32_t wire_frames;
    std::uint32_t wire_bytes;
};
static_assert(sizeof(TransmitSlot) == 32);

// transmit() and ring_doorbell() belong to one caller at a time, reclaim() to another, which may run at the
// same time. room() and the counts may be read from anywhere. All else has the driver to itself. What the
// caller of the data path may rely on is said in driver.hpp.
template <Platform P, Mapper M>
class TransmitSide {
  public:
    TransmitSide(P& platform, M& mapper) : platform_{platform}, mapper_{mapper} {}

    // After an error release() gives back what there is. Errors: those of the Platform.
    Status allocate(const Settings& settings) {
        largest_frame_ = settings.largest_frame;
        return ring_.allocate(platform_, settings.transmit_descriptors);
    }

    // Everything was taken back.
    void release() {
        ring_.release(platform_);
        next_.store(0, std::memory_order_relaxed);
        announced_.store(0, std::memory_order_relaxed);
        head_.store(0, std::memory_order_relaxed);
        end_ = 0;
        context_ = ContextWords{};
        context_frames_ = 1;
    }

    // [8254x §14.5]
    void program(const Part& part) {
        ring_.program<TransmitBaseLow, TransmitBaseHigh, TransmitLength>(platform_);
        write_register(platform_, TransmitHead{});
        write_register(platform_, TransmitTail{});
        prepare_transmitter(platform_, part);
    }

    void enable(const Part& part) { enable_transmitter(platform_, part); }

    // The device is off: transmit_done(cookie) for every frame that was not reclaimed.
    template <class TransmitDone>
    void take_back(TransmitDone&& transmit_done) {
        const std::uint32_t next = next_.load(std::memory_order_relaxed);
        std::uint32_t head = head_.load(std::memory_order_relaxed);
        while (head != next) {
            const TransmitSlot& first = ring_.slots[ring_.size.slot(head)];
            const std::uint64_t cookie = first.cookie;
            head = release_frame(head, first.last);
            transmit_done(cookie);
        }
        head_.store(head, std::memory_order_relaxed);
    }

    // Inlined, so that what a caller knows (one segment, no offload) costs nothing.
    [[gnu::always_inline]] Status transmit(std::span<const Segment> segments, const TransmitOffload& offload,
                                           std::uint64_t cookie, bool more_coming) {
        if (segments.size() - 1 >= most_segments) [[unlikely]]
            return refuse(Error::invalid_argument);
        std::uint32_t total = 0;
        for (const Segment& segment : segments) {
            // Checked one by one, so that the sum cannot wrap.
            if (segment.length - 1 >= longest_segmented_frame) [[unlikely]]
                return refuse(Error::invalid_argument);
            total += segment.length;
        }
        if (!valid_offload(offload, total, largest_frame_)) [[unlikely]]
            return refuse(Error::invalid_argument);

        const std::uint32_t begin = next_.load(std::memory_order_relaxed);
        std::uint32_t end = end_;
        if (ahead(end, begin) < most_descriptors_per_frame) [[unlikely]] {
            // Tail one behind head: equal they would mean an empty ring.
            end = head_.load(std::memory_order_acquire) + ring_.size.slots() - 1;
            end_ = end;
            if (ahead(end, begin) < most_descriptors_per_frame &&
                ahead(end, begin) < descriptors_needed(segments)) {
                ring_doorbell();
                return Error::ring_full;
            }
        }

        TransmitSlot& first = ring_.slots[ring_.size.slot(begin)];
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
                ring_.descriptors[ring_.size.slot(index)] = std::bit_cast<TransmitDescriptor>(context);
                first.mapped_bytes = 0;
                ++index;
            }
        }

        for (const Segment& segment : segments) {
            const bool last_of_frame = &segment == &segments.back();
            // Status is asked for on the last descriptor only: it is written back when the whole frame has
            // been fetched.
            const std::uint32_t final_command =
                command |
                (last_of_frame ? TransmitDescriptor::end_of_packet | TransmitDescriptor::report_status : 0);
            // Usually a segment goes in one piece. What the Mapper finds too long for that it refuses.
            Result<Iova> mapped = Error::invalid_argument;
            if (index != end && segment.length <= most_bytes_per_descriptor) [[likely]]
                mapped = mapper_.map(segment.memory, segment.length, Direction::to_device);
            if (mapped.ok()) [[likely]] {
                put(index++, mapped.value(), segment.length, segment.length | final_command, options);
            } else {
                if (mapped.error() != Error::invalid_argument) return undo(begin, index, mapped.error());
                const Result<std::uint32_t> behind =
                    put_in_pieces(segment, begin, index, end, command, final_command, options);
                if (!behind.ok()) [[unlikely]]
                    return behind.error();
                index = behind.value();
            }
        }

        first.cookie = cookie;
        first.last = index - 1;
        first.wire_frames = wire_frames;
        first.wire_bytes = total + (wire_frames - 1) * offload.header_bytes;
        if (needs_context) {
            context_ = context;
            context_frames_ = wire_frames;
        }
        next_.store(index, std::memory_order_relaxed);
        if (!more_coming) ring_doorbell();
        return {};
    }

    void ring_doorbell() {
        const std::uint32_t next = next_.load(std::memory_order_relaxed);
        if (announced_.load(std::memory_order_relaxed) == next) return;
        // The descriptors must be complete before the tail leads the device to them; the same store gives
        // reclaim() their slots.
        dma_write_barrier();
        announced_.store(next, std::memory_order_release);
        platform_.write32(TransmitTail::offset, ring_.size.slot(next));
    }

    template <class TransmitDone>
    std::uint32_t reclaim(std::uint32_t budget, TransmitDone&& done) {
        std::uint32_t head = head_.load(std::memory_order_relaxed);
        // Only what was announced: a write-back ahead of the doorbell is a lie.
        const std::uint32_t announced = announced_.load(std::memory_order_acquire);
        std::uint32_t count = 0;
        std::uint64_t frames = 0;
        std::uint64_t bytes = 0;
        while (head != announced && count != budget) {
            const TransmitSlot& first = ring_.slots[ring_.size.slot(head)];
            const std::uint32_t last = first.last;
            // Only the write-back says that the buffers were fetched. The head register is no proof: it moves
            // before the write-back, and reading it costs a round trip to the device.
            const std::uint32_t status =
                read_once(ring_.descriptors[ring_.size.slot(last)].options_and_status);
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
            head_.store(head, std::memory_order_release);
            frames_.add(frames);
            bytes_.add(bytes);
        }
        return count;
    }

    [[nodiscard]] std::uint32_t room() const {
        const std::uint32_t head = head_.load(std::memory_order_acquire);
        const std::uint32_t used = ahead(next_.load(std::memory_order_relaxed), head);
        // On a third CPU both may have moved on between the two loads, by more than a ring.
        return used < ring_.size.slots() ? ring_.size.slots() - 1 - used : 0;
    }

    [[nodiscard]] std::uint64_t frames() const { return frames_.read(); }
    [[nodiscard]] std::uint64_t bytes() const { return bytes_.read(); }
    [[nodiscard]] std::uint64_t errors() const { return errors_.read(); }

  private:
    // mapped_bytes: of the mapping that begins here; 0 behind its first descriptor.
    [[gnu::always_inline]] void put(std::uint32_t index, Iova iova, std::uint32_t mapped_bytes,
                                    std::uint32_t command_and_length, std::uint32_t options) {
        const std::uint32_t position = ring_.size.slot(index);
        ring_.slots[position].iova = iova;
        ring_.slots[position].mapped_bytes = mapped_bytes;
        // The status is zero in `options`: a write-back of the slot's last frame must not pass for this
        // one's.
        ring_.descriptors[position] = TransmitDescriptor{iova.value, command_and_length, options};
    }

    // A segment that one descriptor does not take, or the Mapper not in one piece. final_command: of its last
    // descriptor. Returns the index behind it. After an error nothing of the frame, which began at `begin`,
    // stays mapped.
    [[gnu::noinline]] Result<std::uint32_t> put_in_pieces(const Segment& segment, std::uint32_t begin,
                                                          std::uint32_t index, std::uint32_t end,
                                                          std::uint32_t command, std::uint32_t final_command,
                                                          std::uint32_t options) {
        Memory memory = segment.memory;
        std::uint32_t left = segment.length;
        while (left != 0) {
            const std::uint32_t extent = mapper_.extent(memory, left, Direction::to_device);
            if (index == end) [[unlikely]]
                return undo(begin, index, Error::ring_full).error();
            const Result<Iova> mapped = mapper_.map(memory, extent, Direction::to_device);
            if (!mapped.ok()) [[unlikely]]
                return undo(begin, index, mapped.error()).error();
            memory = memory + extent;
            left -= extent;
            Iova iova = mapped.value();
            std::uint32_t rest = extent;
            std::uint32_t mapped_bytes = extent;
            while (rest > most_bytes_per_descriptor) {
                put(index++, iova, mapped_bytes, most_bytes_per_descriptor | command, options);
                if (index == end) [[unlikely]]
                    return undo(begin, index, Error::ring_full).error();
                mapped_bytes = 0;
                iova = iova + most_bytes_per_descriptor;
                rest -= most_bytes_per_descriptor;
            }
            put(index++, iova, mapped_bytes, rest | (left == 0 ? final_command : command), options);
        }
        return index;
    }

    // Unmaps the buffers of the frame whose descriptors are [head, last]; returns the index behind it.
    std::uint32_t release_frame(std::uint32_t head, std::uint32_t last) {
        const std::uint32_t behind = last + 1;
        for (; head != behind; ++head) {
            const TransmitSlot& slot = ring_.slots[ring_.size.slot(head)];
            if (slot.mapped_bytes != 0) {
                mapper_.unmap(slot.iova, slot.mapped_bytes, Direction::to_device, 0);
            }
        }
        return behind;
    }

    [[gnu::noinline, gnu::cold]] Status undo(std::uint32_t begin, std::uint32_t end, Error error) {
        if (end != begin) static_cast<void>(release_frame(begin, end - 1));
        if (error == Error::ring_full) {
            ring_doorbell();
            return error;
        }
        return refuse(error);
    }

    [[gnu::noinline, gnu::cold]] Status refuse(Error error) {
        ring_doorbell();
        errors_.add(1);
        return error;
    }

    // Exactly, a context included whether or not it will be needed. Inlined, rare as it is: a call would
    // force the segments into memory for every frame.
    [[gnu::always_inline]] std::uint32_t descriptors_needed(std::span<const Segment> segments) {
        std::uint32_t count = 1;
        for (const Segment& segment : segments) {
            Memory memory = segment.memory;
            std::uint32_t left = segment.length;
            while (left != 0) {
                const std::uint32_t extent = mapper_.extent(memory, left, Direction::to_device);
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
    std::uint32_t largest_frame_ = 0;
    DescriptorRing<TransmitDescriptor, TransmitSlot> ring_;

    // transmit()'s; in cache lines of their own. [head_, announced_) is with the device, up to next_ it is
    // not told yet.
    alignas(64) std::atomic<std::uint32_t> next_{0};
    std::atomic<std::uint32_t> announced_{0};
    // Where free descriptors end, as of the last look at head_: looked at again only when they run short, so
    // that reclaim()'s cache line stays with it.
    std::uint32_t end_ = 0;
    ContextWords context_{};  // what the device holds; all zero: nothing yet
    std::uint32_t context_frames_ = 1;
    Counter errors_;

    // reclaim()'s; likewise.
    alignas(64) std::atomic<std::uint32_t> head_{0};
    Counter frames_;
    Counter bytes_;
};

}  // namespace dmatoll::e1000
