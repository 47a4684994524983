// SPDX-License-Identifier: BSD-2-Clause
// Strategy `persistent`: a mapping is made at the first touch and kept. Two forms: pools that are mapped as a
// whole before the data path starts, and a cache that remembers every page it was ever asked for. Window
// unbounded: the device can reach any buffer that it was ever given until release_all().
//
// The cache is a radix table of two levels by page number, one for each direction, since a page that the
// device may read must not become one that it may write. Looking up is two loads and takes no lock; a page
// enters by compare-and-swap, so that two CPUs which meet the same page for the first time agree on one
// mapping and the loser takes its own back.
//
// With large pages the first touch of any page maps the whole chunk of 2 MiB around it by one entry. A leaf
// of the table covers just such a chunk: it is filled as a whole and enters as a whole, and looking up stays
// what it is with small pages. The device then reaches all of the chunk, whosever memory that is. A chunk
// that is not memory throughout, or that the IOMMU translates in its own way, is mapped by small pages.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>

#include "../core/address.hpp"
#include "../core/counters.hpp"
#include "../core/mapper.hpp"
#include "../core/platform.hpp"
#include "../core/result.hpp"
#include "../core/strategy.hpp"
#include "iova/space.hpp"
#include "scatter_list.hpp"

namespace dmatoll {

// By which pages the cache maps, and where by large ones.
struct CachePages {
    std::uint64_t bytes = page_bytes;  // or large_page_bytes, if the IOMMU has them
    // For large pages. Both outlive the strategy. Ranges of memory that adjoin are one.
    std::span<const MemoryRange> memory{};
    std::span<const IovaRange> reserved{};  // by the IOMMU
};

// Pages that are mapped at the moment.
struct CachedPages {
    std::uint64_t small = 0;
    std::uint64_t large = 0;
};

template <class Domain, Platform P>
class Persistent {
  public:
    static constexpr const Strategy& strategy = strategies::persistent;
    static constexpr std::uint32_t most_pools = 8;

    // Both outlive it.
    Persistent(Domain& domain, P& platform) : domain_{domain}, platform_{platform} {}
    Persistent(const Persistent&) = delete;
    Persistent& operator=(const Persistent&) = delete;

    // Prepares the cache for pages of [first, last]: in the kernel all of physical memory, at user level and
    // in the model what buffers may come from. Without it only pools can be mapped. Three tables (one a
    // direction) of 8 bytes for every 2 MiB of the range are allocated here; leaves (4 KiB for 2 MiB) come
    // from Platform::allocate at a first touch, on the data path. Call once. Errors: invalid_argument (more
    // than 2 TiB, or pages of another size), no_memory.
    Status cover(Memory first, Memory last, const CachePages& pages = {}) {
        if (last < first || roots_[0] != nullptr) return Error::invalid_argument;
        if (pages.bytes != page_bytes && pages.bytes != large_page_bytes) return Error::invalid_argument;
        pages_ = pages;
        const std::uint64_t base_page = (first.address / page_bytes) & ~std::uint64_t{leaf_entries - 1};
        const std::uint64_t leaves = (last.address / page_bytes - base_page) / leaf_entries + 1;
        if (leaves > most_leaves) return Error::invalid_argument;
        for (std::atomic<Leaf*>*& root : roots_) {
            const Result<void*> memory = platform_.allocate(leaves * sizeof(*root));
            if (!memory.ok()) {
                release_tables();
                return memory.error();
            }
            root = static_cast<std::atomic<Leaf*>*>(memory.value());
            leaves_ = leaves;
        }
        base_page_ = base_page;
        return {};
    }

    // Maps a pool once. A buffer inside it costs a comparison from then on, and may be as long as the pool;
    // it cannot be mapped in a direction that is not the pool's. Page-aligned address and size, at most 1
    // GiB. Not concurrent with the data path. Errors: invalid_argument (also: too many pools), no_iova_space,
    // mapping_failed, no_memory.
    Result<Iova> premap(Memory memory, std::uint64_t bytes, Direction direction) {
        if (bytes == 0 || offset_in_page(memory.address) != 0 || offset_in_page(bytes) != 0 ||
            pool_count_ == most_pools) {
            return Error::invalid_argument;
        }
        const Result<Iova> iova = domain_.map_pages(memory, bytes, direction);
        if (iova.ok()) {
            ++pool_count_;
            const Pool pool{memory.address, memory.address + bytes, iova.value().value - memory.address,
                            direction};
            for (std::size_t table = 0; table < tables; ++table) {
                if (serves(pool, static_cast<Direction>(table))) pools_[table].add(pool);
            }
        }
        return iova;
    }

    [[gnu::always_inline]] std::uint32_t extent(Memory memory, std::uint32_t length,
                                                Direction direction) const {
        const Pool* const pool = pools_[table_of(direction)].holding(memory);
        const std::uint64_t room =
            pool != nullptr ? pool->end - memory.address : page_bytes - offset_in_page(memory.address);
        return length <= room ? length : static_cast<std::uint32_t>(room);
    }

