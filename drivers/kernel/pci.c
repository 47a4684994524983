// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Two PCI drivers for one device. `dmatoll-net` brings a domain of its own and therefore manages the DMA of
 * its group itself; `dmatoll-net-linux` lives on the group's default domain. Neither takes a device by its
 * ID: only what is written into driver_override binds.
 */
#include <linux/etherdevice.h>
#include <linux/log2.h>
#include <linux/module.h>
#include <linux/pci.h>
#include <linux/rtnetlink.h>
#include <linux/slab.h>

#include "dmatoll_net.h"
#include "part.h"

static uint receive_descriptors = 256;
module_param(receive_descriptors, uint, 0644);
MODULE_PARM_DESC(receive_descriptors, "receive ring, a power of two from 64 to 4096 (default 256)");

static uint transmit_descriptors = 256;
module_param(transmit_descriptors, uint, 0644);
MODULE_PARM_DESC(transmit_descriptors, "transmit ring, a power of two from 64 to 4096 (default 256)");

static uint interrupts_per_second = 8000;
module_param(interrupts_per_second, uint, 0644);
MODULE_PARM_DESC(interrupts_per_second, "at most, 60 to 1000000, or 0 for no moderation (default 8000)");

static bool allow_faults;
module_param(allow_faults, bool, 0444);
MODULE_PARM_DESC(allow_faults,
                 "sysfs has a file that crashes the driver, and with it this kernel (default no)");

/* What the part's other driver asks for on a bus that is not PCI-X, so that IOVAs come from the same space.
 */
#define ADDRESS_BITS 32

void dmatoll_on_alarm(struct dmatoll_bound* bound) {
    dmatoll_nic_on_alarm(container_of(bound, struct dmatoll_net, bound)->nic);
}

static int allocate_interrupt(struct dmatoll_net* net) {
    unsigned int kinds = PCI_IRQ_INTX;
    int count;

    if (net->bound.polled) return 0;
    if (dmatoll_nic_part(net->nic).message_signalled) kinds |= PCI_IRQ_MSI;
    count = pci_alloc_irq_vectors(net->bound.pci, 1, 1, kinds);
    if (count >= 0) return 0;
    dev_err(&net->bound.pci->dev, "no interrupt can be had (%d): use completion=poll\n", count);
    return count;
}

static int create_core(struct dmatoll_net* net) {
    /* Rounded up, since only a power of two is aligned to itself. */
    void* memory = kzalloc(roundup_pow_of_two(dmatoll_nic_bytes()), GFP_KERNEL);
    int error;

    if (!memory) return -ENOMEM;
    error = dmatoll_nic_create(memory, net, net->bound.strategy, &net->settings, &net->bound.surroundings);
    if (error) {
        kfree(memory);
        return error;
    }
    net->nic = memory;
    return 0;
}

static void destroy_core(struct dmatoll_net* net) {
    dmatoll_alarm_cancel(&net->bound);
    dmatoll_nic_destroy(net->nic);
    kfree(net->nic);
}

static int probe(struct pci_dev* pci, bool own) {
    struct device* device = &pci->dev;
    const char* part = dmatoll_part_of(pci);
    struct dmatoll_net* net;
    int error;

    if (!part) return -ENODEV;
    net = dmatoll_net_allocate(pci);
    if (!net) return -ENOMEM;
    net->faults_allowed = allow_faults;
    net->settings = (struct dmatoll_nic_settings){.pci_vendor = pci->vendor,
                                                  .pci_device = pci->device,
                                                  .receive_descriptors = receive_descriptors,
                                                  .transmit_descriptors = transmit_descriptors,
                                                  .interrupts_per_second = interrupts_per_second};
    /* Bus mastering is set while the interface is open only. */
    error = dmatoll_bound_open(&net->bound, pci, own);
    if (error) goto free;
    error = dmatoll_bound_attach(&net->bound, ADDRESS_BITS);
    if (error) goto close;
    error = create_core(net);
    if (error) {
        dev_err(device, "the driver core did not take the device (%d)\n", error);
        goto close;
    }
    error = allocate_interrupt(net);
    if (error) goto destroy;
    error = dmatoll_net_register(net);
    if (error) {
        dev_err(device, "the interface cannot be registered (%d)\n", error);
        goto free_interrupt;
    }
    dev_info(
        device, "%s: %s, strategy %s, domain %s, %u receive and %u transmit descriptors, %u interrupts/s\n",
        netdev_name(net->netdev), part, dmatoll_strategy_name(net->bound.strategy),
        dmatoll_domain_attached(device), receive_descriptors, transmit_descriptors, interrupts_per_second);
    return 0;

free_interrupt:
    pci_free_irq_vectors(pci);
destroy:
    destroy_core(net);
close:
    dmatoll_bound_close(&net->bound);
free:
    dmatoll_net_free(net);
    return error;
}

static struct dmatoll_net* net_of(struct pci_dev* pci) {
    return container_of(pci_get_drvdata(pci), struct dmatoll_net, bound);
}

static void dmatoll_remove(struct pci_dev* pci) {
    struct dmatoll_net* net = net_of(pci);

    /* Closes the interface: the device is quiet after it. */
    dmatoll_net_unregister(net);
    pci_free_irq_vectors(pci);
    destroy_core(net);
    dmatoll_bound_close(&net->bound);
    dmatoll_net_free(net);
}

/* A kernel that is started by this one must not find a device that writes into its memory. */
static void dmatoll_shutdown(struct pci_dev* pci) {
    struct dmatoll_net* net = net_of(pci);

    rtnl_lock();
    netif_device_detach(net->netdev);
    dev_close(net->netdev);
    rtnl_unlock();
}

const struct dmatoll_kind dmatoll_kind = {
    .probe = probe,
    .remove = dmatoll_remove,
    .shutdown = dmatoll_shutdown,
    .own_driver = "dmatoll-net",
    .linux_driver = "dmatoll-net-linux",
    .device = "8254x",
    .registers_bar = 0,
    .registers_bytes = 0x20000, /* [8254x, 317453 §4.1]: 128 KiB of registers */
};

static int __init dmatoll_init(void) { return dmatoll_register_drivers(); }
module_init(dmatoll_init);

static void __exit dmatoll_exit(void) { dmatoll_unregister_drivers(); }
module_exit(dmatoll_exit);

MODULE_DESCRIPTION("The e1000 driver that dmatoll measures: one source in the kernel and as a process");
MODULE_LICENSE("Dual BSD/GPL");
