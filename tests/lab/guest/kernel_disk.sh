#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# The kernel's disks by hand: under every strategy data that is read back, a file system, and an end under load.
. /dmatoll/test/steps.sh

place=/sys/bus/pci/devices/$device
parameters=/sys/module/dmatoll_blk/parameters
costless=/dev/dmatoll0
kept=/dev/dmatoll1

# As the block layer never asks by itself: sizes that are no pages, and requests of 1 MiB.
odd_sizes() {
    fio --name=odd --filename=$kept --direct=1 --rw=randrw --blockalign=512 \
        --bssplit=512/20:1536/20:4k/20:12k/20:333k/10:1M/10 --size=8M --ioengine=libaio --iodepth=32 \
        --serialize_overlap=1 --verify=crc32c --verify_fatal=1 --minimal >/dev/null
}
file_system() {
    mkfs.ext4 -q $kept 65536k && mount -t ext4 $kept /mnt && cp /tmp/content /mnt && umount /mnt &&
        mount -t ext4 $kept /mnt && cmp /tmp/content /mnt/content && umount /mnt && fsck.ext4 -fn $kept
}
not_zero() { dd if=$kept bs=1M count=4 iflag=direct 2>/dev/null | tr -d '\0' | wc -c; }
discarded() {
    [ "$(not_zero)" -gt 0 ] && blkdiscard -o 0 -l 4M $kept && [ "$(not_zero)" -eq 0 ]
}
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
    wait $raw && return 5
    umount /mnt
    [ ! -e $kept ] && no_bus_master
}

mkdir -p /mnt
modprobe ext4
dd if=/dev/urandom of=/tmp/content bs=64k count=16 2>/dev/null
step load modprobe dmatoll_blk
for strategy in strict deferred copy persistent passthrough linux-strict linux-lazy linux-identity; do
    driver=dmatoll-blk
    case $strategy in
        linux-strict) driver=dmatoll-blk-linux type=DMA ;;
        linux-lazy) driver=dmatoll-blk-linux type=DMA-FQ ;;
        linux-identity) driver=dmatoll-blk-linux type=identity ;;
        *) type='' ;;
    esac
    if [ "$type" ]; then echo $type >/sys/kernel/iommu_groups/"$(group_of $device)"/type; fi
    echo $strategy >$parameters/strategy
    bind_by_hand $device $driver
    step $strategy-strategy cat $place/dmatoll/strategy
    step $strategy-odd odd_sizes
    step $strategy-files file_system
    step $strategy-discarded discarded
    step $strategy-statistics cat $place/dmatoll/statistics
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
