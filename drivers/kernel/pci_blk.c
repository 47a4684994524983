// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Two PCI drivers for one host bus adapter. `dmatoll-blk` brings a domain of its own and therefore manages
 * the DMA of its group itself; `dmatoll-blk-linux` lives on the group's default domain. Neither takes a
 * device by its ID: only what is written into driver_override binds.
 */
#include <linux/dma-mapping.h>
#include <linux/log2.h>
#include <linux/module.h>
#include <linux/pci.h>
#include <linux/slab.h>

#include "dmatoll_blk.h"

static uint queue_depth = 32;
module_param(queue_depth, uint, 0644);
MODULE_PARM_DESC(queue_depth,
                 "requests that a disk has at a time, 1 to 32; a disk may take fewer (default 32)");

struct workqueue_struct* dmatoll_workqueue;

void dmatoll_on_alarm(struct dmatoll_bound* bound) {
    dmatoll_hba_on_alarm(container_of(bound, struct dmatoll_blk, bound)->hba);
}

static int check_class(struct pci_dev* pci) {
    if (pci->class == PCI_CLASS_STORAGE_SATA_AHCI) return 0;
    dev_err(&pci->dev, "class %06x: not a SATA controller in AHCI mode, which has %06x\n", pci->class,
            PCI_CLASS_STORAGE_SATA_AHCI);
    return -ENODEV;
}

static int check_queue_depth(struct device* device, u32 depth) {
    if (depth >= 1 && depth <= 32) return 0;
    dev_err(device, "parameter queue_depth is %u; it must be 1 to 32\n", depth);
    return -EINVAL;
}

static int attach(struct dmatoll_blk* blk) {
    struct dmatoll_surroundings* surroundings = &blk->bound.surroundings;
    u32 bits = dmatoll_hba_address_bits(surroundings->device, surroundings->registers);
    int error = dmatoll_bound_attach(&blk->bound, bits);

    if (error) return error;
    surroundings->address_bits = min(surroundings->address_bits, bits);
    /* A request is one range of bus addresses, however long. */
    dma_set_max_seg_size(surroundings->device, DMATOLL_MOST_TRANSFER_BYTES);
    return 0;
}

static int create_core(struct dmatoll_blk* blk, u32 depth) {
    /* Rounded up, since only a power of two is aligned to itself. */
    void* memory = kzalloc(roundup_pow_of_two(dmatoll_hba_bytes()), GFP_KERNEL);
    u32 register_bytes = min_t(u64, pci_resource_len(blk->bound.pci, dmatoll_kind.registers_bar), U32_MAX);
    int error;

    if (!memory) return -ENOMEM;
    error = dmatoll_hba_create(memory, blk->bound.strategy, depth, register_bytes, &blk->bound.surroundings);
    if (error) {
        kfree(memory);
        return error;
    }
    blk->hba = memory;
    return 0;
}

static void destroy_core(struct dmatoll_blk* blk) {
    dmatoll_alarm_cancel(&blk->bound);
    dmatoll_hba_destroy(blk->hba);
    kfree(blk->hba);
}

static int allocate_interrupt(struct dmatoll_blk* blk) {
    int count;

    if (blk->bound.polled) return 0;
    count = pci_alloc_irq_vectors(blk->bound.pci, 1, 1, PCI_IRQ_MSI | PCI_IRQ_INTX);
    if (count >= 0) return 0;
    dev_err(&blk->bound.pci->dev, "no interrupt can be had (%d): use completion=poll\n", count);
    return count;
}

static void for_each_disk(struct dmatoll_blk* blk, void (*use)(struct dmatoll_disk* disk)) {
    u32 port;

    for (port = 0; port < DMATOLL_MOST_PORTS; port++) {
        if (blk->disks[port]) use(blk->disks[port]);
    }
}

static int add_disks(struct dmatoll_blk* blk) {
    unsigned long ports = dmatoll_hba_ports(blk->hba);
    unsigned int port;
    int error;

    for_each_set_bit(port, &ports, DMATOLL_MOST_PORTS) {
        error = dmatoll_disk_add(blk, port);
        if (error) {
            dev_err(&blk->bound.pci->dev, "the disk of port %u cannot be registered (%d)\n", port, error);
            return error;
        }
    }
    if (!ports) dev_warn(&blk->bound.pci->dev, "there is no disk at any port\n");
    return 0;
}

/* Also of a device that was started in part. */
static void stop_device(struct dmatoll_blk* blk) {
    /* Even an adapter that does not obey the stop must not reach the memory that it gives back. */
    pci_clear_master(blk->bound.pci);
    dmatoll_hba_stop(blk->hba);
}

