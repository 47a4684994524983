/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The seam between the two halves of the module, in types that C and C++ lay out alike. Upwards
 * (dmatoll_nic_*): what the C side asks of the driver core. Downwards (all others): what the core asks of the
 * kernel. Calls across it are direct.
 */
#pragma once

#ifdef __cplusplus
#include <cstddef>
#include <cstdint>
extern "C" {
#else
#include <linux/types.h>
#endif

struct dmatoll_net;    /* the C side: one a PCI device */
struct dmatoll_nic;    /* the C++ side: one a PCI device */
struct dmatoll_domain; /* an IOMMU domain of our own */
struct device;

enum dmatoll_log_level { DMATOLL_ERROR, DMATOLL_WARNING, DMATOLL_INFORMATION };

/* As enum class Direction in core/address.hpp. */
enum dmatoll_direction { DMATOLL_TO_DEVICE, DMATOLL_FROM_DEVICE, DMATOLL_BIDIRECTIONAL };

/* As enum class Checksum in e1000/driver.hpp. */
enum dmatoll_checksum { DMATOLL_CHECKSUM_UNKNOWN, DMATOLL_CHECKSUM_GOOD, DMATOLL_CHECKSUM_BAD };

/* Bits of dmatoll_nic_take_interrupt(). */
#define DMATOLL_CAUSE_OURS 1u
#define DMATOLL_CAUSE_LINK 2u

/* With this many free transmit descriptors any frame fits: most_descriptors_per_frame in e1000/driver.hpp. */
#define DMATOLL_MOST_DESCRIPTORS_PER_FRAME 53u
/* The device's headers in front of a segmented payload are described in eight bits. */
#define DMATOLL_MOST_HEADER_BYTES 255u
/* The smallest of the device's buffer sizes that holds a frame of the usual MTU. */
#define DMATOLL_RECEIVE_BUFFER_BYTES 2048u
/* Pieces of the longest frame. */
#define DMATOLL_MOST_RECEIVED_PIECES 5u

/* As struct Segment in core/address.hpp. */
struct dmatoll_segment {
    uint64_t physical;
    uint32_t length;
};

/* As struct TransmitOffload in e1000/offload.hpp. */
struct dmatoll_offload {
    bool checksum;
    uint16_t checksum_start;
    uint16_t checksum_offset;
    bool segment;
    uint16_t segment_bytes;
    uint16_t header_bytes;
    uint16_t network_start;
    bool ipv6;
};

/* As struct DeferredLimits in mapping/deferred.hpp. */
#define DMATOLL_MOST_DEFERRED_ENTRIES 16384u
#define DMATOLL_MOST_DEFERRED_MILLISECONDS 1000u

/* As page_bytes and large_page_bytes in core/address.hpp. */
#define DMATOLL_PAGE_BYTES 4096u
#define DMATOLL_LARGE_PAGE_BYTES 2097152u

struct dmatoll_buffer {
    uint64_t physical;
    uint64_t cookie;
};

struct dmatoll_link {
    bool up;
    bool full_duplex;
    uint32_t megabits;
};

/* As struct Part in e1000/part.hpp. */
struct dmatoll_part {
    const char* name;
    uint32_t longest_mtu;
    bool message_signalled;
};

struct dmatoll_totals {
    uint64_t frames_received, bytes_received, receive_errors, receive_missed;
    uint64_t frames_transmitted, bytes_transmitted, transmit_errors;
};

/* Both ends belong to the range. */
struct dmatoll_range {
    uint64_t first, last;
};

struct dmatoll_settings {
    uint32_t receive_descriptors, transmit_descriptors, interrupts_per_second;
    uint32_t deferred_entries, deferred_milliseconds; /* strategy deferred only */
    uint32_t page_size; /* strategy persistent only: DMATOLL_PAGE_BYTES or DMATOLL_LARGE_PAGE_BYTES */
};

/* What the core is built on. Everything outlives the core. */
struct dmatoll_surroundings {
    struct dmatoll_net* net;
    struct device* device;
    void* registers;               /* BAR 0 */
    struct dmatoll_domain* domain; /* NULL: Linux's default domain, through the DMA API */
    struct dmatoll_range aperture; /* of the domain */
    const struct dmatoll_range* reserved;
    uint32_t reserved_count;
    uint32_t address_bits; /* IOVAs have at most that many */
    /* All that buffers can come from, upwards; what adjoins is one range. At least one. */
    const struct dmatoll_range* memory;
    uint32_t memory_count;
    uint16_t pci_vendor, pci_device; /* of a part that dmatoll_part_name() knows */
    struct dmatoll_settings settings;
};

struct dmatoll_completion; /* the C side's sum over one reclaim */

/* ---- up: parts ---- */

/* By PCI identifiers; NULL: not one that the core drives. */
const char* dmatoll_part_name(uint16_t vendor, uint16_t device);
/* Those that it drives, the nth; false behind the last. */
bool dmatoll_part_at(unsigned int n, const char** name, uint16_t* vendor, uint16_t* device);

/* ---- up: strategies ---- */

/* Number of a strategy that runs in the kernel, or -1. */
int dmatoll_strategy_find(const char* name);
/* Name of the nth strategy that runs in the kernel, or NULL behind the last. */
const char* dmatoll_strategy_name(int strategy);
/* Which type of group domain it wants: "own", or as /sys/kernel/iommu_groups/N/type spells it. */
const char* dmatoll_strategy_domain(int strategy);
/* Line n of what it protects from whom, "pair granularity window[ nanoseconds]", or false behind the last. */
bool dmatoll_strategy_protection(int strategy, const struct dmatoll_settings* settings, unsigned int line,
                                 const char** pair, const char** granularity, const char** window,
                                 uint64_t* bound_ns);
/* Whether the setting page_size is one of that strategy's. */
bool dmatoll_strategy_has_page_size(int strategy);

/* ---- up: one device ---- */

/* Bytes to allocate for a dmatoll_nic; aligned to 64. */
size_t dmatoll_nic_bytes(void);
/* Builds the core in `memory` and quiets and resets the device; no DMA yet, bus mastering is off. 0 or a
 * negative errno. On an error nothing is left behind but `memory`. */
int dmatoll_nic_create(void* memory, int strategy, const struct dmatoll_surroundings* surroundings);
/* Unmaps everything. The device was stopped. */
void dmatoll_nic_destroy(struct dmatoll_nic* nic);
void dmatoll_nic_mac(const struct dmatoll_nic* nic, uint8_t mac[6]);
struct dmatoll_part dmatoll_nic_part(const struct dmatoll_nic* nic);

/* Process context; may sleep. The device is stopped. Comes before bus mastering, and before each start: 0 if
 * nothing of an earlier run moves in the device any more, or a negative errno. */
int dmatoll_nic_ensure_quiet(struct dmatoll_nic* nic);
/* Process context; may sleep. Bus mastering is on. `largest_frame`: with link header, without CRC and VLAN
 * tag, in both directions. 0 or a negative errno; then dmatoll_nic_stop() is still due. */
int dmatoll_nic_start(struct dmatoll_nic* nic, uint32_t largest_frame);
void dmatoll_nic_stop(struct dmatoll_nic* nic);
/* Process context; not together with start and stop. 0 or a negative errno. */
int dmatoll_nic_set_phy_loopback(struct dmatoll_nic* nic, bool on);
struct dmatoll_link dmatoll_nic_link(struct dmatoll_nic* nic);
/* Reads the device's statistics; one caller at a time. */
void dmatoll_nic_update_statistics(struct dmatoll_nic* nic);

/* Any context, one caller at a time, between start and stop; start forgets it. Beside the device's own
 * address and broadcast. */
void dmatoll_nic_set_receive_filter(struct dmatoll_nic* nic, bool promiscuous, bool all_multicast,
                                    const uint8_t (*multicast)[6], uint32_t multicast_count);

/* Pages that the cache of strategy persistent has mapped by now; rings are not among them. */
void dmatoll_nic_cached_pages(const struct dmatoll_nic* nic, uint64_t* small, uint64_t* large);

/* Any context. What an alarm was set for. */
void dmatoll_nic_on_alarm(struct dmatoll_nic* nic);

/* Any context. */
uint32_t dmatoll_nic_take_interrupt(struct dmatoll_nic* nic);
void dmatoll_nic_enable_interrupts(struct dmatoll_nic* nic);
void dmatoll_nic_disable_interrupts(struct dmatoll_nic* nic);
uint32_t dmatoll_nic_transmit_room(const struct dmatoll_nic* nic);
void dmatoll_nic_totals(const struct dmatoll_nic* nic, struct dmatoll_totals* totals);

/* Transmit side. Queues a frame without announcing it; `headers` are its first bytes if offload->segment. The
 * free descriptors that are left, or a negative errno: -EBUSY if the ring is full; anything else: the frame
 * cannot be sent at all. */
int dmatoll_nic_transmit(struct dmatoll_nic* nic, void* headers, const struct dmatoll_segment* segments,
                         uint32_t count, const struct dmatoll_offload* offload, uint64_t cookie);
void dmatoll_nic_ring_doorbell(struct dmatoll_nic* nic);

/* Poll side: takes back what was sent, then up to `budget` received frames, then refills. How many
 * frames were received. */
uint32_t dmatoll_nic_reclaim(struct dmatoll_nic* nic, struct dmatoll_completion* completion);
uint32_t dmatoll_nic_receive(struct dmatoll_nic* nic, uint32_t budget);
/* The receive ring is empty for want of buffers: no interrupt will come. */
bool dmatoll_nic_starved(const struct dmatoll_nic* nic);

/* Statistics of `ethtool -S`. */
uint32_t dmatoll_nic_statistics_count(const struct dmatoll_nic* nic);
/* Name of the nth in two parts. */
void dmatoll_nic_statistic_name(const struct dmatoll_nic* nic, uint32_t n, const char** prefix,
                                const char** name);
void dmatoll_nic_statistics(const struct dmatoll_nic* nic, uint64_t* values);

/* ---- down: platform.c ---- */

void dmatoll_log(struct device* device, enum dmatoll_log_level level, const char* message);
uint64_t dmatoll_now_ns(void);
void dmatoll_delay_us(uint32_t microseconds);
/* Zeroed; up to a page from any context, more from process context only. NULL: none. */
void* dmatoll_allocate(size_t bytes);
void dmatoll_free(void* memory);
/* Zeroed pages, contiguous for the CPU and for DMA. */
void* dmatoll_pages_allocate(size_t bytes, uint64_t* physical);
void dmatoll_pages_free(void* memory, size_t bytes);
/* Where the CPU sees a physical address of ordinary memory. */
void* dmatoll_cpu_address(uint64_t physical);

/* ---- down: dma_api.c, Linux's own mapping ---- */

void* dmatoll_coherent_allocate(struct device* device, size_t bytes, uint64_t* address);
void dmatoll_coherent_free(struct device* device, void* memory, size_t bytes, uint64_t address);
/* false: refused. */
bool dmatoll_dma_map(struct device* device, uint64_t physical, uint32_t bytes,
                     enum dmatoll_direction direction, uint64_t* address);
void dmatoll_dma_unmap(struct device* device, uint64_t address, uint32_t bytes,
                       enum dmatoll_direction direction);

/* ---- down: domain.c, our own domain; softirq and process context ---- */

/* 0 or a negative errno. */
int dmatoll_domain_map(struct dmatoll_domain* domain, uint64_t iova, uint64_t physical, uint64_t bytes,
                       enum dmatoll_direction direction);
/* false: the range was not mapped as a whole. */
bool dmatoll_domain_unmap(struct dmatoll_domain* domain, uint64_t iova, uint64_t bytes);
/* Without invalidation: that, and the freeing of page-table pages, waits for dmatoll_domain_invalidate(). */
bool dmatoll_domain_unmap_later(struct dmatoll_domain* domain, uint64_t iova, uint64_t bytes);
void dmatoll_domain_invalidate(struct dmatoll_domain* domain);

/* A spinlock between softirq and process context. Large enough for spinlock_t unless the
 * kernel counts contention (LOCK_STAT), which platform.c would tell when it is built. */
struct dmatoll_lock {
    uint64_t storage[8];
};
void dmatoll_lock_init(struct dmatoll_lock* lock);
void dmatoll_lock_acquire(struct dmatoll_lock* lock);
void dmatoll_lock_release(struct dmatoll_lock* lock);

/* ---- down: alarm.c ---- */

/* dmatoll_nic_on_alarm() is called once after that time, in softirq. Not while one is pending. Any context. */
void dmatoll_alarm_set(struct dmatoll_net* net, uint64_t nanoseconds);

/* ---- down: datapath.c ---- */

/* A receive buffer from the pool. false: there is none right now. */
bool dmatoll_buffer_provide(struct dmatoll_net* net, struct dmatoll_buffer* buffer);
/* `from_poll`: the caller is the poll function. */
void dmatoll_buffer_return(struct dmatoll_net* net, uint64_t cookie, bool from_poll);
/* A piece of a frame; the pieces of one come directly one after the other. */
void dmatoll_frame_deliver(struct dmatoll_net* net, uint64_t cookie, uint32_t length,
                           enum dmatoll_checksum checksum, bool last);
void dmatoll_frame_sent(struct dmatoll_completion* completion, uint64_t cookie);
/* At stop: a frame that was never reclaimed. */
void dmatoll_frame_discard(struct dmatoll_net* net, uint64_t cookie);

#ifdef __cplusplus
}
#endif
