// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Two PCI drivers for one device. `dmatoll-net` brings a domain of its own and therefore manages the DMA of
 * its group itself; `dmatoll-net-linux` lives on the group's default domain. Neither takes a device by its
 * ID: only what is written into driver_override binds.
 */
#include <linux/dma-mapping.h>
#include <linux/etherdevice.h>
#include <linux/iommu.h>
#include <linux/ioport.h>
#include <linux/log2.h>
#include <linux/module.h>
#include <linux/pci.h>
#include <linux/rtnetlink.h>
#include <linux/slab.h>

#include "dmatoll_net.h"

#define REGISTERS_BAR 0
#define REGISTERS_BYTES 0x20000 /* [8254x, 317453 §4.1]: 128 KiB of registers */

static char* strategy = "strict";
module_param(strategy, charp, 0644);
MODULE_PARM_DESC(
    strategy,
    "how DMA memory is mapped, read when a device is bound: strict, deferred, copy, persistent or "
    "passthrough with driver dmatoll-net; linux-strict, linux-lazy or linux-identity with dmatoll-net-linux "
    "(default strict)");

static uint deferred_entries = 256;
module_param(deferred_entries, uint, 0644);
MODULE_PARM_DESC(deferred_entries,
                 "strategy deferred: unmapped ranges that wait for one invalidation, 1 to 16384 (default 256)");

static uint deferred_milliseconds = 10;
module_param(deferred_milliseconds, uint, 0644);
MODULE_PARM_DESC(deferred_milliseconds, "strategy deferred: ... and for how long at most, 1 to 1000 (default 10)");

static uint mapped_page_size = DMATOLL_PAGE_BYTES;
module_param_named(page_size, mapped_page_size, uint, 0644);
MODULE_PARM_DESC(page_size,
                 "strategy persistent: bytes around a buffer that are mapped at its first use, 4096 or 2097152; "
                 "where not all of 2097152 is memory it is 4096 (default 4096)");

static uint receive_descriptors = 256;
module_param(receive_descriptors, uint, 0644);
MODULE_PARM_DESC(receive_descriptors, "receive ring, a power of two from 64 to 4096 (default 256)");

static uint transmit_descriptors = 256;
module_param(transmit_descriptors, uint, 0644);
MODULE_PARM_DESC(transmit_descriptors, "transmit ring, a power of two from 64 to 4096 (default 256)");

static uint interrupts_per_second = 8000;
module_param(interrupts_per_second, uint, 0644);
MODULE_PARM_DESC(interrupts_per_second, "at most, 60 to 1000000, or 0 for no moderation (default 8000)");

static char* completion = "interrupt";
module_param(completion, charp, 0644);
MODULE_PARM_DESC(
    completion,
    "how the driver learns what the device has done: interrupt, or poll, which keeps the CPU busy that "
    "sets the interface up (default interrupt)");

static bool allow_faults;
module_param(allow_faults, bool, 0444);
MODULE_PARM_DESC(allow_faults,
                 "sysfs has a file that crashes the driver, and with it this kernel (default no)");

#define OWN_DRIVER "dmatoll-net"
#define LINUX_DRIVER "dmatoll-net-linux"

static bool wants_own_domain(int number) { return !strcmp(dmatoll_strategy_domain(number), "own"); }

/* The parameter's strategy, checked against the driver that was asked for; or a negative errno. */
static int choose_strategy(struct device* device, bool own) {
    const char* driver = own ? OWN_DRIVER : LINUX_DRIVER;
    char name[32], names[128] = "";
    int number, i;

    kernel_param_lock(THIS_MODULE);
    strscpy(name, strategy, sizeof(name));
    kernel_param_unlock(THIS_MODULE);
    /* What is echoed into the parameter ends in a newline. */
    number = dmatoll_strategy_find(strim(name));
    if (number < 0) {
        for (i = 0; dmatoll_strategy_name(i); i++) {
            strlcat(names, " ", sizeof(names));
            strlcat(names, dmatoll_strategy_name(i), sizeof(names));
        }
        dev_err(device,
                "unknown strategy \"%s\"; there are:%s. Write one into /sys/module/" KBUILD_MODNAME
                "/parameters/strategy\n",
                strim(name), names);
        return -EINVAL;
    }
    if (wants_own_domain(number) != own) {
        dev_err(device,
                "strategy %s does not run under driver %s: write %s into driver_override and bind again, or "
                "choose another strategy\n",
                dmatoll_strategy_name(number), driver, own ? LINUX_DRIVER : OWN_DRIVER);
        return -EINVAL;
    }
    return number;
}

