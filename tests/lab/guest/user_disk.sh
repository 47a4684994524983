#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# The user driver's disks: under every strategy data that is read back and a file system; then a driver that is killed,
# crashes, hangs and is stopped while its disks are used. Sector 80000 of the second disk is bad; what is in front of it
# is used by everybody.
. /dmatoll/test/steps.sh
. /dmatoll/test/disk_steps.sh

control=/tmp/control.sock
good=12288k

events() { grep -c "\"event\":\"$1\"" /tmp/driver.out; }
services() { grep -cE '"event":"(ready|restarted)"' /tmp/driver.out; }
driver() { grep -E '"event":"(ready|restarted)"' /tmp/driver.out | tail -n 1 | sed 's/.*"pid":\([0-9]*\).*/\1/'; }
block_of() { sed -n 's/.*"block":"\([^"]*\)"[^}]*"port":'"$1"'.*/\1/p' /tmp/driver.out | head -n 1; }
# start_driver STRATEGY OPTION...
start_driver() {
    # Or what the last one said is found.
    : >/tmp/driver.out
    dmatoll-disk-user --device $device --control $control --strategy "$@" >/tmp/driver.out 2>/tmp/driver.err </dev/null &
    supervisor=$!
    until_true 20 grep -q '"event":"ready"' /tmp/driver.out || fail "not ready: $(cat /tmp/driver.out /tmp/driver.err)"
    costless=$(block_of 0)
    kept=$(block_of 1)
    [ -b "$costless" ] && [ -b "$kept" ] || fail "a disk is missing: $(cat /tmp/driver.out)"
}
nothing_left() {
    ls -d /dev/ublkb* /dev/ublkc[0-9]* /sys/block/ublkb* /sys/class/ublk-char/* 2>/dev/null && return 1
    ! pidof dmatoll-disk-user && no_bus_master
}
stop_driver() {
    kill -TERM $supervisor
    wait $supervisor || { cat /tmp/driver.out /tmp/driver.err; return 1; }
    nothing_left
}

# ---- data ----

# odd_sizes ENGINE DEPTH SIZE: as the block layer never asks by itself: sizes that are no pages, and requests of 1 MiB.
odd_sizes() {
    fio --name=odd --filename="$kept" --direct=1 --rw=randrw --blockalign=512 \
        --bssplit=512/20:1536/20:4k/20:12k/20:333k/10:1M/10 --size="$3" --ioengine="$1" --iodepth="$2" --fsync=64 \
        --serialize_overlap=1 --verify=crc32c --verify_fatal=1 --minimal >/dev/null
}
# 682 times 1536 bytes.
compared() {
    dd if=/tmp/content of="$kept" bs=1536 count=682 seek=7 oflag=direct 2>/dev/null &&
        dd if="$kept" of=/tmp/read bs=1536 count=682 skip=7 iflag=direct 2>/dev/null && cmp /tmp/read /tmp/content
}

# ---- drivers that end ----

# start_load OPTION...: until it is told to end, on a file system that also holds what was there before.
start_load() {
    mkfs.ext4 -q "$kept" $good && mount -t ext4 "$kept" /mnt && cp /tmp/content /mnt && sync || fail "no file system"
    (cd /mnt && sha1sum content >/tmp/sums)
    fio --name=load --directory=/mnt --direct=1 --size=4M --verify=crc32c --verify_fatal=1 --time_based \
        --runtime=1000 --output-format=json --output=/tmp/load.json "$@" >/tmp/load.log 2>&1 &
    load=$!
    until_true 10 under_way || fail "no load: $(cat /tmp/load.log)"
}
under_way() { kill -0 $load && [ "$(in_flight "$kept")" -gt 0 ]; }
in_flight() { awk '{ print $1 + $2 }' /sys/block/"$(basename "$1")"/inflight; }
# lose_driver COMMAND...: what ends the driver process, or makes it end, while it has requests; then it is back.
lose_driver() {
    until_true 10 under_way || return 1
    before=$(services)
    "$@" || return 2
    until_true 20 served_again || { cat /tmp/driver.out /tmp/driver.err; return 3; }
}
served_again() { [ "$(services)" -gt "$before" ]; }
kill_driver() { kill -9 "$(driver)"; }
order() { ask $control "fault $1" | grep '"ordered":true'; }
# A flush that was given to the driver and not answered, seen while the driver stands still.
flush_is_waiting() { grep 'op=FLUSH' /sys/kernel/debug/block/"$(basename "$kept")"/hctx0/busy; }
kill_in_flush() {
    tries=500
    while [ $tries -gt 0 ]; do
        process=$(driver)
        kill -STOP "$process"
        if flush_is_waiting; then kill -9 "$process"; return; fi
        kill -CONT "$process"
        tries=$((tries - 1))
        sleep 0.003
    done
    return 1
}
load_ends_well() {
    kill -0 $load || { echo "it ended before its time"; cat /tmp/load.json; return 1; }
    kill -INT $load
    wait $load
    # What was ended by a signal says 128, and 1 if there was an error.
    case $? in 0 | 128) ;; *) cat /tmp/load.json /tmp/load.log; return 2 ;; esac
    cat /tmp/load.json
}
files_are_whole() {
    same_files && umount /mnt && fsck.ext4 -fn "$kept" && mount -t ext4 "$kept" /mnt && same_files && umount /mnt
}

mkdir -p /mnt
modprobe -a ext4 vfio-pci vfio_iommu_type1 ublk_drv
[ -d /sys/kernel/debug/block ] || mount -t debugfs debugfs /sys/kernel/debug
# The buffers' of two disks, and of what the device reads commands from.
echo 40 >/proc/sys/vm/nr_hugepages
dd if=/dev/urandom of=/tmp/content bs=1536 count=682 2>/dev/null
bind_by_hand $device vfio-pci

for strategy in strict deferred copy persistent; do
    start_driver $strategy
    step $strategy-odd odd_sizes io_uring 33 8M
    step $strategy-odd-shallow odd_sizes libaio 3 2M
    step $strategy-compared compared
    step $strategy-files file_system
    step $strategy-discarded discarded
    step $strategy-statistics ask $control stats
    step $strategy-process grep -E '^(Uid|CapPrm|CapEff|CapBnd):' /proc/"$(driver)"/status
    step $strategy-rewritten compared
    step $strategy-stop stop_driver
    # The device is free for another driver, and what was written is there.
    if [ $strategy = strict ]; then
        modprobe -a ahci sd_mod
        bind_by_hand $device ahci
        until_true 10 ls /dev/sda /dev/sdb
        step given-back driver_of $device
        kept=/dev/sdb
        dd if=$kept of=/tmp/read bs=1536 count=682 skip=7 iflag=direct 2>/dev/null
        step given-back-data cmp /tmp/read /tmp/content
        bind_by_hand $device vfio-pci
    fi
done

start_driver strict --restart always --allow-faults
start_load --rw=randrw --bssplit=512/20:1536/20:4k/20:12k/20:64k/20 --blockalign=512 --ioengine=io_uring --iodepth=32 \
    --serialize_overlap=1
for kill in 1 2 3; do
    step killed-$kill lose_driver kill_driver
    sleep 0.3
done
step killed-null lose_driver order null
sleep 0.3
step killed-loop lose_driver order loop
step killed-process grep -E '^(Uid|CapPrm|CapEff|CapBnd):' /proc/"$(driver)"/status
step killed-load load_ends_well
step killed-files files_are_whole
step killed-events cat /tmp/driver.out
step killed-stop stop_driver

start_driver persistent --restart always
start_load --rw=randwrite --bs=4k --fsync=1 --ioengine=psync
for kill in 1 2 3; do
    step flush-$kill lose_driver kill_in_flush
    sleep 0.2
done
step served-is-not-removed dmatoll-disk-user --device $device --remove
step flush-load load_ends_well
step flush-files files_are_whole
step flush-stop stop_driver

# An error of the medium, beside requests that must not suffer from it.
start_driver strict
fio --name=load --filename="$kept" --direct=1 --rw=randrw --bs=16k --size=12M --ioengine=io_uring --iodepth=16 \
    --verify=crc32c --verify_fatal=1 --time_based --runtime=1000 --output-format=json --output=/tmp/load.json >/tmp/load.log 2>&1 &
load=$!
until_true 10 under_way || fail "no load: $(cat /tmp/load.log)"
for reader in 1 2 3; do
    step medium-$reader fio --name=x --filename="$kept" --direct=1 --rw=read --bs=4k --offset=39980k --size=64k \
        --ioengine=io_uring --iodepth=8 --output-format=json
    sleep 0.2
done
step medium-load load_ends_well
step medium-beside dd if="$kept" of=/dev/null bs=512 skip=80008 count=64 iflag=direct
step medium-statistics ask $control stats
step medium-events cat /tmp/driver.out

# Told to end twice, under load.
fio --name=load --filename="$costless" --direct=1 --rw=randrw --bs=128k --size=64M --ioengine=io_uring --iodepth=32 \
    --time_based --runtime=1000 --minimal >/tmp/load.log 2>&1 &
load=$!
kept=$costless
until_true 10 under_way || fail "no load: $(cat /tmp/load.log)"
kill -TERM $supervisor
kill -TERM $supervisor
step busy-stop wait $supervisor
# Or it would wait for ever.
if until_true 10 dead $load; then wait $load; step busy-load [ $? -ne 0 ]; else step busy-load false; kill -9 $load; fi
step busy-nothing-left nothing_left
step trouble trouble
