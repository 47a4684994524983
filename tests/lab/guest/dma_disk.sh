#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# A disk that copies memory, driven by a process under every strategy, and by the module under some: copies, accesses to what is not mapped, and what
# the device reaches of the driver's own buffers.
. /dmatoll/test/steps.sh

modprobe vfio-pci
modprobe vfio_iommu_type1
bind_by_hand $device vfio-pci
for strategy in strict shared deferred optimistic contiguous copy hybrid-copy on-demand persistent; do
    step $strategy dmatoll-dma-user --device $device --strategy $strategy \
        --command 'begin working_set=8 batch=4 lifetime=1' --command 'run copies=64' \
        --command 'stray_read iova=0x70000000' --command 'stray_write iova=0x70000000' \
        --command 'run copies=64' --command end --command 'reach rounds=4 patience_ms=20' --command end
done
step whole-blocks dmatoll-dma-user --device $device --strategy strict --command 'begin bytes=1514'

module=$(find /usr/lib/modules -name dmatoll_dma_disk.ko)
folder=/sys/bus/pci/devices/$device/dmatoll
tell() { echo "$1" >$folder/command && cat $folder/result; }
through() { ! grep -q 'state running' $folder/result; }
run_in_kernel() {
    insmod $module strategy=$1 && bind_by_hand $device dmatoll-dma-disk || return 1
    tell 'begin working_set=8 batch=4 lifetime=1' >/dev/null && tell 'run copies=64' >/dev/null && until_true 30 through || return 2
    cat $folder/result
    tell 'stray_read iova=0x70000000' && tell 'stray_write iova=0x70000000' && tell end >/dev/null || return 3
    tell 'reach rounds=4 patience_ms=20' >/dev/null && until_true 30 through || return 4
    cat $folder/result
    tell end >/dev/null && echo $device >/sys/bus/pci/devices/$device/driver/unbind && rmmod dmatoll_dma_disk
}
for strategy in strict deferred copy persistent; do
    step kernel-$strategy run_in_kernel $strategy
done
