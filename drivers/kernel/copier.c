// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* The threads that copy or map, and the commands that they come and go by. */
#include <linux/kthread.h>
#include <linux/sched.h>
#include <linux/sysfs.h>

#include "dmatoll_dma.h"

static int copy(void* data) {
    const struct dmatoll_copier* copier = data;
    struct dmatoll_engine* engine = copier->engine;

    while (!kthread_should_stop()) {
        if (dmatoll_engine_runs(engine)) {
            dmatoll_engine_step(engine, copier->number);
            cond_resched();
            continue;
        }
        /* Until it is stopped, which one that has ended cannot be, or the next command begins a run. */
        set_current_state(TASK_IDLE);
        if (!dmatoll_engine_runs(engine) && !kthread_should_stop()) schedule();
        __set_current_state(TASK_RUNNING);
    }
    return 0;
}

static int start_copier(struct dmatoll_dma* dma, u32 number, int cpu) {
    struct dmatoll_copier* copier = &dma->copiers[number];
    struct task_struct* task;
    int error;

    *copier = (struct dmatoll_copier){.engine = dma->engine, .number = number};
    task = kthread_create(copy, copier, "dmatoll-copy%u/%s", number, pci_name(dma->bound.pci));
    if (IS_ERR(task)) return PTR_ERR(task);
    error = set_cpus_allowed_ptr(task, cpumask_of(cpu));
    if (error) {
        kthread_stop(task);
        return error;
    }
    copier->task = task;
    dma->copier_count++;
    return 0;
}

/* The first on the CPU that polls, the others each on one of its own. */
static int start_copiers(struct dmatoll_dma* dma, u32 count) {
    int cpu = dma->bound.polled_on;
    u32 number;
    int error;

    if (count > num_online_cpus() || count > ARRAY_SIZE(dma->copiers)) return -EINVAL;
    for (number = 0; number < count; number++) {
        error = start_copier(dma, number, cpu);
        if (error) return error;
        cpu = cpumask_next(cpu, cpu_online_mask);
        if (cpu >= nr_cpu_ids) cpu = cpumask_first(cpu_online_mask);
    }
    return 0;
}

static void wake_copiers(struct dmatoll_dma* dma) {
    u32 number;

    for (number = 0; number < dma->copier_count; number++) wake_up_process(dma->copiers[number].task);
}

void dmatoll_dma_halt(struct dmatoll_dma* dma) {
    while (dma->copier_count) kthread_stop(dma->copiers[--dma->copier_count].task);
}

int dmatoll_dma_command(struct dmatoll_dma* dma, const char* text, size_t length) {
    u32 threads;
    int error;

    mutex_lock(&dma->commands);
    if (!dmatoll_engine_runs(dma->engine) || dmatoll_engine_ends_run(text, length)) dmatoll_dma_halt(dma);
    error = dmatoll_engine_command(dma->engine, text, length);
    /* Halted above, or not: a run may have ended since, and one by another number of threads have begun. */
    if (!error && dmatoll_engine_runs(dma->engine)) {
        threads = dmatoll_engine_threads(dma->engine);
        if (dma->copier_count != threads) {
            dmatoll_dma_halt(dma);
            error = start_copiers(dma, threads);
        }
        if (error) {
            dev_err(&dma->bound.pci->dev, "there are no %u threads from CPU %d on (%d), with %u CPUs online\n",
                    threads, dma->bound.polled_on, error, num_online_cpus());
            dmatoll_dma_halt(dma);
            dmatoll_engine_command(dma->engine, "end", 3);
        }
        wake_copiers(dma);
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
