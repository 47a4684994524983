// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* The module dmatoll_dma_disk: an AHCI adapter that offers no disk but copies memory by way of the end of one. */
#include <linux/minmax.h>
#include <linux/module.h>
#include <linux/pci_ids.h>

#include "dmatoll_dma.h"

bool dmatoll_dma_part(struct pci_dev* pci, char* name, size_t bytes) {
    if (pci->class != PCI_CLASS_STORAGE_SATA_AHCI) {
        dev_err(&pci->dev, "class %06x: not a SATA controller in AHCI mode, which has %06x\n", pci->class,
                PCI_CLASS_STORAGE_SATA_AHCI);
        return false;
    }
    snprintf(name, bytes, "%04x:%04x", pci->vendor, pci->device);
    return true;
}

int dmatoll_dma_attach(struct dmatoll_dma* dma) {
    struct dmatoll_surroundings* surroundings = &dma->bound.surroundings;
    u32 bits = dmatoll_engine_address_bits(surroundings->device, surroundings->registers);
    int error = dmatoll_bound_attach(&dma->bound, bits);

    if (error) return error;
    surroundings->address_bits = min(surroundings->address_bits, bits);
    return 0;
}

const struct dmatoll_kind dmatoll_kind = {
    .probe = dmatoll_dma_probe,
    .remove = dmatoll_dma_remove,
    .shutdown = dmatoll_dma_shutdown,
    .own_driver = "dmatoll-dma-disk",
    .linux_driver = "dmatoll-dma-disk-linux",
    .device = "AHCI adapter",
    .registers_bar = 5,
    .registers_bytes = 0x180, /* [AHCI 1.3.1 §3]: the host's own registers and one port */
    .always_polled = true,
};

MODULE_DESCRIPTION("A disk controller that copies memory on command, by way of a few blocks at the end of a disk");
MODULE_LICENSE("Dual BSD/GPL");
