// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Two PCI drivers for a NIC that is no network interface but copies memory on command. `dmatoll-dma` brings a
 * domain of its own and therefore manages the DMA of its group itself; `dmatoll-dma-linux` lives on the
 * group's default domain. Neither takes a device by its ID: only what is written into driver_override binds.
 */
#include <linux/log2.h>
#include <linux/module.h>
#include <linux/pci.h>
#include <linux/slab.h>

#include "dmatoll_dma.h"
#include "part.h"

/* As the module that makes a network interface of the device. */
#define ADDRESS_BITS 32

void dmatoll_on_alarm(struct dmatoll_bound* bound) {
    dmatoll_engine_on_alarm(container_of(bound, struct dmatoll_dma, bound)->engine);
}

static int create_core(struct dmatoll_dma* dma) {
    /* Rounded up, since only a power of two is aligned to itself. */
    void* memory = kzalloc(roundup_pow_of_two(dmatoll_engine_bytes()), GFP_KERNEL);
    struct pci_dev* pci = dma->bound.pci;
    int error;

    if (!memory) return -ENOMEM;
    error = dmatoll_engine_create(memory, dma->bound.strategy, pci->vendor, pci->device,
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

static int probe(struct pci_dev* pci, bool own) {
    struct device* device = &pci->dev;
    const char* part = dmatoll_part_of(pci);
    struct dmatoll_dma* dma;
    int error;

    if (!part) return -ENODEV;
    dma = kzalloc(sizeof(*dma), GFP_KERNEL);
    if (!dma) return -ENOMEM;
    mutex_init(&dma->commands);
    error = dmatoll_bound_open(&dma->bound, pci, own);
    if (error) goto free;
    dma->bound.polled_on = dmatoll_polling_cpu(&dma->bound);
    error = dmatoll_bound_attach(&dma->bound, ADDRESS_BITS);
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

static void dmatoll_remove(struct pci_dev* pci) {
    struct dmatoll_dma* dma = dma_of(pci);

    stop_device(dma);
    destroy_core(dma);
    dmatoll_bound_close(&dma->bound);
    kfree(dma);
}

/* A kernel that is started by this one must not find a device that writes into its memory. */
static void dmatoll_shutdown(struct pci_dev* pci) {
    struct dmatoll_dma* dma = dma_of(pci);

    mutex_lock(&dma->commands);
    stop_device(dma);
    mutex_unlock(&dma->commands);
}

const struct dmatoll_kind dmatoll_kind = {
    .probe = probe,
    .remove = dmatoll_remove,
    .shutdown = dmatoll_shutdown,
    .own_driver = "dmatoll-dma",
    .linux_driver = "dmatoll-dma-linux",
    .device = "8254x",
    .registers_bar = 0,
    .registers_bytes = 0x20000, /* [8254x, 317453 §4.1]: 128 KiB of registers */
    .always_polled = true,      /* there is nothing else to do while the device copies */
};

static int __init dmatoll_init(void) { return dmatoll_register_drivers(); }
module_init(dmatoll_init);

static void __exit dmatoll_exit(void) { dmatoll_unregister_drivers(); }
module_exit(dmatoll_exit);

MODULE_DESCRIPTION("An e1000 that copies memory on command: the load on an IOMMU and nothing else");
MODULE_LICENSE("Dual BSD/GPL");