    [[gnu::always_inline]] Result<Iova> map(Memory memory, std::uint32_t length, Direction direction) {
        if (const Pool* pool = pools_[table_of(direction)].holding(memory)) {
            if (length > pool->end - memory.address) [[unlikely]]
                return Error::invalid_argument;
            return Iova{memory.address + pool->to_iova};
        }
        const std::uint64_t offset = offset_in_page(memory.address);
        // One entry leads to one page: a buffer that went on into the next would be let through to a
        // stranger's IOVA.
        if (offset + length > page_bytes) return Error::invalid_argument;
        const std::uint64_t page = memory.address / page_bytes - base_page_;
        const std::uint64_t root_index = page / leaf_entries;  // huge if the page lies below the range
        if (root_index < leaves_) [[likely]] {
            Leaf* leaf = roots_[table_of(direction)][root_index].load(std::memory_order_acquire);
            if (leaf != nullptr) [[likely]] {
                const std::uint64_t iova = leaf->iova[page % leaf_entries].load(std::memory_order_acquire);
                if (iova != 0) [[likely]]
                    return Iova{iova + offset};
            }
        }
        const Result<Iova> mapped = touch(page, direction);
        if (!mapped.ok()) return mapped;
        return mapped.value() + offset;
    }

    void unmap(Iova, std::uint32_t, Direction, std::uint32_t) {}

    Result<std::uint32_t> map_list(std::span<const Segment> segments, Direction direction,
                                   std::span<DeviceSegment> room) {
        return map_by_extent(*this, segments, direction, room);
    }

    void unmap_list(std::span<const DeviceSegment>, Direction, std::uint32_t) {}

    // Unmaps every pool and every cached page, and gives the tables back. The driver has stopped. Afterwards
    // cover() and premap() may be called again.
    void release_all() {
        for (std::size_t table = 0; table < tables; ++table) {
            for (std::uint32_t i = 0; i < pools_[table].count; ++i) {
                const Pool& pool = pools_[table].list[i];
                // One for both directions stands in every list.
                if (table_of(pool.direction) == table) {
                    static_cast<void>(
                        domain_.unmap_pages(Iova{pool.start + pool.to_iova}, pool.end - pool.start));
                }
            }
            pools_[table].count = 0;
        }
        pool_count_ = 0;
        release_tables();
    }

    [[nodiscard]] MappingCounters counters() const { return domain_.counters(); }

    // The cache's, pools left out. Not together with cover() and release_all().
    [[nodiscard]] CachedPages cached() const {
        CachedPages pages;
        for_each_leaf([&pages, this](std::uint64_t root_index, const Leaf& leaf) {
            if (is_large(root_index)) {
                ++pages.large;
                return;
            }
            for (const std::atomic<std::uint64_t>& entry : leaf.iova) {
                pages.small += entry.load(std::memory_order_relaxed) != 0 ? 1 : 0;
            }
        });
        return pages;
    }

  private:
    static constexpr std::uint64_t leaf_entries = large_page_bytes / page_bytes;
    static constexpr std::uint64_t most_leaves = std::uint64_t{1} << 20;
    static constexpr std::size_t tables = 3;

    // 0: not mapped. IOVA 0 is never handed out.
    struct Leaf {
        std::atomic<std::uint64_t> iova[leaf_entries];
    };
    static_assert(sizeof(Leaf) == page_bytes);

    struct Pool {
        std::uint64_t start = 0;
        std::uint64_t end = 0;
        std::uint64_t to_iova = 0;  // what is added to an address, modulo 2^64
        Direction direction = Direction::bidirectional;

        [[nodiscard]] bool holds(Memory memory) const {
            return memory.address >= start && memory.address < end;
        }
    };

    // The pools that serve a direction: whoever has one for each direction finds it at the first look.
    struct Pools {
        std::uint32_t count = 0;
        Pool list[most_pools] = {};

        void add(const Pool& pool) { list[count++] = pool; }
        [[gnu::always_inline]] const Pool* holding(Memory memory) const {
            if (count == 0) return nullptr;
            return list[0].holds(memory) ? &list[0] : further(memory);
        }
        [[nodiscard, gnu::noinline, gnu::pure]] const Pool* further(Memory memory) const {
            for (std::uint32_t i = 1; i < count; ++i) {
                if (list[i].holds(memory)) return &list[i];
            }
            return nullptr;
        }
    };

    static constexpr std::size_t table_of(Direction direction) { return static_cast<std::size_t>(direction); }
    static constexpr bool serves(const Pool& pool, Direction direction) {
        return pool.direction == direction || pool.direction == Direction::bidirectional;
    }

