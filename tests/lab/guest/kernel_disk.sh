#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# kernel_disk.sh CLOCK: the kernel's disks by hand: under every strategy data that is read back, a file system, and an
# end under load.
. /dmatoll/test/steps.sh
. /dmatoll/test/disk_steps.sh

place=/sys/bus/pci/devices/$device
parameters=/sys/module/dmatoll_blk/parameters
costless=/dev/dmatoll0
kept=/dev/dmatoll1
good=12288k

# As the block layer never asks by itself: sizes that are no pages, and requests of 1 MiB.
odd_sizes() {
    fio --name=odd --filename=$kept --direct=1 --rw=randrw --blockalign=512 \
        --bssplit=512/20:1536/20:4k/20:12k/20:333k/10:1M/10 --size=8M --ioengine=libaio --iodepth=32 \
        --serialize_overlap=1 --verify=crc32c --verify_fatal=1 --minimal >/dev/null
}
# The system falls asleep as far as its devices go, while the disk is at work, and wakes up again: the adapter is brought
# up anew, nobody who reads or writes sees an error, and what was written is there.
sleeps() {
    dd if=/tmp/content of=$kept bs=64k oflag=direct 2>/dev/null || return 1
    fio --name=sleep --filename=$kept --direct=1 --rw=randrw --bs=4k --offset=16M --size=8M --ioengine=libaio \
        --iodepth=16 --time_based --runtime=5 --minimal >/tmp/sleep.log 2>&1 &
    load=$!
    sleep 0.5
    echo 1 >/sys/module/suspend/parameters/pm_test_delay
    echo devices >/sys/power/pm_test && echo freeze >/sys/power/state || return 2
    echo none >/sys/power/pm_test
    wait $load || return 3
    grep '^recoveries [1-9]' $place/dmatoll/statistics && grep '^request_errors 0' $place/dmatoll/statistics || return 4
    dd if=$kept bs=64k count=16 iflag=direct 2>/dev/null | cmp - /tmp/content
}
# Waited for or not.
ended() { [ ! -e "/proc/$1/exe" ]; }
# A second of the guest's time, with a file system mounted: all of it ends, with errors, and the adapter is free.
end_under_load() {
    mkfs.ext4 -q $kept 65536k && mount -t ext4 $kept /mnt || return 1
    fio --name=files --directory=/mnt --direct=1 --rw=randrw --bs=16k --size=8M --ioengine=libaio --iodepth=16 \
        --time_based --runtime=1000 --minimal >/tmp/files.log 2>&1 &
    files=$!
    fio --name=raw --filename=$costless --direct=1 --rw=randrw --bs=128k --size=64M --ioengine=libaio --iodepth=32 \
        --time_based --runtime=1000 --minimal >/tmp/raw.log 2>&1 &
    raw=$!
    until_true 10 grep -q '^read_requests [0-9][0-9][0-9]' $place/dmatoll/statistics || return 2
    until_true 10 test -e /mnt/files.0.0 || return 3
    sleep 0.5
    echo $device >$place/driver/unbind
    wait $files && return 4
    # Of a disk that is gone fio reads nothing, without an error, until its time is up; unless a request of its failed.
    until_true 5 ended $raw || kill $raw
    wait $raw && return 5
    umount /mnt
    [ ! -e $kept ] && no_bus_master
}

# The disk in a file answers on the host's time. Without a beat the virtual clock jumps while all CPUs wait for that, half a
# minute and more where the host has other things to write, and the driver takes the request for lost.
if [ "$1" = virtual ]; then
    command -v dmatoll-metronome >/dev/null || fail "dmatoll-metronome is not there"
    dmatoll-metronome 100 &
fi
mkdir -p /mnt
modprobe ext4
dd if=/dev/urandom of=/tmp/content bs=64k count=16 2>/dev/null
step load modprobe dmatoll_blk
for strategy in strict deferred copy persistent passthrough linux-strict linux-lazy linux-identity polled; do
    driver=dmatoll-blk
    case $strategy in
        linux-strict) driver=dmatoll-blk-linux type=DMA ;;
        linux-lazy) driver=dmatoll-blk-linux type=DMA-FQ ;;
        linux-identity) driver=dmatoll-blk-linux type=identity ;;
        *) type='' ;;
    esac
    if [ "$type" ]; then echo $type >/sys/kernel/iommu_groups/"$(group_of $device)"/type; fi
    case $strategy in
        polled)
            echo poll >$parameters/completion
            echo strict >$parameters/strategy
            ;;
        *) echo $strategy >$parameters/strategy ;;
    esac
    bind_by_hand $device $driver
    step $strategy-strategy cat $place/dmatoll/strategy
    step $strategy-disks cat $place/dmatoll/disks
    step $strategy-odd odd_sizes
    step $strategy-files file_system
    step $strategy-discarded discarded
    step $strategy-statistics cat $place/dmatoll/statistics
    # Once with each of the two PCI drivers.
    case $strategy in strict | linux-strict) step $strategy-sleep sleeps ;; esac
    step $strategy-end end_under_load
done

echo strict >$parameters/strategy
for allocator in tree tree-linear eiovar magazines contiguous linux; do
    echo $allocator >$parameters/iova_allocator
    bind_by_hand $device dmatoll-blk
    step $allocator-allocator cat $place/dmatoll/iova_allocator
    step $allocator-odd odd_sizes
    echo $device >$place/driver/unbind
done
step trouble-so-far trouble
for allocator in identity bitmap; do
    echo $allocator >$parameters/iova_allocator
    dmesg -c >/dev/null
    bind_by_hand $device dmatoll-blk 2>/dev/null
    step $allocator-refused dmesg
done
step unload rmmod dmatoll_blk
step trouble trouble