/* The parameter: does the driver poll? Or a negative errno. */
static int choose_completion(struct device* device) {
    static const char* const names[] = {"interrupt", "poll"};
    char name[16];
    int number;

    kernel_param_lock(THIS_MODULE);
    strscpy(name, completion, sizeof(name));
    kernel_param_unlock(THIS_MODULE);
    number = match_string(names, ARRAY_SIZE(names), strim(name));
    if (number < 0)
        dev_err(device,
                "unknown completion \"%s\"; there are: interrupt poll. Write one into "
                "/sys/module/" KBUILD_MODNAME "/parameters/completion\n",
                strim(name));
    return number;
}

static int check_deferred(struct device* device, const struct dmatoll_settings* settings) {
    if (settings->deferred_entries < 1 || settings->deferred_entries > DMATOLL_MOST_DEFERRED_ENTRIES) {
        dev_err(device, "parameter deferred_entries is %u; it must be 1 to %u\n", settings->deferred_entries,
                DMATOLL_MOST_DEFERRED_ENTRIES);
        return -EINVAL;
    }
    if (settings->deferred_milliseconds < 1 ||
        settings->deferred_milliseconds > DMATOLL_MOST_DEFERRED_MILLISECONDS) {
        dev_err(device, "parameter deferred_milliseconds is %u; it must be 1 to %u\n",
                settings->deferred_milliseconds, DMATOLL_MOST_DEFERRED_MILLISECONDS);
        return -EINVAL;
    }
    return 0;
}

static int check_page_size(struct device* device, const struct dmatoll_settings* settings) {
    if (settings->page_size == DMATOLL_PAGE_BYTES || settings->page_size == DMATOLL_LARGE_PAGE_BYTES)
        return 0;
    dev_err(device, "parameter page_size is %u; it must be %u or %u\n", settings->page_size,
            DMATOLL_PAGE_BYTES, DMATOLL_LARGE_PAGE_BYTES);
    return -EINVAL;
}

static int check_default_domain(struct device* device, int number) {
    const char* wanted = dmatoll_strategy_domain(number);
    const char* attached = dmatoll_domain_attached(device);
    struct iommu_group* group;
    int id;

    if (!strcmp(wanted, attached)) return 0;
    group = iommu_group_get(device);
    if (!group) {
        dev_err(device,
                "strategy %s wants an IOMMU domain of type %s, but no IOMMU translates for this device. "
                "Switch it on in the firmware and boot with intel_iommu=on or amd_iommu=on\n",
                dmatoll_strategy_name(number), wanted);
        return -ENODEV;
    }
    id = iommu_group_id(group);
    iommu_group_put(group);
    dev_err(device,
            "strategy %s wants the domain type %s, but IOMMU group %d has %s: leave the device unbound, "
            "write %s into /sys/kernel/iommu_groups/%d/type, and bind again\n",
            dmatoll_strategy_name(number), wanted, id, attached, wanted, id);
    return -EINVAL;
}

struct memory_ranges {
    struct dmatoll_range* ranges; /* NULL: they are counted only */
    u32 room, count;
    u64 end; /* behind the last one */
};

/* Upwards. A piece that adjoins the one before belongs to it: hot-added memory comes in such pieces. */
static int keep_memory(struct resource* resource, void* data) {
    struct memory_ranges* memory = data;
    bool adjoins = memory->count && resource->start == memory->end;

    if (!adjoins && memory->ranges && memory->count == memory->room) return -ENOSPC;
    if (!adjoins) memory->count++;
    memory->end = resource->end + 1;
    if (memory->ranges) {
        if (!adjoins) memory->ranges[memory->count - 1].first = resource->start;
        memory->ranges[memory->count - 1].last = resource->end;
    }
    return 0;
}

static int walk_memory(struct memory_ranges* memory) {
    return walk_iomem_res_desc(IORES_DESC_NONE, IORESOURCE_SYSTEM_RAM | IORESOURCE_BUSY, 0, -1, memory,
                               keep_memory);
}

/* Memory that is added later is not in it: a buffer from there is a map failure. */
static int collect_memory(struct dmatoll_net* net) {
    struct memory_ranges memory = {};
    int error = walk_memory(&memory);

    if (error || !memory.count) return -ENODEV;
    memory = (struct memory_ranges){.room = memory.count};
    memory.ranges = kcalloc(memory.room, sizeof(*memory.ranges), GFP_KERNEL);
    if (!memory.ranges) return -ENOMEM;
    net->memory = memory.ranges;
    error = walk_memory(&memory);
    net->surroundings.memory = memory.ranges;
    net->surroundings.memory_count = memory.count;
    return error;
}

