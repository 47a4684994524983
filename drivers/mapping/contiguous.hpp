// SPDX-License-Identifier: BSD-2-Clause
// Strategy `contiguous`: buffers of one direction get their IOVAs in sequence from blocks of 64 pages, and a
// block is unmapped by one call with one ranged invalidation when the last of its buffers has come back. The
// method is that of F&S (SOSP 2024), where a block is what one descriptor of the device takes; here it is
// what so many buffers in a row take. A block covers an eighth of a page-table page, so that the table
// behind a ring stays small and its parts in the IOMMU's caches. A buffer of more pages than a block has is a
// range of its own, unmapped at once.
//
// Window bounded. F&S count it from the end of a descriptor, and call it zero; counted from the end of a
// buffer's own use, as it is here, it lasts until its block is done: entry and IOTLB lead the device to the
// buffer for certain. What has been so for the longest time allowed is unmapped with what adjoins it, ahead
// of its block. IOVAs are free when all of the block is unmapped and invalidated.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>

#include "../core/address.hpp"
#include "../core/counter.hpp"
#include "../core/counters.hpp"
#include "../core/mapper.hpp"
#include "../core/platform.hpp"
#include "../core/result.hpp"
#include "../core/strategy.hpp"
#include "../core/strategy_parameters.hpp"
#include "alarm.hpp"
#include "page_range.hpp"
#include "scatter_list.hpp"

namespace dmatoll {

template <class Domain, Platform P, Alarm A>
class Contiguous {
  public:
    static constexpr const Strategy& strategy = strategies::contiguous;
    static constexpr std::uint32_t block_pages = 64;
    // Blocks that have a buffer in them, or are being filled.
    static constexpr std::uint32_t most_blocks = 16384;

    // All outlive it.
    Contiguous(Domain& domain, P& platform, A& alarm) : domain_{domain}, platform_{platform}, alarm_{alarm} {}
    Contiguous(const Contiguous&) = delete;
    Contiguous& operator=(const Contiguous&) = delete;

    // Call once, before anything is mapped. Errors: invalid_argument, no_memory.
    Status set_up(std::uint32_t milliseconds, std::uint32_t blocks = most_blocks) {
        if (blocks_ != nullptr || blocks < directions || blocks > most_blocks ||
            !parameters::contiguous_milliseconds.takes(milliseconds)) {
            return Error::invalid_argument;
        }
        const std::uint32_t buckets = std::bit_ceil(blocks);
        const Result<void*> memory = platform_.allocate(bytes_of(blocks, buckets));
        if (!memory.ok()) return memory.error();
        blocks_ = static_cast<Block*>(memory.value());
        buckets_ = reinterpret_cast<Index*>(blocks_ + blocks + 1);
        capacity_ = blocks;
        shift_ = 64 - static_cast<std::uint32_t>(std::countr_zero(buckets));
        longest_ns_ = std::uint64_t{milliseconds} * 1'000'000;
        return {};
    }

    std::uint32_t extent(Memory, std::uint32_t length, Direction) const { return length; }

    Result<Iova> map(Memory memory, std::uint32_t length, Direction direction) {
        const Segment segment{memory, length};
        const Result<Iova> pages = map_segments({&segment, 1}, direction);
        if (!pages.ok()) [[unlikely]]
            return pages;
        return pages.value() + offset_in_page(memory.address);
    }

    void unmap(Iova iova, std::uint32_t length, Direction, std::uint32_t) {
        end({Iova{page_floor(iova.value)}, pages_spanned(iova.value, length) * page_bytes});
    }

    Result<std::uint32_t> map_list(std::span<const Segment> segments, Direction direction,
                                   std::span<DeviceSegment> room) {
        if (segments.empty() || room.size() < segments.size()) [[unlikely]]
            return Error::invalid_argument;
        const Result<Iova> start = map_segments(segments, direction);
        if (!start.ok()) [[unlikely]]
            return start.error();
        return tell(segments, start.value(), room);
    }

    void unmap_list(std::span<const DeviceSegment> mapped, Direction, std::uint32_t) {
        end(range_of(mapped));
    }

    // What the alarm was set for. From any context that may unmap.
    void on_alarm() {
        lock_.lock();
        if (done_pages_ != 0 && platform_.now_ns() - oldest_ns_ >= longest_ns_) sweep();
        alarm_is_set_ = false;
        if (done_pages_ != 0) {
            // What it had been set for went with its block, or by now: this is younger.
            const std::uint64_t age = platform_.now_ns() - oldest_ns_;
            set_alarm(age < longest_ns_ ? longest_ns_ - age : 1);
        }
        lock_.unlock();
    }

    // For surroundings that poll, and look at their alarm only now and then.
    void flush_if_due() {
        lock_.lock();
        if (done_pages_ != 0 && platform_.now_ns() - oldest_ns_ >= longest_ns_) sweep();
        lock_.unlock();
    }

