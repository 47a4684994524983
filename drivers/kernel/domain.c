// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* A paging domain of our own: the group is claimed the way VFIO claims one, and nothing but what we map is in
 * it. */
#include <linux/device.h>
#include <linux/dma-mapping.h>
#include <linux/iommu.h>
#include <linux/list.h>
#include <linux/slab.h>
#include <linux/spinlock.h>

#include <asm/msr.h>

#include "bound.h"

struct dmatoll_domain {
    struct iommu_domain* domain;
    struct iommu_group* group;
    /* Page-table pages that later unmappings freed: the IOMMU may walk them until the next invalidation. */
    spinlock_t retired_lock;
    struct list_head retired;
};

/*
 * Linux 6.12 reports 57 bits of aperture on a VT-d that has 39, and tells nobody outside of its driver the
 * real width. Every VT-d that is younger than 2010 and every AMD-Vi has at least 39, and 512 GiB of IOVA are
 * more than any strategy fills: no device is refused by this bound and no mapping fails behind it. The
 * user-level driver, which can read the width, uses its own minimum of both.
 */
#define CERTAIN_ADDRESS_BITS 39

/* As read_ticks() in core/ticks.hpp: the same counter, fenced alike. */
static u64 dmatoll_read_ticks(void) {
    u64 ticks = rdtsc_ordered();

    rmb(); /* an lfence */
    return ticks;
}

static int protection_bits(enum dmatoll_direction direction) {
    switch (direction) {
        case DMATOLL_TO_DEVICE:
            return IOMMU_CACHE | IOMMU_READ;
        case DMATOLL_FROM_DEVICE:
            return IOMMU_CACHE | IOMMU_WRITE;
        default:
            return IOMMU_CACHE | IOMMU_READ | IOMMU_WRITE;
    }
}

int dmatoll_domain_map(struct dmatoll_domain* domain, uint64_t iova, uint64_t physical, uint64_t bytes,
                       enum dmatoll_direction direction) {
    return iommu_map(domain->domain, iova, physical, bytes, protection_bits(direction),
                     GFP_ATOMIC | __GFP_NOWARN);
}

static __always_inline bool unmap(struct dmatoll_domain* domain, uint64_t iova, uint64_t bytes,
                                  uint64_t* cleared) {
    struct iommu_iotlb_gather gather;
    size_t unmapped;

    iommu_iotlb_gather_init(&gather);
    unmapped = iommu_unmap_fast(domain->domain, iova, bytes, &gather);
    if (cleared) *cleared = dmatoll_read_ticks();
    /* Waits for the invalidation and only then frees page-table pages. */
    iommu_iotlb_sync(domain->domain, &gather);
    return unmapped == bytes;
}

bool dmatoll_domain_unmap(struct dmatoll_domain* domain, uint64_t iova, uint64_t bytes) {
    return unmap(domain, iova, bytes, NULL);
}

bool dmatoll_domain_unmap_timed(struct dmatoll_domain* domain, uint64_t iova, uint64_t bytes,
                                uint64_t* cleared) {
    return unmap(domain, iova, bytes, cleared);
}

bool dmatoll_domain_unmap_later(struct dmatoll_domain* domain, uint64_t iova, uint64_t bytes) {
    struct iommu_iotlb_gather gather;
    size_t unmapped;

    iommu_iotlb_gather_init(&gather);
    /* Without this mark a range that does not adjoin the last one is flushed at once, silently. */
    gather.queued = true;
    unmapped = iommu_unmap_fast(domain->domain, iova, bytes, &gather);
    if (!list_empty(&gather.freelist)) {
        spin_lock_bh(&domain->retired_lock);
        list_splice_tail(&gather.freelist, &domain->retired);
        spin_unlock_bh(&domain->retired_lock);
    }
    return unmapped == bytes;
}

void dmatoll_domain_invalidate(struct dmatoll_domain* domain) {
    struct iommu_iotlb_gather gather;

    iommu_iotlb_gather_init(&gather);
    spin_lock_bh(&domain->retired_lock);
    list_splice_init(&domain->retired, &gather.freelist);
    spin_unlock_bh(&domain->retired_lock);
    if (list_empty(&gather.freelist)) {
        iommu_flush_iotlb_all(domain->domain);
        return;
    }
    /* Freeing goes through a gather only; one over the whole aperture invalidates all of it first. */
    gather.start = domain->domain->geometry.aperture_start;
    gather.end = domain->domain->geometry.aperture_end;
    gather.pgsize = PAGE_SIZE;
    iommu_iotlb_sync(domain->domain, &gather);
}

