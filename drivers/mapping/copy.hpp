// SPDX-License-Identifier: BSD-2-Clause
// Strategy `copy`: the device never sees a buffer. Two pools of shadow pages stay mapped while the driver
// runs, one that the device may only read and one that it may only write; map() copies the buffer into a
// slot, or reserves one, and unmap() copies back what the device says to have written. The idea is Markuze's
// (ASPLOS 2016).
//
// Window zero, by the byte: what shares a page with the buffer is out of reach at any time, a write behind
// `written` or after unmap() ends in the shadow, and what stands behind a frame in its slot is zero, not a
// rest of the frame before. No page-table entry changes on the data path, so nothing is ever invalidated
// there.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "../core/address.hpp"
#include "../core/copy.hpp"
#include "../core/counter.hpp"
#include "../core/counters.hpp"
#include "../core/mapper.hpp"
#include "../core/platform.hpp"
#include "../core/result.hpp"
#include "../core/strategy.hpp"

namespace dmatoll {

// Slots of one page: how many pieces of buffers can be with the device at a time.
struct CopySlots {
    std::uint32_t to_device = 0;  // 1 to most, each
    std::uint32_t from_device = 0;
    // By which the pools are mapped: page_bytes or large_page_bytes, of which a pool then has as many as it
    // takes, whole.
    std::uint64_t page_size = page_bytes;

    static constexpr std::uint32_t most = 4096;
};

template <class Domain, Platform P>
class Copy {
  public:
    static constexpr const Strategy& strategy = strategies::copy;

    // Both outlive it.
    Copy(Domain& domain, P& platform) : domain_{domain}, platform_{platform} {}
    Copy(const Copy&) = delete;
    Copy& operator=(const Copy&) = delete;

    // Allocates and maps the pools. Call once; after an error nothing is left. Errors: invalid_argument,
    // no_memory, no_iova_space, mapping_failed.
    Status set_up(const CopySlots& slots) {
        if (slots.page_size != page_bytes && slots.page_size != large_page_bytes) return Error::invalid_argument;
        chunk_shift_ = slots.page_size == large_page_bytes ? large_chunk_shift : small_chunk_shift;
        Status status = set_up(to_device_, slots.to_device, Direction::to_device);
        if (status.ok()) status = set_up(from_device_, slots.from_device, Direction::from_device);
        if (!status.ok()) release_all();
        return status;
    }

    std::uint32_t extent(Memory memory, std::uint32_t length, Direction) const {
        const std::uint64_t room = page_bytes - offset_in_page(memory.address);
        return length < room ? length : static_cast<std::uint32_t>(room);
    }

    // no_memory: every slot is with the device.
    Result<Iova> map(Memory memory, std::uint32_t length, Direction direction) {
        const std::uint64_t offset = offset_in_page(memory.address);
        if (direction == Direction::bidirectional || length == 0 || offset + length > page_bytes) {
            return Error::invalid_argument;
        }
        Pool& pool = pool_of(direction);
        pool.lock.lock();
        if (pool.free_count == 0) [[unlikely]] {
            pool.failures.add(1);
            pool.lock.unlock();
            return Error::no_memory;
        }
        const std::uint32_t index = pool.free[--pool.free_count];
        pool.lock.unlock();

        // The slot belongs to this caller from here on.
        Slot& slot = pool.slots[index];
        slot.buffer = memory;
        slot.length = length;
        const Chunk& chunk = pool.chunks[index >> chunk_shift_];
        const std::uint64_t start = start_in_chunk(index);
        if (direction == Direction::to_device) fill(slot, chunk.cpu + start, offset);
        return chunk.iova + start + offset;
    }

