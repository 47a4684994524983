// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* The folder dmatoll/ of a device that copies memory. */
#include <linux/device.h>
#include <linux/sysfs.h>

#include "dmatoll_dma.h"

static struct dmatoll_dma* dma_of(struct device* device) {
    return container_of(dev_get_drvdata(device), struct dmatoll_dma, bound);
}

void dmatoll_cached_pages(struct dmatoll_bound* bound, u64* small, u64* large) {
    dmatoll_engine_cached_pages(container_of(bound, struct dmatoll_dma, bound)->engine, small, large);
}

static ssize_t part_show(struct device* device, struct device_attribute* attribute, char* buffer) {
    char name[32];

    if (!dmatoll_dma_part(to_pci_dev(device), name, sizeof(name))) return -ENODEV;
    return sysfs_emit(buffer, "%s\n", name);
}
static DEVICE_ATTR_RO(part);

/* One line of dma/dma_command.hpp. What came of it is in `result`, also if the writing fails;
 * only of a thread that could not be made the log tells. */
static ssize_t command_store(struct device* device, struct device_attribute* attribute, const char* buffer,
                             size_t length) {
    int error = dmatoll_dma_command(dma_of(device), buffer, length);

    return error ? error : length;
}
static DEVICE_ATTR_WO(command);

static ssize_t result_show(struct device* device, struct device_attribute* attribute, char* buffer) {
    return dmatoll_dma_result(dma_of(device), buffer);
}
static DEVICE_ATTR_RO(result);

/* Lines "name value": what `ethtool -S` is for a network interface. */
static ssize_t statistics_show(struct device* device, struct device_attribute* attribute, char* buffer) {
    const struct dmatoll_dma* dma = dma_of(device);
    const char* name;
    u64 value;
    u32 line;
    int length = 0;

    for (line = 0; dmatoll_engine_statistic(dma->engine, line, &name, &value); line++)
        length += sysfs_emit_at(buffer, length, "%s %llu\n", name, value);
    return length;
}
static DEVICE_ATTR_RO(statistics);

static umode_t is_visible(struct kobject* object, struct attribute* attribute, int number) {
    return dmatoll_attribute_mode(kobj_to_dev(object), attribute);
}

static struct attribute* dmatoll_attributes[] = {
    DMATOLL_BOUND_ATTRIBUTES, &dev_attr_part.attr,       &dev_attr_command.attr,
    &dev_attr_result.attr,    &dev_attr_statistics.attr, NULL,
};

static const struct attribute_group dmatoll_group = {
    .name = "dmatoll",
    .attrs = dmatoll_attributes,
    .is_visible = is_visible,
};

const struct attribute_group* dmatoll_device_groups[] = {&dmatoll_group, NULL};