    // Whatever is done, whether it is time or not.
    void flush_now() {
        lock_.lock();
        if (done_pages_ != 0) sweep();
        lock_.unlock();
    }

    // Unmaps what is left in the blocks and gives them back. The driver has stopped and no alarm is on its
    // way any more. Afterwards set_up() may be called again.
    void release_all() {
        if (blocks_ == nullptr) return;
        for (Index index = 1; index <= used_; ++index) {
            Block& block = blocks_[index];
            if (block.base.value == 0) continue;
            done_pages_ += count(block.in_use);
            block.done |= block.in_use;
            block.in_use = 0;
            block.is_filled = true;
            finish(index);
        }
        platform_.free(blocks_, bytes_of(capacity_, std::bit_ceil(capacity_)));
        blocks_ = nullptr;
        for (Index& lane : lanes_) lane = none;
        used_ = 0;
        spare_ = none;
        done_pages_ = 0;
        alarm_is_set_ = false;
    }

    [[nodiscard]] MappingCounters counters() const {
        MappingCounters counters = domain_.counters();
        counters.failures += refusals_.read();
        return counters;
    }
    // Pages that nobody uses any more and that are still mapped. Not concurrent with the data path.
    [[nodiscard]] std::uint64_t waiting() const { return done_pages_; }

  private:
    using Index = std::uint32_t;
    using Bits = std::uint64_t;  // one for each page of a block
    static constexpr Index none = 0;
    static constexpr std::size_t directions = 3;
    static constexpr std::uint64_t block_bytes = block_pages * page_bytes;
    static_assert(block_pages == 64);

    struct Block {
        Iova base;              // aligned to its size; 0: not in use
        Bits in_use;            // pages of buffers that are with the device
        Bits done;              // ... that have come back and are still mapped
        Bits starts;            // first pages of buffers, in use or done
        std::uint32_t carved;   // pages that were given out, from the first on
        bool is_filled;         // no more will be
        bool is_lost;           // an unmapping was refused: its IOVAs stay taken
        Index next_in_bucket;   // and of the spare ones
    };

    static constexpr std::size_t bytes_of(std::uint32_t blocks, std::uint32_t buckets) {
        return (std::size_t{blocks} + 1) * sizeof(Block) + std::size_t{buckets} * sizeof(Index);
    }

    static constexpr Bits bits_of(std::uint64_t first, std::uint64_t pages) {
        return (pages == block_pages ? ~Bits{0} : (Bits{1} << pages) - 1) << first;
    }

