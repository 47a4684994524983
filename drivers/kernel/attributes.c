// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* What really holds for a bound device, of whatever kind, in the folder dmatoll/ of the PCI device. */
#include <linux/device.h>
#include <linux/sysfs.h>

#include "bound.h"

static ssize_t strategy_show(struct device* device, struct device_attribute* attribute, char* buffer) {
    const struct dmatoll_bound* bound = dev_get_drvdata(device);

    return sysfs_emit(buffer, "%s\n", dmatoll_strategy_name(bound->strategy));
}
struct device_attribute dmatoll_strategy_attribute = __ATTR_RO(strategy);

static ssize_t domain_show(struct device* device, struct device_attribute* attribute, char* buffer) {
    return sysfs_emit(buffer, "%s\n", dmatoll_domain_attached(device));
}
struct device_attribute dmatoll_domain_attribute = __ATTR_RO(domain);

static ssize_t placement_show(struct device* device, struct device_attribute* attribute, char* buffer) {
    return sysfs_emit(buffer, "kernel\n");
}
struct device_attribute dmatoll_placement_attribute = __ATTR_RO(placement);

/* One line a pair: pair, granularity, window, and its bound in nanoseconds if it has one. */
static ssize_t protection_show(struct device* device, struct device_attribute* attribute, char* buffer) {
    const struct dmatoll_bound* bound = dev_get_drvdata(device);
    const char *pair, *granularity, *window;
    u64 bound_ns;
    unsigned int line;
    int length = 0;

    for (line = 0; dmatoll_strategy_protection(bound->strategy, &bound->surroundings.settings, line, &pair,
                                               &granularity, &window, &bound_ns);
         line++) {
        length += sysfs_emit_at(buffer, length, "%s %s %s", pair, granularity, window);
        if (bound_ns) length += sysfs_emit_at(buffer, length, " %llu", bound_ns);
        length += sysfs_emit_at(buffer, length, "\n");
    }
    return length;
}
struct device_attribute dmatoll_protection_attribute = __ATTR_RO(protection);

static ssize_t page_size_show(struct device* device, struct device_attribute* attribute, char* buffer) {
    const struct dmatoll_bound* bound = dev_get_drvdata(device);

    return sysfs_emit(buffer, "%u\n", bound->surroundings.settings.page_size);
}
struct device_attribute dmatoll_page_size_attribute = __ATTR_RO(page_size);

/* How many pages of which size the strategy has mapped by now, rings not counted: lines "size count". */
static ssize_t cached_pages_show(struct device* device, struct device_attribute* attribute, char* buffer) {
    u64 small, large;

    dmatoll_cached_pages(dev_get_drvdata(device), &small, &large);
    return sysfs_emit(buffer, "%u %llu\n%u %llu\n", DMATOLL_PAGE_BYTES, small, DMATOLL_LARGE_PAGE_BYTES,
                      large);
}
struct device_attribute dmatoll_cached_pages_attribute = __ATTR_RO(cached_pages);

static ssize_t iova_allocator_show(struct device* device, struct device_attribute* attribute, char* buffer) {
    const struct dmatoll_bound* bound = dev_get_drvdata(device);

    return sysfs_emit(buffer, "%s\n",
                      dmatoll_iova_allocator_name(bound->surroundings.settings.iova_allocator));
}
struct device_attribute dmatoll_iova_allocator_attribute = __ATTR_RO(iova_allocator);

static ssize_t completion_show(struct device* device, struct device_attribute* attribute, char* buffer) {
    const struct dmatoll_bound* bound = dev_get_drvdata(device);

    return sysfs_emit(buffer, "%s\n", bound->polled ? "poll" : "interrupt");
}
struct device_attribute dmatoll_completion_attribute = __ATTR_RO(completion);

/* Negative: an interface that was not set up yet. */
static ssize_t polling_cpu_show(struct device* device, struct device_attribute* attribute, char* buffer) {
    const struct dmatoll_bound* bound = dev_get_drvdata(device);

    return sysfs_emit(buffer, "%d\n", bound->polled_on);
}
struct device_attribute dmatoll_polling_cpu_attribute = __ATTR_RO(polling_cpu);

umode_t dmatoll_attribute_mode(struct device* device, const struct attribute* attribute) {
    const struct dmatoll_bound* bound = dev_get_drvdata(device);

    if ((attribute == &dmatoll_page_size_attribute.attr ||
         attribute == &dmatoll_cached_pages_attribute.attr) &&
        !dmatoll_strategy_has_page_size(bound->strategy))
        return 0;
    if (attribute == &dmatoll_polling_cpu_attribute.attr && !bound->polled) return 0;
    /* Linux's domains have Linux's allocator. */
    if (attribute == &dmatoll_iova_allocator_attribute.attr && !bound->own) return 0;
    return attribute->mode;
}
