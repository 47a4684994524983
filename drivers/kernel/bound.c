// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * From the module's parameters to a device that is ready for its driver core. What is read when a device is
 * bound holds until it is unbound.
 */
#include <linux/dma-mapping.h>
#include <linux/iommu.h>
#include <linux/ioport.h>
#include <linux/module.h>
#include <linux/pci.h>
#include <linux/slab.h>

#include "bound.h"

static char* strategy = "strict";
module_param(strategy, charp, 0644);
MODULE_PARM_DESC(
    strategy,
    "how DMA memory is mapped, read when a device is bound: linux-strict, linux-lazy or linux-identity with the "
    "driver whose name ends in -linux, all others with the one that has a domain of its own; what there is, a "
    "name that does not exist is answered with (default strict)");

#define DMATOLL_PARAMETER(name, strategy, least, most, usual, window, what) \
    static uint name = usual;                                               \
    module_param(name, uint, 0644);                                         \
    MODULE_PARM_DESC(name, "strategy " strategy ": " what ", " #least " to " #most " (default " #usual ")");
DMATOLL_STRATEGY_PARAMETERS(DMATOLL_PARAMETER)
#undef DMATOLL_PARAMETER

static uint mapped_page_size = DMATOLL_PAGE_BYTES;
module_param_named(page_size, mapped_page_size, uint, 0644);
MODULE_PARM_DESC(
    page_size,
    "strategy persistent: bytes around a buffer that are mapped at its first use, 4096 or 2097152; "
    "where not all of 2097152 is memory it is 4096; strategies copy and hybrid-copy: the pages that their "
    "pools are made of (default 4096)");

static char* iova_allocator = "size-classes";
module_param(iova_allocator, charp, 0644);
MODULE_PARM_DESC(
    iova_allocator,
    "where the I/O virtual addresses of a domain of our own come from: size-classes, tree, tree-linear, "
    "eiovar, magazines, contiguous, identity (no disks) or linux (default size-classes)");

static char* completion = "interrupt";
module_param(completion, charp, 0644);
MODULE_PARM_DESC(
    completion,
    "how the driver learns what the device has done: interrupt, or poll, which keeps one CPU busy "
    "(default interrupt; a device that copies memory is always polled)");

static int polling_cpu = -1;
module_param(polling_cpu, int, 0644);
MODULE_PARM_DESC(polling_cpu,
                 "completion=poll: the CPU that polls; -1 is that of whoever binds the device, or sets its "
                 "interface up (default -1)");

static void list_names(char* names, size_t size, const char* (*name_at)(int number)) {
    int i;

    for (i = 0; name_at(i); i++) {
        strlcat(names, " ", size);
        strlcat(names, name_at(i), size);
    }
}

/* The number of what a parameter names, or a negative errno. */
static int choose_by_name(struct device* device, const char* parameter, char* const* value,
                          int (*find)(const char* name), const char* (*name_at)(int number)) {
    char name[32], names[256] = "";
    int number;

    kernel_param_lock(THIS_MODULE);
    strscpy(name, *value, sizeof(name));
    kernel_param_unlock(THIS_MODULE);
    /* What is echoed into the parameter ends in a newline. */
    number = find(strim(name));
    if (number >= 0) return number;
    list_names(names, sizeof(names), name_at);
    dev_err(device, "unknown %s \"%s\"; there are:%s. Write one into /sys/module/" KBUILD_MODNAME "/parameters/%s\n",
            parameter, strim(name), names, parameter);
    return -EINVAL;
}

static bool wants_own_domain(int number) { return !strcmp(dmatoll_strategy_domain(number), "own"); }

/* The parameter's strategy, checked against the driver that was asked for; or a negative errno. */
static int choose_strategy(struct device* device, bool own) {
    const char* driver = own ? dmatoll_kind.own_driver : dmatoll_kind.linux_driver;
    int number = choose_by_name(device, "strategy", &strategy, dmatoll_strategy_find, dmatoll_strategy_name);

    if (number < 0) return number;
    if (wants_own_domain(number) != own) {
        dev_err(device,
                "strategy %s does not run under driver %s: write %s into driver_override and bind again, or "
                "choose another strategy\n",
                dmatoll_strategy_name(number), driver,
                own ? dmatoll_kind.linux_driver : dmatoll_kind.own_driver);
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

static int check_range(struct device* device, const char* parameter, u32 value, u32 least, u32 most) {
    if (value >= least && value <= most) return 0;
    dev_err(device, "parameter %s is %u; it must be %u to %u\n", parameter, value, least, most);
    return -EINVAL;
}

static int check_strategy_parameters(struct device* device, const struct dmatoll_strategy_settings* settings) {
    int error = 0;

#define DMATOLL_CHECK(name, strategy, least, most, ...) \
    if (!error) error = check_range(device, #name, settings->name, least, most);
    DMATOLL_STRATEGY_PARAMETERS(DMATOLL_CHECK)
#undef DMATOLL_CHECK
    return error;
}

/* The parameter's allocator, checked against the strategy; or a negative errno. */
static int choose_iova_allocator(struct device* device, int strategy_number, bool own,
                                 const struct dmatoll_strategy_settings* settings) {
    const char* refusal;
    int number = choose_by_name(device, "iova_allocator", &iova_allocator, dmatoll_iova_allocator_find,
                                dmatoll_iova_allocator_name);

    if (number < 0) return number;
    /* Linux's domains have Linux's allocator, whatever the parameter is. */
    if (!own) return number;
    refusal = dmatoll_iova_allocator_refusal(number, strategy_number, dmatoll_kind.maps_lists, settings);
    if (!refusal) return number;
    dev_err(device,
            "iova_allocator %s is not possible with strategy %s here: %s. Write another into "
            "/sys/module/" KBUILD_MODNAME "/parameters/iova_allocator\n",
            dmatoll_iova_allocator_name(number), dmatoll_strategy_name(strategy_number), refusal);
    return -EINVAL;
}

static int check_page_size(struct device* device, const struct dmatoll_strategy_settings* settings) {
    if (settings->page_size == DMATOLL_PAGE_BYTES || settings->page_size == DMATOLL_LARGE_PAGE_BYTES)
        return 0;
    dev_err(device, "parameter page_size is %u; it must be %u or %u\n", settings->page_size,
            DMATOLL_PAGE_BYTES, DMATOLL_LARGE_PAGE_BYTES);
    return -EINVAL;
}

int dmatoll_polling_cpu(const struct dmatoll_bound* bound) {
    return bound->polling_cpu < 0 ? raw_smp_processor_id() : bound->polling_cpu;
}

static int check_polling_cpu(struct device* device, int cpu) {
    if (cpu < 0 || (cpu < nr_cpu_ids && cpu_online(cpu))) return 0;
    dev_err(device, "parameter polling_cpu is %d, and no such CPU is online\n", cpu);
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
static int collect_memory(struct dmatoll_bound* bound) {
    struct memory_ranges memory = {};
    int error = walk_memory(&memory);

    if (error || !memory.count) return -ENODEV;
    memory = (struct memory_ranges){.room = memory.count};
    memory.ranges = kcalloc(memory.room, sizeof(*memory.ranges), GFP_KERNEL);
    if (!memory.ranges) return -ENOMEM;
    bound->memory = memory.ranges;
    error = walk_memory(&memory);
    bound->surroundings.memory = memory.ranges;
    bound->surroundings.memory_count = memory.count;
    return error;
}

static int map_registers(struct dmatoll_bound* bound) {
    struct pci_dev* pci = bound->pci;
    int bar = dmatoll_kind.registers_bar;
    int error;

    if (!(pci_resource_flags(pci, bar) & IORESOURCE_MEM) ||
        pci_resource_len(pci, bar) < dmatoll_kind.registers_bytes) {
        dev_err(&pci->dev, "BAR %d is not %u bytes of memory: no %s\n", bar, dmatoll_kind.registers_bytes,
                dmatoll_kind.device);
        return -ENODEV;
    }
    error = pci_request_region(pci, bar, KBUILD_MODNAME);
    if (error) {
        dev_err(&pci->dev, "BAR %d is in use by somebody else (%d); see /proc/iomem\n", bar, error);
        return error;
    }
    bound->surroundings.registers = (__force void*)pci_ioremap_bar(pci, bar);
    if (!bound->surroundings.registers) {
        pci_release_region(pci, bar);
        return -ENOMEM;
    }
    return 0;
}

static void unmap_registers(struct dmatoll_bound* bound) {
    iounmap((__force void __iomem*)bound->surroundings.registers);
    pci_release_region(bound->pci, dmatoll_kind.registers_bar);
}

int dmatoll_bound_open(struct dmatoll_bound* bound, struct pci_dev* pci, bool own) {
    struct device* device = &pci->dev;
    int polled, allocator, error;

    bound->pci = pci;
    bound->own = own;
    bound->strategy = choose_strategy(device, own);
    if (bound->strategy < 0) return bound->strategy;
    polled = dmatoll_kind.always_polled ? true : choose_completion(device);
    if (polled < 0) return polled;
    bound->polled = polled;
    bound->polling_cpu = READ_ONCE(polling_cpu);
    bound->polled_on = -1;
    if (polled) {
        error = check_polling_cpu(device, bound->polling_cpu);
        if (error) return error;
    }
    if (!own) {
        error = check_default_domain(device, bound->strategy);
        if (error) return error;
    }
    bound->surroundings.bound = bound;
    bound->surroundings.device = device;
    bound->surroundings.settings =
        (struct dmatoll_strategy_settings){
#define DMATOLL_VALUE(name, ...) .name = name,
            DMATOLL_STRATEGY_PARAMETERS(DMATOLL_VALUE)
#undef DMATOLL_VALUE
            .page_size = mapped_page_size};
    error = check_strategy_parameters(device, &bound->surroundings.settings);
    if (error) return error;
    error = check_page_size(device, &bound->surroundings.settings);
    if (error) return error;
    allocator = choose_iova_allocator(device, bound->strategy, own, &bound->surroundings.settings);
    if (allocator < 0) return allocator;
    bound->surroundings.settings.iova_allocator = allocator;
    dmatoll_alarm_init(bound);
    error = collect_memory(bound);
    if (error) {
        dev_err(device, "the ranges of this machine's memory cannot be read (%d)\n", error);
        goto free;
    }
    error = pci_enable_device(pci);
    if (error) {
        dev_err(device, "the device cannot be enabled (%d)\n", error);
        goto free;
    }
    /* An earlier driver's rings may still be programmed: nothing moves before the core has cleared them. */
    pci_clear_master(pci);
    error = map_registers(bound);
    if (error) goto disable;
    pci_set_drvdata(pci, bound);
    return 0;

disable:
    pci_disable_device(pci);
free:
    kfree(bound->memory);
    return error;
}

int dmatoll_bound_attach(struct dmatoll_bound* bound, u32 address_bits) {
    struct device* device = &bound->pci->dev;
    int error = dma_set_mask_and_coherent(device, DMA_BIT_MASK(address_bits));

    if (error) {
        dev_err(device, "%u-bit DMA is refused (%d)\n", address_bits, error);
        return error;
    }
    if (bound->own) return dmatoll_domain_attach(bound);
    bound->surroundings.linux_dma = dmatoll_linux_dma_create(device);
    if (!bound->surroundings.linux_dma) {
        dev_err(device, "there is too little memory to count calls of the DMA API\n");
        return -ENOMEM;
    }
    return 0;
}

void dmatoll_bound_close(struct dmatoll_bound* bound) {
    dmatoll_domain_detach(bound);
    unmap_registers(bound);
    pci_disable_device(bound->pci);
    kfree(bound->memory);
}

/* No MODULE_DEVICE_TABLE: nothing loads the module unasked. */
static const struct pci_device_id ids[] = {
    {PCI_DEVICE_DRIVER_OVERRIDE(PCI_ANY_ID, PCI_ANY_ID, true)},
    {},
};

static int own_probe(struct pci_dev* pci, const struct pci_device_id* id) {
    return dmatoll_kind.probe(pci, true);
}

static int linux_probe(struct pci_dev* pci, const struct pci_device_id* id) {
    return dmatoll_kind.probe(pci, false);
}

static void remove(struct pci_dev* pci) { dmatoll_kind.remove(pci); }

static void shutdown(struct pci_dev* pci) { dmatoll_kind.shutdown(pci); }

static struct pci_driver own_driver = {
    .id_table = ids,
    .probe = own_probe,
    .remove = remove,
    .shutdown = shutdown,
    .driver_managed_dma = true,
    .dev_groups = dmatoll_device_groups,
};

static struct pci_driver linux_driver = {
    .id_table = ids,
    .probe = linux_probe,
    .remove = remove,
    .shutdown = shutdown,
    .dev_groups = dmatoll_device_groups,
};

static int register_driver(struct pci_driver* driver, const char* name) {
    driver->name = name;
    driver->err_handler = dmatoll_kind.error_handlers;
    driver->driver.pm = dmatoll_kind.power;
    return pci_register_driver(driver);
}

int dmatoll_register_drivers(void) {
    int error = register_driver(&own_driver, dmatoll_kind.own_driver);

    if (error) return error;
    error = register_driver(&linux_driver, dmatoll_kind.linux_driver);
    if (error) pci_unregister_driver(&own_driver);
    return error;
}

void dmatoll_unregister_drivers(void) {
    pci_unregister_driver(&linux_driver);
    pci_unregister_driver(&own_driver);
}
