#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# A disk that copies memory, driven by a process, under every strategy: copies, accesses to what is not mapped, and what
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