    [[gnu::noinline, gnu::cold]] Result<Iova> touch(std::uint64_t page, Direction direction) {
        const Memory start{(base_page_ + page) * page_bytes};
        for (const Pools& pools : pools_) {
            if (pools.holding(start) != nullptr) return Error::invalid_argument;
        }
        const std::uint64_t root_index = page / leaf_entries;
        if (root_index >= leaves_) return Error::mapping_failed;
        std::atomic<Leaf*>& slot = roots_[table_of(direction)][root_index];
        if (is_large(root_index)) return touch_chunk(slot, page, direction);
        Leaf* leaf = slot.load(std::memory_order_acquire);
        if (leaf == nullptr) {
            const Result<void*> memory = platform_.allocate(sizeof(Leaf));
            if (!memory.ok()) return memory.error();
            Leaf* fresh = static_cast<Leaf*>(memory.value());
            if (slot.compare_exchange_strong(leaf, fresh, std::memory_order_acq_rel)) {
                leaf = fresh;
            } else {
                platform_.free(fresh, sizeof(Leaf));
            }
        }
        const Result<Iova> mapped = domain_.map_pages(start, page_bytes, direction, true);
        if (!mapped.ok()) return mapped;
        std::uint64_t current = 0;
        if (leaf->iova[page % leaf_entries].compare_exchange_strong(current, mapped.value().value,
                                                                    std::memory_order_acq_rel)) {
            return mapped;
        }
        static_cast<void>(domain_.unmap_pages(mapped.value(), page_bytes));
        return Iova{current};
    }

    // Maps the whole chunk around the page. The leaf is filled before anybody can see it.
    Result<Iova> touch_chunk(std::atomic<Leaf*>& slot, std::uint64_t page, Direction direction) {
        const std::uint64_t entry = page % leaf_entries;
        Leaf* leaf = slot.load(std::memory_order_acquire);
        if (leaf == nullptr) {
            const Result<void*> memory = platform_.allocate(sizeof(Leaf));
            if (!memory.ok()) return memory.error();
            Leaf* fresh = static_cast<Leaf*>(memory.value());
            const Memory start{(base_page_ + page - entry) * page_bytes};
            const Result<Iova> mapped = domain_.map_pages(start, large_page_bytes, direction, true);
            if (!mapped.ok()) {
                platform_.free(fresh, sizeof(Leaf));
                return mapped;
            }
            for (std::uint64_t i = 0; i < leaf_entries; ++i) {
                fresh->iova[i].store(mapped.value().value + i * page_bytes, std::memory_order_relaxed);
            }
            if (slot.compare_exchange_strong(leaf, fresh, std::memory_order_acq_rel)) {
                leaf = fresh;
            } else {
                static_cast<void>(domain_.unmap_pages(mapped.value(), large_page_bytes));
                platform_.free(fresh, sizeof(Leaf));
            }
        }
        return Iova{leaf->iova[entry].load(std::memory_order_relaxed)};
    }

    // Whether the chunk of a leaf is mapped by one entry. The same for as long as the tables are there, since
    // pools come before the first touch.
    bool is_large(std::uint64_t root_index) const {
        if (pages_.bytes != large_page_bytes) return false;
        const std::uint64_t first = (base_page_ + root_index * leaf_entries) * page_bytes;
        const std::uint64_t last = first + (large_page_bytes - 1);
        for (const IovaRange& range : pages_.reserved) {
            if (range.first <= last && range.last >= first) return false;
        }
        // A pool has a direction: a chunk around it would lend its pages another.
        for (const Pools& pools : pools_) {
            for (std::uint32_t i = 0; i < pools.count; ++i) {
                if (pools.list[i].start <= last && pools.list[i].end > first) return false;
            }
        }
        for (const MemoryRange& range : pages_.memory) {
            if (range.first.address <= first && range.last.address >= last) return true;
        }
        return false;
    }

    // use(root index, leaf) for every leaf of all directions.
    template <class Use>
    void for_each_leaf(Use&& use) const {
        for (std::atomic<Leaf*>* const root : roots_) {
            if (root == nullptr) continue;
            for (std::uint64_t i = 0; i < leaves_; ++i) {
                if (Leaf* const leaf = root[i].load(std::memory_order_acquire)) use(i, *leaf);
            }
        }
    }

    void release_tables() {
        for_each_leaf([this](std::uint64_t root_index, Leaf& leaf) {
            const bool large = is_large(root_index);
            for (std::atomic<std::uint64_t>& entry : leaf.iova) {
                const std::uint64_t iova = entry.load(std::memory_order_relaxed);
                if (iova == 0) continue;
                static_cast<void>(domain_.unmap_pages(Iova{iova}, large ? large_page_bytes : page_bytes));
                if (large) break;
            }
            platform_.free(&leaf, sizeof(Leaf));
        });
        for (std::atomic<Leaf*>*& root : roots_) {
            if (root == nullptr) continue;
            platform_.free(root, leaves_ * sizeof(*root));
            root = nullptr;
        }
        leaves_ = 0;
    }

    Domain& domain_;
    P& platform_;
    std::uint64_t base_page_ = 0;
    std::uint64_t leaves_ = 0;
    std::atomic<Leaf*>* roots_[tables] = {};
    std::uint32_t pool_count_ = 0;
    Pools pools_[tables] = {};
    CachePages pages_{};
};

}  // namespace dmatoll
