// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* From the stack to the core and back: transmission, the poll function, receive buffers, the interrupt. */
#include <linux/etherdevice.h>
#include <linux/interrupt.h>
#include <linux/io.h>
#include <linux/ip.h>
#include <linux/netdevice.h>
#include <linux/skbuff.h>
#include <linux/tcp.h>
#include <net/netdev_queues.h>
#include <net/page_pool/helpers.h>

#include "dmatoll_net.h"

/* What one reclaim took back: summed up here, since byte queue limits count what the stack handed in. */
struct dmatoll_completion {
    int budget;
    unsigned int packets;
    unsigned int bytes;
};

/* ---- receive buffers: a page for a frame, with room for build_skb() in front and behind ---- */

#define HEADROOM (NET_SKB_PAD + NET_IP_ALIGN)

/* Pages that the pool keeps beyond those in the ring: a socket whose buffer fills can hold many
 * frames and free them in one go. Kept pages cost less than going through the page allocator for each. */
#define POOL_PAGES_PER_DESCRIPTOR 8
#define POOL_MOST_PAGES 32768

int dmatoll_pool_create(struct dmatoll_net* net) {
    struct page_pool_params parameters = {
        .order = 0,
        .pool_size = min(net->settings.receive_descriptors * POOL_PAGES_PER_DESCRIPTOR,
                         (unsigned int)POOL_MOST_PAGES),
        .nid = dev_to_node(&net->bound.pci->dev),
        .dev = &net->bound.pci->dev,
        /* Frames that are freed while we poll go straight back. */
        .napi = &net->napi,
        .netdev = net->netdev,
    };
    struct page_pool* pool;

    /* No PP_FLAG_DMA_MAP: mapping is the strategy's business. */
    BUILD_BUG_ON(HEADROOM + DMATOLL_RECEIVE_BUFFER_BYTES + SKB_DATA_ALIGN(sizeof(struct skb_shared_info)) >
                 PAGE_SIZE);
    pool = page_pool_create(&parameters);
    if (IS_ERR(pool)) return PTR_ERR(pool);
    net->pool = pool;
    return 0;
}

void dmatoll_pool_destroy(struct dmatoll_net* net) {
    /* Pages that are still in sockets come back to the pool after its owner has gone; the kernel sees to
     * that. */
    page_pool_destroy(net->pool);
    net->pool = NULL;
}

bool dmatoll_buffer_provide(struct dmatoll_net* net, struct dmatoll_buffer* buffer) {
    struct page* page = page_pool_dev_alloc_pages(net->pool);

    if (unlikely(!page)) return false;
    buffer->physical = page_to_phys(page) + HEADROOM;
    buffer->cookie = (uintptr_t)page;
    return true;
}

void dmatoll_buffer_return(struct dmatoll_net* net, uint64_t cookie, bool from_poll) {
    page_pool_put_full_page(net->pool, (struct page*)(uintptr_t)cookie, from_poll);
}

/* The buffer becomes the frame's linear part. NULL: no memory; then the buffer is back in the pool. */
static struct sk_buff* build_frame(struct dmatoll_net* net, struct page* page, uint32_t length) {
    void* start = page_address(page);
    struct sk_buff* skb;

    net_prefetch(start + HEADROOM);
    skb = napi_build_skb(start, PAGE_SIZE);
    if (unlikely(!skb)) {
        net->netdev->stats.rx_dropped++;
        page_pool_put_full_page(net->pool, page, true);
        return NULL;
    }
    skb_mark_for_recycle(skb);
    skb_reserve(skb, HEADROOM);
    __skb_put(skb, length);
    return skb;
}

/*
 * A frame of several buffers: the first is its linear part, the others are its fragments, and GRO takes both.
 * The frame, or NULL while it is not complete or when it was dropped.
 */
