// SPDX-License-Identifier: BSD-2-Clause
// Magazines (Bonwick and Adams, USENIX ATC 2001; in Linux's IOVA allocator since 4.7, Peleg et al., USENIX ATC
// 2015): for each CPU and size two stacks of free ranges, which only that CPU touches. Where both are empty, or
// full, one is exchanged for a full, or an empty, one at the depot, whose lock is thus taken once for 127
// operations at most; where the depot does not help, a tree does.
//
// Sizes are powers of two up to 32 pages, as in Linux; a request is rounded up to one of them, and what is longer
// goes to the tree.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

#include "../../core/address.hpp"
#include "../../core/platform.hpp"
#include "../../core/result.hpp"
#include "space.hpp"

namespace dmatoll::iova {

// Thread-safe but for calls with one CPU number, which Domain keeps apart. Behind: a Tree.
template <class Lock, class Behind>
class Magazines {
  public:
    static constexpr std::uint32_t rounds = 127;
    static constexpr std::uint32_t sizes = 6;
    static constexpr std::uint32_t depot_size = 32;  // full magazines of one size; more are emptied into the tree

    // It is set up and torn down with this, and used by nobody else.
    explicit Magazines(Behind& behind) : behind_{behind} {}
    Magazines(const Magazines&) = delete;
    Magazines& operator=(const Magazines&) = delete;

    // For CPUs 0 to cpus - 1. `capacity` ranges can be out whatever lies in the magazines: the tree, in which that is
    // out, too, has room for both. Error: no_memory.
    template <Platform P>
    Status set_up(P& platform, const Space& space, std::uint32_t capacity, std::uint32_t cpus) {
        cpus_ = cpus;
        const std::uint32_t hoard = magazine_count() * rounds;
        if (const Status status = behind_.set_up(platform, space, capacity + hoard); !status.ok()) return status;
        const Result<void*> caches = platform.allocate(cpus_ * sizeof(Cpu));
        const Result<void*> magazines = caches.ok() ? platform.allocate(magazine_bytes()) : caches;
        if (!magazines.ok()) {
            if (caches.ok()) platform.free(caches.value(), cpus_ * sizeof(Cpu));
            behind_.tear_down(platform);
            return magazines.error();
        }
        by_cpu_ = static_cast<Cpu*>(caches.value());
        magazines_ = static_cast<Magazine*>(magazines.value());
        empty_ = nullptr;
        for (std::uint32_t i = magazine_count(); i-- > 0;) push(empty_, &magazines_[i]);
        for (std::uint32_t cpu = 0; cpu < cpus_; ++cpu) {
            for (Pair& pair : by_cpu_[cpu].pairs) pair = {pop(empty_), pop(empty_)};
        }
        for (Depot& depot : depots_) depot = {};
        return {};
    }

    template <Platform P>
    void tear_down(P& platform) {
        if (magazines_ == nullptr) return;
        platform.free(magazines_, magazine_bytes());
        platform.free(by_cpu_, cpus_ * sizeof(Cpu));
        magazines_ = nullptr;
        behind_.tear_down(platform);
    }

    // Error: no_iova_space; addresses that lie in the magazines of other CPUs stay there.
    Result<Iova> allocate(std::uint64_t pages, std::uint32_t cpu) {
        const std::uint32_t size = size_of(pages);
        if (size >= sizes) return allocate_behind(pages, cpu);
        Pair& pair = by_cpu_[cpu].pairs[size];
        if (pair.loaded->count == 0) {
            if (pair.previous->count != 0) {
                exchange(pair);
            } else if (!load_full(pair, depots_[size])) {
                return allocate_behind(std::uint64_t{1} << size, cpu);
            }
        }
        return pair.loaded->iova[--pair.loaded->count];
    }

