#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# A NIC that copies memory on command, by hand: under every strategy, in the kernel and as a process. What is copied, what
# a device that strays gets to, what is refused, and ends in the midst of it.
. /dmatoll/test/steps.sh

place=/sys/bus/pci/devices/$device
parameters=/sys/module/dmatoll_dma/parameters
control=/tmp/control.sock

# What no kernel says, whatever a device tries; that an access was refused it does say.
complaints() { ! dmesg | grep -E 'WARNING|cut here|BUG|Oops|Call Trace|soft lockup|refcount|mappings were left|did not become quiet'; }

# tell LINE: to the driver that runs, and what came of it as lines "name value".
tell() {
    case $side in
    kernel)
        echo "$1" >$place/dmatoll/command
        outcome=$?
        cat $place/dmatoll/result
        return $outcome
        ;;
    user) ask $control "$1" | tr -d '{}"' | tr ',' '\n' | tr ':' ' ' ;;
    esac
}
value() { sed -n "s/^$1 //p"; }
through() { tell result | grep -q '^state ready'; }
# copies PLAN: so many that every pair of buffers had its turn often.
copies() {
    tell "begin $1" >/dev/null && tell "run copies=3000" >/dev/null && until_true 30 through && tell result
}
stray_write() { tell "stray_write iova=$(tell "look pair=$1" | value destination_iova)"; }
stray_read() { tell "stray_read iova=$(tell "look pair=$1" | value source_iova)"; }

# in_all_ways NAME
in_all_ways() {
    step "$1-copies" copies 'bytes=1514 working_set=32 batch=8'
    # What a strategy puts off is through by then.
    sleep 0.1
    step "$1-stray-write" stray_write 5
    step "$1-stray-read" stray_read 5
    step "$1-stray-write-nowhere" tell 'stray_write iova=0x7f000000'
    step "$1-stray-read-nowhere" tell 'stray_read iova=0x7f000000'
    step "$1-end" tell end
    step "$1-kept" copies 'bytes=4096 working_set=32 batch=8 lifetime=0'
    step "$1-wrong-direction" tell "stray_write iova=$(tell 'look pair=5' | value source_iova)"
    step "$1-kept-end" tell end
    step "$1-shortest" copies 'bytes=60 working_set=4096 batch=255 lifetime=2'
    tell end >/dev/null
}

# ---- in the kernel ----

side=kernel
step load modprobe dmatoll_dma
for strategy in strict deferred copy persistent passthrough linux-strict linux-lazy linux-identity; do
    driver=dmatoll-dma
    type=''
    case $strategy in
    linux-strict) driver=dmatoll-dma-linux type=DMA ;;
    linux-lazy) driver=dmatoll-dma-linux type=DMA-FQ ;;
    linux-identity) driver=dmatoll-dma-linux type=identity ;;
    esac
    if [ "$type" ]; then echo $type >/sys/kernel/iommu_groups/"$(group_of $device)"/type; fi
    echo $strategy >$parameters/strategy
    bind_by_hand $device $driver
    step kernel-$strategy-strategy cat $place/dmatoll/strategy
    in_all_ways kernel-$strategy
    step kernel-$strategy-statistics cat $place/dmatoll/statistics
    # The type of a group can be changed only while nobody drives it.
    echo $device >$place/driver/unbind
done
echo strict >$parameters/strategy
bind_by_hand $device dmatoll-dma
step kernel-completion cat $place/dmatoll/completion
step kernel-no-verb tell walk
step kernel-out-of-range tell 'begin bytes=59'
step kernel-zero tell 'stray_write iova=0'
step kernel-nothing-begun tell run
# Gone in the midst of it.
tell 'begin' >/dev/null && tell run >/dev/null
step kernel-busy tell 'look pair=0'
sleep 0.2
step kernel-running tell result
echo $device >$place/driver/unbind
step kernel-unbound no_bus_master
echo 99 >$parameters/polling_cpu
bind_by_hand $device dmatoll-dma
step kernel-no-such-cpu [ -e $place/driver ]
echo 1 >$parameters/polling_cpu
bind_by_hand $device dmatoll-dma
step kernel-cpu cat $place/dmatoll/polling_cpu
step kernel-cpu-copies copies 'working_set=16'
echo $device >$place/driver/unbind
bind_by_hand $peer dmatoll-dma
step kernel-another-device [ "$(driver_of $peer)" = dmatoll-dma ]
step kernel-words dmesg
step unload rmmod dmatoll_dma

# ---- as a process ----

side=user
modprobe -a vfio-pci vfio_iommu_type1
bind_by_hand $device vfio-pci
driver() { grep -E '"event":"(ready|restarted)"' /tmp/driver.out | tail -n 1 | sed 's/.*"pid":\([0-9]*\).*/\1/'; }
start_driver() {
    : >/tmp/driver.out
    dmatoll-dma-user --device $device --control $control --strategy "$@" >/tmp/driver.out 2>/tmp/driver.err </dev/null &
    supervisor=$!
    until_true 20 grep -q '"event":"ready"' /tmp/driver.out || fail "not ready: $(cat /tmp/driver.out /tmp/driver.err)"
}
stop_driver() {
    kill -TERM $supervisor
    wait $supervisor || { cat /tmp/driver.out /tmp/driver.err; return 1; }
    ! pidof dmatoll-dma-user && no_bus_master
}
for strategy in strict deferred copy persistent; do
    start_driver $strategy
    step user-$strategy-identity grep -E '^(Uid|CapEff|NoNewPrivs):' /proc/"$(driver)"/status
    in_all_ways user-$strategy
    step user-$strategy-statistics ask $control stats
    step user-$strategy-stop stop_driver
done
start_driver strict --restart 1
step user-no-verb tell walk
step user-zero tell 'stray_write iova=0'
tell begin >/dev/null && tell run >/dev/null
kill -9 "$(driver)"
until_true 30 grep -q '"event":"restarted"' /tmp/driver.out
step user-after-death copies 'working_set=16'
tell run >/dev/null
step user-stop-running stop_driver
step user-command dmatoll-dma-user --device $device --strategy persistent --command 'begin working_set=16' \
    --command 'run copies=500' --command end
step user-command-refused dmatoll-dma-user --device $device --command 'begin bytes=1'
step user-command-fails dmatoll-dma-user --device $device --command 'run copies=1'
step complaints complaints
