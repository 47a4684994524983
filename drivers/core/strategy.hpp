// SPDX-License-Identifier: BSD-2-Clause
// The catalogue of mapping strategies: where each can run, whose domain it maps into, and whom it protects
// from whom. The harness prints it and puts it into the record; the strategies themselves refer to it.
#pragma once

#include <array>
#include <cstdint>

#include "address.hpp"

namespace dmatoll {

enum class Placement : std::uint8_t { kernel, user, stock };

// What the unit is that an access of the wrong kind is held to.
enum class Granularity : std::uint8_t {
    none,        // nothing is held back
    byte,        // the bytes that were given to the device, by way of memory that is nobody else's
    page,        // the pages of the buffers that are (or were) given to the device
    large_page,  // the chunks of 2 MiB around those pages, whosever memory that is
    pool,        // the packet pool as a whole: all of it is reachable, nothing else of the owner's memory is
    domain,      // nothing of the protected party is in the device's domain at all
};

enum class WindowKind : std::uint8_t {
    none,       // there is no protection that could lag
    zero,       // the access is refused from the moment on at which the buffer has been unmapped
    bounded,    // ... within a known time
    unbounded,  // ... not before the driver stops
};

// How long after the owner took a buffer back the device can still reach it.
struct Window {
    WindowKind kind = WindowKind::none;
    std::uint64_t bound_ns = 0;  // with WindowKind::bounded
};

struct Protection {
    Granularity granularity = Granularity::none;
    Window window{};
};

// What a strategy's statement for small pages becomes where it maps by pages of that size.
constexpr Protection with_pages_of(std::uint64_t bytes, Protection protection) {
    if (bytes == large_page_bytes && protection.granularity == Granularity::page) {
        protection.granularity = Granularity::large_page;
    }
    return protection;
}

// One protection for each pair that matters.
struct ProtectionByPair {
    Protection kernel_from_device;  // a stray or stale DMA reaches the kernel's memory
    Protection kernel_from_driver;  // a malicious driver programs the device to reach the kernel's memory
    Protection driver_from_device;  // a stray or stale DMA reaches the driver's own memory
};

// Who owns the page table, and what Linux calls the type of a group's default domain.
enum class DomainKind : std::uint8_t { own, linux_dma, linux_dma_fq, linux_identity };

struct Strategy {
    const char* name;
    const char* summary;  // one line
    DomainKind domain;
    bool in_kernel;
    bool in_user;
    bool in_stock;
    // Meaningful for the placements in which the strategy can run.
    ProtectionByPair kernel;
    ProtectionByPair user;
    ProtectionByPair stock;

