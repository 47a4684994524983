/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What the C files of the module dmatoll_blk share. */
#pragma once

#include <linux/blk-mq.h>
#include <linux/interrupt.h>
#include <linux/pci.h>
#include <linux/workqueue.h>

#include "bound.h"
#include "disk_glue.h"

struct task_struct;

/* One port with a disk. */
struct dmatoll_disk {
    /* Read by the data path. */
    struct dmatoll_hba* hba;
    u32 port;
    u32 block_shift; /* from 512-byte sectors to blocks */
    struct blk_mq_tag_set tags;

    struct gendisk* gendisk;
    bool visible; /* to the system */
    int number;   /* of dmatollN */
    struct delayed_work watch;
    struct work_struct recovery;
};

/* One host bus adapter. */
struct dmatoll_blk {
    struct dmatoll_hba* hba;
    atomic_t pending; /* ports whose completions the interrupt left to the tasklet */
    struct tasklet_struct completion;
    struct dmatoll_disk* disks[DMATOLL_MOST_PORTS]; /* NULL: the port has none */
    struct task_struct* poller;                     /* completion=poll */
    bool was_master;                                /* of the bus, when the system fell asleep */
    struct dmatoll_bound bound;
};

/* pci_blk.c */
/* Has a rescuer: what brings a disk back must not wait for memory that only the disk can free. */
extern struct workqueue_struct* dmatoll_workqueue;

/* disk.c */
/* Makes a port's disk visible; requests come at once. 0 or a negative errno. Afterwards the disk may be among
 * the adapter's in either case. */
int dmatoll_disk_add(struct dmatoll_blk* blk, u32 port);
/* No request comes any more, and none is outstanding. */
void dmatoll_disk_remove(struct dmatoll_disk* disk);
/* The same for a system that goes down: the disk stays, and answers with errors. */
void dmatoll_disk_shut_down(struct dmatoll_disk* disk);
/* Nobody looks after the port any more. Before the completion is stopped: a recovery may switch interrupts on
 * again. */
void dmatoll_disk_stop_work(struct dmatoll_disk* disk);
/* Undoes that after dmatoll_hba_hold(): the recovery is on its way. */
void dmatoll_disk_start_work(struct dmatoll_disk* disk);
/* For the sleep of the system: no request is outstanding, none comes, and what the disk had in its cache is
 * written. 0, or a negative errno and requests come as before. */
int dmatoll_disk_suspend(struct dmatoll_disk* disk);
void dmatoll_disk_resume(struct dmatoll_disk* disk);
void dmatoll_disk_free(struct dmatoll_disk* disk);
/* Gives back what a port has done, how many; sees to its recovery. */
u32 dmatoll_disk_complete(struct dmatoll_disk* disk);

/* completion.c */
void dmatoll_completion_init(struct dmatoll_blk* blk);
/* From now on what the device has done is given back, by interrupts or by polling. 0 or a negative errno. */
int dmatoll_completion_start(struct dmatoll_blk* blk);
void dmatoll_completion_stop(struct dmatoll_blk* blk);
