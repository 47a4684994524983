// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Linux's own mapping strategies: the DMA API on the default domain, whose type decides what a call does. */
#include <linux/dma-mapping.h>
#include <linux/mm.h>

#include "glue.h"

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

bool dmatoll_dma_map(struct device* device, uint64_t physical, uint32_t bytes,
                     enum dmatoll_direction direction, uint64_t* address) {
    dma_addr_t mapped = dma_map_page_attrs(device, pfn_to_page(PHYS_PFN(physical)), offset_in_page(physical),
                                           bytes, linux_direction(direction), 0);

    *address = mapped;
    return !dma_mapping_error(device, mapped);
}

void dmatoll_dma_unmap(struct device* device, uint64_t address, uint32_t bytes,
                       enum dmatoll_direction direction) {
    dma_unmap_page_attrs(device, address, bytes, linux_direction(direction), 0);
}
