/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A PCI device that is bound to one of our drivers, be it a NIC or a host bus adapter: what the C files of
 * both modules share. They are compiled for each module.
 */
#pragma once

#include <linux/device.h>
#include <linux/hrtimer.h>
#include <linux/pci.h>

#include "glue.h"

/* The device's driver data. */
struct dmatoll_bound {
    struct pci_dev* pci;
    int strategy;
    bool own;        /* has a domain of its own */
    bool polled;     /* completion=poll: no interrupts */
    int polling_cpu; /* ... on that CPU; negative: on that of whoever has it begin */
    int polled_on;   /* where it was begun; negative: not yet */
    struct dmatoll_surroundings surroundings;
    /* What the surroundings show of them. */
    struct dmatoll_range* reserved;
    struct dmatoll_range* memory;
    struct hrtimer alarm; /* when the oldest of what a strategy keeps must go */
};

/* What a module drives, and by which two PCI drivers; each has one. */
struct dmatoll_kind {
    int (*probe)(struct pci_dev* pci, bool own);
    void (*remove)(struct pci_dev* pci);
    void (*shutdown)(struct pci_dev* pci);
    const char* own_driver;   /* brings a domain of its own */
    const char* linux_driver; /* lives on the group's default domain */
    const char* device;       /* what it is not, if the registers are not there */
    int registers_bar;
    u32 registers_bytes; /* at least */
    bool always_polled;  /* whatever parameter completion is */
    bool maps_lists;     /* a request of many pieces is one mapping */
    /* Resets by others, and the system's sleep; none if null. */
    const struct pci_error_handlers* error_handlers;
    const struct dev_pm_ops* power;
};
extern const struct dmatoll_kind dmatoll_kind;

/* bound.c */
/*
 * Checks the module's parameters against the driver that was asked for, enables the device with bus mastering
 * off, and maps its registers. Says in the log what is wrong. 0 or a negative errno; then nothing is left.
 */
int dmatoll_bound_open(struct dmatoll_bound* bound, struct pci_dev* pci, bool own);
/* With completion=poll: the CPU on which polling is to begin. */
int dmatoll_polling_cpu(const struct dmatoll_bound* bound);
/* The DMA mask, and the domain if it is to be ours. 0 or a negative errno. */
int dmatoll_bound_attach(struct dmatoll_bound* bound, u32 address_bits);
/* Ends both. */
void dmatoll_bound_close(struct dmatoll_bound* bound);
/* The module's two PCI drivers. Neither takes a device by its ID: only what is written into driver_override binds,
 * so that the wrong device gets an answer. 0 or a negative errno. */
int dmatoll_register_drivers(void);
void dmatoll_unregister_drivers(void);
/* Each module's: the folder dmatoll/ of a device. */
extern const struct attribute_group* dmatoll_device_groups[];

/* domain.c */
/*
 * Claims the device's group and attaches a paging domain to it; fills in the surroundings' domain, aperture,
 * reserved ranges and address_bits. Says in the log what is wrong. 0 or a negative errno.
 */
int dmatoll_domain_attach(struct dmatoll_bound* bound);
void dmatoll_domain_detach(struct dmatoll_bound* bound);
/* What is attached now: "paging", "DMA", "DMA-FQ", "identity", "blocked" or "none". */
const char* dmatoll_domain_attached(struct device* device);

/* dma_api.c */
/* Goes with the device's binding. NULL: no memory. */
struct dmatoll_linux_dma* dmatoll_linux_dma_create(struct device* device);

/* alarm.c */
void dmatoll_alarm_init(struct dmatoll_bound* bound);
/* None is on its way any more when this returns. */
void dmatoll_alarm_cancel(struct dmatoll_bound* bound);
/* Each module's: what the alarm was set for. Softirq. */
void dmatoll_on_alarm(struct dmatoll_bound* bound);

/* attributes.c: in the folder dmatoll/ of the PCI device */
extern struct device_attribute dmatoll_strategy_attribute;
extern struct device_attribute dmatoll_domain_attribute;
extern struct device_attribute dmatoll_placement_attribute;
extern struct device_attribute dmatoll_protection_attribute;
extern struct device_attribute dmatoll_completion_attribute;
extern struct device_attribute dmatoll_polling_cpu_attribute;
extern struct device_attribute dmatoll_page_size_attribute;
extern struct device_attribute dmatoll_cached_pages_attribute;
extern struct device_attribute dmatoll_iova_allocator_attribute;
#define DMATOLL_BOUND_ATTRIBUTES                                                                         \
    &dmatoll_strategy_attribute.attr, &dmatoll_domain_attribute.attr, &dmatoll_placement_attribute.attr, \
        &dmatoll_protection_attribute.attr, &dmatoll_completion_attribute.attr,                          \
        &dmatoll_polling_cpu_attribute.attr, &dmatoll_page_size_attribute.attr,                          \
        &dmatoll_cached_pages_attribute.attr, &dmatoll_iova_allocator_attribute.attr
/* 0 for an attribute that the device's strategy does not have, else its mode. */
umode_t dmatoll_attribute_mode(struct device* device, const struct attribute* attribute);
/* Each module's: pages that the cache of strategy persistent has mapped by now. */
void dmatoll_cached_pages(struct dmatoll_bound* bound, u64* small, u64* large);
