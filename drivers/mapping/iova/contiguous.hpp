// SPDX-License-Identifier: BSD-2-Clause
// IOVAs that adjoin: blocks of 64 pages, carved from their start to their end in the order of the requests (the
// allocator half of F&S, SOSP 2024). Buffers that a ring takes one after the other
// lie beside each other, share the page-table pages that lead to them, and can be invalidated as one range. A
// block is free again when all that was carved from it has come back.
//
// Which ring it is for, an allocator is not told; a direction is as good, since each ring has its own. So there is
// one open block for each direction.
//
// A range is not aligned to more than a page, unless it is longer than a block: that comes from the size classes
// behind, as does all that the blocks cannot hold.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "../../core/address.hpp"
#include "../../core/platform.hpp"
#include "../../core/result.hpp"
#include "size_classes.hpp"
#include "space.hpp"

namespace dmatoll::iova {

// Not thread-safe: Domain puts the surroundings' lock around it.
class Contiguous {
  public:
    static constexpr std::uint64_t block_pages = 64;

    // It is set up and torn down with this, and used by nobody else.
    explicit Contiguous(SizeClasses& behind) : behind_{behind} {}
    Contiguous(const Contiguous&) = delete;
    Contiguous& operator=(const Contiguous&) = delete;

    // The blocks lie at the end of the space and take half of it at most; `capacity` is that of the rest. Errors:
    // invalid_argument (no piece of the space holds a block, or the rest has too many pieces), no_memory.
    template <Platform P>
    Status set_up(P& platform, const Space& space, std::uint32_t capacity) {
        Space rest;
        const std::uint64_t half = space.pages() / 2 / block_pages * block_pages;
        block_count_ = 0;
        for (std::uint64_t pages = half < most_pages ? half : most_pages; pages >= block_pages;
             pages -= block_pages) {
            if (take_area(space, pages, rest)) break;
        }
        if (block_count_ == 0) return Error::invalid_argument;
        if (const Status status = behind_.set_up(platform, rest, capacity); !status.ok()) return status;
        free_ = none;
        for (Open& open : open_) open = {};
        const Result<void*> memory = platform.allocate(block_count_ * sizeof(Block));
        if (!memory.ok()) {
            behind_.tear_down(platform);
            return memory.error();
        }
        blocks_ = static_cast<Block*>(memory.value());
        for (std::uint32_t i = block_count_; i-- > 0;) close(i);
        return {};
    }

    template <Platform P>
    void tear_down(P& platform) {
        if (blocks_ != nullptr) platform.free(blocks_, block_count_ * sizeof(Block));
        blocks_ = nullptr;
        block_count_ = 0;
        behind_.tear_down(platform);
    }

    // Error: no_iova_space.
    Result<Iova> allocate(std::uint64_t pages, Direction direction) {
        if (pages == 0) pages = 1;
        Open& open = open_[static_cast<std::size_t>(direction)];
        if (pages > block_pages - open.used) {
            if (pages > block_pages || !open_another(open)) return behind_.allocate(pages);
        }
        const std::uint64_t page = open.block * block_pages + open.used;
        open.used += static_cast<std::uint32_t>(pages);
        ++blocks_[open.block].out;
        return area_ + page * page_bytes;
    }

    void free(Iova iova, std::uint64_t pages) {
        const std::uint64_t block = (iova.value - area_.value) / (block_pages * page_bytes);  // huge if below
        if (block >= block_count_) {
            behind_.free(iova, pages);
            return;
        }
        Block& of = blocks_[block];
        if (of.out == 0) return;  // more came back than went out
        if (--of.out == 0 && !of.open) close(static_cast<std::uint32_t>(block));
    }

  private:
    static constexpr std::uint32_t none = ~std::uint32_t{0};
    static constexpr std::uint64_t most_pages = std::uint64_t{1} << 18;  // 1 GiB in 4096 blocks

    struct Block {
        std::uint32_t next;  // free
        std::uint16_t out;   // ranges
        bool open;
    };

    // Where one is carved; at first none is.
    struct Open {
        std::uint32_t block = none;
        std::uint32_t used = block_pages;
    };

    // False: no window is as long, or the rest has too many pieces.
    bool take_area(const Space& space, std::uint64_t pages, Space& rest) {
        const std::span<const IovaRange> windows = space.windows();
        for (std::size_t i = windows.size(); i-- > 0;) {
            const std::uint64_t end = (windows[i].last / page_bytes + 1) / block_pages * block_pages;
            if (end < pages || (end - pages) * page_bytes < windows[i].first) continue;
            const IovaRange area{(end - pages) * page_bytes, end * page_bytes - 1};
            if (!rest.set_up(windows, {&area, 1}, space.address_bits()).ok()) return false;
            area_ = Iova{area.first};
            block_count_ = static_cast<std::uint32_t>(pages / block_pages);
            return true;
        }
        return false;
    }

    // Onto the list of the free ones.
    void close(std::uint32_t block) {
        blocks_[block].next = free_;
        free_ = block;
    }

    // False: all blocks are in use, and the open one goes on.
    bool open_another(Open& open) {
        if (open.block != none && blocks_[open.block].out == 0) {
            open.used = 0;
            return true;
        }
        if (free_ == none) return false;
        if (open.block != none) blocks_[open.block].open = false;
        open = {free_, 0};
        free_ = blocks_[open.block].next;
        blocks_[open.block].open = true;
        return true;
    }

    SizeClasses& behind_;
    Iova area_{};
    std::uint32_t block_count_ = 0;
    Block* blocks_ = nullptr;
    std::uint32_t free_ = none;
    Open open_[3] = {};  // by direction
};

}  // namespace dmatoll::iova
