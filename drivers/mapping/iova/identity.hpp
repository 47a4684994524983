// SPDX-License-Identifier: BSD-2-Clause
// No allocator at all: the IOVA of a page is its physical address (identity mapping, Peleg et al., USENIX ATC
// 2015). A page may be mapped for several buffers at once, and there is one IOVA for all: so each page has a count,
// its entry is made for the first and cleared after the last.
//
// Above the address stands the direction, in the two highest of the bits that the IOMMU translates. Were it not
// there, a page that the device may read and is then given to write would have to become writable for both, or to
// be unreachable while its entry is exchanged under a device that reads it. The true address is that of the third
// kind, both directions. So a quarter of the space must hold all memory.
//
// A range may share pages with others: its entries are made one by one, and never as large pages.
#pragma once

#include <cstddef>
#include <cstdint>

#include "../../core/address.hpp"
#include "../../core/platform.hpp"
#include "../../core/result.hpp"
#include "../backend.hpp"
#include "space.hpp"

namespace dmatoll::iova {

// Not thread-safe: Domain puts the surroundings' lock around it, entries included. A page whose entry is about to
// be made must not be counted as mapped for another.
class Identity {
  public:
    Identity() = default;
    Identity(const Identity&) = delete;
    Identity& operator=(const Identity&) = delete;

    // For memory up to `last`; six bytes a page are allocated here. Errors: invalid_argument (the space is too
    // narrow for it), no_memory.
    template <Platform P>
    Status set_up(P& platform, const Space& space, Memory last) {
        if (space.address_bits() < 14) return Error::invalid_argument;
        const std::uint32_t bits = space.address_bits() - 2;
        if (last.address >> bits != 0) return Error::invalid_argument;
        const std::uint64_t pages = last.address / page_bytes + 1;
        const Result<void*> memory = platform.allocate(bytes_of(pages));
        if (!memory.ok()) return memory.error();
        counts_ = static_cast<std::uint16_t*>(memory.value());
        space_ = &space;
        bits_ = bits;
        pages_ = pages;
        return {};
    }

    template <Platform P>
    void tear_down(P& platform) {
        if (counts_ != nullptr) platform.free(counts_, bytes_of(pages_));
        counts_ = nullptr;
        pages_ = 0;
    }

    // Makes the entries that are not there. After an error those that were not are not; `is_lost` is set if some of
    // them are, since taking them back was refused. Errors: mapping_failed (also: not memory, reserved, lost, or a page
    // with 65534 users), no_memory.
    template <IommuBackend Backend>
    Result<Iova> map(Backend& backend, Memory memory, std::uint64_t pages, Direction direction, bool& is_lost) {
        const Iova start{memory.address | slot_of(direction) << bits_};
        const std::uint64_t first = memory.address / page_bytes;
        if (pages == 0 || first >= pages_ || pages > pages_ - first ||
            !space_->holds(start.value, start.value + (pages * page_bytes - 1))) {
            return Error::mapping_failed;
        }
        for (std::uint64_t i = 0; i < pages; ++i) {
            std::uint16_t& count = counts_[slot_of(direction) * pages_ + first + i];
            Status mapped = count >= most_users ? Error::mapping_failed : Error::none;
            if (count == 0) {
                mapped = backend.map(start + i * page_bytes, memory + i * page_bytes, page_bytes, direction);
            }
            if (!mapped.ok()) [[unlikely]] {
                if (!unmap(backend, start, i, Invalidate::now).ok()) is_lost = true;
                return mapped.error();
            }
            ++count;
        }
        return start;
    }

    // How many runs of entries were cleared: those of pages that nobody else has. A page that is lost is left alone.
    // Errors: mapping_failed, timed_out; such a run is lost, the rest is cleared all the same.
    template <IommuBackend Backend>
    Result<std::uint64_t> unmap(Backend& backend, Iova start, std::uint64_t pages, Invalidate when) {
        const std::uint64_t slot = start.value >> bits_;
        const std::uint64_t first = (start.value & ((std::uint64_t{1} << bits_) - 1)) / page_bytes;
        if (slot > 2 || first >= pages_ || pages > pages_ - first) return Error::mapping_failed;
        std::uint64_t cleared = 0;
        std::uint64_t run = 0;  // pages before the one that is looked at
        Status status{};
        for (std::uint64_t i = 0; i <= pages; ++i) {
            if (i < pages) {
                std::uint16_t& count = counts_[slot * pages_ + first + i];
                if (count != 0 && count != lost && --count == 0) {
                    ++run;
                    continue;
                }
            }
            if (run == 0) continue;
            const Status ended = backend.unmap(start + (i - run) * page_bytes, run * page_bytes, when);
            if (!ended.ok()) [[unlikely]] {
                status = ended;
                lose(start + (i - run) * page_bytes, run);
            }
            run = 0;
            ++cleared;
        }
        if (!status.ok()) return status.error();
        return cleared;
    }

    // Of a range that was unmapped the pages whose invalidation nobody vouches for: none of them is mapped again. One that
    // has been mapped since is not lost: it leads where it led, and goes with its last user.
    void lose(Iova start, std::uint64_t pages) {
        const std::uint64_t slot = start.value >> bits_;
        const std::uint64_t first = (start.value & ((std::uint64_t{1} << bits_) - 1)) / page_bytes;
        for (std::uint64_t i = 0; i < pages; ++i) {
            std::uint16_t& count = counts_[slot * pages_ + first + i];
            if (count == 0) count = lost;
        }
    }

  private:
    static constexpr std::uint16_t lost = 0xffff;  // in place of a count
    static constexpr std::uint16_t most_users = lost - 1;

    static constexpr std::uint64_t slot_of(Direction direction) {
        static_assert(static_cast<int>(Direction::to_device) == 0 &&
                      static_cast<int>(Direction::from_device) == 1);
        return direction == Direction::bidirectional ? 0 : 1 + static_cast<std::uint64_t>(direction);
    }
    static constexpr std::size_t bytes_of(std::uint64_t pages) { return 3 * pages * sizeof(std::uint16_t); }

    const Space* space_ = nullptr;
    std::uint32_t bits_ = 0;
    std::uint64_t pages_ = 0;
    std::uint16_t* counts_ = nullptr;  // by kind of access, and page
};

}  // namespace dmatoll::iova
