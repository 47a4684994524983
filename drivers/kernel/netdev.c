// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* The network interface: its life, its link, and what it tells the stack. */
#include <linux/etherdevice.h>
#include <linux/interrupt.h>
#include <linux/netdevice.h>
#include <linux/pci.h>
#include <linux/rtnetlink.h>
#include <linux/slab.h>

#include "dmatoll_net.h"

#define WATCH_PERIOD (2 * HZ)
/* Without interrupts nobody tells that the link has come up. */
#define LINK_WATCH_PERIOD (HZ / 10)
/* More are not looked at one by one: then all multicast is received. */
#define MOST_MULTICAST_ADDRESSES 64
/* As long as other drivers of the device wait for a frame to leave. */
#define TRANSMIT_TIMEOUT (5 * HZ)

void dmatoll_net_update_statistics(struct dmatoll_net* net) {
    mutex_lock(&net->statistics_lock);
    dmatoll_nic_update_statistics(net->nic);
    mutex_unlock(&net->statistics_lock);
}

static void show_link(struct dmatoll_net* net) {
    struct dmatoll_link link = dmatoll_nic_link(net->nic);
    bool was_up = netif_carrier_ok(net->netdev);

    net->link = link;
    if (link.up == was_up) return;
    if (link.up) {
        netdev_info(net->netdev, "link up, %u Mb/s, %s duplex\n", link.megabits,
                    link.full_duplex ? "full" : "half");
        netif_carrier_on(net->netdev);
    } else {
        netdev_info(net->netdev, "link down\n");
        netif_carrier_off(net->netdev);
    }
}

/*
 * Frames have been with the device for two seconds and none has left in that time, where the slowest frame
 * takes milliseconds. The stack's own timeout misses this as long as too little is queued to stop the queue,
 * which is all that a few TCP connections ever queue. By the clock and not by the looks: a link that comes
 * and goes brings looks at any distance.
 */
static bool transmission_hangs(struct dmatoll_net* net) {
    bool pending = dmatoll_nic_transmit_room(net->nic) != net->settings.transmit_descriptors - 1;
    struct dmatoll_totals totals;

    dmatoll_nic_totals(net->nic, &totals);
    if (!pending || !net->transmit_pending || totals.frames_transmitted != net->transmitted) {
        net->transmit_pending = pending;
        net->transmitted = totals.frames_transmitted;
        net->transmit_stuck_since = jiffies;
        return false;
    }
    return time_after_eq(jiffies, net->transmit_stuck_since + WATCH_PERIOD);
}

static void watch(struct work_struct* work) {
    struct dmatoll_net* net = container_of(to_delayed_work(work), struct dmatoll_net, watch);

    show_link(net);
    dmatoll_net_update_statistics(net);
    if (transmission_hangs(net)) {
        netdev_warn(net->netdev, "no frame left for %u ms: the device is started again\n",
                    jiffies_to_msecs(WATCH_PERIOD));
        schedule_work(&net->restart);
    }
    /* An empty receive ring raises no interrupt: polling is what refills it. */
    if (dmatoll_nic_starved(net->nic)) {
        local_bh_disable();
        napi_schedule(&net->napi);
        local_bh_enable();
    }
    queue_delayed_work(system_wq, &net->watch,
                       net->bound.polled && !net->link.up ? LINK_WATCH_PERIOD : WATCH_PERIOD);
}

static void start_polling(struct work_struct* work) {
    struct dmatoll_net* net = container_of(work, struct dmatoll_net, start_polling);

    local_bh_disable();
    napi_schedule(&net->napi);
    local_bh_enable();
}

static void dmatoll_set_rx_mode(struct net_device* netdev) {
    struct dmatoll_net* net = netdev_priv(netdev);
    u8 addresses[MOST_MULTICAST_ADDRESSES][ETH_ALEN];
    struct netdev_hw_addr* address;
    u32 count = 0;

    if (!net->open) return;
    if (netdev_mc_count(netdev) <= MOST_MULTICAST_ADDRESSES) {
        netdev_for_each_mc_addr(address, netdev) ether_addr_copy(addresses[count++], address->addr);
    }
    dmatoll_nic_set_receive_filter(net->nic, netdev->flags & IFF_PROMISC,
                                   netdev->flags & IFF_ALLMULTI || count != netdev_mc_count(netdev),
                                   addresses, count);
}

/* Which also says from now on, or until now, that there is a device whose filter can be set. */
static void set_open(struct dmatoll_net* net, bool open) {
    netif_addr_lock_bh(net->netdev);
    net->open = open;
    dmatoll_set_rx_mode(net->netdev);
    netif_addr_unlock_bh(net->netdev);
}

