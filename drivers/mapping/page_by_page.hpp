// SPDX-License-Identifier: BSD-2-Clause
// What strategies have in common that map page by page and give a page which is mapped already, in that
// direction, to its next user as it is. They differ in what becomes of a page that nobody uses any more.
//
// One lock is around all of it, the unmapping and its invalidation included: whoever asks for a page that is
// being unmapped waits, and gets a mapping of its own. Pages that are unmapped in one call share one
// invalidation, or, where the backend invalidates with each, the calls of those that adjoin.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "../core/address.hpp"
#include "../core/counter.hpp"
#include "../core/counters.hpp"
#include "../core/platform.hpp"
#include "../core/result.hpp"
#include "mapped_pages.hpp"
#include "page_range.hpp"
#include "scatter_list.hpp"

namespace dmatoll {

// Chosen: the strategy, which derives from it and has, both called under the lock:
//   bool make_room(): a page is about to be mapped. Whether it is meant to stay, and counts as a first touch.
//   void on_unused(index): the page has lost its last user: doom() it, or put it to rest.
template <class Chosen, class Domain, Platform P>
class PageByPage {
  public:
    PageByPage(const PageByPage&) = delete;
    PageByPage& operator=(const PageByPage&) = delete;

    std::uint32_t extent(Memory memory, std::uint32_t length, Direction) const {
        return in_page(memory, length);
    }

    // no_memory: also if more pages are in use than set_up() was told.
    Result<Iova> map(Memory memory, std::uint32_t length, Direction direction) {
        const std::uint64_t offset = offset_in_page(memory.address);
        if (offset + length > page_bytes) [[unlikely]]
            return Error::invalid_argument;
        lock_.lock();
        const Result<Iova> page = take(Memory{memory.address - offset}, direction);
        lock_.unlock();
        if (!page.ok()) [[unlikely]]
            return page;
        return page.value() + offset;
    }

    void unmap(Iova iova, std::uint32_t, Direction, std::uint32_t) {
        lock_.lock();
        give_back(Iova{page_floor(iova.value)});
        unmap_doomed();
        lock_.unlock();
    }

    // Pages that adjoin are one entry.
    Result<std::uint32_t> map_list(std::span<const Segment> segments, Direction direction,
                                   std::span<DeviceSegment> room) {
        if (segments.empty()) [[unlikely]]
            return Error::invalid_argument;
        std::uint32_t count = 0;
        Status status{};
        lock_.lock();
        for (const Segment& segment : segments) {
            status = take_segment(segment, direction, room, count);
            if (!status.ok()) [[unlikely]] {
                give_back_list(room.first(count));
                break;
            }
        }
        unmap_doomed();
        lock_.unlock();
        if (!status.ok()) [[unlikely]]
            return status.error();
        return count;
    }

    void unmap_list(std::span<const DeviceSegment> mapped, Direction, std::uint32_t) {
        lock_.lock();
        give_back_list(mapped);
        unmap_doomed();
        lock_.unlock();
    }

    // Unmaps every page and gives the tables back. The driver has stopped. Afterwards set_up() may be called
    // again.
    void release_all() {
        if (!pages_.is_set_up()) return;
        pages_.drain([this](MappedPages::Index index) { doom(index); });
        unmap_doomed();
        pages_.tear_down(platform_);
        platform_.free(doomed_, page_bytes);
        doomed_ = nullptr;
    }

    [[nodiscard]] MappingCounters counters() const {
        // First: each of them is among the domain's failures already.
        const std::uint64_t retries = retries_.read();
        MappingCounters counters = domain_.counters();
        counters.failures += refusals_.read() - retries;
        return counters;
    }
    // Pages that are mapped, and those of them that nobody uses. Not concurrent with the data path.
    [[nodiscard]] std::uint32_t mapped() const { return pages_.count(); }
    [[nodiscard]] std::uint32_t idle() const { return pages_.idle(); }

  protected:
    using Index = MappedPages::Index;

    // That are unmapped in one call: for so long, at most, others wait for the lock.
    static constexpr std::uint32_t most_doomed = page_bytes / sizeof(PageRange);

    // Both outlive it.
    PageByPage(Domain& domain, P& platform) : domain_{domain}, platform_{platform} {}
    ~PageByPage() = default;

    // Pages that can be mapped at a time. Errors: invalid_argument, no_memory.
    Status set_up_pages(std::uint32_t capacity) {
        if (const Status tables = pages_.set_up(platform_, capacity); !tables.ok()) return tables;
        const Result<void*> memory = platform_.allocate(page_bytes);
        if (!memory.ok()) {
            pages_.tear_down(platform_);
            return memory.error();
        }
        doomed_ = static_cast<PageRange*>(memory.value());
        return {};
    }

