/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The seam of a device that copies memory on command: what the C side asks of the driver core. What the core asks of
 * the kernel stands in glue.h.
 */
#pragma once

#include "glue.h"

#ifdef __cplusplus
extern "C" {
#endif

/* As BenchPlan::most_threads. */
#define DMATOLL_MOST_THREADS 64

struct dmatoll_engine; /* the C++ side: one a PCI device */

/* ---- life ---- */

/* Bytes to allocate for a dmatoll_engine; aligned to 64. */
size_t dmatoll_engine_bytes(void);
/* Builds the core in `memory` and quiets and resets the device; no DMA yet, bus mastering is off. A NIC is one that
 * part.h knows. 0 or a negative errno. On an error nothing is left behind but `memory`. */
int dmatoll_engine_create(void* memory, int strategy, uint16_t pci_vendor, uint16_t pci_device,
                          uint32_t register_bytes, const struct dmatoll_surroundings* surroundings);
/* Of an AHCI adapter: how long an IOVA may be, 32 or 64 bits. The registers are mapped, and nothing more. */
uint32_t dmatoll_engine_address_bits(struct device* device, void* registers);
/* Unmaps everything. The device was stopped. */
void dmatoll_engine_destroy(struct dmatoll_engine* engine);
/* Process context; takes seconds. Bus mastering is on. 0 or a negative errno; then dmatoll_engine_stop() is still
 * due. */
int dmatoll_engine_start(struct dmatoll_engine* engine);
/* Process context; may sleep. Nobody is in dmatoll_engine_step(). Ends what was begun. */
void dmatoll_engine_stop(struct dmatoll_engine* engine);

/* ---- commands: process context, one caller at a time; may sleep ---- */

/* Follows one line. 0 or a negative errno, which the answer explains. */
int dmatoll_engine_command(struct dmatoll_engine* engine, const char* text, size_t length);
/* Whether a line is one that wants nobody to be in dmatoll_engine_step(). */
bool dmatoll_engine_ends_run(const char* text, size_t length);
/* The answer to a line that began a run tells how far that has come by now. */
void dmatoll_engine_refresh(struct dmatoll_engine* engine);
/* Line n of what came of the last command: a word, or NULL and a number. false behind the last. */
bool dmatoll_engine_answer(struct dmatoll_engine* engine, uint32_t n, const char** name, const char** word,
                           uint64_t* number);

/* ---- the loop ---- */

/* Any context. */
bool dmatoll_engine_runs(const struct dmatoll_engine* engine);
/* By how many threads it is to run: one, mostly. */
uint32_t dmatoll_engine_threads(const struct dmatoll_engine* engine);
/* Process context, one caller for each thread, from 0 on, at a time, while it runs; may sleep. */
void dmatoll_engine_step(struct dmatoll_engine* engine, uint32_t thread);

/* Any context. What an alarm was set for. */
void dmatoll_engine_on_alarm(struct dmatoll_engine* engine);
/* The nth counter that this device has; false behind the last. */
bool dmatoll_engine_statistic(const struct dmatoll_engine* engine, uint32_t n, const char** name,
                              uint64_t* value);
/* Pages that the cache of strategy persistent has mapped by now; the engine's own are not among them. */
void dmatoll_engine_cached_pages(const struct dmatoll_engine* engine, uint64_t* small, uint64_t* large);

#ifdef __cplusplus
}
#endif
