// SPDX-License-Identifier: BSD-2-Clause
// IOVA ranges by a balanced tree of those that are out, from the top of the space downwards: the allocator that
// Linux has had since it drives IOMMUs [drivers/iommu/iova.c], in two searches.
//
// Search::linear is after that of Linux before 4.7: from the range that was handed out last (or that lay above the
// last one that came back higher) it goes down gap by gap until one is wide enough. Where rings are served in order
// the first look succeeds. Where buffers of several sizes come and go, as with reception and transmission together,
// the cached range jumps to the top again and again, and each search passes all the ranges of a ring: linear time
// (Malka et al., FAST 2015).
//
// It differs in two things. That Linux kept a cached range for requests below 4 GiB only, which come first, and
// searched from the highest range of all for those of the whole width, which come if the first fail; here one cached
// range serves the whole width. And where nothing below the cached range was wide enough, that Linux gave up (it
// starts again at the top since 5.11); here the search starts again at the top, or IOVAs above a cached range that
// is low would be out of reach. As long as space below it lasts, the steps are the same.
//
// Search::by_gap finds the highest gap that is wide enough by the tree itself: each node knows the widest gap
// below any range of its subtree. Logarithmic, except where gaps are wide enough and do not hold the alignment.
//
// A range is aligned to the power of two of pages that holds it, and no page of it is wasted. The tree is a treap:
// a search tree by address and a heap by a mix of the address, which balances it whatever the order of insertions.
// Of the space's windows the tree knows the holes, as ranges that are out for good.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "../../core/address.hpp"
#include "../../core/platform.hpp"
#include "../../core/result.hpp"
#include "space.hpp"

namespace dmatoll::iova {

enum class Search : std::uint8_t { by_gap, linear };

// Not thread-safe: Domain puts the surroundings' lock around it.
template <Search search>
class Tree {
    struct WidestGap {
        std::uint64_t gap;     // pages between this range and the one below
        std::uint64_t widest;  // of such gaps in the subtree
    };
    struct Nothing {};

    struct Node : std::conditional_t<search == Search::by_gap, WidestGap, Nothing> {
        std::uint64_t first;  // page numbers
        std::uint64_t end;
        std::uint32_t left;
        std::uint32_t right;
        std::uint32_t parent;
        std::uint32_t height;  // the heap's key
    };

  public:
    static constexpr std::size_t bytes_a_range = sizeof(Node);

    Tree() = default;
    Tree(const Tree&) = delete;
    Tree& operator=(const Tree&) = delete;

    // `capacity` bounds how many ranges can be out at a time; bytes_a_range for each are allocated here. Error:
    // no_memory.
    template <Platform P>
    Status set_up(P& platform, const Space& space, std::uint32_t capacity) {
        const std::uint32_t count = capacity + holes_of(space) + 2;  // the top, and node 0
        const Result<void*> memory = platform.allocate(std::size_t{count} * sizeof(Node));
        if (!memory.ok()) return memory.error();
        nodes_ = static_cast<Node*>(memory.value());
        count_ = count;
        spare_ = none;
        for (std::uint32_t i = count; --i != none;) give_back(i);

        root_ = none;
        // What is put in keeps below the top, and so the top is there first.
        top_ = take(space.windows().back().last / page_bytes + 1, ~std::uint64_t{0});
        root_ = top_;
        cached_ = top_;
        if constexpr (search == Search::by_gap) {
            nodes_[top_].gap = nodes_[top_].first;
            nodes_[top_].widest = nodes_[top_].first;
        }
        fixed_ = top_;
        for_each_hole(space, [this](std::uint64_t first, std::uint64_t end) {
            fixed_ = take(first, end);
            insert(fixed_, top_);
        });
        return {};
    }

    // Forgets every range and gives the book-keeping back.
    template <Platform P>
    void tear_down(P& platform) {
        if (nodes_ != nullptr) platform.free(nodes_, std::size_t{count_} * sizeof(Node));
        nodes_ = nullptr;
        count_ = 0;
        root_ = none;
        spare_ = none;
    }

    // Error: no_iova_space.
    Result<Iova> allocate(std::uint64_t pages) {
        if (pages == 0) pages = 1;
        if (spare_ == none || pages > most_pages) return Error::no_iova_space;
        const std::uint32_t above = find_gap(pages);
        if (above == none) return Error::no_iova_space;
        const std::uint64_t first = start_below(above, pages);
        const std::uint32_t node = take(first, first + pages);
        insert(node, above);
        if constexpr (search == Search::linear) cached_ = node;
        return Iova{first * page_bytes};
    }