    void unmap(Iova iova, std::uint32_t, Direction direction, std::uint32_t written) {
        Pool& pool = pool_of(direction);
        const std::uint32_t index = index_of(pool, iova);
        if (index == no_slot) [[unlikely]]
            return;
        const Slot& slot = pool.slots[index];
        if (direction == Direction::from_device && written != 0) {
            const Chunk& chunk = pool.chunks[index >> chunk_shift_];
            const std::byte* const shadow = chunk.cpu + start_in_chunk(index) + offset_in_page(iova.value);
            copy_bytes(platform_.cpu_address(slot.buffer), shadow,
                       written < slot.length ? written : slot.length);
        }
        pool.lock.lock();
        if (pool.free_count < pool.slot_count) pool.free[pool.free_count++] = index;
        pool.lock.unlock();
    }

    // One entry a slot.
    Result<std::uint32_t> map_list(std::span<const Segment> segments, Direction direction,
                                   std::span<DeviceSegment> room) {
        if (segments.empty()) [[unlikely]]
            return Error::invalid_argument;
        std::uint32_t count = 0;
        for (const Segment& segment : segments) {
            for (std::uint32_t done = 0; done < segment.length;) {
                const Memory piece = segment.memory + done;
                const std::uint32_t length = extent(piece, segment.length - done, direction);
                const Result<Iova> slot =
                    count < room.size() ? map(piece, length, direction) : Result<Iova>{Error::invalid_argument};
                if (!slot.ok()) [[unlikely]] {
                    unmap_list(room.first(count), direction, 0);
                    return slot.error();
                }
                room[count++] = DeviceSegment{slot.value(), length};
                done += length;
            }
        }
        return count;
    }

    void unmap_list(std::span<const DeviceSegment> mapped, Direction direction, std::uint32_t written) {
        for (const DeviceSegment& piece : mapped) {
            const std::uint32_t here = written < piece.length ? written : piece.length;
            unmap(piece.iova, piece.length, direction, here);
            written -= here;
        }
    }

    // Unmaps the pools and gives them back. The driver has stopped. Afterwards set_up() may be called again.
    void release_all() {
        release(to_device_);
        release(from_device_);
    }

    [[nodiscard]] MappingCounters counters() const {
        MappingCounters counters = domain_.counters();
        counters.failures += to_device_.failures.read() + from_device_.failures.read();
        return counters;
    }

  private:
    // Slots of a piece of memory, to the base 2: 1 MiB of small pages, or one large page.
    static constexpr std::uint32_t small_chunk_shift = 8;
    static constexpr std::uint32_t large_chunk_shift = 9;
    static_assert(page_bytes << large_chunk_shift == large_page_bytes);
    static constexpr std::uint32_t most_chunks = CopySlots::most >> small_chunk_shift;
    static constexpr std::uint32_t no_slot = ~std::uint32_t{0};

    struct Slot {
        Memory buffer{};
        std::uint32_t length = 0;
        // What is not zero in it, from the frames before.
        std::uint16_t dirty_first = 0;
        std::uint16_t dirty_end = 0;
    };

    struct Chunk {
        std::byte* cpu = nullptr;
        Iova iova{};
        PageMemory pages{};
    };

    struct Pool {
        typename Domain::Lock lock{};  // of the stack of free slots; a slot that is out has one owner
        std::uint32_t* free = nullptr;
        std::uint32_t free_count = 0;
        std::uint32_t slot_count = 0;
        Slot* slots = nullptr;
        std::uint32_t chunk_count = 0;
        Chunk chunks[most_chunks] = {};
        Counter failures;
    };

    Pool& pool_of(Direction direction) {
        return direction == Direction::to_device ? to_device_ : from_device_;
    }

    [[nodiscard]] std::uint64_t start_in_chunk(std::uint32_t index) const {
        return (index & ((std::uint32_t{1} << chunk_shift_) - 1)) * page_bytes;
    }

    [[nodiscard]] std::uint32_t index_of(const Pool& pool, Iova iova) const {
        for (std::uint32_t i = 0; i < pool.chunk_count; ++i) {
            const std::uint64_t offset = iova.value - pool.chunks[i].iova.value;
            if (offset < pool.chunks[i].pages.bytes) {
                const std::uint32_t index =
                    (i << chunk_shift_) + static_cast<std::uint32_t>(offset / page_bytes);
                return index < pool.slot_count ? index : no_slot;
            }
        }
        return no_slot;
    }

