/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The seam of a host bus adapter and its disks. Upwards (dmatoll_hba_*): what the C side asks of the driver
 * core. Downwards: what the core tells the block layer's side.
 */
#pragma once

#include "glue.h"

#ifdef __cplusplus
extern "C" {
#endif

struct dmatoll_hba;        /* the C++ side: one a PCI device */
struct dmatoll_completion; /* the C side's, of one call that gives requests back */

/* As most_ports, most_segments, most_transfer_bytes in ahci/settings.hpp, most_trim_blocks in
 * ahci/request.hpp. */
#define DMATOLL_MOST_PORTS 32u
#define DMATOLL_MOST_SEGMENTS 257u
#define DMATOLL_MOST_TRANSFER_BYTES 1048576u
#define DMATOLL_MOST_TRIM_BLOCKS 65535u
/* As watch_period_ms in ahci/settings.hpp. */
#define DMATOLL_WATCH_PERIOD_MS 500u

/* As enum class Operation in ahci/request.hpp. */
enum dmatoll_operation { DMATOLL_READ, DMATOLL_WRITE, DMATOLL_FLUSH, DMATOLL_TRIM };

/* As enum class Outcome in ahci/request.hpp. */
enum dmatoll_outcome {
    DMATOLL_DONE,
    DMATOLL_MEDIUM_ERROR,
    DMATOLL_REFUSED,
    DMATOLL_TRANSPORT_ERROR,
    DMATOLL_TIMED_OUT,
    DMATOLL_GONE
};

/* As struct Disk in ahci/disk.hpp. */
struct dmatoll_disk_description {
    uint64_t blocks;
    uint32_t block_bytes, physical_block_bytes;
    uint32_t queue_depth;
    bool force_unit_access, write_cache, flush, rotational;
    uint32_t most_trim_ranges; /* 0: no trim */
    const char *model, *serial, *firmware;
};

/* As struct Request in ahci/request.hpp; a trim has one range, which is first_block and blocks. */
struct dmatoll_disk_request {
    enum dmatoll_operation operation;
    bool force_unit_access;
    uint32_t blocks;
    uint64_t first_block;
    const struct dmatoll_segment* segments;
    uint32_t segment_count;
};

/* ---- up: one device ---- */

/* 32 or 64: how long the addresses are that the adapter takes. Its registers are mapped, nothing else is done
 * yet. */
uint32_t dmatoll_hba_address_bits(struct device* device, void* registers);
/* Bytes to allocate for a dmatoll_hba; aligned to 64. */
size_t dmatoll_hba_bytes(void);
/* Builds the core in `memory`, takes the adapter over from the firmware and resets it; no DMA yet, bus
 * mastering is off. queue_depth: 1 to 32; register_bytes: how many of BAR 5 are there. 0 or a negative errno.
 * On an error nothing is left behind but `memory`. */
int dmatoll_hba_create(void* memory, int strategy, uint32_t queue_depth, uint32_t register_bytes,
                       const struct dmatoll_surroundings* surroundings);
/* Unmaps everything. The device was stopped. */
void dmatoll_hba_destroy(struct dmatoll_hba* hba);

/* Process context; takes seconds. Bus mastering is on, interrupts are off and stay so. 0 or a negative errno;
 * then dmatoll_hba_stop() is still due. */
int dmatoll_hba_start(struct dmatoll_hba* hba);
/* Process context; may sleep. No request is outstanding. */
void dmatoll_hba_stop(struct dmatoll_hba* hba);
/* A bit for each port with a disk. */
uint32_t dmatoll_hba_ports(const struct dmatoll_hba* hba);
/* The texts live as long as the core. */
struct dmatoll_disk_description dmatoll_hba_disk(const struct dmatoll_hba* hba, uint32_t port);
/* False once the disk went away. */
bool dmatoll_hba_present(const struct dmatoll_hba* hba, uint32_t port);

/* Pages that the cache of strategy persistent has mapped by now; the adapter's own are not among them. */
void dmatoll_hba_cached_pages(const struct dmatoll_hba* hba, uint64_t* small, uint64_t* large);
/* Any context. What an alarm was set for. */
void dmatoll_hba_on_alarm(struct dmatoll_hba* hba);

/* Any context, one caller at a time. A bit for each port whose dmatoll_hba_complete() is due; 0: not ours. */
uint32_t dmatoll_hba_take_interrupt(struct dmatoll_hba* hba);
void dmatoll_hba_enable_interrupts(struct dmatoll_hba* hba);
void dmatoll_hba_disable_interrupts(struct dmatoll_hba* hba);

/* Process context, also where it must not sleep. 0, or a negative errno and nothing was taken: -EAGAIN: for
 * want of memory or of IOVAs that others will give back; -ENODEV: the disk is gone. */
int dmatoll_hba_submit(struct dmatoll_hba* hba, uint32_t port, uint32_t tag,
                       const struct dmatoll_disk_request* request);
/* Softirq or process context. Gives back what is done, how many. True in `failed`: dmatoll_hba_recover() is
 * due. */
uint32_t dmatoll_hba_complete(struct dmatoll_hba* hba, uint32_t port, struct dmatoll_completion* completion,
                              bool* failed);
/* Process context; may sleep, for minutes at worst. One caller a port. */
void dmatoll_hba_recover(struct dmatoll_hba* hba, uint32_t port, struct dmatoll_completion* completion);
/* Process context, every DMATOLL_WATCH_PERIOD_MS; one caller a port. True: dmatoll_hba_recover() is due. */
bool dmatoll_hba_watch(struct dmatoll_hba* hba, uint32_t port, struct dmatoll_completion* completion);

/* Process context; neither dmatoll_hba_watch() nor dmatoll_hba_recover() runs. What the disks have and what
 * is submitted from now on waits until dmatoll_hba_recover(), which is due at every port then, brings the
 * adapter up again. */
void dmatoll_hba_hold(struct dmatoll_hba* hba);

/* Line n of the statistics; false behind the last. */
bool dmatoll_hba_statistic(const struct dmatoll_hba* hba, uint32_t n, const char** name, uint64_t* value);

/* ---- down: disk.c ---- */

/* Nothing of the request is mapped any more, and its tag is free. */
void dmatoll_request_done(struct dmatoll_completion* completion, uint32_t tag, enum dmatoll_outcome outcome);
/* The same during a recovery: what came in time does not wait for the reset of a disk that spins up. */
void dmatoll_request_done_at_once(struct dmatoll_completion* completion, uint32_t tag,
                                  enum dmatoll_outcome outcome);

#ifdef __cplusplus
}
#endif
