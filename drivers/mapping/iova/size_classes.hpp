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

#include "../../core/address.hpp"
#include "../../core/platform.hpp"
#include "../../core/result.hpp"
#include "space.hpp"

namespace dmatoll::iova {

// Not thread-safe: Domain puts the surroundings' lock around it.
class SizeClasses {
    struct Node {
        Iova iova;
        std::uint32_t next;
    };

  public:
    static constexpr std::uint32_t largest_class = 18;  // 2^18 pages: 1 GiB in one range
    static constexpr std::size_t bytes_a_range = sizeof(Node);

    SizeClasses() = default;
    SizeClasses(const SizeClasses&) = delete;
    SizeClasses& operator=(const SizeClasses&) = delete;

    // `capacity` bounds how many ranges can exist at a time; the book-keeping for them (bytes_a_range each) is
    // allocated here, so that nothing is allocated later. Error: no_memory.
    template <Platform P>
    Status set_up(P& platform, const Space& space, std::uint32_t capacity) {
        const Result<void*> memory = platform.allocate(std::size_t{capacity} * sizeof(Node));
        if (!memory.ok()) return memory.error();
        nodes_ = static_cast<Node*>(memory.value());
        capacity_ = capacity;
        carved_ = 0;
        spare_ = none;
        for (std::uint32_t& head : free_) head = none;
        window_count_ = 0;
        for (const IovaRange& window : space.windows()) windows_[window_count_++] = {window.first, window.last};
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

    struct Window {
        std::uint64_t cursor = 0;
        std::uint64_t last = 0;
    };

    static constexpr std::uint32_t class_of(std::uint64_t pages) {
        return pages <= 1 ? 0 : static_cast<std::uint32_t>(std::bit_width(pages - 1));
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
    Window windows_[Space::most_windows] = {};
};

}  // namespace dmatoll::iova