    // The frame, and zeros where the frames before reached beyond it. Equal frames at an equal offset clear
    // nothing.
    void fill(Slot& slot, std::byte* shadow, std::uint64_t offset) {
        const auto first = static_cast<std::uint16_t>(offset);
        const auto end = static_cast<std::uint16_t>(offset + slot.length);
        if (slot.dirty_first < first) {
            const std::uint16_t stop = slot.dirty_end < first ? slot.dirty_end : first;
            clear_bytes(shadow + slot.dirty_first, stop - slot.dirty_first);
        }
        if (slot.dirty_end > end) {
            const std::uint16_t begin = slot.dirty_first > end ? slot.dirty_first : end;
            clear_bytes(shadow + begin, slot.dirty_end - begin);
        }
        slot.dirty_first = first;
        slot.dirty_end = end;
        copy_bytes(shadow + offset, platform_.cpu_address(slot.buffer), slot.length);
    }

    Status set_up(Pool& pool, std::uint32_t slots, Direction direction) {
        if (slots == 0 || slots > CopySlots::most || pool.slots != nullptr) return Error::invalid_argument;
        const Result<void*> table = platform_.allocate(slots * sizeof(Slot));
        if (!table.ok()) return table.error();
        pool.slots = static_cast<Slot*>(table.value());
        pool.slot_count = slots;
        const Result<void*> stack = platform_.allocate(slots * sizeof(std::uint32_t));
        if (!stack.ok()) return stack.error();
        pool.free = static_cast<std::uint32_t*>(stack.value());
        const std::uint32_t slots_per_chunk = std::uint32_t{1} << chunk_shift_;
        for (std::uint32_t done = 0; done < slots; done += slots_per_chunk) {
            const std::uint32_t left = slots - done;
            const Status added = add_chunk(pool, left < slots_per_chunk ? left : slots_per_chunk, direction);
            if (!added.ok()) return added;
        }
        // The first slot on top.
        for (std::uint32_t i = slots; i-- > 0;) pool.free[pool.free_count++] = i;
        return {};
    }

    Status add_chunk(Pool& pool, std::uint32_t slots, Direction direction) {
        const Result<PageMemory> pages =
            chunk_shift_ == large_chunk_shift
                ? platform_.allocate_large_page()
                : platform_.allocate_pages(slots * static_cast<std::uint32_t>(page_bytes));
        if (!pages.ok()) return pages.error();
        const Result<Iova> iova = domain_.map_pages(pages.value().memory, pages.value().bytes, direction);
        if (!iova.ok()) {
            platform_.free_pages(pages.value());
            return iova.error();
        }
        pool.chunks[pool.chunk_count++] =
            Chunk{static_cast<std::byte*>(pages.value().cpu), iova.value(), pages.value()};
        return {};
    }

    void release(Pool& pool) {
        for (std::uint32_t i = 0; i < pool.chunk_count; ++i) {
            const Chunk& chunk = pool.chunks[i];
            // What may still be reached is not given to anybody else.
            if (domain_.unmap_pages(chunk.iova, chunk.pages.bytes).ok()) platform_.free_pages(chunk.pages);
        }
        if (pool.free != nullptr) platform_.free(pool.free, pool.slot_count * sizeof(std::uint32_t));
        if (pool.slots != nullptr) platform_.free(pool.slots, pool.slot_count * sizeof(Slot));
        pool.chunk_count = 0;
        pool.free = nullptr;
        pool.free_count = 0;
        pool.slots = nullptr;
        pool.slot_count = 0;
    }

    Domain& domain_;
    P& platform_;
    std::uint32_t chunk_shift_ = small_chunk_shift;
    Pool to_device_;
    Pool from_device_;
};

}  // namespace dmatoll