static int map_registers(struct dmatoll_net* net) {
    struct pci_dev* pci = net->pci;
    int error;

    if (!(pci_resource_flags(pci, REGISTERS_BAR) & IORESOURCE_MEM) ||
        pci_resource_len(pci, REGISTERS_BAR) < REGISTERS_BYTES) {
        dev_err(&pci->dev, "BAR 0 is not %u bytes of memory: no 8254x\n", REGISTERS_BYTES);
        return -ENODEV;
    }
    error = pci_request_region(pci, REGISTERS_BAR, KBUILD_MODNAME);
    if (error) {
        dev_err(&pci->dev, "BAR 0 is in use by somebody else (%d); see /proc/iomem\n", error);
        return error;
    }
    net->surroundings.registers = (__force void*)pci_ioremap_bar(pci, REGISTERS_BAR);
    if (!net->surroundings.registers) {
        pci_release_region(pci, REGISTERS_BAR);
        return -ENOMEM;
    }
    return 0;
}

static void unmap_registers(struct dmatoll_net* net) {
    iounmap((__force void __iomem*)net->surroundings.registers);
    pci_release_region(net->pci, REGISTERS_BAR);
}

static int allocate_interrupt(struct dmatoll_net* net) {
    unsigned int kinds = PCI_IRQ_INTX;
    int count;

    if (net->polled) return 0;
    if (dmatoll_nic_part(net->nic).message_signalled) kinds |= PCI_IRQ_MSI;
    count = pci_alloc_irq_vectors(net->pci, 1, 1, kinds);
    if (count >= 0) return 0;
    dev_err(&net->pci->dev, "no interrupt can be had (%d): use completion=poll\n", count);
    return count;
}

static int create_core(struct dmatoll_net* net) {
    /* Rounded up, since only a power of two is aligned to itself. */
    void* memory = kzalloc(roundup_pow_of_two(dmatoll_nic_bytes()), GFP_KERNEL);
    int error;

    if (!memory) return -ENOMEM;
    error = dmatoll_nic_create(memory, net->strategy, &net->surroundings);
    if (error) {
        kfree(memory);
        return error;
    }
    net->nic = memory;
    return 0;
}

static void destroy_core(struct dmatoll_net* net) {
    dmatoll_alarm_cancel(net);
    dmatoll_nic_destroy(net->nic);
    kfree(net->nic);
}

static void refuse_part(struct pci_dev* pci) {
    const char* name;
    u16 vendor, device;
    char known[128] = "";
    size_t used = 0;
    unsigned int i;

    for (i = 0; dmatoll_part_at(i, &name, &vendor, &device); i++)
        used += scnprintf(known + used, sizeof(known) - used, "%s %s, %04x:%04x", i ? ";" : "", name, vendor,
                          device);
    dev_err(&pci->dev, "%04x:%04x is not a device that this driver knows: it drives the%s\n", pci->vendor,
            pci->device, known);
}