    [[nodiscard]] constexpr bool runs_in(Placement placement) const {
        switch (placement) {
            case Placement::kernel:
                return in_kernel;
            case Placement::user:
                return in_user;
            case Placement::stock:
                return in_stock;
        }
        return false;
    }
    [[nodiscard]] constexpr const ProtectionByPair& protection(Placement placement) const {
        switch (placement) {
            case Placement::user:
                return user;
            case Placement::stock:
                return stock;
            case Placement::kernel:
                break;
        }
        return kernel;
    }
};

constexpr bool same_text(const char* left, const char* right) {
    while (*left != '\0' && *left == *right) {
        ++left;
        ++right;
    }
    return *left == *right;
}

constexpr const char* name_of(Placement placement) {
    switch (placement) {
        case Placement::kernel:
            return "kernel";
        case Placement::user:
            return "user";
        case Placement::stock:
            return "stock";
    }
    return "unknown";
}

constexpr const char* name_of(Granularity granularity) {
    switch (granularity) {
        case Granularity::none:
            return "none";
        case Granularity::byte:
            return "byte";
        case Granularity::page:
            return "page";
        case Granularity::large_page:
            return "2MiB-page";
        case Granularity::pool:
            return "pool";
        case Granularity::domain:
            return "domain";
    }
    return "unknown";
}

constexpr const char* name_of(WindowKind kind) {
    switch (kind) {
        case WindowKind::none:
            return "none";
        case WindowKind::zero:
            return "zero";
        case WindowKind::bounded:
            return "bounded";
        case WindowKind::unbounded:
            return "unbounded";
    }
    return "unknown";
}

// As /sys/kernel/iommu_groups/N/type spells it; `own` for a domain that the driver brings.
constexpr const char* name_of(DomainKind domain) {
    switch (domain) {
        case DomainKind::own:
            return "own";
        case DomainKind::linux_dma:
            return "DMA";
        case DomainKind::linux_dma_fq:
            return "DMA-FQ";
        case DomainKind::linux_identity:
            return "identity";
    }
    return "unknown";
}

namespace strategies {

inline constexpr Protection unprotected{};
inline constexpr Protection byte_zero{Granularity::byte, {WindowKind::zero, 0}};
inline constexpr Protection page_zero{Granularity::page, {WindowKind::zero, 0}};
inline constexpr Protection page_unbounded{Granularity::page, {WindowKind::unbounded, 0}};
inline constexpr Protection pool_unbounded{Granularity::pool, {WindowKind::unbounded, 0}};
inline constexpr Protection domain_zero{Granularity::domain, {WindowKind::zero, 0}};
// Linux flushes its queue 10 ms after the first entry, or when 256 ranges wait on a CPU, whichever is first. Its
// timer counts ticks: at 250 a second `dmatoll probe` saw 16 to 20 ms.
inline constexpr Protection page_10ms{Granularity::page, {WindowKind::bounded, 10'000'000}};

// A driver in the kernel is part of what is to be protected: nothing holds it, and its memory is the kernel's
// memory.
constexpr ProtectionByPair in_kernel(Protection from_device) {
    return {from_device, unprotected, from_device};
}
// A user process's domain never holds kernel memory, whatever the process programs: the strategy decides
// about its own only.
constexpr ProtectionByPair in_user(Protection from_device) { return {domain_zero, domain_zero, from_device}; }

inline constexpr Strategy strict{
    .name = "strict",
    .summary = "every buffer is mapped for one use; unmapped and invalidated before it is handed back",
    .domain = DomainKind::own,
    .in_kernel = true,
    .in_user = true,
    .in_stock = false,
    .kernel = in_kernel(page_zero),
    .user = in_user(page_zero),
    .stock = {},
};

inline constexpr Strategy shared{
    .name = "shared",
    .summary = "a page is mapped once for all who use it at a time; the last one's end unmaps and invalidates it",
    // Of a page that others use as well: with the last of them.
    .domain = DomainKind::own,
    .in_kernel = true,
    .in_user = true,
    .in_stock = false,
    .kernel = in_kernel(page_zero),
    .user = in_user(page_zero),
    .stock = {},
};

// At user level the mapping itself stays until the queue is flushed, since VFIO cannot clear an entry without
// invalidating: the device reaches the buffer all that time. In the kernel the entry is gone at once, and the device
// gets there only by what its IOTLB still holds.
inline constexpr Strategy deferred{
    .name = "deferred",
    .summary =
        "every buffer is mapped for one use; invalidated in batches of 256 or every 10 ms (in a process: "
        "unmapped then)",
    .domain = DomainKind::own,
    .in_kernel = true,
    .in_user = true,
    .in_stock = false,
    .kernel = in_kernel(page_10ms),
    .user = in_user(page_10ms),
    .stock = {},
};

// The entry stays in the page table: the device reaches the page for certain until it goes.
inline constexpr Strategy optimistic{
    .name = "optimistic",
    .summary = "a page stays mapped for 5 to 10 ms after its last use, or until 1024 do, and is used again as it is",
    .domain = DomainKind::own,
    .in_kernel = true,
    .in_user = true,
    .in_stock = false,
    .kernel = in_kernel(page_10ms),
    .user = in_user(page_10ms),
    .stock = {},
};

inline constexpr Strategy contiguous{
    .name = "contiguous",
    .summary = "buffers take IOVAs in sequence from blocks of 64 pages; a block is unmapped as one when all of it is done, "
               "or every 10 ms",
    .domain = DomainKind::own,
    .in_kernel = true,
    .in_user = true,
    .in_stock = false,
    .kernel = in_kernel(page_10ms),
    .user = in_user(page_10ms),
    .stock = {},
};

inline constexpr Strategy copy{
    .name = "copy",
    .summary =
        "frames are copied from and to shadow pools that stay mapped; the buffers themselves are never mapped",
    .domain = DomainKind::own,
    .in_kernel = true,
    .in_user = true,
    .in_stock = false,
    .kernel = in_kernel(byte_zero),
    .user = in_user(byte_zero),
    .stock = {},
};

inline constexpr Strategy persistent{
    .name = "persistent",
    .summary =
        "pools are mapped once and other pages at their first use; nothing is unmapped before the driver "
        "stops",
    .domain = DomainKind::own,
    .in_kernel = true,
    .in_user = true,
    .in_stock = false,
    .kernel = in_kernel(page_unbounded),
    .user = in_user(pool_unbounded),
    .stock = {},
};

// By the byte for what was copied only.
inline constexpr Strategy hybrid_copy{
    .name = "hybrid-copy",
    .summary = "buffers of up to 4096 bytes are copied as under `copy`, longer ones are mapped as under `strict`",
    .domain = DomainKind::own,
    .in_kernel = true,
    .in_user = true,
    .in_stock = false,
    .kernel = in_kernel(page_zero),
    .user = in_user(page_zero),
    .stock = {},
};

inline constexpr Strategy on_demand{
    .name = "on-demand",
    .summary = "pages are mapped at their first use; beyond a quota the ones that went unused the longest are unmapped",
    .domain = DomainKind::own,
    .in_kernel = true,
    .in_user = true,
    .in_stock = false,
    .kernel = in_kernel(page_unbounded),
    .user = in_user(page_unbounded),
    .stock = {},
};

// A process has no memory but its own that it could let the device reach.
inline constexpr Strategy passthrough{
    .name = "passthrough",
    .summary = "all memory is mapped once at its own address, in a domain of ours: the device reaches all of it",
    .domain = DomainKind::own,
    .in_kernel = true,
    .in_user = false,
    .in_stock = false,
    .kernel = in_kernel(unprotected),
    .user = {},
    .stock = {},
};

inline constexpr Strategy linux_strict{
    .name = "linux-strict",
    .summary = "Linux's DMA API, default domain of type DMA: invalidated at every unmapping",
    .domain = DomainKind::linux_dma,
    .in_kernel = true,
    .in_user = false,
    .in_stock = true,
    .kernel = in_kernel(page_zero),
    .user = {},
    .stock = in_kernel(page_zero),
};

inline constexpr Strategy linux_lazy{
    .name = "linux-lazy",
    .summary = "Linux's DMA API, default domain of type DMA-FQ: unmapped at once, invalidated in batches",
    .domain = DomainKind::linux_dma_fq,
    .in_kernel = true,
    .in_user = false,
    .in_stock = true,
    .kernel = in_kernel(page_10ms),
    .user = {},
    .stock = in_kernel(page_10ms),
};

inline constexpr Strategy linux_identity{
    .name = "linux-identity",
    .summary = "Linux's DMA API, default domain of type identity: the device reaches all memory",
    .domain = DomainKind::linux_identity,
    .in_kernel = true,
    .in_user = false,
    .in_stock = true,
    .kernel = in_kernel(unprotected),
    .user = {},
    .stock = in_kernel(unprotected),
};

// In the order in which they are listed.
inline constexpr std::array catalogue{
    &strict,
    &shared,
    &deferred,
    &contiguous,
    &optimistic,
    &copy,
    &hybrid_copy,
    &on_demand,
    &persistent,
    &passthrough,
    &linux_strict,
    &linux_lazy,
    &linux_identity,
};

// nullptr: there is none of that name.
constexpr const Strategy* find(const char* name) {
    for (const Strategy* candidate : catalogue) {
        if (same_text(candidate->name, name)) return candidate;
    }
    return nullptr;
}

// Whether the setting page_size is one of that strategy's.
constexpr bool has_page_size(const Strategy& strategy) {
    return &strategy == &persistent || &strategy == &copy || &strategy == &hybrid_copy;
}

static_assert(find("linux-lazy") == &linux_lazy && find("linux") == nullptr && find("strictly") == nullptr);

}  // namespace strategies
}  // namespace dmatoll
