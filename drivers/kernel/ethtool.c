// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* What ethtool shows: statistics under the names of core/counters.hpp, rings, link, moderation. */
#include <linux/ethtool.h>
#include <linux/netdevice.h>
#include <linux/pci.h>

#include "dmatoll_net.h"

static void get_drvinfo(struct net_device* netdev, struct ethtool_drvinfo* info) {
    const struct dmatoll_net* net = netdev_priv(netdev);

    strscpy(info->driver, KBUILD_MODNAME, sizeof(info->driver));
    strscpy(info->bus_info, pci_name(net->bound.pci), sizeof(info->bus_info));
}

static int get_sset_count(struct net_device* netdev, int set) {
    const struct dmatoll_net* net = netdev_priv(netdev);

    return set == ETH_SS_STATS ? dmatoll_nic_statistics_count(net->nic) : -EOPNOTSUPP;
}

static void get_strings(struct net_device* netdev, u32 set, u8* strings) {
    const struct dmatoll_net* net = netdev_priv(netdev);
    u32 count = dmatoll_nic_statistics_count(net->nic);
    const char *prefix, *name;
    u32 i;

    if (set != ETH_SS_STATS) return;
    for (i = 0; i < count; i++) {
        dmatoll_nic_statistic_name(net->nic, i, &prefix, &name);
        ethtool_sprintf(&strings, "%s%s", prefix, name);
    }
}

static void get_statistics(struct net_device* netdev, struct ethtool_stats* stats, u64* values) {
    struct dmatoll_net* net = netdev_priv(netdev);

    /* While the interface is down the registers are as they were read last. */
    if (net->open) dmatoll_net_update_statistics(net);
    dmatoll_nic_statistics(net->nic, values);
}

static void get_ringparam(struct net_device* netdev, struct ethtool_ringparam* ring,
                          struct kernel_ethtool_ringparam* kernel_ring, struct netlink_ext_ack* extack) {
    const struct dmatoll_net* net = netdev_priv(netdev);

    ring->rx_pending = net->settings.receive_descriptors;
    ring->tx_pending = net->settings.transmit_descriptors;
    /* Fixed while the device is bound: they are module parameters. */
    ring->rx_max_pending = ring->rx_pending;
    ring->tx_max_pending = ring->tx_pending;
}

static int get_coalesce(struct net_device* netdev, struct ethtool_coalesce* coalesce,
                        struct kernel_ethtool_coalesce* kernel_coalesce, struct netlink_ext_ack* extack) {
    const struct dmatoll_net* net = netdev_priv(netdev);
    u32 rate = net->settings.interrupts_per_second;

    /* One moderator for both directions. */
    coalesce->rx_coalesce_usecs = rate ? USEC_PER_SEC / rate : 0;
    coalesce->tx_coalesce_usecs = coalesce->rx_coalesce_usecs;
    return 0;
}

static int get_link_ksettings(struct net_device* netdev, struct ethtool_link_ksettings* settings) {
    const struct dmatoll_net* net = netdev_priv(netdev);

    ethtool_link_ksettings_zero_link_mode(settings, supported);
    ethtool_link_ksettings_add_link_mode(settings, supported, Autoneg);
    ethtool_link_ksettings_add_link_mode(settings, supported, TP);
    ethtool_link_ksettings_add_link_mode(settings, supported, 1000baseT_Full);
    ethtool_link_ksettings_add_link_mode(settings, supported, 100baseT_Full);
    ethtool_link_ksettings_add_link_mode(settings, supported, 10baseT_Full);
    settings->base.port = PORT_TP;
    settings->base.autoneg = AUTONEG_ENABLE;
    settings->base.speed = net->link.up ? net->link.megabits : (u32)SPEED_UNKNOWN;
    settings->base.duplex = !net->link.up           ? DUPLEX_UNKNOWN
                            : net->link.full_duplex ? DUPLEX_FULL
                                                    : DUPLEX_HALF;
    return 0;
}

const struct ethtool_ops dmatoll_ethtool_ops = {
    .get_drvinfo = get_drvinfo,
    .get_link = ethtool_op_get_link,
    .get_sset_count = get_sset_count,
    .get_strings = get_strings,
    .get_ethtool_stats = get_statistics,
    .get_ringparam = get_ringparam,
    .get_coalesce = get_coalesce,
    .get_link_ksettings = get_link_ksettings,
};