const char* dmatoll_domain_attached(struct device* device) {
    struct iommu_domain* domain = iommu_get_domain_for_dev(device);

    if (!domain) return "none";
    switch (domain->type) {
        case IOMMU_DOMAIN_UNMANAGED:
            return "paging";
        case IOMMU_DOMAIN_DMA:
            return "DMA";
        case IOMMU_DOMAIN_DMA_FQ:
            return "DMA-FQ";
        case IOMMU_DOMAIN_IDENTITY:
            return "identity";
        case IOMMU_DOMAIN_BLOCKED:
            return "blocked";
    }
    return "unknown";
}

/* Ranges that translate to something else, or to nothing: the window of interrupt messages first of all. */
static int collect_reserved(struct dmatoll_bound* bound, struct iommu_group* group) {
    struct iommu_resv_region *region, *next;
    LIST_HEAD(regions);
    u32 count = 0;
    int error = iommu_get_group_resv_regions(group, &regions);

    if (error) return error;
    list_for_each_entry(region, &regions, list) count++;
    bound->reserved = kcalloc(max(count, 1u), sizeof(*bound->reserved), GFP_KERNEL);
    count = 0;
    list_for_each_entry_safe(region, next, &regions, list) {
        if (bound->reserved && region->length)
            bound->reserved[count++] =
                (struct dmatoll_range){.first = region->start, .last = region->start + (region->length - 1)};
        list_del(&region->list);
        kfree(region);
    }
    bound->surroundings.reserved = bound->reserved;
    bound->surroundings.reserved_count = count;
    return bound->reserved ? 0 : -ENOMEM;
}

int dmatoll_domain_attach(struct dmatoll_bound* bound) {
    struct device* device = &bound->pci->dev;
    struct dmatoll_domain* own;
    int error;

    own = kzalloc(sizeof(*own), GFP_KERNEL);
    if (!own) return -ENOMEM;
    spin_lock_init(&own->retired_lock);
    INIT_LIST_HEAD(&own->retired);

    own->group = iommu_group_get(device);
    if (!own->group) {
        dev_err(device,
                "no IOMMU group: no IOMMU translates for this device. Switch it on in the firmware and boot "
                "with intel_iommu=on or amd_iommu=on\n");
        error = -ENODEV;
        goto free;
    }

    error = iommu_device_claim_dma_owner(device, bound);
    if (error) {
        dev_err(device,
                "IOMMU group %d cannot be claimed (%d): another of its devices is bound to a driver. Unbind "
                "all that ls /sys/kernel/iommu_groups/%d/devices shows\n",
                iommu_group_id(own->group), error, iommu_group_id(own->group));
        goto put;
    }

    own->domain = iommu_paging_domain_alloc(device);
    if (IS_ERR(own->domain)) {
        error = PTR_ERR(own->domain);
        dev_err(device, "the IOMMU gives no paging domain (%d)\n", error);
        goto release;
    }

    /* Ahead of the first map: until then VT-d allows for small pages only. */
    error = iommu_attach_group(own->domain, own->group);
    if (error) {
        dev_err(device, "group %d cannot be attached to a domain of ours (%d)\n", iommu_group_id(own->group),
                error);
        goto free_domain;
    }

    /* Only now is it known which sizes the domain has. */
    if (dmatoll_strategy_has_page_size(bound->strategy) &&
        !(own->domain->pgsize_bitmap & bound->surroundings.settings.page_size)) {
        dev_err(device,
                "parameter page_size is %u, but the IOMMU of group %d has no such pages (sizes that it has: "
                "%#lx): load the module with page_size=%u\n",
                bound->surroundings.settings.page_size, iommu_group_id(own->group), own->domain->pgsize_bitmap,
                DMATOLL_PAGE_BYTES);
        error = -EOPNOTSUPP;
        goto detach;
    }

    error = collect_reserved(bound, own->group);
    if (error) {
        dev_err(device, "the reserved ranges of group %d cannot be read (%d)\n", iommu_group_id(own->group),
                error);
        goto detach;
    }

    bound->surroundings.domain = own;
    bound->surroundings.aperture = (struct dmatoll_range){.first = own->domain->geometry.aperture_start,
                                                        .last = own->domain->geometry.aperture_end};
    bound->surroundings.address_bits = CERTAIN_ADDRESS_BITS;
    return 0;

detach:
    iommu_detach_group(own->domain, own->group);
free_domain:
    iommu_domain_free(own->domain);
release:
    iommu_device_release_dma_owner(device);
put:
    iommu_group_put(own->group);
free:
    kfree(own);
    return error;
}

void dmatoll_domain_detach(struct dmatoll_bound* bound) {
    struct dmatoll_domain* own = bound->surroundings.domain;

    if (!own) return;
    bound->surroundings.domain = NULL;
    dmatoll_domain_invalidate(own);
    iommu_detach_group(own->domain, own->group);
    iommu_domain_free(own->domain);
    iommu_device_release_dma_owner(&bound->pci->dev);
    iommu_group_put(own->group);
    kfree(bound->reserved);
    bound->reserved = NULL;
    kfree(own);
}