static int probe(struct pci_dev* pci, bool own) {
    struct device* device = &pci->dev;
    struct dmatoll_blk* blk;
    u32 depth = queue_depth;
    int error = check_class(pci);

    if (error) return error;
    error = check_queue_depth(device, depth);
    if (error) return error;
    blk = kzalloc(sizeof(*blk), GFP_KERNEL);
    if (!blk) return -ENOMEM;
    dmatoll_completion_init(blk);
    error = dmatoll_bound_open(&blk->bound, pci, own);
    if (error) goto free;
    error = attach(blk);
    if (error) goto close;
    error = create_core(blk, depth);
    if (error) {
        dev_err(device, "the driver core did not take the device (%d)\n", error);
        goto close;
    }
    error = allocate_interrupt(blk);
    if (error) goto destroy;
    pci_set_master(pci);
    error = dmatoll_hba_start(blk->hba);
    if (error) {
        dev_err(device, "the device did not start (%d)\n", error);
        goto stop;
    }
    error = dmatoll_completion_start(blk);
    if (error) goto stop;
    dev_info(device, "AHCI adapter, strategy %s, domain %s, queue depth %u\n",
             dmatoll_strategy_name(blk->bound.strategy), dmatoll_domain_attached(device), depth);
    error = add_disks(blk);
    if (error) goto remove;
    return 0;

remove:
    for_each_disk(blk, dmatoll_disk_remove);
    for_each_disk(blk, dmatoll_disk_stop_work);
    dmatoll_completion_stop(blk);
stop:
    stop_device(blk);
    for_each_disk(blk, dmatoll_disk_free);
    pci_free_irq_vectors(pci);
destroy:
    destroy_core(blk);
close:
    dmatoll_bound_close(&blk->bound);
free:
    kfree(blk);
    return error;
}

static struct dmatoll_blk* blk_of(struct pci_dev* pci) {
    return container_of(pci_get_drvdata(pci), struct dmatoll_blk, bound);
}

static void dmatoll_remove(struct pci_dev* pci) {
    struct dmatoll_blk* blk = blk_of(pci);

    for_each_disk(blk, dmatoll_disk_remove);
    for_each_disk(blk, dmatoll_disk_stop_work);
    dmatoll_completion_stop(blk);
    stop_device(blk);
    for_each_disk(blk, dmatoll_disk_free);
    pci_free_irq_vectors(pci);
    destroy_core(blk);
    dmatoll_bound_close(&blk->bound);
    kfree(blk);
}

/* What a disk has in its cache is written, and a kernel that is started by this one does not find a device
 * that writes into its memory. */
static void dmatoll_shutdown(struct pci_dev* pci) {
    struct dmatoll_blk* blk = blk_of(pci);

    for_each_disk(blk, dmatoll_disk_shut_down);
    for_each_disk(blk, dmatoll_disk_stop_work);
    dmatoll_completion_stop(blk);
    stop_device(blk);
}

/* ---- resets by others, and the system's sleep ---- */

static void hold(struct dmatoll_blk* blk) {
    for_each_disk(blk, dmatoll_disk_stop_work);
    dmatoll_hba_hold(blk->hba);
}

/* `echo 1 > reset`, or a reset of the bus: requests in flight are given to the disks again. */
static void reset_prepare(struct pci_dev* pci) { hold(blk_of(pci)); }

static void reset_done(struct pci_dev* pci) { for_each_disk(blk_of(pci), dmatoll_disk_start_work); }

static const struct pci_error_handlers error_handlers = {
    .reset_prepare = reset_prepare,
    .reset_done = reset_done,
};

/* Also before the memory is written to a disk, and after it was read from there: whether the adapter kept its
 * state or had no power in between makes no difference, it is brought up anew. */
static int dmatoll_suspend(struct device* device) {
    struct dmatoll_blk* blk = blk_of(to_pci_dev(device));
    u32 port;
    int error;

    for (port = 0; port < DMATOLL_MOST_PORTS; port++) {
        if (!blk->disks[port]) continue;
        error = dmatoll_disk_suspend(blk->disks[port]);
        if (!error) continue;
        dev_err(device, "the cache of the disk of port %u cannot be written before the sleep (%d)\n", port,
                error);
        while (port--) {
            if (blk->disks[port]) dmatoll_disk_resume(blk->disks[port]);
        }
        return error;
    }
    hold(blk);
    blk->was_master = blk->bound.pci->is_busmaster;
    pci_clear_master(blk->bound.pci);
    return 0;
}

static int dmatoll_resume(struct device* device) {
    struct dmatoll_blk* blk = blk_of(to_pci_dev(device));

    /* Not one that obeyed nothing, and lost it for that. */
    if (blk->was_master) pci_set_master(blk->bound.pci);
    for_each_disk(blk, dmatoll_disk_start_work);
    for_each_disk(blk, dmatoll_disk_resume);
    return 0;
}

static DEFINE_SIMPLE_DEV_PM_OPS(power, dmatoll_suspend, dmatoll_resume);

const struct dmatoll_kind dmatoll_kind = {
    .probe = probe,
    .remove = dmatoll_remove,
    .shutdown = dmatoll_shutdown,
    .own_driver = "dmatoll-blk",
    .linux_driver = "dmatoll-blk-linux",
    .device = "AHCI adapter",
    .registers_bar = 5,
    .registers_bytes = 0x180, /* [AHCI 1.3.1 §3]: the host's own registers and one port */
    .maps_lists = true,
    .error_handlers = &error_handlers,
    .power = pm_sleep_ptr(&power),
};

static int __init dmatoll_init(void) {
    int error;

    dmatoll_workqueue = alloc_workqueue(KBUILD_MODNAME, WQ_MEM_RECLAIM | WQ_UNBOUND, 0);
    if (!dmatoll_workqueue) return -ENOMEM;
    error = dmatoll_register_drivers();
    if (error) destroy_workqueue(dmatoll_workqueue);
    return error;
}
module_init(dmatoll_init);

static void __exit dmatoll_exit(void) {
    dmatoll_unregister_drivers();
    destroy_workqueue(dmatoll_workqueue);
}
module_exit(dmatoll_exit);

MODULE_DESCRIPTION("The AHCI driver that dmatoll measures: one source in the kernel and as a process");
MODULE_LICENSE("Dual BSD/GPL");
