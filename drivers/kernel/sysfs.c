// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* The folder dmatoll/ of a NIC. */
#include <linux/device.h>
#include <linux/sysfs.h>

#include "dmatoll_net.h"

static struct dmatoll_net* net_of(struct device* device) {
    return container_of(dev_get_drvdata(device), struct dmatoll_net, bound);
}

void dmatoll_cached_pages(struct dmatoll_bound* bound, u64* small, u64* large) {
    dmatoll_nic_cached_pages(container_of(bound, struct dmatoll_net, bound)->nic, small, large);
}

static ssize_t part_show(struct device* device, struct device_attribute* attribute, char* buffer) {
    const struct dmatoll_net* net = net_of(device);

    return sysfs_emit(buffer, "%s\n", dmatoll_nic_part(net->nic).name);
}
static DEVICE_ATTR_RO(part);

/* `null`: the driver dereferences a null pointer, where a mistake of its own would do so: in its poll
 * function. */
static ssize_t fault_store(struct device* device, struct device_attribute* attribute, const char* buffer,
                           size_t length) {
    struct dmatoll_net* net = net_of(device);

    if (!sysfs_streq(buffer, "null")) return -EINVAL;
    if (!net->open) return -ENETDOWN;
    WRITE_ONCE(net->nic, NULL);
    local_bh_disable();
    napi_schedule(&net->napi);
    local_bh_enable();
    return length;
}
static DEVICE_ATTR_WO(fault);

static umode_t is_visible(struct kobject* object, struct attribute* attribute, int number) {
    if (attribute == &dev_attr_fault.attr && !net_of(kobj_to_dev(object))->faults_allowed) return 0;
    return dmatoll_attribute_mode(object, attribute, number);
}

static struct attribute* dmatoll_attributes[] = {
    DMATOLL_BOUND_ATTRIBUTES,
    &dev_attr_part.attr,
    &dev_attr_fault.attr,
    NULL,
};

static const struct attribute_group dmatoll_group = {
    .name = "dmatoll",
    .attrs = dmatoll_attributes,
    .is_visible = is_visible,
};

const struct attribute_group* dmatoll_device_groups[] = {&dmatoll_group, NULL};