static noinline struct sk_buff* assemble_frame(struct dmatoll_net* net, struct page* page, uint32_t length,
                                               bool last) {
    struct sk_buff* skb = net->assembled;

    static_assert(DMATOLL_MOST_RECEIVED_PIECES <= 1 + MAX_SKB_FRAGS);
    if (!net->assembling) {
        net->assembling = true;
        skb = build_frame(net, page, length);
    } else if (!skb) {
        page_pool_put_full_page(net->pool, page, true);
    } else {
        skb_add_rx_frag(skb, skb_shinfo(skb)->nr_frags, page, HEADROOM, length, PAGE_SIZE);
    }
    net->assembled = last ? NULL : skb;
    if (!last) return NULL;
    net->assembling = false;
    return skb;
}

void dmatoll_frame_deliver(struct dmatoll_net* net, uint64_t cookie, uint32_t length,
                           enum dmatoll_checksum checksum, bool last) {
    struct page* page = (struct page*)(uintptr_t)cookie;
    struct sk_buff* skb;

    if (likely(last && !net->assembling))
        skb = build_frame(net, page, length);
    else
        skb = assemble_frame(net, page, length, last);
    if (unlikely(!skb)) return;
    skb->protocol = eth_type_trans(skb, net->netdev);
    /* `bad` is left to the stack, which counts it where people look. */
    if (checksum == DMATOLL_CHECKSUM_GOOD && net->netdev->features & NETIF_F_RXCSUM)
        skb->ip_summed = CHECKSUM_UNNECESSARY;
    napi_gro_receive(&net->napi, skb);
}

/* ---- transmission ---- */

/* 0, or a negative errno: the frame cannot be sent. */
static int describe_offload(struct sk_buff* skb, struct dmatoll_offload* offload) {
    int error;

    if (skb->ip_summed != CHECKSUM_PARTIAL) return 0;

    offload->checksum_start = skb_checksum_start_offset(skb);
    offload->checksum_offset = skb->csum_offset;
    if (skb_is_gso(skb)) {
        offload->header_bytes = skb_tcp_all_headers(skb);
        /* The core writes into the headers. */
        if (unlikely(!pskb_may_pull(skb, offload->header_bytes))) return -EINVAL;
        error = skb_cow_head(skb, 0);
        if (unlikely(error)) return error;
        offload->segment = true;
        offload->segment_bytes = skb_shinfo(skb)->gso_size;
        offload->network_start = skb_network_offset(skb);
        offload->ipv6 = skb_shinfo(skb)->gso_type & SKB_GSO_TCPV6;
        return 0;
    }
    /* Beyond the eight bits that the device has for where the sum goes. */
    if (unlikely(offload->checksum_start + offload->checksum_offset >= DMATOLL_MOST_HEADER_BYTES))
        return skb_checksum_help(skb);
    offload->checksum = true;
    return 0;
}