static int probe(struct pci_dev* pci, bool own) {
    struct device* device = &pci->dev;
    const char* part = dmatoll_part_name(pci->vendor, pci->device);
    struct dmatoll_net* net;
    int number, polled, error;

    if (!part) {
        refuse_part(pci);
        return -ENODEV;
    }
    number = choose_strategy(device, own);
    if (number < 0) return number;
    polled = choose_completion(device);
    if (polled < 0) return polled;
    if (!own) {
        error = check_default_domain(device, number);
        if (error) return error;
    }

    net = dmatoll_net_allocate(pci);
    if (!net) return -ENOMEM;
    net->strategy = number;
    net->polled = polled;
    net->faults_allowed = allow_faults;
    net->surroundings.net = net;
    net->surroundings.device = device;
    net->surroundings.pci_vendor = pci->vendor;
    net->surroundings.pci_device = pci->device;
    net->surroundings.settings = (struct dmatoll_settings){.receive_descriptors = receive_descriptors,
                                                           .transmit_descriptors = transmit_descriptors,
                                                           .interrupts_per_second = interrupts_per_second,
                                                           .deferred_entries = deferred_entries,
                                                           .deferred_milliseconds = deferred_milliseconds,
                                                           .page_size = mapped_page_size};
    dmatoll_alarm_init(net);
    pci_set_drvdata(pci, net);

    error = check_deferred(device, &net->surroundings.settings);
    if (error) goto free;
    error = check_page_size(device, &net->surroundings.settings);
    if (error) goto free;
    error = collect_memory(net);
    if (error) {
        dev_err(device, "the ranges of this machine's memory cannot be read (%d)\n", error);
        goto free;
    }
    error = pci_enable_device(pci);
    if (error) {
        dev_err(device, "the device cannot be enabled (%d)\n", error);
        goto free;
    }
    /* An earlier driver's rings may still be programmed: nothing moves before the core has cleared them. From
     * then on bus mastering is set while the interface is open. */
    pci_clear_master(pci);
    /* What the part's other driver asks for on a bus that is not PCI-X, so that IOVAs come from the same
     * space. */
    error = dma_set_mask_and_coherent(device, DMA_BIT_MASK(32));
    if (error) {
        dev_err(device, "32-bit DMA is refused (%d)\n", error);
        goto disable;
    }
    error = map_registers(net);
    if (error) goto disable;
    if (own) {
        error = dmatoll_domain_attach(net);
        if (error) goto unmap;
    }
    error = create_core(net);
    if (error) {
        dev_err(device, "the driver core did not take the device (%d)\n", error);
        goto detach;
    }
    error = allocate_interrupt(net);
    if (error) goto destroy;
    error = dmatoll_net_register(net);
    if (error) {
        dev_err(device, "the interface cannot be registered (%d)\n", error);
        goto free_interrupt;
    }
    dev_info(device,
             "%s: %s, strategy %s, domain %s, %u receive and %u transmit descriptors, %u interrupts/s\n",
             netdev_name(net->netdev), part, dmatoll_strategy_name(number), dmatoll_domain_attached(device),
             receive_descriptors, transmit_descriptors, interrupts_per_second);
    return 0;

free_interrupt:
    pci_free_irq_vectors(pci);
destroy:
    destroy_core(net);
detach:
    dmatoll_domain_detach(net);
unmap:
    unmap_registers(net);
disable:
    pci_disable_device(pci);
free:
    dmatoll_net_free(net);
    return error;
}

static int own_probe(struct pci_dev* pci, const struct pci_device_id* id) { return probe(pci, true); }

static int linux_probe(struct pci_dev* pci, const struct pci_device_id* id) { return probe(pci, false); }

static void dmatoll_remove(struct pci_dev* pci) {
    struct dmatoll_net* net = pci_get_drvdata(pci);

    /* Closes the interface: the device is quiet after it. */
    dmatoll_net_unregister(net);
    pci_free_irq_vectors(pci);
    destroy_core(net);
    dmatoll_domain_detach(net);
    unmap_registers(net);
    pci_disable_device(pci);
    dmatoll_net_free(net);
}

/* A kernel that is started by this one must not find a device that writes into its memory. */
static void dmatoll_shutdown(struct pci_dev* pci) {
    struct dmatoll_net* net = pci_get_drvdata(pci);

    rtnl_lock();
    netif_device_detach(net->netdev);
    dev_close(net->netdev);
    rtnl_unlock();
}

/* All devices, so that the wrong one gets an answer; none by itself. No MODULE_DEVICE_TABLE: nothing loads
 * the module unasked. */
static const struct pci_device_id dmatoll_ids[] = {
    {PCI_DEVICE_DRIVER_OVERRIDE(PCI_ANY_ID, PCI_ANY_ID, true)},
    {},
};

static struct pci_driver own_driver = {
    .name = OWN_DRIVER,
    .id_table = dmatoll_ids,
    .probe = own_probe,
    .remove = dmatoll_remove,
    .shutdown = dmatoll_shutdown,
    .driver_managed_dma = true,
    .dev_groups = dmatoll_device_groups,
};

static struct pci_driver linux_driver = {
    .name = LINUX_DRIVER,
    .id_table = dmatoll_ids,
    .probe = linux_probe,
    .remove = dmatoll_remove,
    .shutdown = dmatoll_shutdown,
    .dev_groups = dmatoll_device_groups,
};

static int __init dmatoll_init(void) {
    int error = pci_register_driver(&own_driver);

    if (error) return error;
    error = pci_register_driver(&linux_driver);
    if (error) pci_unregister_driver(&own_driver);
    return error;
}
module_init(dmatoll_init);

static void __exit dmatoll_exit(void) {
    pci_unregister_driver(&linux_driver);
    pci_unregister_driver(&own_driver);
}
module_exit(dmatoll_exit);

MODULE_DESCRIPTION("The e1000 driver that dmatoll measures: one source in the kernel and as a process");
MODULE_LICENSE("Dual BSD/GPL");