    // Without an instruction for it, which not every x86-64 has, std::popcount() is a call of the compiler's
    // library.
    static constexpr std::uint32_t count(Bits bits) {
        bits -= bits >> 1 & 0x5555'5555'5555'5555;
        bits = (bits & 0x3333'3333'3333'3333) + (bits >> 2 & 0x3333'3333'3333'3333);
        bits = (bits + (bits >> 4)) & 0x0f0f'0f0f'0f0f'0f0f;
        return static_cast<std::uint32_t>(bits * 0x0101'0101'0101'0101 >> 56);
    }
    static_assert(count(0) == 0 && count(~Bits{0}) == 64 && count(0x8000'0000'0001'00f1) == 7);

    // What the device is told of segments that lie in one range from `page` on.
    static std::uint32_t tell(std::span<const Segment> segments, Iova page, std::span<DeviceSegment> room) {
        std::uint32_t count = 0;
        for (const Segment& segment : segments) {
            static_cast<void>(
                append(room, count, page + offset_in_page(segment.memory.address), segment.length));
            page = page + pages_of(segment) * page_bytes;
        }
        return count;
    }

    // The start of the range that they are mapped as.
    Result<Iova> map_segments(std::span<const Segment> segments, Direction direction) {
        std::uint64_t pages = 0;
        for (const Segment& segment : segments) pages += pages_of(segment);
        if (pages > block_pages) return domain_.map_list(segments, direction);
        lock_.lock();
        const Result<Iova> start = carve(pages, segments, direction);
        lock_.unlock();
        return start;
    }

    // Under the lock, in which the buffer is mapped, too: a block's bits tell what is mapped.
    Result<Iova> carve(std::uint64_t pages, std::span<const Segment> segments, Direction direction) {
        Index& lane = lanes_[static_cast<std::size_t>(direction)];
        if (lane != none && block_pages - blocks_[lane].carved < pages) {
            fill(lane);
            lane = none;
        }
        if (lane == none) {
            const Result<Index> begun = begin_block();
            if (!begun.ok()) return begun.error();
            lane = begun.value();
        }
        Block& block = blocks_[lane];
        const std::uint32_t first = block.carved;
        const Iova start = block.base + first * page_bytes;
        const Status mapped = domain_.map_at(start, segments, direction, block.is_lost);
        if (!mapped.ok()) [[unlikely]] {
            if (block.is_lost) {
                fill(lane);
                lane = none;
            }
            return mapped.error();
        }
        block.carved = first + static_cast<std::uint32_t>(pages);
        block.in_use |= bits_of(first, pages);
        block.starts |= Bits{1} << first;
        if (block.carved == block_pages) {
            fill(lane);
            lane = none;
        }
        return start;
    }

    void end(const PageRange& range) {
        const std::uint64_t pages = range.bytes / page_bytes;
        if (pages > block_pages) {
            static_cast<void>(domain_.unmap_pages(range.iova, range.bytes));
            return;
        }
        lock_.lock();
        const Index index = find(range.iova);
        if (index != none) [[likely]] {
            Block& block = blocks_[index];
            const Bits bits = bits_of((range.iova.value - block.base.value) / page_bytes, pages);
            if ((block.in_use & bits) == bits) [[likely]] {
                block.in_use &= ~bits;
                block.done |= bits;
                if (done_pages_ == 0) oldest_ns_ = platform_.now_ns();
                done_pages_ += pages;
                if (block.in_use == 0 && block.is_filled) {
                    finish(index);
                } else if (!alarm_is_set_) {
                    set_alarm(longest_ns_);
                }
            }
        }
        lock_.unlock();
    }

    // Nothing more is carved from it.
    void fill(Index index) {
        blocks_[index].is_filled = true;
        if (blocks_[index].in_use == 0) finish(index);
    }

    // All of it is done: unmapped, and its IOVAs given back.
    void finish(Index index) {
        unmap_done(blocks_[index]);
        end_block(index);
    }

    // Everything that is done, block by block. Leaves the lock, under which it is called, to others in between: what
    // they bring back stays, if its block has been passed, for no longer than allowed.
    void sweep() {
        oldest_ns_ = platform_.now_ns();
        for (Index index = 1; index <= used_ && done_pages_ != 0; ++index) {
            if (blocks_[index].done == 0) continue;
            unmap_done(blocks_[index]);
            lock_.unlock();
            lock_.lock();
        }
    }

    // By runs of pages that adjoin: of a block that is done as a whole that is one.
    void unmap_done(Block& block) {
        while (block.done != 0) {
            const auto first = static_cast<std::uint32_t>(std::countr_zero(block.done));
            const auto pages = static_cast<std::uint32_t>(std::countr_one(block.done >> first));
            const Bits run = bits_of(first, pages);
            const Status unmapped = domain_.unmap_at({block.base + first * page_bytes, pages * page_bytes},
                                                     count(block.starts & run));
            if (!unmapped.ok()) [[unlikely]]
                block.is_lost = true;
            block.done &= ~run;
            block.starts &= ~run;
            done_pages_ -= pages;
        }
    }

    Result<Index> begin_block() {
        Index index = spare_;
        if (index == none && used_ == capacity_) {
            refusals_.add(1);
            return Error::no_memory;
        }
        const Result<Iova> base = domain_.reserve(block_pages);
        if (!base.ok()) return base.error();
        if (index != none) {
            spare_ = blocks_[index].next_in_bucket;
        } else {
            index = ++used_;
        }
        Index& bucket = bucket_of(base.value());
        blocks_[index] = Block{.base = base.value(),
                               .in_use = 0,
                               .done = 0,
                               .starts = 0,
                               .carved = 0,
                               .is_filled = false,
                               .is_lost = false,
                               .next_in_bucket = bucket};
        bucket = index;
        return index;
    }

    void end_block(Index index) {
        Block& block = blocks_[index];
        Index* link = &bucket_of(block.base);
        while (*link != index) link = &blocks_[*link].next_in_bucket;
        *link = block.next_in_bucket;
        if (!block.is_lost) domain_.give_back(block.base, block_pages);
        block.base = Iova{};
        block.next_in_bucket = spare_;
        spare_ = index;
    }

    [[nodiscard]] Index find(Iova page) {
        const Iova base{page.value & ~(block_bytes - 1)};
        Index index = bucket_of(base);
        while (index != none && blocks_[index].base != base) index = blocks_[index].next_in_bucket;
        return index;
    }

    // As in mapped_pages.hpp.
    Index& bucket_of(Iova base) { return buckets_[base.value * 0x9e37'79b9'7f4a'7c15 >> shift_]; }

    void set_alarm(std::uint64_t nanoseconds) {
        alarm_is_set_ = true;
        alarm_.set(nanoseconds);
    }

    Domain& domain_;
    P& platform_;
    A& alarm_;
    typename Domain::Lock lock_{};
    Index lanes_[directions] = {};  // the block that is being filled, for each direction
    Block* blocks_ = nullptr;       // capacity_ of them behind the first
    Index* buckets_ = nullptr;
    std::uint32_t shift_ = 0;
    std::uint32_t capacity_ = 0;
    std::uint32_t used_ = 0;  // blocks that were ever taken
    Index spare_ = none;
    std::uint64_t done_pages_ = 0;
    std::uint64_t oldest_ns_ = 0;  // no younger than the oldest of them
    std::uint64_t longest_ns_ = 0;
    bool alarm_is_set_ = false;
    Counter refusals_;
};

}  // namespace dmatoll
