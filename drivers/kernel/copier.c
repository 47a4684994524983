// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* The thread that copies, and the commands that it comes and goes by. */
#include <linux/kthread.h>
#include <linux/sched.h>
#include <linux/sysfs.h>

#include "dmatoll_dma.h"

static int copy(void* data) {
    struct dmatoll_dma* dma = data;

    while (!kthread_should_stop()) {
        if (dmatoll_engine_runs(dma->engine)) {
            dmatoll_engine_step(dma->engine);
            cond_resched();
            continue;
        }
        /* Until it is stopped, which one that has ended cannot be, or the next command begins a run. */
        set_current_state(TASK_IDLE);
        if (!dmatoll_engine_runs(dma->engine) && !kthread_should_stop()) schedule();
        __set_current_state(TASK_RUNNING);
    }
    return 0;
}

static int start_copier(struct dmatoll_dma* dma) {
    struct task_struct* copier = kthread_create(copy, dma, "dmatoll-copy/%s", pci_name(dma->bound.pci));
    int error;

    if (IS_ERR(copier)) return PTR_ERR(copier);
    error = set_cpus_allowed_ptr(copier, cpumask_of(dma->bound.polled_on));
    if (error) {
        kthread_stop(copier);
        return error;
    }
    dma->copier = copier;
    wake_up_process(copier);
    return 0;
}

void dmatoll_dma_halt(struct dmatoll_dma* dma) {
    if (dma->copier) kthread_stop(dma->copier);
    dma->copier = NULL;
}

int dmatoll_dma_command(struct dmatoll_dma* dma, const char* text, size_t length) {
    int error;

    mutex_lock(&dma->commands);
    if (!dmatoll_engine_runs(dma->engine) || dmatoll_engine_ends_run(text, length)) dmatoll_dma_halt(dma);
    error = dmatoll_engine_command(dma->engine, text, length);
    /* Halted above, or not: a run may have ended since. */
    if (!error && dma->copier) wake_up_process(dma->copier);
    if (!error && !dma->copier && dmatoll_engine_runs(dma->engine)) {
        error = start_copier(dma);
        if (error) {
            dev_err(&dma->bound.pci->dev, "there is no thread to copy by on CPU %d (%d)\n",
                    dma->bound.polled_on, error);
            dmatoll_engine_command(dma->engine, "end", 3);
        }
    }
    mutex_unlock(&dma->commands);
    return error;
}

int dmatoll_dma_result(struct dmatoll_dma* dma, char* page) {
    const char *name, *word;
    u64 number;
    u32 line;
    int length = 0;

    mutex_lock(&dma->commands);
    dmatoll_engine_refresh(dma->engine);
    for (line = 0; dmatoll_engine_answer(dma->engine, line, &name, &word, &number); line++)
        length += word ? sysfs_emit_at(page, length, "%s %s\n", name, word)
                       : sysfs_emit_at(page, length, "%s %llu\n", name, number);
    mutex_unlock(&dma->commands);
    return length;
}