    // The page is not idle and has no user. Unmapped by unmap_doomed(), ahead of which nobody else gets the
    // lock.
    void doom(Index index) {
        if (doomed_count_ == most_doomed) [[unlikely]]
            unmap_doomed();
        doomed_[doomed_count_++] = PageRange{pages_[index].iova, page_bytes};
        pages_.remove(index);
    }

    // At most that many of the idle ones, those that have been so the longest.
    void doom_idle(std::uint32_t most) {
        for (; most != 0 && pages_.oldest_idle() != MappedPages::none; --most) {
            const Index index = pages_.oldest_idle();
            pages_.wake(index);
            doom(index);
        }
    }

    // On return no translation of the doomed is left, and their IOVAs are free. A refusal is counted and
    // quarantined by the domain.
    void unmap_doomed() {
        if (doomed_count_ != 0) unmap_pages();
    }

    Domain& domain_;
    P& platform_;
    typename Domain::Lock lock_{};
    MappedPages pages_;

  private:
    Chosen& chosen() { return static_cast<Chosen&>(*this); }

    static std::uint32_t in_page(Memory memory, std::uint32_t length) {
        const std::uint64_t room = page_bytes - offset_in_page(memory.address);
        return length < room ? length : static_cast<std::uint32_t>(room);
    }

    Result<Iova> take(Memory page, Direction direction) {
        const Index found = pages_.find(page, direction);
        if (found == MappedPages::none) return add(page, direction);
        MappedPages::Page& known = pages_[found];
        if (known.users++ == 0) pages_.wake(found);
        return known.iova;
    }

    // Where there is no room, in the table or in the domain, pages that nobody uses make some.
    [[gnu::noinline]] Result<Iova> add(Memory page, Direction direction) {
        const bool stays = chosen().make_room();
        if (pages_.is_full()) [[unlikely]]
            doom_idle(most_doomed);
        unmap_doomed();
        if (pages_.is_full()) [[unlikely]] {
            refusals_.add(1);
            return Error::no_memory;
        }
        Result<Iova> iova = domain_.map_pages(page, page_bytes, direction, stays);
        if (is_for_want_of_room(iova.error()) && pages_.idle() != 0) [[unlikely]] {
            doom_idle(most_doomed);
            unmap_doomed();
            iova = domain_.map_pages(page, page_bytes, direction, stays);
            retries_.add(1);
        }
        if (iova.ok()) pages_.add(page, direction, iova.value());
        return iova;
    }

    // IOVAs, the surroundings' limit of mappings, memory for page tables: what others hold can end it.
    static bool is_for_want_of_room(Error error) {
        return error == Error::no_iova_space || error == Error::no_memory;
    }

    void give_back(Iova page) {
        const Index found = pages_.find(page);
        if (found == MappedPages::none || pages_[found].users == 0) [[unlikely]]
            return;  // not ours
        if (--pages_[found].users == 0) chosen().on_unused(found);
    }

    // Writes into `room` from `count` on. After an error what was written is mapped.
    Status take_segment(const Segment& segment, Direction direction, std::span<DeviceSegment> room,
                        std::uint32_t& count) {
        for (std::uint32_t done = 0; done < segment.length;) {
            const Memory piece = segment.memory + done;
            const std::uint64_t offset = offset_in_page(piece.address);
            const std::uint32_t length = in_page(piece, segment.length - done);
            const Result<Iova> page = take(Memory{piece.address - offset}, direction);
            if (!page.ok()) [[unlikely]]
                return page.error();
            // Two pieces of one page are two users of it, and stay two entries.
            const bool fits = offset == 0 ? append(room, count, page.value(), length)
                                          : append_apart(room, count, page.value() + offset, length);
            if (!fits) [[unlikely]] {
                give_back(page.value());
                return Error::invalid_argument;
            }
            done += length;
        }
        return {};
    }

    void give_back_list(std::span<const DeviceSegment> mapped) {
        for (const DeviceSegment& piece : mapped) {
            const Iova end = piece.iova + piece.length;
            for (Iova page{page_floor(piece.iova.value)}; page < end; page = page + page_bytes)
                give_back(page);
        }
    }

    [[gnu::noinline]] void unmap_pages() {
        if (doomed_count_ == 1) {
            static_cast<void>(domain_.unmap_pages(doomed_[0].iova, page_bytes));
        } else {
            std::uint32_t begun = 0;
            for (std::uint32_t i = 0; i < doomed_count_; ++i) {
                const PageRange range = doomed_[i];
                if (domain_.begin_unmap(range).ok()) [[likely]]
                    doomed_[begun++] = range;
            }
            domain_.finish_unmaps(std::span{doomed_, begun});
        }
        doomed_count_ = 0;
    }

    PageRange* doomed_ = nullptr;  // a page of them
    std::uint32_t doomed_count_ = 0;
    Counter refusals_;
    Counter retries_;  // refusals of the domain that count as none: what came of the second attempt does
};

}  // namespace dmatoll