netdev_tx_t dmatoll_start_xmit(struct sk_buff* skb, struct net_device* netdev) {
    struct dmatoll_net* net = netdev_priv(netdev);
    struct netdev_queue* queue = netdev_get_tx_queue(netdev, 0);
    struct dmatoll_segment segments[1 + MAX_SKB_FRAGS] __uninitialized;
    struct dmatoll_offload offload = {};
    unsigned int count = 0;
    unsigned int i;
    int room;

    static_assert(1 + MAX_SKB_FRAGS <= 18, "the core takes at most 18 segments a frame");

    if (unlikely(describe_offload(skb, &offload))) goto drop;

    if (likely(skb_headlen(skb)))
        segments[count++] =
            (struct dmatoll_segment){.physical = virt_to_phys(skb->data), .length = skb_headlen(skb)};
    for (i = 0; i < skb_shinfo(skb)->nr_frags; i++) {
        const skb_frag_t* frag = &skb_shinfo(skb)->frags[i];

        if (unlikely(!skb_frag_size(frag))) continue;
        segments[count++] =
            (struct dmatoll_segment){.physical = page_to_phys(skb_frag_page(frag)) + skb_frag_off(frag),
                                     .length = skb_frag_size(frag)};
    }

    room = dmatoll_nic_transmit(net->nic, skb->data, segments, count, &offload, (uintptr_t)skb);
    if (unlikely(room < 0)) {
        if (room != -EBUSY) goto drop;
        /* Cannot happen while the queue is stopped in time; if it does, reclaiming starts it again. */
        netif_tx_stop_queue(queue);
        return NETDEV_TX_BUSY;
    }

    /* Before the doorbell: until then the frame is not sent, and so not freed either. */
    skb_tx_timestamp(skb);
    /* `room` may be old by now: this frame's own completion comes later than a stop, and ends it. */
    netif_txq_maybe_stop(queue, room, DMATOLL_MOST_DESCRIPTORS_PER_FRAME, DMATOLL_MOST_DESCRIPTORS_PER_FRAME);
    if (__netdev_tx_sent_queue(queue, skb->len, netdev_xmit_more())) dmatoll_nic_ring_doorbell(net->nic);
    return NETDEV_TX_OK;

drop:
    netdev->stats.tx_dropped++;
    dev_kfree_skb_any(skb);
    /* It may have been the last of a burst. */
    dmatoll_nic_ring_doorbell(net->nic);
    return NETDEV_TX_OK;
}

void dmatoll_frame_sent(struct dmatoll_completion* completion, uint64_t cookie) {
    struct sk_buff* skb = (struct sk_buff*)(uintptr_t)cookie;

    completion->packets++;
    completion->bytes += skb->len;
    napi_consume_skb(skb, completion->budget);
}

void dmatoll_frame_discard(struct dmatoll_net* net, uint64_t cookie) {
    net->netdev->stats.tx_dropped++;
    dev_kfree_skb_any((struct sk_buff*)(uintptr_t)cookie);
}

/* ---- poll and interrupt ---- */

int dmatoll_poll(struct napi_struct* napi, int budget) {
    struct dmatoll_net* net = container_of(napi, struct dmatoll_net, napi);
    struct netdev_queue* queue = netdev_get_tx_queue(net->netdev, 0);
    struct dmatoll_completion completion = {.budget = budget};
    int received = 0;

    if (dmatoll_nic_reclaim(net->nic, &completion))
        netif_txq_completed_wake(queue, completion.packets, completion.bytes,
                                 dmatoll_nic_transmit_room(net->nic), DMATOLL_MOST_DESCRIPTORS_PER_FRAME);
    /* Without a budget (netpoll) only sent frames may be freed. */
    if (unlikely(!budget)) return 0;

    received = dmatoll_nic_receive(net->nic, budget);
    /* With the whole budget taken the stack polls again: in this softirq first, and then in ksoftirqd, which
     * shares the CPU fairly with the processes that send and receive. napi_disable() ends it. */
    if (received == budget || net->bound.polled) return budget;
    /*
     * A cause that comes up after the last look and before the unmasking is remembered by the device and
     * raises the interrupt with the unmasking. One that somebody else's interrupt cleared meanwhile (the line
     * is shared) has marked the NAPI as missed, and it is polled again.
     */
    if (napi_complete_done(napi, received)) dmatoll_nic_enable_interrupts(net->nic);
    return received;
}

irqreturn_t dmatoll_interrupt(int irq, void* data) {
    struct dmatoll_net* net = data;
    uint32_t causes = dmatoll_nic_take_interrupt(net->nic);

    if (!(causes & DMATOLL_CAUSE_OURS)) return IRQ_NONE;
    if (unlikely(causes & DMATOLL_CAUSE_LINK)) mod_delayed_work(system_wq, &net->watch, 0);
    if (napi_schedule_prep(&net->napi)) {
        dmatoll_nic_disable_interrupts(net->nic);
        __napi_schedule(&net->napi);
    }
    return IRQ_HANDLED;
}
