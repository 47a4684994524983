// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* The folder dmatoll/ of a host bus adapter. */
#include <linux/device.h>
#include <linux/pci.h>
#include <linux/sysfs.h>

#include "dmatoll_blk.h"

static struct dmatoll_blk* blk_of(struct device* device) {
    return container_of(dev_get_drvdata(device), struct dmatoll_blk, bound);
}

void dmatoll_cached_pages(struct dmatoll_bound* bound, u64* small, u64* large) {
    dmatoll_hba_cached_pages(container_of(bound, struct dmatoll_blk, bound)->hba, small, large);
}

/* Any AHCI adapter is driven: which one it is, its identifiers tell. */
static ssize_t part_show(struct device* device, struct device_attribute* attribute, char* buffer) {
    const struct pci_dev* pci = to_pci_dev(device);

    return sysfs_emit(buffer, "%04x:%04x\n", pci->vendor, pci->device);
}
static DEVICE_ATTR_RO(part);

/* Lines "name value": what `ethtool -S` is for a NIC. */
static ssize_t statistics_show(struct device* device, struct device_attribute* attribute, char* buffer) {
    const struct dmatoll_blk* blk = blk_of(device);
    const char* name;
    u64 value;
    u32 line;
    int length = 0;

    for (line = 0; dmatoll_hba_statistic(blk->hba, line, &name, &value); line++)
        length += sysfs_emit_at(buffer, length, "%s %llu\n", name, value);
    return length;
}
static DEVICE_ATTR_RO(statistics);

static struct attribute* dmatoll_attributes[] = {
    DMATOLL_BOUND_ATTRIBUTES,
    &dev_attr_part.attr,
    &dev_attr_statistics.attr,
    NULL,
};

static const struct attribute_group dmatoll_group = {
    .name = "dmatoll",
    .attrs = dmatoll_attributes,
    .is_visible = dmatoll_attribute_mode,
};

const struct attribute_group* dmatoll_device_groups[] = {&dmatoll_group, NULL};
