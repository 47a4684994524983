// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Linux's own IOVA allocator over the space of our own domain, as the reference that ours are measured against: called as
 * the DMA API calls it [drivers/iommu/dma-iommu.c], with its caches for each CPU. */
#include <linux/iova.h>
#include <linux/slab.h>

#include "glue.h"

struct dmatoll_iova {
    struct iova_domain domain;
    unsigned long last_page;
};

static int init_domain(struct dmatoll_iova* space, const struct dmatoll_range* ranges, u32 count) {
    int error;
    u32 i;

    init_iova_domain(&space->domain, PAGE_SIZE, ranges[0].first >> PAGE_SHIFT);
    error = iova_domain_init_rcaches(&space->domain);
    for (i = 1; !error && i < count; i++) {
        /* Two that adjoin have no hole between them. */
        if (ranges[i - 1].last + 1 == ranges[i].first) continue;
        if (!reserve_iova(&space->domain, (ranges[i - 1].last + 1) >> PAGE_SHIFT,
                          (ranges[i].first >> PAGE_SHIFT) - 1))
            error = -ENOMEM;
    }
    space->last_page = ranges[count - 1].last >> PAGE_SHIFT;
    if (error) put_iova_domain(&space->domain);
    return error;
}

struct dmatoll_iova* dmatoll_iova_create(const struct dmatoll_range* ranges, uint32_t count) {
    struct dmatoll_iova* space;

    if (iova_cache_get()) return NULL;
    space = kzalloc(sizeof(*space), GFP_KERNEL);
    if (space && !init_domain(space, ranges, count)) return space;
    kfree(space);
    iova_cache_put();
    return NULL;
}

void dmatoll_iova_destroy(struct dmatoll_iova* space) {
    put_iova_domain(&space->domain);
    kfree(space);
    iova_cache_put();
}

uint64_t dmatoll_iova_allocate(struct dmatoll_iova* space, uint64_t pages) {
    return (u64)alloc_iova_fast(&space->domain, pages, space->last_page, true) << PAGE_SHIFT;
}

void dmatoll_iova_free(struct dmatoll_iova* space, uint64_t iova, uint64_t pages) {
    free_iova_fast(&space->domain, iova >> PAGE_SHIFT, pages);
}
