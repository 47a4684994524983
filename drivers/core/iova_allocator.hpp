// SPDX-License-Identifier: BSD-2-Clause
// The catalogue of IOVA allocators: what each does, and where it cannot be had. They are an axis beside the strategies: all
// of ours that map buffers take the IOVAs from one.
#pragma once

#include <array>
#include <cstdint>

#include "result.hpp"
#include "strategy.hpp"

namespace dmatoll {

enum class IovaAllocatorKind : std::uint8_t {
    size_classes,
    tree,
    tree_linear,
    eiovar,
    magazines,
    contiguous,
    identity,
    linux_own,
};

struct IovaAllocatorEntry {
    IovaAllocatorKind kind;
    const char* name;
    const char* summary;  // one line
};

// What an allocator is wanted for.
struct IovaAllocatorUse {
    Placement placement = Placement::kernel;
    const Strategy* strategy = nullptr;
    bool lists = false;        // a request of many pieces is one mapping, as a disk's is
    bool large_pages = false;  // mapped by pages of 2 MiB
};

namespace iova_allocators {

// The first is the default.
inline constexpr std::array catalogue{
    IovaAllocatorEntry{IovaAllocatorKind::size_classes, "size-classes",
                       "free stacks by power-of-two size over a cursor that only moves up"},
    IovaAllocatorEntry{IovaAllocatorKind::tree, "tree",
                       "balanced tree of the ranges that are out, which knows its widest gaps; from the top"},
    IovaAllocatorEntry{IovaAllocatorKind::tree_linear, "tree-linear",
                       "the same tree, gap after gap from a cached range downwards, after Linux before 4.7"},
    IovaAllocatorEntry{IovaAllocatorKind::eiovar, "eiovar", "free lists by exact size in front of the tree"},
    IovaAllocatorEntry{IovaAllocatorKind::magazines, "magazines",
                       "two magazines of 127 ranges for each CPU and size, a depot, the tree behind"},
    IovaAllocatorEntry{IovaAllocatorKind::contiguous, "contiguous",
                       "blocks of 64 pages, carved in sequence for each direction"},
    IovaAllocatorEntry{IovaAllocatorKind::identity, "identity",
                       "a page's IOVA is its physical address, with the direction on top"},
    IovaAllocatorEntry{IovaAllocatorKind::linux_own, "linux",
                       "Linux's own, alloc_iova_fast() and free_iova_fast(), as the reference"},
};

inline constexpr const char* default_name = catalogue[0].name;

// nullptr: there is none of that name.
constexpr const IovaAllocatorEntry* find(const char* name) {
    for (const IovaAllocatorEntry& candidate : catalogue) {
        if (same_text(candidate.name, name)) return &candidate;
    }
    return nullptr;
}

// Why an allocator cannot be had, or nullptr if it can. A strategy that maps into no domain of ours has none at all, which is
// not a question of this.
constexpr const char* refusal(IovaAllocatorKind kind, const IovaAllocatorUse& use) {
    if (kind == IovaAllocatorKind::linux_own && use.placement != Placement::kernel) {
        return "Linux's allocator is inside the kernel, and offers itself to modules only";
    }
    if (kind != IovaAllocatorKind::identity) return nullptr;
    if (use.placement == Placement::user) return "a process does not know the physical addresses of its memory";
    if (use.strategy == &strategies::passthrough) return "passthrough has taken every page's own address already";
    if (use.strategy == &strategies::contiguous) {
        return "strategy contiguous lays its IOVAs out itself, and a page's own address leaves it no choice";
    }
    if (use.lists) return "a disk's request is one range of IOVAs, and its pages' own addresses are not";
    if (use.large_pages) return "a page's own address is counted for pages of 4096 bytes";
    return nullptr;
}

// Why an allocator that could be had was not set up, by what iova::Any::set_up() answered.
constexpr const char* failure(Error error, IovaAllocatorKind kind, const IovaAllocatorUse& use) {
    if (error == Error::no_memory) return "there is too little memory for the tables of the IOVA allocator";
    if (error == Error::not_supported) return "the IOVA allocator does not work over this way to the IOMMU";
    if (error != Error::invalid_argument) return describe(error);
    if (use.strategy == &strategies::passthrough) {
        return "passthrough: this machine has memory at, or beyond, the last addresses that the IOMMU's address width, as "
               "far as it is certain, reaches; linux-identity does without a page table";
    }
    if (kind == IovaAllocatorKind::identity) {
        return "iova_allocator identity: this machine has memory beyond a quarter of the addresses that the IOMMU "
               "translates for certain";
    }
    if (kind == IovaAllocatorKind::contiguous) {
        return "iova_allocator contiguous: between what the IOMMU has reserved there is no room for blocks of 64 pages, or more than 32 ranges are left";
    }
    return "what the IOMMU translates, less what it has reserved, leaves no I/O virtual address, or more than 32 ranges of them";
}

static_assert(find("tree") == &catalogue[1] && find("tre") == nullptr && find("") == nullptr);

}  // namespace iova_allocators
}  // namespace dmatoll
