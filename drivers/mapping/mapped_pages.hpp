// SPDX-License-Identifier: BSD-2-Clause
// Pages that are mapped one by one, for strategies that give the same mapping to several users or to one
// after the other: found by their memory and by their IOVA, each with the number of its users, and those
// without one in the order in which they lost the last.
//
// Two hash tables over one array of pages, all of it allocated at set-up: the data path allocates nothing,
// and both ways to find a page cost a multiplication and, mostly, one comparison. Links are indices into the
// array. Index 0 is no page: its links are the ends of the list of idle pages, so that taking one out of the
// list asks for nothing.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

#include "../core/address.hpp"
#include "../core/platform.hpp"
#include "../core/result.hpp"

namespace dmatoll {

// Not thread-safe: the strategy's lock is around it.
class MappedPages {
  public:
    using Index = std::uint32_t;
    static constexpr Index none = 0;
    static constexpr std::uint32_t most_capacity = std::uint32_t{1} << 20;

    struct Page {
        std::uint64_t key;  // of its memory and its direction
        Iova iova;
        std::uint32_t users;
        std::uint32_t mark;  // the strategy's own
        Index next_of_memory;
        Index next_of_iova;
        Index older;  // among the idle ones
        Index newer;  // ... and the next spare one
    };
    static_assert(sizeof(Page) == 40);

    MappedPages() = default;
    MappedPages(const MappedPages&) = delete;
    MappedPages& operator=(const MappedPages&) = delete;

    // Errors: invalid_argument (set up already, or a capacity that is not 1 to most_capacity), no_memory.
    template <Platform P>
    Status set_up(P& platform, std::uint32_t capacity) {
        if (pages_ != nullptr || capacity == 0 || capacity > most_capacity) return Error::invalid_argument;
        const std::uint32_t buckets = std::bit_ceil(capacity < 2 ? 2 : capacity);
        const Result<void*> memory = platform.allocate(bytes_of(capacity, buckets));
        if (!memory.ok()) return memory.error();
        // Zeros are an empty table, an empty list of idle pages, and spare pages that were never used.
        pages_ = static_cast<Page*>(memory.value());
        by_memory_ = reinterpret_cast<Index*>(pages_ + capacity + 1);
        by_iova_ = by_memory_ + buckets;
        capacity_ = capacity;
        buckets_ = buckets;
        shift_ = 64 - static_cast<std::uint32_t>(std::countr_zero(buckets));
        return {};
    }

    template <Platform P>
    void tear_down(P& platform) {
        if (pages_ != nullptr) platform.free(pages_, bytes_of(capacity_, buckets_));
        pages_ = nullptr;
        count_ = 0;
        idle_ = 0;
        used_ = 0;
        spare_ = none;
    }

    [[nodiscard]] bool is_set_up() const { return pages_ != nullptr; }
    [[nodiscard]] Page& operator[](Index index) { return pages_[index]; }

    // Both take the start of a page. none: it is not there.
    [[nodiscard]] Index find(Memory page, Direction direction) const {
        const std::uint64_t key = key_of(page, direction);
        Index index = by_memory_[bucket_of(key)];
        while (index != none && pages_[index].key != key) index = pages_[index].next_of_memory;
        return index;
    }
    [[nodiscard]] Index find(Iova iova) const {
        Index index = by_iova_[bucket_of(iova.value)];
        while (index != none && pages_[index].iova != iova) index = pages_[index].next_of_iova;
        return index;
    }

    [[nodiscard]] bool is_full() const { return count_ == capacity_; }
    [[nodiscard]] std::uint32_t count() const { return count_; }
    [[nodiscard]] std::uint32_t idle() const { return idle_; }

    // Adds one that is not there, with one user. It is not full.
    void add(Memory page, Direction direction, Iova iova) {
        const std::uint64_t key = key_of(page, direction);
        Index index = spare_;
        if (index != none) {
            spare_ = pages_[index].newer;
        } else {
            index = ++used_;
        }
        Index& of_memory = by_memory_[bucket_of(key)];
        Index& of_iova = by_iova_[bucket_of(iova.value)];
        pages_[index] = Page{.key = key,
                             .iova = iova,
                             .users = 1,
                             .mark = 0,
                             .next_of_memory = of_memory,
                             .next_of_iova = of_iova,
                             .older = none,
                             .newer = none};
        of_memory = index;
        of_iova = index;
        ++count_;
    }

    // It is not among the idle ones.
    void remove(Index index) {
        Page& page = pages_[index];
        unlink(by_memory_[bucket_of(page.key)], index, &Page::next_of_memory);
        unlink(by_iova_[bucket_of(page.iova.value)], index, &Page::next_of_iova);
        page.newer = spare_;
        spare_ = index;
        --count_;
    }

    // Becomes the newest of the idle ones.
    void put_to_rest(Index index) {
        Page& ends = pages_[none];
        Page& page = pages_[index];
        page.newer = none;
        page.older = ends.older;
        pages_[ends.older].newer = index;
        ends.older = index;
        ++idle_;
    }
    // The idle page is one no longer.
    void wake(Index index) {
        const Page& page = pages_[index];
        pages_[page.older].newer = page.newer;
        pages_[page.newer].older = page.older;
        --idle_;
    }
    // none: no page is idle.
    [[nodiscard]] Index oldest_idle() const { return pages_[none].newer; }

    // use(index) for every page that there is, idle or not; it removes the page.
    template <class Use>
    void drain(Use&& use) {
        while (oldest_idle() != none) wake(oldest_idle());
        for (std::uint32_t bucket = 0; bucket < buckets_; ++bucket) {
            while (by_memory_[bucket] != none) use(by_memory_[bucket]);
        }
    }

  private:
    static constexpr std::size_t bytes_of(std::uint32_t capacity, std::uint32_t buckets) {
        return (std::size_t{capacity} + 1) * sizeof(Page) + 2 * std::size_t{buckets} * sizeof(Index);
    }

    // Bits 0 and 1 of a page's address are free for the direction.
    static constexpr std::uint64_t key_of(Memory page, Direction direction) {
        return page.address | static_cast<std::uint64_t>(direction);
    }

    // Multiplied by 2^64 over the golden ratio: the upper bits differ between neighbours [Knuth, vol. 3,
    // §6.4].
    [[nodiscard]] std::uint64_t bucket_of(std::uint64_t key) const {
        return key * 0x9e37'79b9'7f4a'7c15 >> shift_;
    }

    void unlink(Index& bucket, Index index, Index Page::*next) {
        Index* link = &bucket;
        while (*link != index) link = &(pages_[*link].*next);
        *link = pages_[index].*next;
    }

    Page* pages_ = nullptr;  // capacity_ of them behind the first
    Index* by_memory_ = nullptr;
    Index* by_iova_ = nullptr;
    std::uint32_t shift_ = 0;
    std::uint32_t capacity_ = 0;
    std::uint32_t buckets_ = 0;
    std::uint32_t count_ = 0;
    std::uint32_t idle_ = 0;
    std::uint32_t used_ = 0;  // pages that were ever taken
    Index spare_ = none;
};

}  // namespace dmatoll
