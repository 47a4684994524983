// SPDX-License-Identifier: BSD-2-Clause
// The allocator of a domain, chosen when it is set up. The usual one is at hand by itself, so that a domain which
// asks for it first pays a compare and a branch for the choice.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "../../core/address.hpp"
#include "../../core/iova_allocator.hpp"
#include "../../core/platform.hpp"
#include "../../core/result.hpp"
#include "contiguous.hpp"
#include "eiovar.hpp"
#include "identity.hpp"
#include "magazines.hpp"
#include "size_classes.hpp"
#include "space.hpp"
#include "tree.hpp"

namespace dmatoll::iova {

// Where the surroundings are not Linux's kernel.
struct NoLinux {
    template <Platform P>
    Status set_up(P&, const Space&) {
        return Error::not_supported;
    }
    void tear_down() {}
    Result<Iova> allocate(std::uint64_t) { return Error::no_iova_space; }
    void free(Iova, std::uint64_t) {}
};

struct Choice {
    IovaAllocatorKind kind = IovaAllocatorKind::size_classes;
    std::uint32_t cpus = 1;  // kinds for each CPU: how many numbers the backend gives to CPUs
    Memory last{};           // identity: of all memory
    // Identity: of the backend. Where it cannot, an unmapping that waits clears the entries of a whole range at last,
    // whoever else has mapped its pages since.
    bool clears_without_invalidating = false;
};

// Lock: of the surroundings. Linux: their reference (NoLinux says what it must have).
template <class Lock, class Linux = NoLinux>
class Any {
    using GapTree = Tree<Search::by_gap>;

  public:
    static constexpr std::uint32_t default_capacity = 65536;
    static constexpr std::uint32_t most_windows = Space::most_windows;
    static constexpr IovaAllocatorKind usual_kind = IovaAllocatorKind::size_classes;
    using Usual = SizeClasses;

    // Of book-keeping for each range that can exist.
    static constexpr std::size_t bytes_a_range(IovaAllocatorKind kind) {
        switch (kind) {
            case IovaAllocatorKind::tree:
            case IovaAllocatorKind::magazines:
                return GapTree::bytes_a_range;
            case IovaAllocatorKind::tree_linear:
                return Tree<Search::linear>::bytes_a_range;
            case IovaAllocatorKind::eiovar:
                return Eiovar<GapTree>::bytes_a_range;
            default:
                return SizeClasses::bytes_a_range;
        }
    }

    Any() = default;
    Any(const Any&) = delete;
    Any& operator=(const Any&) = delete;

    // The space is as Space::set_up() says. `capacity` bounds how many ranges can exist at a time, where it is not
    // said otherwise; all memory for book-keeping is allocated here, but by `linux`. Call once, until tear_down().
    // Errors: invalid_argument (a parameter, or a space that the kind cannot work in), no_memory, not_supported (by
    // these surroundings, or this backend).
    template <Platform P>
    Status set_up(P& platform, std::span<const IovaRange> ranges, std::span<const IovaRange> reserved,
                  std::uint32_t address_bits, std::uint32_t capacity = default_capacity,
                  const Choice& choice = {}) {
        if (is_set_up_ || capacity == 0 || choice.cpus == 0) return Error::invalid_argument;
        if (const Status status = space_.set_up(ranges, reserved, address_bits); !status.ok()) return status;
        const Status status = set_up_kind(platform, capacity, choice);
        is_set_up_ = status.ok();
        if (is_set_up_) kind_ = choice.kind;
        return status;
    }

    // Forgets every range and gives the book-keeping back.
    template <Platform P>
    void tear_down(P& platform) {
        if (!is_set_up_) return;
        is_set_up_ = false;
        switch (kind_) {
            case IovaAllocatorKind::size_classes:
                size_classes_.tear_down(platform);
                break;
            case IovaAllocatorKind::tree:
                tree_.tear_down(platform);
                break;
            case IovaAllocatorKind::tree_linear:
                linear_.tear_down(platform);
                break;
            case IovaAllocatorKind::eiovar:
                eiovar_.tear_down(platform);
                break;
            case IovaAllocatorKind::magazines:
                magazines_.tear_down(platform);
                break;
            case IovaAllocatorKind::contiguous:
                contiguous_.tear_down(platform);
                break;
            case IovaAllocatorKind::identity:
                identity_.tear_down(platform);
                break;
            case IovaAllocatorKind::linux_own:
                linux_.tear_down();
                break;
        }
        kind_ = usual_kind;
    }