static int request_interrupt(struct dmatoll_net* net) {
    int irq = pci_irq_vector(net->bound.pci, 0);
    int error;

    if (net->bound.polled) return 0;
    /* Still masked at the device; the line may be another's. */
    error =
        request_irq(irq, dmatoll_interrupt, net->bound.pci->msi_enabled ? 0 : IRQF_SHARED, net->netdev->name, net);
    if (error) netdev_err(net->netdev, "interrupt %d cannot be had (%d)\n", irq, error);
    return error;
}

static int start(struct dmatoll_net* net) {
    struct net_device* netdev = net->netdev;
    int error;

    netif_carrier_off(netdev);
    error = dmatoll_pool_create(net);
    if (error) {
        netdev_err(netdev, "no pool of receive buffers (%d)\n", error);
        return error;
    }
    /* A stop that the device did not obey has left old rings in it: it must not reach memory with them. */
    error = dmatoll_nic_ensure_quiet(net->nic);
    if (error) goto stop;
    pci_set_master(net->bound.pci);
    error = dmatoll_nic_start(net->nic, max_t(u32, netdev->mtu, ETH_DATA_LEN) + ETH_HLEN);
    if (error) goto stop;
    if (netdev->features & NETIF_F_LOOPBACK) {
        error = dmatoll_nic_set_phy_loopback(net->nic, true);
        if (error) goto stop;
    }
    error = request_interrupt(net);
    if (error) goto stop;
    napi_enable(&net->napi);
    netdev_reset_queue(netdev);
    netif_start_queue(netdev);
    set_open(net, true);
    net->transmit_pending = false;
    if (net->bound.polled)
        schedule_work_on(net->bound.polled_on, &net->start_polling);
    else
        dmatoll_nic_enable_interrupts(net->nic);
    queue_delayed_work(system_wq, &net->watch, 0);
    return 0;

stop:
    pci_clear_master(net->bound.pci);
    dmatoll_nic_stop(net->nic);
    dmatoll_pool_destroy(net);
    return error;
}

static void stop(struct dmatoll_net* net) {
    struct net_device* netdev = net->netdev;

    /* A restart that failed has left it closed. */
    if (!net->open) return;
    set_open(net, false);
    /* No polling, which could start the queue again and unmask interrupts (at a restart the stack goes on
     * sending), then no transmission, then no interrupt, which could queue the watch. */
    cancel_work_sync(&net->start_polling);
    napi_disable(&net->napi);
    /* A poll that had completed may still be on its way to unmasking. */
    synchronize_net();
    netif_tx_disable(netdev);
    if (!net->bound.polled) {
        dmatoll_nic_disable_interrupts(net->nic);
        free_irq(pci_irq_vector(net->bound.pci, 0), net);
    }
    cancel_delayed_work_sync(&net->watch);
    netif_carrier_off(netdev);
    net->link = (struct dmatoll_link){};
    /* What the device counted since the last look would be lost. */
    dmatoll_net_update_statistics(net);
    /* Even a device that does not obey the stop must not reach the buffers that it gives back. */
    pci_clear_master(net->bound.pci);
    dmatoll_nic_stop(net->nic);
    dmatoll_pool_destroy(net);
}

static int dmatoll_open(struct net_device* netdev) {
    struct dmatoll_net* net = netdev_priv(netdev);

    net->bound.polled_on = dmatoll_polling_cpu(&net->bound);
    return start(net);
}

static int dmatoll_close(struct net_device* netdev) {
    stop(netdev_priv(netdev));
    return 0;
}

static void start_again(struct dmatoll_net* net) {
    if (start(net))
        netdev_err(net->netdev,
                   "the device did not start again: set the interface down and up, or unbind it\n");
}

static void restart(struct work_struct* work) {
    struct dmatoll_net* net = container_of(work, struct dmatoll_net, restart);

    rtnl_lock();
    if (netif_running(net->netdev)) {
        stop(net);
        start_again(net);
    }
    rtnl_unlock();
}

/* Both directions: longer frames are neither sent nor received. */
static int dmatoll_change_mtu(struct net_device* netdev, int mtu) {
    struct dmatoll_net* net = netdev_priv(netdev);
    unsigned int before = netdev->mtu;
    bool was_open = net->open;
    int error;

    stop(net);
    WRITE_ONCE(netdev->mtu, mtu);
    error = was_open ? start(net) : 0;
    if (error) {
        WRITE_ONCE(netdev->mtu, before);
        start_again(net);
    }
    return error;
}

