// SPDX-License-Identifier: BSD-2-Clause
// Which IOVAs there are: the set-up that all allocators share.
#pragma once

#include <cstdint>
#include <span>

#include "../../core/address.hpp"
#include "../../core/result.hpp"

namespace dmatoll {

// Both ends belong to the range, as the kernel and VFIO report theirs.
struct IovaRange {
    std::uint64_t first = 0;
    std::uint64_t last = 0;
};

namespace iova {

// The pieces of whole pages that may be handed out, upwards.
class Space {
  public:
    static constexpr std::uint32_t most_windows = 32;

    // Takes the ranges that the IOMMU translates, less the reserved ones (these may overlap and come in any order), cut to
    // `address_bits` (12 to 64), page 0 left out. Error: invalid_argument (nothing usable is left, ranges overlap, or there
    // are more than most_windows pieces).
    Status set_up(std::span<const IovaRange> ranges, std::span<const IovaRange> reserved,
                  std::uint32_t address_bits) {
        if (address_bits < 12 || address_bits > 64) return Error::invalid_argument;
        count_ = 0;
        const std::uint64_t highest =
            address_bits == 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << address_bits) - 1;
        for (const IovaRange& range : ranges) {
            const std::uint64_t first = range.first < page_bytes ? page_bytes : range.first;
            const std::uint64_t last = range.last > highest ? highest : range.last;
            if (first <= last && !add_without(first, last, reserved)) return Error::invalid_argument;
        }
        if (count_ == 0) return Error::invalid_argument;
        address_bits_ = address_bits;
        return {};
    }

    // Each begins and ends with a page.
    [[nodiscard]] std::span<const IovaRange> windows() const { return {windows_, count_}; }
    [[nodiscard]] std::uint32_t address_bits() const { return address_bits_; }

    [[nodiscard]] std::uint64_t pages() const {
        std::uint64_t sum = 0;
        for (const IovaRange& window : windows()) sum += (window.last - window.first) / page_bytes + 1;
        return sum;
    }

    // Whether all of [first, last] may be handed out.
    [[nodiscard]] bool holds(std::uint64_t first, std::uint64_t last) const {
        for (const IovaRange& window : windows()) {
            if (window.first <= first && last <= window.last) return true;
        }
        return false;
    }

  private:
    // Adds [first, last] less every reserved range.
    bool add_without(std::uint64_t first, std::uint64_t last, std::span<const IovaRange> reserved) {
        while (true) {
            const IovaRange* around = nullptr;
            std::uint64_t piece_last = last;
            for (const IovaRange& hole : reserved) {
                if (hole.first <= first && first <= hole.last) around = &hole;
                if (hole.first > first && hole.first <= piece_last) piece_last = hole.first - 1;
            }
            if (around != nullptr) {
                if (around->last >= last) return true;
                first = around->last + 1;
                continue;
            }
            if (!add_window(first, piece_last)) return false;
            if (piece_last == last) return true;
            first = piece_last + 1;
        }
    }

    // False if there are too many, or if it overlaps another: the same IOVA would be handed out twice.
    bool add_window(std::uint64_t first, std::uint64_t last) {
        const std::uint64_t begin = page_floor(first + page_bytes - 1);
        if (begin < first || last < begin || last - begin < page_bytes - 1) return true;  // no whole page in it
        const std::uint64_t end = page_floor(last - (page_bytes - 1)) + (page_bytes - 1);
        std::uint32_t place = 0;
        for (std::uint32_t i = 0; i < count_; ++i) {
            if (begin <= windows_[i].last && windows_[i].first <= end) return false;
            if (windows_[i].last < begin) place = i + 1;
        }
        if (count_ == most_windows) return false;
        for (std::uint32_t i = count_++; i > place; --i) windows_[i] = windows_[i - 1];
        windows_[place] = IovaRange{begin, end};
        return true;
    }

    IovaRange windows_[most_windows] = {};
    std::uint32_t count_ = 0;
    std::uint32_t address_bits_ = 0;
};

}  // namespace iova
}  // namespace dmatoll
