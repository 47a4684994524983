// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * How the driver learns what the device has done. The interrupt acknowledges and leaves the rest to a
 * softirq, since unmapping takes locks of softirqs: a tasklet, which costs least and runs on the CPU of the
 * interrupt. With completion=poll it is a thread that never rests, as a polling NIC never does. The block
 * layer's own poll queues are no match for that: they are polled by those only who ask for it with each
 * request.
 */
#include <linux/interrupt.h>
#include <linux/kthread.h>
#include <linux/pci.h>
#include <linux/sched.h>

#include "dmatoll_blk.h"

static void complete_pending(struct tasklet_struct* tasklet) {
    struct dmatoll_blk* blk = container_of(tasklet, struct dmatoll_blk, completion);
    unsigned long pending = atomic_xchg(&blk->pending, 0);
    unsigned int port;

    for_each_set_bit(port, &pending, DMATOLL_MOST_PORTS) {
        if (likely(blk->disks[port])) dmatoll_disk_complete(blk->disks[port]);
    }
}

static irqreturn_t interrupt(int irq, void* data) {
    struct dmatoll_blk* blk = data;
    uint32_t ports = dmatoll_hba_take_interrupt(blk->hba);

    if (!ports) return IRQ_NONE;
    atomic_or(ports, &blk->pending);
    tasklet_schedule(&blk->completion);
    return IRQ_HANDLED;
}

static int poll(void* data) {
    struct dmatoll_blk* blk = data;
    unsigned int port;

    while (!kthread_should_stop()) {
        for (port = 0; port < DMATOLL_MOST_PORTS; port++) {
            struct dmatoll_disk* disk = READ_ONCE(blk->disks[port]);

            if (disk) dmatoll_disk_complete(disk);
        }
        cond_resched();
    }
    return 0;
}

void dmatoll_completion_init(struct dmatoll_blk* blk) { tasklet_setup(&blk->completion, complete_pending); }

static int start_polling(struct dmatoll_blk* blk) {
    struct task_struct* poller = kthread_create(poll, blk, "dmatoll/%s", pci_name(blk->bound.pci));
    int cpu = dmatoll_polling_cpu(&blk->bound);
    int error;

    if (IS_ERR(poller)) return PTR_ERR(poller);
    error = set_cpus_allowed_ptr(poller, cpumask_of(cpu));
    if (error) {
        dev_err(&blk->bound.pci->dev, "CPU %d cannot be had for polling (%d)\n", cpu, error);
        kthread_stop(poller);
        return error;
    }
    blk->bound.polled_on = cpu;
    blk->poller = poller;
    wake_up_process(poller);
    return 0;
}

int dmatoll_completion_start(struct dmatoll_blk* blk) {
    struct pci_dev* pci = blk->bound.pci;
    int irq, error;

    if (blk->bound.polled) return start_polling(blk);
    irq = pci_irq_vector(pci, 0);
    /* Still masked at the device; the line may be another's. */
    error = request_irq(irq, interrupt, pci->msi_enabled ? 0 : IRQF_SHARED, KBUILD_MODNAME, blk);
    if (error) {
        dev_err(&pci->dev, "interrupt %d cannot be had (%d)\n", irq, error);
        return error;
    }
    dmatoll_hba_enable_interrupts(blk->hba);
    return 0;
}

void dmatoll_completion_stop(struct dmatoll_blk* blk) {
    if (blk->bound.polled) {
        kthread_stop(blk->poller);
        return;
    }
    dmatoll_hba_disable_interrupts(blk->hba);
    free_irq(pci_irq_vector(blk->bound.pci, 0), blk);
    tasklet_kill(&blk->completion);
}
