/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What the C files of the module dmatoll_net share. */
#pragma once

#include <linux/hrtimer.h>
#include <linux/interrupt.h>
#include <linux/netdevice.h>
#include <linux/pci.h>
#include <linux/workqueue.h>

#include "bound.h"
#include "nic_glue.h"

struct page_pool;

struct dmatoll_net {
    /* Read by the data path. */
    struct dmatoll_nic* nic;
    struct net_device* netdev;
    struct page_pool* pool;
    struct napi_struct napi;
    /* The poll function's: a frame of which more buffers are to come, or NULL if it is dropped. */
    bool assembling;
    struct sk_buff* assembled;

    struct dmatoll_bound bound;
    struct dmatoll_nic_settings settings;
    bool faults_allowed; /* whoever may write into sysfs may crash the driver */
    bool open;           /* rings, interrupt and polling are there */
    struct delayed_work watch;  /* link and statistics, every two seconds */
    struct work_struct restart; /* after a transmit timeout */
    struct work_struct start_polling;
    struct mutex statistics_lock; /* one reader of the device's clear-on-read registers */
    /* As last seen by the watch. */
    struct dmatoll_link link;
    bool transmit_pending;
    u64 transmitted;
    unsigned long transmit_stuck_since; /* jiffies; the last look that found something else */
};

/* netdev.c */
/* Allocates the net_device around an unbound device. NULL: no memory. */
struct dmatoll_net* dmatoll_net_allocate(struct pci_dev* pci);
void dmatoll_net_free(struct dmatoll_net* net);
/* Makes the interface visible; the core exists and has the MAC address. */
int dmatoll_net_register(struct dmatoll_net* net);
void dmatoll_net_unregister(struct dmatoll_net* net);
void dmatoll_net_update_statistics(struct dmatoll_net* net);

/* datapath.c */
netdev_tx_t dmatoll_start_xmit(struct sk_buff* skb, struct net_device* netdev);
int dmatoll_poll(struct napi_struct* napi, int budget);
irqreturn_t dmatoll_interrupt(int irq, void* data);
int dmatoll_pool_create(struct dmatoll_net* net);
void dmatoll_pool_destroy(struct dmatoll_net* net);

/* ethtool.c */
extern const struct ethtool_ops dmatoll_ethtool_ops;
