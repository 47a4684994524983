// SPDX-License-Identifier: BSD-2-Clause
// IOVA ranges in constant time, by power-of-two size classes with LIFO free stacks over a bump cursor.
//
// The method. A request is rounded up to a power of two of pages: its size class. Every class has a stack of
// ranges that came back; allocation pops the youngest. Only if the stack is empty is a new range carved from
// untouched space, by a cursor that moves up and never back. Both ways cost the same handful of instructions
// however many ranges are out, which is what Linux's tree with its caches only approximates; the idea of
// keeping free ranges by exact size is EiovaR's (Malka et al., FAST 2015). Popping the youngest also brings
// back an IOVA whose page-table pages are still there. The price: space of one class is never merged into
// another. With 39 bits of space and the few sizes that a driver uses that is no restriction, and the
// rounding never costs more than half.
//
// A range is aligned to its own (rounded) size, so that a pool which is physically contiguous can be mapped
// by large pages.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>

#include "../core/address.hpp"
#include "../core/platform.hpp"
#include "../core/result.hpp"

namespace dmatoll {

// Both ends belong to the range, as the kernel and VFIO report theirs.
struct IovaRange {
    std::uint64_t first = 0;
    std::uint64_t last = 0;
};

// Not thread-safe: Domain puts the surroundings' lock around it.
class IovaAllocator {
  public:
    static constexpr std::uint32_t default_capacity = 65536;
    static constexpr std::uint32_t largest_class = 18;  // 2^18 pages: 1 GiB in one range
    static constexpr std::uint32_t most_windows = 32;

    IovaAllocator() = default;
    IovaAllocator(const IovaAllocator&) = delete;
    IovaAllocator& operator=(const IovaAllocator&) = delete;

    // Takes the ranges that the IOMMU translates, less the reserved ones, cut to `address_bits` (12 to 64),
    // page 0 left out. `capacity` bounds how many ranges can exist at a time; the book-keeping for them (16
    // bytes each) is allocated here, so that nothing is allocated later. Errors: invalid_argument (nothing
    // usable is left, ranges overlap, or there are more than most_windows pieces), no_memory.
    template <Platform P>
    Status set_up(P& platform, std::span<const IovaRange> ranges, std::span<const IovaRange> reserved,
                  std::uint32_t address_bits, std::uint32_t capacity = default_capacity) {
        if (nodes_ != nullptr || capacity == 0 || address_bits < 12 || address_bits > 64) {
            return Error::invalid_argument;
        }
        window_count_ = 0;
        const std::uint64_t highest =
            address_bits == 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << address_bits) - 1;
        for (const IovaRange& range : ranges) {
            const std::uint64_t first = range.first < page_bytes ? page_bytes : range.first;
            const std::uint64_t last = range.last > highest ? highest : range.last;
            if (first <= last && !add_without(first, last, reserved)) return Error::invalid_argument;
        }
        if (window_count_ == 0) return Error::invalid_argument;

        const Result<void*> memory = platform.allocate(std::size_t{capacity} * sizeof(Node));
        if (!memory.ok()) return memory.error();
        nodes_ = static_cast<Node*>(memory.value());
        capacity_ = capacity;
        carved_ = 0;
        spare_ = none;
        for (std::uint32_t& head : free_) head = none;
        return {};
    }

    // Forgets every range and gives the book-keeping back.
    template <Platform P>
    void tear_down(P& platform) {
        if (nodes_ != nullptr) platform.free(nodes_, std::size_t{capacity_} * sizeof(Node));
        nodes_ = nullptr;
        capacity_ = 0;
        window_count_ = 0;
    }

    // A range of at least `pages` pages, aligned to the power of two that holds it. Error: no_iova_space.
    Result<Iova> allocate(std::uint64_t pages) {
        const std::uint32_t size_class = class_of(pages);
        if (size_class > largest_class || nodes_ == nullptr) return Error::no_iova_space;
        const std::uint32_t index = free_[size_class];
        if (index == none) return carve(size_class);
        Node& node = nodes_[index];
        free_[size_class] = node.next;
        node.next = spare_;
        spare_ = index;
        return node.iova;
    }

    // Takes back what allocate(pages) gave. The caller has seen to it that no translation of the range is
    // left.
    void free(Iova iova, std::uint64_t pages) {
        const std::uint32_t size_class = class_of(pages);
        // There is a spare node for every range that is out: allocation left one behind, by pop or by carve.
        const std::uint32_t index = spare_;
        if (index == none) return;  // more came back than went out
        Node& node = nodes_[index];
        spare_ = node.next;
        node.iova = iova;
        node.next = free_[size_class];
        free_[size_class] = index;
    }

    // Ranges that exist, out or free.
    [[nodiscard]] std::uint32_t carved() const { return carved_; }

  private:
    static constexpr std::uint32_t none = ~std::uint32_t{0};

    struct Node {
        Iova iova;
        std::uint32_t next;
    };
    static_assert(sizeof(Node) == 16);

    struct Window {
        std::uint64_t cursor = 0;
        std::uint64_t last = 0;
    };

    static constexpr std::uint32_t class_of(std::uint64_t pages) {
        return pages <= 1 ? 0 : static_cast<std::uint32_t>(std::bit_width(pages - 1));
    }

    // Adds [first, last] less every reserved range. The reserved ranges may overlap and come in any order.
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
        if (begin < first || last < begin || last - begin < page_bytes - 1)
            return true;  // no whole page in it
        for (std::uint32_t i = 0; i < window_count_; ++i) {
            if (begin <= windows_[i].last && windows_[i].cursor <= last) return false;
        }
        if (window_count_ == most_windows) return false;
        windows_[window_count_++] = Window{begin, last};
        return true;
    }

    Result<Iova> carve(std::uint32_t size_class) {
        if (carved_ == capacity_) return Error::no_iova_space;
        const std::uint64_t bytes = page_bytes << size_class;
        for (std::uint32_t i = 0; i < window_count_; ++i) {
            Window& window = windows_[i];
            if (window.cursor > window.last) continue;
            const std::uint64_t start = (window.cursor + bytes - 1) & ~(bytes - 1);
            if (start < window.cursor || start > window.last || window.last - start < bytes - 1) continue;
            // At the very top of 64 bits the cursor would wrap to 0: the window is then used up.
            if (window.last - start == bytes - 1) {
                window.cursor = 1;
                window.last = 0;
            } else {
                window.cursor = start + bytes;
            }
            Node& node = nodes_[carved_];
            node.next = spare_;
            spare_ = carved_++;
            return Iova{start};
        }
        return Error::no_iova_space;
    }

    Node* nodes_ = nullptr;
    std::uint32_t capacity_ = 0;
    std::uint32_t carved_ = 0;
    std::uint32_t spare_ = none;
    std::uint32_t window_count_ = 0;
    std::uint32_t free_[largest_class + 1] = {};
    Window windows_[most_windows] = {};
};

}  // namespace dmatoll