    [[nodiscard]] IovaAllocatorKind kind() const { return kind_; }
    // Whether calls exclude each other only if they are for one CPU number; otherwise all do.
    [[nodiscard]] bool is_per_cpu() const {
        return kind_ == IovaAllocatorKind::magazines || kind_ == IovaAllocatorKind::linux_own;
    }
    // While kind() is usual_kind, which it is before set_up(), too.
    [[nodiscard]] SizeClasses& usual() { return size_classes_; }
    // While kind() is identity, of which allocate() and free() know nothing.
    [[nodiscard]] Identity& identity() { return identity_; }

    // A range of at least `pages` pages. All but `contiguous` align it to the power of two that holds it; that one does
    // so with 64 pages and more. Error: no_iova_space. It is called, so that a data path which is inlined as a whole
    // does not hold every kind.
    [[gnu::noinline]] Result<Iova> allocate(std::uint64_t pages, Direction direction, std::uint32_t cpu) {
        switch (kind_) {
            case IovaAllocatorKind::size_classes:
                return size_classes_.allocate(pages);
            case IovaAllocatorKind::tree:
                return tree_.allocate(pages);
            case IovaAllocatorKind::tree_linear:
                return linear_.allocate(pages);
            case IovaAllocatorKind::eiovar:
                return eiovar_.allocate(pages);
            case IovaAllocatorKind::magazines:
                return magazines_.allocate(pages, cpu);
            case IovaAllocatorKind::contiguous:
                return contiguous_.allocate(pages, direction);
            case IovaAllocatorKind::linux_own:
                return linux_.allocate(pages);
            case IovaAllocatorKind::identity:
                break;
        }
        return Error::not_supported;
    }

    // Takes back what allocate(pages) gave. The caller has seen to it that no translation of the range is left.
    [[gnu::noinline]] void free(Iova iova, std::uint64_t pages, std::uint32_t cpu) {
        switch (kind_) {
            case IovaAllocatorKind::size_classes:
                return size_classes_.free(iova, pages);
            case IovaAllocatorKind::tree:
                return tree_.free(iova, pages);
            case IovaAllocatorKind::tree_linear:
                return linear_.free(iova, pages);
            case IovaAllocatorKind::eiovar:
                return eiovar_.free(iova, pages);
            case IovaAllocatorKind::magazines:
                return magazines_.free(iova, pages, cpu);
            case IovaAllocatorKind::contiguous:
                return contiguous_.free(iova, pages);
            case IovaAllocatorKind::linux_own:
                return linux_.free(iova, pages);
            case IovaAllocatorKind::identity:
                break;
        }
    }

  private:
    template <Platform P>
    Status set_up_kind(P& platform, std::uint32_t capacity, const Choice& choice) {
        switch (choice.kind) {
            case IovaAllocatorKind::size_classes:
                return size_classes_.set_up(platform, space_, capacity);
            case IovaAllocatorKind::tree:
                return tree_.set_up(platform, space_, capacity);
            case IovaAllocatorKind::tree_linear:
                return linear_.set_up(platform, space_, capacity);
            case IovaAllocatorKind::eiovar:
                return eiovar_.set_up(platform, space_, capacity);
            case IovaAllocatorKind::magazines:
                return magazines_.set_up(platform, space_, capacity, choice.cpus);
            case IovaAllocatorKind::contiguous:
                return contiguous_.set_up(platform, space_, capacity);
            case IovaAllocatorKind::identity:
                if (!choice.clears_without_invalidating) return Error::not_supported;
                return identity_.set_up(platform, space_, choice.last);
            case IovaAllocatorKind::linux_own:
                return linux_.set_up(platform, space_);
        }
        return Error::invalid_argument;
    }

    IovaAllocatorKind kind_ = usual_kind;
    bool is_set_up_ = false;
    SizeClasses size_classes_;
    Space space_;
    GapTree tree_;
    Tree<Search::linear> linear_;
    Eiovar<GapTree> eiovar_{tree_};
    Magazines<Lock, GapTree> magazines_{tree_};
    Contiguous contiguous_{size_classes_};
    Identity identity_;
    Linux linux_;
};

}  // namespace dmatoll::iova
