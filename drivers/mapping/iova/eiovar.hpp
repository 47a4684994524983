// SPDX-License-Identifier: BSD-2-Clause
// EiovaR (Malka et al., FAST 2015): free lists by exact size in front of a tree. A range that comes back stays in
// the tree and goes onto the list of its size; the next request of that size takes it from there, the youngest
// first, in constant time. What is on no list the tree finds; if it does not, the lists are given back to it
// first.
#pragma once

#include <cstddef>
#include <cstdint>

#include "../../core/address.hpp"
#include "../../core/platform.hpp"
#include "../../core/result.hpp"
#include "space.hpp"

namespace dmatoll::iova {

// Not thread-safe: Domain puts the surroundings' lock around it. Behind: a Tree.
template <class Behind>
class Eiovar {
    struct Entry {
        Iova iova;
        std::uint32_t next;
    };

  public:
    static constexpr std::uint64_t longest_listed = 512;  // pages; what is longer goes to the tree each time
    static constexpr std::size_t bytes_a_range = Behind::bytes_a_range + sizeof(Entry);

    // It is set up and torn down with this, and used by nobody else.
    explicit Eiovar(Behind& behind) : behind_{behind} {}
    Eiovar(const Eiovar&) = delete;
    Eiovar& operator=(const Eiovar&) = delete;

    // Error: no_memory.
    template <Platform P>
    Status set_up(P& platform, const Space& space, std::uint32_t capacity) {
        if (const Status status = behind_.set_up(platform, space, capacity); !status.ok()) return status;
        const Result<void*> memory = platform.allocate(std::size_t{capacity} * sizeof(Entry));
        if (!memory.ok()) {
            behind_.tear_down(platform);
            return memory.error();
        }
        entries_ = static_cast<Entry*>(memory.value());
        capacity_ = capacity;
        for (std::uint32_t& head : lists_) head = none;
        spare_ = none;
        for (std::uint32_t i = capacity; i-- > 0;) push(spare_, i);
        return {};
    }

    template <Platform P>
    void tear_down(P& platform) {
        if (entries_ == nullptr) return;
        platform.free(entries_, std::size_t{capacity_} * sizeof(Entry));
        entries_ = nullptr;
        capacity_ = 0;
        behind_.tear_down(platform);
    }

    // Error: no_iova_space.
    Result<Iova> allocate(std::uint64_t pages) {
        if (pages <= longest_listed && lists_[pages] != none) {
            const std::uint32_t entry = pop(lists_[pages]);
            push(spare_, entry);
            return entries_[entry].iova;
        }
        const Result<Iova> found = behind_.allocate(pages);
        if (found.ok() || !give_back_lists()) return found;
        return behind_.allocate(pages);
    }

    void free(Iova iova, std::uint64_t pages) {
        // There are as many entries as ranges in the tree.
        if (pages > longest_listed || spare_ == none) {
            behind_.free(iova, pages);
            return;
        }
        const std::uint32_t entry = pop(spare_);
        entries_[entry].iova = iova;
        push(lists_[pages], entry);
    }

  private:
    static constexpr std::uint32_t none = ~std::uint32_t{0};

    void push(std::uint32_t& head, std::uint32_t entry) {
        entries_[entry].next = head;
        head = entry;
    }
    std::uint32_t pop(std::uint32_t& head) {
        const std::uint32_t entry = head;
        head = entries_[entry].next;
        return entry;
    }

    // Whether there was anything.
    bool give_back_lists() {
        bool any = false;
        for (std::uint64_t pages = 0; pages <= longest_listed; ++pages) {
            while (lists_[pages] != none) {
                const std::uint32_t entry = pop(lists_[pages]);
                behind_.free(entries_[entry].iova, pages);
                push(spare_, entry);
                any = true;
            }
        }
        return any;
    }

    Behind& behind_;
    Entry* entries_ = nullptr;
    std::uint32_t capacity_ = 0;
    std::uint32_t spare_ = none;
    std::uint32_t lists_[longest_listed + 1] = {};  // by pages
};

}  // namespace dmatoll::iova
