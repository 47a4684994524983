// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Linux's own mapping strategies: the DMA API on the default domain, whose type decides what a call does. */
#include <linux/dma-mapping.h>
#include <linux/mm.h>
#include <linux/percpu.h>
#include <linux/scatterlist.h>

#include "bound.h"

/* Several CPUs map at a time, and in a benchmark of that none may wait for another's cache line. */
struct calls {
    u64 maps;
    u64 unmaps;
    u64 failures;
};

struct dmatoll_linux_dma {
    struct device* device;
    struct calls __percpu* calls;
};

struct dmatoll_linux_dma* dmatoll_linux_dma_create(struct device* device) {
    struct dmatoll_linux_dma* dma = devm_kzalloc(device, sizeof(*dma), GFP_KERNEL);

    if (!dma) return NULL;
    dma->device = device;
    dma->calls = devm_alloc_percpu(device, struct calls);
    return dma->calls ? dma : NULL;
}

void dmatoll_dma_calls(const struct dmatoll_linux_dma* dma, uint64_t* maps, uint64_t* unmaps, uint64_t* failures) {
    int cpu;

    *maps = *unmaps = *failures = 0;
    for_each_possible_cpu(cpu) {
        const struct calls* calls = per_cpu_ptr(dma->calls, cpu);

        *maps += READ_ONCE(calls->maps);
        *unmaps += READ_ONCE(calls->unmaps);
        *failures += READ_ONCE(calls->failures);
    }
}

static enum dma_data_direction linux_direction(enum dmatoll_direction direction) {
    static_assert((int)DMATOLL_TO_DEVICE + 1 == (int)DMA_TO_DEVICE);
    static_assert((int)DMATOLL_FROM_DEVICE + 1 == (int)DMA_FROM_DEVICE);
    return direction == DMATOLL_BIDIRECTIONAL ? DMA_BIDIRECTIONAL : (enum dma_data_direction)(direction + 1);
}

void* dmatoll_coherent_allocate(struct device* device, size_t bytes, uint64_t* address) {
    return dma_alloc_coherent(device, bytes, address, GFP_KERNEL);
}

void dmatoll_coherent_free(struct device* device, void* memory, size_t bytes, uint64_t address) {
    dma_free_coherent(device, bytes, memory, address);
}

bool dmatoll_dma_map(struct dmatoll_linux_dma* dma, uint64_t physical, uint32_t bytes,
                     enum dmatoll_direction direction, uint64_t* address) {
    dma_addr_t mapped = dma_map_page_attrs(dma->device, pfn_to_page(PHYS_PFN(physical)), offset_in_page(physical),
                                           bytes, linux_direction(direction), 0);

    *address = mapped;
    if (unlikely(dma_mapping_error(dma->device, mapped))) {
        this_cpu_inc(dma->calls->failures);
        return false;
    }
    this_cpu_inc(dma->calls->maps);
    return true;
}

void dmatoll_dma_unmap(struct dmatoll_linux_dma* dma, uint64_t address, uint32_t bytes,
                       enum dmatoll_direction direction) {
    dma_unmap_page_attrs(dma->device, address, bytes, linux_direction(direction), 0);
    this_cpu_inc(dma->calls->unmaps);
}

struct list {
    struct sg_table table;
    struct scatterlist entries[];
};

size_t dmatoll_dma_list_bytes(uint32_t segments) { return struct_size_t(struct list, entries, segments); }

int dmatoll_dma_map_list(struct dmatoll_linux_dma* dma, void* list_memory, const struct dmatoll_segment* segments,
                         uint32_t count, enum dmatoll_direction direction,
                         struct dmatoll_device_segment* room) {
    struct list* list = list_memory;
    struct scatterlist* entry;
    uint32_t told = 0;
    uint32_t i;
    int error;

    sg_init_table(list->entries, count);
    for (i = 0; i < count; i++)
        sg_set_page(&list->entries[i], pfn_to_page(PHYS_PFN(segments[i].physical)), segments[i].length,
                    offset_in_page(segments[i].physical));
    list->table = (struct sg_table){.sgl = list->entries, .nents = count, .orig_nents = count};
    error = dma_map_sgtable(dma->device, &list->table, linux_direction(direction), 0);
    if (error) {
        this_cpu_inc(dma->calls->failures);
        return error;
    }
    this_cpu_inc(dma->calls->maps);
    for_each_sgtable_dma_sg(&list->table, entry, i) {
        uint64_t address = sg_dma_address(entry);

        if (told && room[told - 1].iova + room[told - 1].length == address)
            room[told - 1].length += sg_dma_len(entry);
        else
            room[told++] = (struct dmatoll_device_segment){.iova = address, .length = sg_dma_len(entry)};
    }
    return told;
}

void dmatoll_dma_unmap_list(struct dmatoll_linux_dma* dma, void* list, enum dmatoll_direction direction) {
    dma_unmap_sgtable(dma->device, &((struct list*)list)->table, linux_direction(direction), 0);
    this_cpu_inc(dma->calls->unmaps);
}