    // Takes back what allocate() gave; where nothing that it gave begins, holes and the top included, changes nothing.
    void free(Iova iova, std::uint64_t) {
        const std::uint64_t first = iova.value / page_bytes;
        std::uint32_t node = root_;
        while (node != none && nodes_[node].first != first) {
            node = first < nodes_[node].first ? nodes_[node].left : nodes_[node].right;
        }
        if (node <= fixed_) return;  // or none
        const std::uint32_t above = next(node);
        if constexpr (search == Search::linear) {
            if (nodes_[node].first >= nodes_[cached_].first) cached_ = above;
        }
        remove(node, above);
        give_back(node);
    }

  private:
    // Node 0 is the node that there is not: it has no gaps, and nobody's children.
    static constexpr std::uint32_t none = 0;
    static constexpr std::uint64_t most_pages = std::uint64_t{1} << 51;

    // use(first page, end) for what lies below a window and is none, upwards.
    template <class Use>
    static void for_each_hole(const Space& space, Use&& use) {
        std::uint64_t hole = 0;
        for (const IovaRange& window : space.windows()) {
            const std::uint64_t first = window.first / page_bytes;
            if (first != hole) use(hole, first);
            hole = window.last / page_bytes + 1;
        }
    }
    static std::uint32_t holes_of(const Space& space) {
        std::uint32_t count = 0;
        for_each_hole(space, [&count](std::uint64_t, std::uint64_t) { ++count; });
        return count;
    }

    // ---- the gaps ----

    // Where a range of so many pages lies, as high as its alignment allows below that one. Meaningful if the gap
    // there holds it.
    [[nodiscard]] std::uint64_t start_below(std::uint32_t above, std::uint64_t pages) const {
        return (nodes_[above].first - pages) & ~(std::bit_ceil(pages) - 1);
    }
    [[nodiscard]] bool fits(std::uint32_t above, std::uint64_t gap_start, std::uint64_t pages) const {
        return nodes_[above].first >= gap_start + pages && start_below(above, pages) >= gap_start;
    }

    // The range below whose lower end the highest gap is that holds so many pages, or none.
    std::uint32_t find_gap(std::uint64_t pages) const {
        if constexpr (search == Search::by_gap) {
            return find_by_gap(pages);
        } else {
            const std::uint32_t found = find_downwards(cached_, pages);
            return found != none || cached_ == top_ ? found : find_downwards(top_, pages);
        }
    }

    std::uint32_t find_downwards(std::uint32_t above, std::uint64_t pages) const {
        while (above != none) {
            const std::uint32_t below = previous(above);
            if (fits(above, below == none ? 0 : nodes_[below].end, pages)) return above;
            above = below;
        }
        return none;
    }

    // In order from the right, past every subtree without a gap that is wide enough.
    std::uint32_t find_by_gap(std::uint64_t pages) const {
        if (nodes_[root_].widest < pages) return none;
        std::uint32_t node = rightmost_with(root_, pages);
        while (true) {
            if (fits(node, nodes_[node].first - nodes_[node].gap, pages)) return node;
            const std::uint32_t left = nodes_[node].left;
            if (nodes_[left].widest >= pages) {
                node = rightmost_with(left, pages);
                continue;
            }
            std::uint32_t child;
            do {
                child = node;
                node = nodes_[node].parent;
            } while (node != none && nodes_[node].left == child);
            if (node == none) return none;
        }
    }
    std::uint32_t rightmost_with(std::uint32_t node, std::uint64_t pages) const {
        while (nodes_[nodes_[node].right].widest >= pages) node = nodes_[node].right;
        return node;
    }

    // ---- the order ----

    std::uint32_t previous(std::uint32_t node) const {
        if (std::uint32_t left = nodes_[node].left; left != none) {
            while (nodes_[left].right != none) left = nodes_[left].right;
            return left;
        }
        return ancestor_over(node, &Node::left);
    }
    std::uint32_t next(std::uint32_t node) const {
        if (std::uint32_t right = nodes_[node].right; right != none) {
            while (nodes_[right].left != none) right = nodes_[right].left;
            return right;
        }
        return ancestor_over(node, &Node::right);
    }
    // The first one on the way up that the node does not lie on that side of.
    std::uint32_t ancestor_over(std::uint32_t node, std::uint32_t Node::* side) const {
        std::uint32_t parent = nodes_[node].parent;
        while (parent != none && nodes_[parent].*side == node) {
            node = parent;
            parent = nodes_[node].parent;
        }
        return parent;
    }

