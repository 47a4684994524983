#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# Drivers that end while traffic flows: killed, told to, unbound, unloaded.
. /dmatoll/test/steps.sh

# Of a supervisor's children, the driver; another one keeps its PID namespace.
driver_process_of() {
    for child in $(cat /proc/"$1"/task/"$1"/children); do
        if tr '\0' ' ' </proc/"$child"/cmdline | grep -q -e --driver-process; then echo "$child"; fi
    done
}
state_of() { sed -n 's/^State:\t\(.\).*/\1/p' /proc/"$1"/status; }
events() { grep -c "\"event\":\"$1\"" /tmp/driver.out; }

# Frames that the device let in and the stack passed over, as they were for another station. `ip` says nothing of none.
passed_over() {
    ip -s -s -j link show dev "$1" | sed -n 's/.*"otherhost":\([0-9]*\).*/\1/p'
}
# The peer sends ten to a station that is not there. How many of them got in?
sees_foreign_frames() {
    before=$(passed_over "$1")
    ip netns exec peer ping -c 10 -i 0.01 -W 1 192.0.2.77 >/dev/null
    after=$(passed_over "$1")
    echo "$((${after:-0} - ${before:-0}))"
    [ $((${after:-0} - ${before:-0})) -eq 10 ]
}

set_up_peer
ip netns exec peer ip neighbour replace 192.0.2.77 lladdr 02:00:00:00:00:77 dev "$name"
modprobe -a vfio-pci vfio_iommu_type1 tun

# The user driver, killed.
bind_by_hand $device vfio-pci
dmatoll-net-user --device $device --tap tap0 --cpu 0 --strategy persistent --restart 2 >/tmp/driver.out 2>/tmp/driver.err </dev/null &
supervisor=$!
until_true 20 grep -q ready /tmp/driver.out || fail "the driver is not ready: $(cat /tmp/driver.err)"
set_up_interface tap0
until_true 10 answers || fail "no answer through tap0"
step user-foreign-frames-unasked sees_foreign_frames tap0
ip link set tap0 promisc on
# The emulated receiver sleeps for a second after each change.
step user-foreign-frames-asked until_true 1 sees_foreign_frames tap0
ip link set tap0 promisc off
sleep 0.1
until_true 10 answers || fail "no answer through tap0"
step user-foreign-frames-no-more sees_foreign_frames tap0
ip link set tap0 promisc on
start_traffic tap0
driver=$(driver_process_of $supervisor)
step user-driver-identity grep -E '^(Uid|Gid|CapPrm|CapEff|CapBnd|NoNewPrivs):' /proc/"$driver"/status
step user-master-alive bus_master
kill -STOP $supervisor
until_true 5 [ "$(state_of $supervisor)" = T ]
kill -9 $driver
until_true 10 dead $driver || fail "the driver outlives kill -9"
sleep 0.2
step user-master-dead bus_master
step user-no-answer answers
kill -CONT $supervisor
until_true 30 grep -q restarted /tmp/driver.out
step user-events cat /tmp/driver.out
step user-answers-again until_true 20 answers
step user-foreign-frames-again until_true 1 sees_foreign_frames tap0
step user-master-restarted bus_master
# What was under way when the driver died goes on; TCP has its own patience.
step user-traffic-goes-on until_true 60 more_frames tap0
step user-driver-is-another [ "$(driver_process_of $supervisor)" != "$driver" ]
kill -TERM $supervisor
wait $supervisor
step user-end [ $? -eq 0 ]
step user-master-ended bus_master
stop_traffic

# One that hangs, and whose supervisor is gone.
dmatoll-net-user --device $device --tap tap0 --cpu 0 --control /tmp/control.sock --watchdog-ms 0 --allow-faults \
    >/tmp/hung.out 2>>/tmp/driver.err </dev/null &
supervisor=$!
until_true 20 grep -q ready /tmp/hung.out || fail "the driver is not ready: $(cat /tmp/driver.err)"
driver=$(driver_process_of $supervisor)
step hung-fault ask /tmp/control.sock "fault loop"
sleep 0.2
kill -9 $supervisor
step hung-driver-ends until_true 20 dead $driver
step hung-device-is-stopped until_true 5 no_bus_master
step user-errors cat /tmp/driver.err
step user-trouble trouble
dmesg -c >/dev/null

# The module, unbound and unloaded.
modprobe e1000
group=/sys/kernel/iommu_groups/$(group_of $device)/type
for strategy in strict deferred copy persistent passthrough linux-strict linux-lazy linux-identity; do
    echo $device >/sys/bus/pci/devices/$device/driver/unbind
    driver=dmatoll-net
    case $strategy in
    linux-strict) driver=dmatoll-net-linux; echo DMA >"$group" ;;
    linux-lazy) driver=dmatoll-net-linux; echo DMA-FQ >"$group" ;;
    linux-identity) driver=dmatoll-net-linux; echo identity >"$group" ;;
    esac
    insmod /usr/lib/modules/*/extra/dmatoll_net.ko strategy=$strategy
    bind_by_hand $device $driver
    [ "$(driver_of $device)" = $driver ] || fail "$(dmesg | tail)"
    start_traffic "$(interface_of $device)"
    step $strategy-domain cat /sys/bus/pci/devices/$device/dmatoll/domain
    # Unbound first for one half, unloaded with the device bound for the other.
    case $strategy in
    strict | linux-lazy)
        step $strategy-unbind sh -c "echo $device >/sys/bus/pci/devices/$device/driver/unbind"
        step $strategy-master bus_master
        step $strategy-unload rmmod dmatoll_net
        ;;
    *)
        step $strategy-unload rmmod dmatoll_net
        step $strategy-master bus_master
        ;;
    esac
    stop_traffic
    bind_by_hand $device e1000
    step $strategy-stock driver_of $device
    step $strategy-trouble trouble
    dmesg -c >/dev/null
done
set_up_interface "$(interface_of $device)"
step stock-answers until_true 20 answers