static int dmatoll_set_features(struct net_device* netdev, netdev_features_t features) {
    struct dmatoll_net* net = netdev_priv(netdev);
    int error;

    /* The others are looked at, or seen to by the stack, frame by frame. */
    if (!((features ^ netdev->features) & NETIF_F_LOOPBACK) || !net->open) return 0;
    /* Whatever else goes on at the device meanwhile does not touch the PHY. */
    error = dmatoll_nic_set_phy_loopback(net->nic, features & NETIF_F_LOOPBACK);
    if (error) netdev_err(netdev, "the PHY does not take the loopback (%d)\n", error);
    mod_delayed_work(system_wq, &net->watch, 0);
    return error;
}

static void dmatoll_tx_timeout(struct net_device* netdev, unsigned int queue) {
    struct dmatoll_net* net = netdev_priv(netdev);

    netdev_warn(netdev, "no frame left for %u ms: the device is started again\n",
                jiffies_to_msecs(TRANSMIT_TIMEOUT));
    schedule_work(&net->restart);
}

static void dmatoll_get_stats64(struct net_device* netdev, struct rtnl_link_stats64* stats) {
    struct dmatoll_net* net = netdev_priv(netdev);
    struct dmatoll_totals totals;

    dmatoll_nic_totals(net->nic, &totals);
    stats->rx_packets = totals.frames_received;
    stats->rx_bytes = totals.bytes_received;
    stats->rx_errors = totals.receive_errors;
    stats->rx_missed_errors = totals.receive_missed;
    stats->rx_dropped = netdev->stats.rx_dropped;
    stats->tx_packets = totals.frames_transmitted;
    stats->tx_bytes = totals.bytes_transmitted;
    stats->tx_errors = totals.transmit_errors;
    stats->tx_dropped = netdev->stats.tx_dropped;
}

static const struct net_device_ops dmatoll_netdev_ops = {
    .ndo_open = dmatoll_open,
    .ndo_stop = dmatoll_close,
    .ndo_start_xmit = dmatoll_start_xmit,
    .ndo_get_stats64 = dmatoll_get_stats64,
    .ndo_tx_timeout = dmatoll_tx_timeout,
    .ndo_validate_addr = eth_validate_addr,
    .ndo_set_rx_mode = dmatoll_set_rx_mode,
    .ndo_change_mtu = dmatoll_change_mtu,
    .ndo_set_features = dmatoll_set_features,
};

struct dmatoll_net* dmatoll_net_allocate(struct pci_dev* pci) {
    struct net_device* netdev = alloc_etherdev(sizeof(struct dmatoll_net));
    struct dmatoll_net* net;

    if (!netdev) return NULL;
    net = netdev_priv(netdev);
    net->netdev = netdev;
    SET_NETDEV_DEV(netdev, &pci->dev);
    mutex_init(&net->statistics_lock);
    INIT_DELAYED_WORK(&net->watch, watch);
    INIT_WORK(&net->restart, restart);
    INIT_WORK(&net->start_polling, start_polling);
    netif_napi_add(netdev, &net->napi, dmatoll_poll);
    return net;
}

void dmatoll_net_free(struct dmatoll_net* net) {
    free_netdev(net->netdev);
}

int dmatoll_net_register(struct dmatoll_net* net) {
    struct net_device* netdev = net->netdev;
    u8 mac[ETH_ALEN];

    dmatoll_nic_mac(net->nic, mac);
    eth_hw_addr_set(netdev, mac);
    netdev->netdev_ops = &dmatoll_netdev_ops;
    netdev->ethtool_ops = &dmatoll_ethtool_ops;
    netdev->watchdog_timeo = TRANSMIT_TIMEOUT;
    netdev->min_mtu = ETH_MIN_MTU;
    netdev->max_mtu = dmatoll_nic_part(net->nic).longest_mtu;
    /*
     * No segmentation of IPv6: of the family only later parts are known to do it right, the part's other
     * driver does not use it, and QEMU 7.2's model counts the fixed header as payload, so that every segment
     * is dropped.
     */
    netdev->hw_features = NETIF_F_SG | NETIF_F_HW_CSUM | NETIF_F_TSO | NETIF_F_RXCSUM;
    /* No look of our own at what a frame needs: the headers of IPv4 and TCP with all their options and two
     * VLAN tags are far shorter than what the device takes in front of a segment. */
    netdev->features = netdev->hw_features;
    /* At the PHY; not without being asked. */
    netdev->hw_features |= NETIF_F_LOOPBACK;
    /* netpoll transmits with interrupts off, where the domain's lock must not be taken. */
    netdev->priv_flags |= IFF_DISABLE_NETPOLL;
    netif_carrier_off(netdev);
    return register_netdev(netdev);
}

void dmatoll_net_unregister(struct dmatoll_net* net) {
    unregister_netdev(net->netdev);
    cancel_work_sync(&net->restart);
}
