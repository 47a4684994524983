#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# Frames and a link that are not as they should be: too long, too short, too many, down and up under traffic. For the
# driver as a process, whose TAP goes away in the end, and for the one in the kernel.
. /dmatoll/test/steps.sh

# The emulator's monitor is at the other end of this port: the guest itself moves its cables.
port=$(echo /dev/vport*p1)
monitor() { echo "$1" >"$port"; }

counters() {
    case $placement in
    user) ask /tmp/control.sock stats ;;
    kernel) ethtool -S "$interface" ;;
    esac
}
carrier_is() { [ "$(cat /sys/class/net/"$interface"/carrier)" = "$1" ]; }
in_peer() { ip netns exec peer "$@"; }

received() { cat /sys/class/net/"$interface"/statistics/rx_packets; }
nothing_comes() {
    before=$(received)
    sleep 0.2
    [ "$(received)" = "$before" ]
}
# Of the driver, not of the TAP in front of it.
transmitted() { counters | grep -oE 'frames_transmitted"?: ?[0-9]+' | head -n 1; }
nothing_leaves() {
    before=$(transmitted)
    sleep 0.2
    [ "$(transmitted)" = "$before" ]
}

# The driver process looks at its device's counters every two seconds.
settling=0
# from_peer FRAME_BYTES [MORE...]: what both ends and the driver counted.
from_peer() {
    length=$1
    shift
    echo "--- before"
    counters
    dmatoll-frames --interface "$interface" --flow receive >/tmp/received &
    receiver=$!
    until_true 10 grep -q 88b5 /proc/net/packet
    echo "--- sent"
    in_peer taskset 2 dmatoll-frames --interface "$name" --flow transmit --destination "$(cat /sys/class/net/"$interface"/address)" \
        --frame-bytes "$length" --duration 400 "$@"
    until_true 10 nothing_comes
    kill -TERM $receiver
    wait $receiver
    echo "--- received"
    cat /tmp/received
    sleep $settling
    echo "--- after"
    counters
}
to_peer() {
    echo "--- before"
    counters
    echo "--- sent"
    taskset 1 dmatoll-frames --interface "$interface" --flow transmit --destination 02:00:00:00:00:01 --duration 400
    until_true 10 nothing_leaves
    echo "--- after"
    counters
}
flow_again() { step "$placement-$1" until_true 20 answers; }

exercise() {
    set_up_interface "$interface"
    until_true 20 answers || fail "no answer through $interface"

    step $placement-good from_peer 1518 --rate 500
    step $placement-too-long-for-the-driver from_peer 1526 --rate 500
    flow_again after-too-long-for-the-driver
    settling=2.2
    for length in 1527 9014; do
        step $placement-too-long-for-the-device-$length from_peer $length --rate 500
    done
    settling=0
    flow_again after-too-long-for-the-device
    for length in 18 63; do
        step $placement-runts-$length from_peer $length --allow-odd-sizes --rate 500
    done
    flow_again after-runts
    step $placement-flood from_peer 64
    flow_again after-flood
    step $placement-own-flood to_peer
    flow_again after-own-flood

    start_traffic "$interface"
    for round in 1 2; do
        monitor "set_link device off"
        step $placement-down-$round until_true 10 carrier_is 0
        step $placement-no-answer-$round answers
        monitor "set_link device on"
        step $placement-up-$round until_true 10 carrier_is 1
        flow_again answers-$round
        # What was under way goes on; TCP has its own patience.
        step $placement-goes-on-$round until_true 60 more_frames "$interface"
    done
}

set_up_peer
in_peer ip link set "$name" mtu 9000
modprobe -a vfio-pci vfio_iommu_type1 tun

placement=user interface=tap0
bind_by_hand $device vfio-pci
dmatoll-net-user --device $device --tap tap0 --cpu 0 --strategy strict --restart 2 --control /tmp/control.sock >/tmp/driver.out 2>/tmp/driver.err </dev/null &
supervisor=$!
until_true 20 grep -q ready /tmp/driver.out || fail "the driver is not ready: $(cat /tmp/driver.err)"
exercise
# Under traffic.
step user-tap-deleted ip link delete tap0
until_true 20 dead $supervisor || kill -9 $supervisor
step user-ended wait $supervisor
step user-words cat /tmp/driver.err
step user-events cat /tmp/driver.out
step user-master bus_master
stop_traffic
step user-trouble trouble
dmesg -c >/dev/null

insmod /usr/lib/modules/*/extra/dmatoll_net.ko strategy=strict
bind_by_hand $device dmatoll-net
[ "$(driver_of $device)" = dmatoll-net ] || fail "$(dmesg | tail)"
placement=kernel interface=$(interface_of $device)
exercise
stop_traffic
step kernel-unload rmmod dmatoll_net
step kernel-trouble trouble
