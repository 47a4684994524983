// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* What any driver core asks of the kernel: memory, time, the log, a lock. */
#include <linux/delay.h>
#include <linux/device.h>
#include <linux/io.h>
#include <linux/ktime.h>
#include <linux/mm.h>
#include <linux/pci.h>
#include <linux/slab.h>
#include <linux/smp.h>
#include <linux/spinlock.h>

#include "glue.h"

void dmatoll_log(struct device* device, enum dmatoll_log_level level, const char* message) {
    if (level == DMATOLL_ERROR)
        dev_err(device, "%s\n", message);
    else if (level == DMATOLL_WARNING)
        dev_warn(device, "%s\n", message);
    else
        dev_info(device, "%s\n", message);
}

void dmatoll_forbid_dma(struct device* device) { pci_clear_master(to_pci_dev(device)); }

uint64_t dmatoll_now_ns(void) { return ktime_get_ns(); }

void dmatoll_delay_us(uint32_t microseconds) {
    /* A quarter of slack, so that the wake-up can share a timer interrupt. */
    usleep_range(microseconds, microseconds + microseconds / 4 + 1);
}

uint32_t dmatoll_cpu(void) { return raw_smp_processor_id(); }

uint32_t dmatoll_cpus(void) { return nr_cpu_ids; }

void* dmatoll_allocate(size_t bytes) {
    /* One page and less is what a strategy asks for on the data path, in softirq. */
    if (bytes <= PAGE_SIZE) return kzalloc(bytes, GFP_ATOMIC | __GFP_NOWARN);
    return kvzalloc(bytes, GFP_KERNEL);
}

void dmatoll_free(void* memory) { kvfree(memory); }

void* dmatoll_pages_allocate(size_t bytes, uint64_t* physical) {
    void* memory = alloc_pages_exact(PAGE_ALIGN(bytes), GFP_KERNEL | __GFP_ZERO | __GFP_NOWARN);

    if (memory) *physical = virt_to_phys(memory);
    return memory;
}

void dmatoll_pages_free(void* memory, size_t bytes) { free_pages_exact(memory, PAGE_ALIGN(bytes)); }

void* dmatoll_cpu_address(uint64_t physical) { return phys_to_virt(physical); }

static spinlock_t* spinlock_of(struct dmatoll_lock* lock) {
    static_assert(sizeof(spinlock_t) <= sizeof(struct dmatoll_lock));
    static_assert(__alignof__(spinlock_t) <= __alignof__(struct dmatoll_lock));
    return (spinlock_t*)lock->storage;
}

void dmatoll_lock_init(struct dmatoll_lock* lock) { spin_lock_init(spinlock_of(lock)); }

/* Both contexts: a softirq on the same CPU must not interrupt a process that holds it. */
void dmatoll_lock_acquire(struct dmatoll_lock* lock) { spin_lock_bh(spinlock_of(lock)); }

void dmatoll_lock_release(struct dmatoll_lock* lock) { spin_unlock_bh(spinlock_of(lock)); }
