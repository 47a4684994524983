#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# Runs inside the lab's guest: the probe's windows with both vCPUs busy, then TCP and UDP through the
# distribution's own e1000 with a window around each. Exits with 7: the host sees whether a status arrives.
set -e
taskset 2 sh -c 'while :; do :; done' &
busy=$!
taskset 1 /dmatoll/probe
kill $busy

modprobe virtio_net
modprobe e1000
sleep 0.2
device=$(basename /sys/bus/pci/devices/0000:00:04.0/net/*)
peer=$(basename /sys/bus/pci/devices/0000:00:05.0/virtio*/net/*)
ip netns add peer
ip link set "$peer" netns peer
ip netns exec peer ip addr add 10.0.0.2/24 dev "$peer"
ip netns exec peer ip link set "$peer" up
ip addr add 10.0.0.1/24 dev "$device"
ip link set "$device" up
ip netns exec peer taskset 2 iperf3 --server --daemon
until ping -c 1 -W 1 10.0.0.2 >/dev/null; do sleep 0.1; done
taskset 1 /dmatoll/probe window taskset 1 iperf3 --client 10.0.0.2 --bytes 8M
taskset 1 /dmatoll/probe window taskset 1 iperf3 --client 10.0.0.2 --bytes 4M --reverse
taskset 1 /dmatoll/probe window taskset 1 iperf3 --client 10.0.0.2 --udp --length 1472 \
    --bandwidth 200M --bytes 2M
exit 7
