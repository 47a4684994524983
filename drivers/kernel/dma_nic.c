// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* The module dmatoll_dma: a NIC that is no network interface but copies memory. */
#include <linux/module.h>
#include <linux/string.h>

#include "dmatoll_dma.h"
#include "part.h"

/* As the module that makes a network interface of the device. */
#define ADDRESS_BITS 32

bool dmatoll_dma_part(struct pci_dev* pci, char* name, size_t bytes) {
    const char* part = dmatoll_part_of(pci);

    if (part) strscpy(name, part, bytes);
    return part;
}

int dmatoll_dma_attach(struct dmatoll_dma* dma) { return dmatoll_bound_attach(&dma->bound, ADDRESS_BITS); }

const struct dmatoll_kind dmatoll_kind = {
    .probe = dmatoll_dma_probe,
    .remove = dmatoll_dma_remove,
    .shutdown = dmatoll_dma_shutdown,
    .own_driver = "dmatoll-dma",
    .linux_driver = "dmatoll-dma-linux",
    .device = "8254x",
    .registers_bar = 0,
    .registers_bytes = 0x20000, /* [8254x, 317453 §4.1]: 128 KiB of registers */
    .always_polled = true,      /* there is nothing else to do while the device copies */
};

MODULE_DESCRIPTION("An e1000 that copies memory on command: the load on an IOMMU and nothing else");
MODULE_LICENSE("Dual BSD/GPL");
