// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* What really holds for a bound device, in the folder dmatoll/ of the PCI device. */
#include <linux/device.h>
#include <linux/sysfs.h>
#include <linux/time64.h>

#include "dmatoll_net.h"

static ssize_t strategy_show(struct device* device, struct device_attribute* attribute, char* buffer) {
    const struct dmatoll_net* net = dev_get_drvdata(device);

    return sysfs_emit(buffer, "%s\n", dmatoll_strategy_name(net->strategy));
}
static DEVICE_ATTR_RO(strategy);

static ssize_t domain_show(struct device* device, struct device_attribute* attribute, char* buffer) {
    return sysfs_emit(buffer, "%s\n", dmatoll_domain_attached(device));
}
static DEVICE_ATTR_RO(domain);

static ssize_t placement_show(struct device* device, struct device_attribute* attribute, char* buffer) {
    return sysfs_emit(buffer, "kernel\n");
}
static DEVICE_ATTR_RO(placement);

/* One line a pair: pair, granularity, window, and its bound in nanoseconds if it has one. */
static ssize_t protection_show(struct device* device, struct device_attribute* attribute, char* buffer) {
    const struct dmatoll_net* net = dev_get_drvdata(device);
    const char *pair, *granularity, *window;
    u64 bound_ns;
    unsigned int line;
    int length = 0;

    for (line = 0; dmatoll_strategy_protection(net->strategy, &net->surroundings.settings, line, &pair,
                                               &granularity, &window, &bound_ns);
         line++) {
        length += sysfs_emit_at(buffer, length, "%s %s %s", pair, granularity, window);
        /* Of ours, `deferred` alone has a bound; the catalogue states that of its default. */
        if (bound_ns && net->surroundings.domain)
            bound_ns = (u64)net->surroundings.settings.deferred_milliseconds * NSEC_PER_MSEC;
        if (bound_ns) length += sysfs_emit_at(buffer, length, " %llu", bound_ns);
        length += sysfs_emit_at(buffer, length, "\n");
    }
    return length;
}
static DEVICE_ATTR_RO(protection);

static ssize_t page_size_show(struct device* device, struct device_attribute* attribute, char* buffer) {
    const struct dmatoll_net* net = dev_get_drvdata(device);

    return sysfs_emit(buffer, "%u\n", net->surroundings.settings.page_size);
}
static DEVICE_ATTR_RO(page_size);

/* How many pages of which size the strategy has mapped by now, rings not counted: lines "size count". */
static ssize_t cached_pages_show(struct device* device, struct device_attribute* attribute, char* buffer) {
    const struct dmatoll_net* net = dev_get_drvdata(device);
    u64 small, large;

    dmatoll_nic_cached_pages(net->nic, &small, &large);
    return sysfs_emit(buffer, "%u %llu\n%u %llu\n", DMATOLL_PAGE_BYTES, small, DMATOLL_LARGE_PAGE_BYTES,
                      large);
}
static DEVICE_ATTR_RO(cached_pages);

static ssize_t completion_show(struct device* device, struct device_attribute* attribute, char* buffer) {
    const struct dmatoll_net* net = dev_get_drvdata(device);

    return sysfs_emit(buffer, "%s\n", net->polled ? "poll" : "interrupt");
}
static DEVICE_ATTR_RO(completion);

static ssize_t part_show(struct device* device, struct device_attribute* attribute, char* buffer) {
    const struct dmatoll_net* net = dev_get_drvdata(device);

    return sysfs_emit(buffer, "%s\n", dmatoll_nic_part(net->nic).name);
}
static DEVICE_ATTR_RO(part);

/* `null`: the driver dereferences a null pointer, where a mistake of its own would do so: in its poll
 * function. */
static ssize_t fault_store(struct device* device, struct device_attribute* attribute, const char* buffer,
                           size_t length) {
    struct dmatoll_net* net = dev_get_drvdata(device);

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
    const struct dmatoll_net* net = dev_get_drvdata(kobj_to_dev(object));

    if (attribute == &dev_attr_fault.attr && !net->faults_allowed) return 0;
    if ((attribute == &dev_attr_page_size.attr || attribute == &dev_attr_cached_pages.attr) &&
        !dmatoll_strategy_has_page_size(net->strategy))
        return 0;
    return attribute->mode;
}

static struct attribute* dmatoll_attributes[] = {
    &dev_attr_strategy.attr,   &dev_attr_domain.attr,
    &dev_attr_placement.attr,  &dev_attr_protection.attr,
    &dev_attr_completion.attr, &dev_attr_part.attr,
    &dev_attr_page_size.attr,  &dev_attr_cached_pages.attr,
    &dev_attr_fault.attr,      NULL,
};

static const struct attribute_group dmatoll_group = {
    .name = "dmatoll",
    .attrs = dmatoll_attributes,
    .is_visible = is_visible,
};

const struct attribute_group* dmatoll_device_groups[] = {&dmatoll_group, NULL};