    // ---- the tree ----

    // Puts a node where it is next below `above`, which then is an ancestor of it.
    void insert(std::uint32_t node, std::uint32_t above) {
        if (std::uint32_t parent = nodes_[above].left; parent != none) {
            while (nodes_[parent].right != none) parent = nodes_[parent].right;
            nodes_[parent].right = node;
            nodes_[node].parent = parent;
        } else {
            nodes_[above].left = node;
            nodes_[node].parent = above;
        }
        if constexpr (search == Search::by_gap) {
            const std::uint64_t gap_start = nodes_[above].first - nodes_[above].gap;
            nodes_[node].gap = nodes_[node].first - gap_start;
            nodes_[above].gap = nodes_[above].first - nodes_[node].end;
            update_upwards(node);
        }
        for (std::uint32_t parent = nodes_[node].parent;
             parent != none && nodes_[parent].height < nodes_[node].height; parent = nodes_[node].parent) {
            rotate_up(node);
        }
    }

    // `above`: the next one. Without children a node is below both of its neighbours.
    void remove(std::uint32_t node, std::uint32_t above) {
        while (true) {
            const std::uint32_t left = nodes_[node].left;
            const std::uint32_t right = nodes_[node].right;
            if (left == none && right == none) break;
            const bool left_goes_up =
                right == none || (left != none && nodes_[left].height > nodes_[right].height);
            rotate_up(left_goes_up ? left : right);
        }
        const std::uint32_t parent = nodes_[node].parent;
        replace_child(parent, node, none);
        if constexpr (search == Search::by_gap) {
            nodes_[above].gap += nodes_[node].end - nodes_[node].first + nodes_[node].gap;
            update_upwards(parent);
        }
    }

    void rotate_up(std::uint32_t node) {
        const std::uint32_t parent = nodes_[node].parent;
        const std::uint32_t above = nodes_[parent].parent;
        const bool is_left = nodes_[parent].left == node;
        const auto inner = is_left ? &Node::right : &Node::left;
        const auto outer = is_left ? &Node::left : &Node::right;
        const std::uint32_t moved = nodes_[node].*inner;
        nodes_[parent].*outer = moved;
        if (moved != none) nodes_[moved].parent = parent;
        nodes_[node].*inner = parent;
        nodes_[parent].parent = node;
        nodes_[node].parent = above;
        replace_child(above, parent, node);
        if constexpr (search == Search::by_gap) {
            update(parent);
            update(node);
        }
    }

    void replace_child(std::uint32_t parent, std::uint32_t old, std::uint32_t child) {
        if (parent == none) {
            root_ = child;
        } else if (nodes_[parent].left == old) {
            nodes_[parent].left = child;
        } else {
            nodes_[parent].right = child;
        }
    }

    void update(std::uint32_t node) {
        Node& updated = nodes_[node];
        const std::uint64_t left = nodes_[updated.left].widest;
        const std::uint64_t right = nodes_[updated.right].widest;
        const std::uint64_t below = left > right ? left : right;
        updated.widest = below > updated.gap ? below : updated.gap;
    }
    void update_upwards(std::uint32_t node) {
        for (; node != none; node = nodes_[node].parent) update(node);
    }

    // ---- the nodes ----

    // There is a spare one.
    std::uint32_t take(std::uint64_t first, std::uint64_t end) {
        const std::uint32_t index = spare_;
        Node& node = nodes_[index];
        spare_ = node.left;
        node.first = first;
        node.end = end;
        node.left = none;
        node.right = none;
        node.parent = none;
        // Fibonacci hashing: neighbours in address are not neighbours in it.
        node.height = static_cast<std::uint32_t>((first * 0x9e37'79b9'7f4a'7c15) >> 32);
        return index;
    }
    void give_back(std::uint32_t node) {
        nodes_[node].left = spare_;
        spare_ = node;
    }

    Node* nodes_ = nullptr;
    std::uint32_t count_ = 0;
    std::uint32_t root_ = none;
    std::uint32_t top_ = none;
    std::uint32_t fixed_ = none;  // the top and the holes are the nodes up to this one
    std::uint32_t spare_ = none;
    std::uint32_t cached_ = none;  // Search::linear: where the next search begins, below it
};

}  // namespace dmatoll::iova
