/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The seam between the two halves of a module, in types that C and C++ lay out alike: what a driver core asks
 * of the kernel, whatever the device is (all that is "down"), and the strategies by number. What is asked of
 * a core stands in nic_glue.h and disk_glue.h. Calls across the seam are direct.
 */
#pragma once

#include "core/strategy_parameters.h"

#ifdef __cplusplus
#include <cstddef>
#include <cstdint>
extern "C" {
#else
#include <linux/types.h>
#endif

struct dmatoll_bound;  /* the C side: one a PCI device that is bound to one of our drivers */
struct dmatoll_domain; /* an IOMMU domain of our own */
struct device;

enum dmatoll_log_level { DMATOLL_ERROR, DMATOLL_WARNING, DMATOLL_INFORMATION };

/* As enum class Direction in core/address.hpp. */
enum dmatoll_direction { DMATOLL_TO_DEVICE, DMATOLL_FROM_DEVICE, DMATOLL_BIDIRECTIONAL };

/* As struct Segment in core/address.hpp. */
struct dmatoll_segment {
    uint64_t physical;
    uint32_t length;
};

/* As struct DeviceSegment in core/address.hpp; what `mark` is, the mapper alone knows. */
struct dmatoll_device_segment {
    uint64_t iova;
    uint32_t length;
    uint32_t mark;
};

/* As page_bytes and large_page_bytes in core/address.hpp. */
#define DMATOLL_PAGE_BYTES 4096u
#define DMATOLL_LARGE_PAGE_BYTES 2097152u

/* Both ends belong to the range. */
struct dmatoll_range {
    uint64_t first, last;
};

/* Of strategies. */
struct dmatoll_strategy_settings {
#define DMATOLL_MEMBER(name, ...) uint32_t name;
    DMATOLL_STRATEGY_PARAMETERS(DMATOLL_MEMBER)
#undef DMATOLL_MEMBER
    uint32_t page_size; /* DMATOLL_PAGE_BYTES or DMATOLL_LARGE_PAGE_BYTES, of a strategy that has it */
    int iova_allocator; /* with a domain of our own: its number */
};

/* What a core is built on. Everything outlives the core. */
struct dmatoll_surroundings {
    struct dmatoll_bound* bound;
    struct device* device;
    void* registers;
    struct dmatoll_domain* domain; /* NULL: Linux's default domain, through the DMA API */
    struct dmatoll_linux_dma* linux_dma; /* ... by which a buffer is mapped there; else NULL */
    struct dmatoll_range aperture; /* of the domain */
    const struct dmatoll_range* reserved;
    uint32_t reserved_count;
    uint32_t address_bits; /* IOVAs have at most that many */
    /* All that buffers can come from, upwards; what adjoins is one range. At least one. */
    const struct dmatoll_range* memory;
    uint32_t memory_count;
    struct dmatoll_strategy_settings settings;
};

/* ---- up: strategies.cpp ---- */

/* Number of a strategy that runs in the kernel, or -1. */
int dmatoll_strategy_find(const char* name);
/* Name of the nth strategy that runs in the kernel, or NULL behind the last. */
const char* dmatoll_strategy_name(int strategy);
/* Which type of group domain it wants: "own", or as /sys/kernel/iommu_groups/N/type spells it. */
const char* dmatoll_strategy_domain(int strategy);
/* Line n of what it protects from whom, "pair granularity window[ nanoseconds]", or false behind the last. */
bool dmatoll_strategy_protection(int strategy, const struct dmatoll_strategy_settings* settings,
                                 unsigned int line, const char** pair, const char** granularity,
                                 const char** window, uint64_t* bound_ns);
/* Whether the setting page_size is one of that strategy's. */
bool dmatoll_strategy_has_page_size(int strategy);

/* ---- up: iova_allocators.cpp ---- */

/* Number of an IOVA allocator, or -1. */
int dmatoll_iova_allocator_find(const char* name);
/* Name of the nth one, or NULL behind the last. */
const char* dmatoll_iova_allocator_name(int allocator);
/* Why it cannot be had with that strategy, or NULL. `lists`: a request of many pieces is one mapping. */
const char* dmatoll_iova_allocator_refusal(int allocator, int strategy, bool lists,
                                           const struct dmatoll_strategy_settings* settings);

/* ---- down: platform.c ---- */

void dmatoll_log(struct device* device, enum dmatoll_log_level level, const char* message);
/* Clears bus mastering. Process context only. */
void dmatoll_forbid_dma(struct device* device);
uint64_t dmatoll_now_ns(void);
void dmatoll_delay_us(uint32_t microseconds);
/* Which CPU this is, unless it is another by now; and one more than the highest that there can be. */
uint32_t dmatoll_cpu(void);
uint32_t dmatoll_cpus(void);
/* Zeroed; up to a page from any context, more from process context only. NULL: none. */
void* dmatoll_allocate(size_t bytes);
void dmatoll_free(void* memory);
/* Zeroed pages, contiguous for the CPU and for DMA. */
void* dmatoll_pages_allocate(size_t bytes, uint64_t* physical);
void dmatoll_pages_free(void* memory, size_t bytes);
/* Where the CPU sees a physical address of ordinary memory. */
void* dmatoll_cpu_address(uint64_t physical);

/* ---- down: dma_api.c, Linux's own mapping ---- */

void* dmatoll_coherent_allocate(struct device* device, size_t bytes, uint64_t* address);
void dmatoll_coherent_free(struct device* device, void* memory, size_t bytes, uint64_t address);
/* It counts its calls; a list is one. */
struct dmatoll_linux_dma;
void dmatoll_dma_calls(const struct dmatoll_linux_dma* dma, uint64_t* maps, uint64_t* unmaps, uint64_t* failures);

/* false: refused; Linux does not say why, and mostly it is for want of IOVAs or of bounce buffers. */
bool dmatoll_dma_map(struct dmatoll_linux_dma* dma, uint64_t physical, uint32_t bytes,
                     enum dmatoll_direction direction, uint64_t* address);
void dmatoll_dma_unmap(struct dmatoll_linux_dma* dma, uint64_t address, uint32_t bytes,
                       enum dmatoll_direction direction);

/* Bytes of a list of up to that many segments. Zeroed, it is ready. */
size_t dmatoll_dma_list_bytes(uint32_t segments);
/* What the device is told goes into `room`, which has place for as many as there are segments. How many these
 * are, or a negative errno. The list is in use until it is unmapped. */
int dmatoll_dma_map_list(struct dmatoll_linux_dma* dma, void* list, const struct dmatoll_segment* segments,
                         uint32_t count, enum dmatoll_direction direction,
                         struct dmatoll_device_segment* room);
void dmatoll_dma_unmap_list(struct dmatoll_linux_dma* dma, void* list, enum dmatoll_direction direction);

/* ---- down: domain.c, our own domain; softirq and process context ---- */

/* 0 or a negative errno. */
int dmatoll_domain_map(struct dmatoll_domain* domain, uint64_t iova, uint64_t physical, uint64_t bytes,
                       enum dmatoll_direction direction);
/* false: the range was not mapped as a whole. */
bool dmatoll_domain_unmap(struct dmatoll_domain* domain, uint64_t iova, uint64_t bytes);
/* As above, in the same two steps; the time stamp counter between them goes into `cleared`. */
bool dmatoll_domain_unmap_timed(struct dmatoll_domain* domain, uint64_t iova, uint64_t bytes, uint64_t* cleared);
/* Without invalidation: that, and the freeing of page-table pages, waits for dmatoll_domain_invalidate(). */
bool dmatoll_domain_unmap_later(struct dmatoll_domain* domain, uint64_t iova, uint64_t bytes);
void dmatoll_domain_invalidate(struct dmatoll_domain* domain);

/* ---- down: iova.c, Linux's own allocator; softirq and process context ---- */

struct dmatoll_iova;

/* Of ranges of whole pages, upwards, at least one. Process context only. NULL: no memory. */
struct dmatoll_iova* dmatoll_iova_create(const struct dmatoll_range* ranges, uint32_t count);
void dmatoll_iova_destroy(struct dmatoll_iova* space);
/* 0: none. */
uint64_t dmatoll_iova_allocate(struct dmatoll_iova* space, uint64_t pages);
void dmatoll_iova_free(struct dmatoll_iova* space, uint64_t iova, uint64_t pages);

/* A spinlock between softirq and process context. Large enough for spinlock_t unless the
 * kernel counts contention (LOCK_STAT), which platform.c would tell when it is built. */
struct dmatoll_lock {
    uint64_t storage[8];
};
void dmatoll_lock_init(struct dmatoll_lock* lock);
void dmatoll_lock_acquire(struct dmatoll_lock* lock);
void dmatoll_lock_release(struct dmatoll_lock* lock);

/* ---- down: alarm.c ---- */

/* dmatoll_on_alarm() is called once after that time, in softirq; not at an earlier one's any more. Any context. */
void dmatoll_alarm_set(struct dmatoll_bound* bound, uint64_t nanoseconds);

#ifdef __cplusplus
}
#endif