    void free(Iova iova, std::uint64_t pages, std::uint32_t cpu) {
        const std::uint32_t size = size_of(pages);
        if (size >= sizes) {
            lock_.lock();
            behind_.free(iova, pages);
            lock_.unlock();
            return;
        }
        Pair& pair = by_cpu_[cpu].pairs[size];
        if (pair.loaded->count == rounds) {
            // Both full: the one that has been for longer goes.
            if (pair.previous->count == rounds) unload_full(pair, depots_[size], size);
            exchange(pair);
        }
        pair.loaded->iova[pair.loaded->count++] = iova;
    }

  private:
    struct Magazine {
        Magazine* next = nullptr;  // in a list
        std::uint32_t count = 0;
        Iova iova[rounds] = {};
    };

    // `previous` is full or empty. Each may hold ranges that the other does not.
    struct Pair {
        Magazine* loaded = nullptr;
        Magazine* previous = nullptr;
    };

    // No cache line is shared between CPUs.
    struct alignas(64) Cpu {
        Pair pairs[sizes] = {};
    };

    struct Depot {
        Magazine* full = nullptr;
        std::uint32_t count = 0;
    };

    static constexpr std::uint32_t size_of(std::uint64_t pages) {
        return pages <= 1 ? 0 : static_cast<std::uint32_t>(std::bit_width(pages - 1));
    }

    // Enough for all CPUs and full depots together.
    [[nodiscard]] std::uint32_t magazine_count() const { return sizes * (2 * cpus_ + depot_size); }
    [[nodiscard]] std::size_t magazine_bytes() const { return magazine_count() * sizeof(Magazine); }

    static void push(Magazine*& list, Magazine* magazine) {
        magazine->next = list;
        list = magazine;
    }
    static Magazine* pop(Magazine*& list) {
        Magazine* const magazine = list;
        list = magazine->next;
        return magazine;
    }
    static void exchange(Pair& pair) {
        Magazine* const magazine = pair.loaded;
        pair.loaded = pair.previous;
        pair.previous = magazine;
    }

    // Instead of the loaded magazine, which is empty. False: there is no full one.
    bool load_full(Pair& pair, Depot& depot) {
        lock_.lock();
        const bool any = depot.count != 0;
        if (any) {
            push(empty_, pair.loaded);
            pair.loaded = pop(depot.full);
            --depot.count;
        }
        lock_.unlock();
        return any;
    }

    // Makes `previous`, which is full, an empty one.
    void unload_full(Pair& pair, Depot& depot, std::uint32_t size) {
        lock_.lock();
        if (depot.count == depot_size) {
            empty_into_tree(*pair.previous, size);
        } else {
            push(depot.full, pair.previous);
            ++depot.count;
            pair.previous = pop(empty_);
        }
        lock_.unlock();
    }

    Result<Iova> allocate_behind(std::uint64_t pages, std::uint32_t cpu) {
        lock_.lock();
        Result<Iova> found = behind_.allocate(pages);
        if (!found.ok()) {
            give_back_what_is_free(cpu);
            found = behind_.allocate(pages);
        }
        lock_.unlock();
        return found;
    }

    // Under the lock: the depots, and this CPU's own.
    void give_back_what_is_free(std::uint32_t cpu) {
        for (std::uint32_t size = 0; size < sizes; ++size) {
            for (Depot& depot = depots_[size]; depot.count != 0; --depot.count) {
                Magazine* const magazine = pop(depot.full);
                empty_into_tree(*magazine, size);
                push(empty_, magazine);
            }
            empty_into_tree(*by_cpu_[cpu].pairs[size].loaded, size);
            empty_into_tree(*by_cpu_[cpu].pairs[size].previous, size);
        }
    }

    // Under the lock.
    void empty_into_tree(Magazine& magazine, std::uint32_t size) {
        while (magazine.count != 0) behind_.free(magazine.iova[--magazine.count], std::uint64_t{1} << size);
    }

    Behind& behind_;
    std::uint32_t cpus_ = 0;
    Cpu* by_cpu_ = nullptr;
    Magazine* magazines_ = nullptr;
    // Of what follows, and of the tree.
    Lock lock_{};
    Magazine* empty_ = nullptr;
    Depot depots_[sizes] = {};
};

}  // namespace dmatoll::iova
