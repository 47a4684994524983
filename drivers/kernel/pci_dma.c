// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Two PCI drivers for a device that does nothing but copy memory on command. One brings a domain of its own and
 * therefore manages the DMA of its group itself; the other lives on the group's default domain. Neither takes a device
 * by its ID: only what is written into driver_override binds.
 */
#include <linux/log2.h>
#include <linux/module.h>
#include <linux/pci.h>
#include <linux/slab.h>

#include "dmatoll_dma.h"

void dmatoll_on_alarm(struct dmatoll_bound* bound) {
    dmatoll_engine_on_alarm(container_of(bound, struct dmatoll_dma, bound)->engine);
}

static int create_core(struct dmatoll_dma* dma) {
    /* Rounded up, since only a power of two is aligned to itself. */
    void* memory = kzalloc(roundup_pow_of_two(dmatoll_engine_bytes()), GFP_KERNEL);
    struct pci_dev* pci = dma->bound.pci;
    u32 register_bytes = min_t(u64, pci_resource_len(pci, dmatoll_kind.registers_bar), U32_MAX);
    int error;

    if (!memory) return -ENOMEM;
    error = dmatoll_engine_create(memory, dma->bound.strategy, pci->vendor, pci->device, register_bytes,
                                  &dma->bound.surroundings);
    if (error) {
        kfree(memory);
        return error;
    }
    dma->engine = memory;
    return 0;
}

static void destroy_core(struct dmatoll_dma* dma) {
    dmatoll_alarm_cancel(&dma->bound);
    dmatoll_engine_destroy(dma->engine);
    kfree(dma->engine);
}

/* Also of a device that was started in part. */
static void stop_device(struct dmatoll_dma* dma) {
    dmatoll_dma_halt(dma);
    /* Even a device that does not obey the stop must not reach the memory that it gives back. */
    pci_clear_master(dma->bound.pci);
    dmatoll_engine_stop(dma->engine);
}

int dmatoll_dma_probe(struct pci_dev* pci, bool own) {
    struct device* device = &pci->dev;
    struct dmatoll_dma* dma;
    char part[32];
    int error;

    if (!dmatoll_dma_part(pci, part, sizeof(part))) return -ENODEV;
    dma = kzalloc(sizeof(*dma), GFP_KERNEL);
    if (!dma) return -ENOMEM;
    mutex_init(&dma->commands);
    error = dmatoll_bound_open(&dma->bound, pci, own);
    if (error) goto free;
    dma->bound.polled_on = dmatoll_polling_cpu(&dma->bound);
    error = dmatoll_dma_attach(dma);
    if (error) goto close;
    error = create_core(dma);
    if (error) {
        dev_err(device, "the driver core did not take the device (%d)\n", error);
        goto close;
    }
    pci_set_master(pci);
    error = dmatoll_engine_start(dma->engine);
    if (error) {
        dev_err(device, "the device does not copy (%d)\n", error);
        goto stop;
    }
    dev_info(device, "%s, copies memory: strategy %s, domain %s, CPU %d\n", part,
             dmatoll_strategy_name(dma->bound.strategy), dmatoll_domain_attached(device),
             dma->bound.polled_on);
    return 0;

stop:
    stop_device(dma);
    destroy_core(dma);
close:
    dmatoll_bound_close(&dma->bound);
free:
    kfree(dma);
    return error;
}

static struct dmatoll_dma* dma_of(struct pci_dev* pci) {
    return container_of(pci_get_drvdata(pci), struct dmatoll_dma, bound);
}

void dmatoll_dma_remove(struct pci_dev* pci) {
    struct dmatoll_dma* dma = dma_of(pci);

    stop_device(dma);
    destroy_core(dma);
    dmatoll_bound_close(&dma->bound);
    kfree(dma);
}

/* A kernel that is started by this one must not find a device that writes into its memory. */
void dmatoll_dma_shutdown(struct pci_dev* pci) {
    struct dmatoll_dma* dma = dma_of(pci);

    mutex_lock(&dma->commands);
    stop_device(dma);
    mutex_unlock(&dma->commands);
}

static int __init dmatoll_init(void) { return dmatoll_register_drivers(); }
module_init(dmatoll_init);

static void __exit dmatoll_exit(void) { dmatoll_unregister_drivers(); }
module_exit(dmatoll_exit);
