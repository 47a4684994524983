/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The seam of a NIC. Upwards (dmatoll_nic_*): what the C side asks of the driver core.
 * Downwards: what the core asks of the network stack's side.
 */
#pragma once

#include "glue.h"

#ifdef __cplusplus
extern "C" {
#endif

struct dmatoll_net; /* the C side: one a PCI device */
struct dmatoll_nic; /* the C++ side: one a PCI device */

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

struct dmatoll_nic_settings {
    uint16_t pci_vendor, pci_device; /* of a part that part.h knows */
    uint32_t receive_descriptors, transmit_descriptors, interrupts_per_second;
};

struct dmatoll_completion; /* the C side's sum over one reclaim */

/* ---- up: one device ---- */

/* Bytes to allocate for a dmatoll_nic; aligned to 64. */
size_t dmatoll_nic_bytes(void);
/* Builds the core in `memory` and quiets and resets the device; no DMA yet, bus mastering is off. 0 or a
 * negative errno. On an error nothing is left behind but `memory`. */
int dmatoll_nic_create(void* memory, struct dmatoll_net* net, int strategy,
                       const struct dmatoll_nic_settings* settings,
                       const struct dmatoll_surroundings* surroundings);
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
