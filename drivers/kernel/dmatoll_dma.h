/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What the C files of the modules dmatoll_dma and dmatoll_dma_disk share: all but what the device is, of which each has a
 * file of its own. */
#pragma once

#include <linux/mutex.h>
#include <linux/pci.h>
#include <linux/sched.h>

#include "bound.h"
#include "dma_glue.h"

/* A thread that runs the loop, or has run it. */
struct dmatoll_copier {
    struct dmatoll_engine* engine;
    struct task_struct* task;
    u32 number;
};

struct dmatoll_dma {
    struct dmatoll_engine* engine;
    struct dmatoll_bound bound;
    struct mutex commands; /* one at a time; held while threads are started and stopped */
    struct dmatoll_copier copiers[DMATOLL_MOST_THREADS];
    u32 copier_count; /* that there are */
};

/* dma_nic.c, dma_disk.c */
/* Whether the device is one that this module drives, which the log says if not, and which it is, by name. */
bool dmatoll_dma_part(struct pci_dev* pci, char* name, size_t bytes);
/* The DMA mask, and the domain if it is to be ours. 0 or a negative errno. */
int dmatoll_dma_attach(struct dmatoll_dma* dma);

/* pci_dma.c */
int dmatoll_dma_probe(struct pci_dev* pci, bool own);
void dmatoll_dma_remove(struct pci_dev* pci);
void dmatoll_dma_shutdown(struct pci_dev* pci);

/* copier.c; process context */
/* Follows one line. 0 or a negative errno, which the answer explains; the log if there is no thread for the loop. */
int dmatoll_dma_command(struct dmatoll_dma* dma, const char* text, size_t length);
/* The answer to the last line as lines "name value"; to one that began a run, how far that is now. Its length. */
int dmatoll_dma_result(struct dmatoll_dma* dma, char* page);
/* Nobody is in the loop any more when this returns. */
void dmatoll_dma_halt(struct dmatoll_dma* dma);
