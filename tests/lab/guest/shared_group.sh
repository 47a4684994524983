#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# Two network cards behind a bridge of conventional PCI share one IOMMU group.
. /dmatoll/test/steps.sh

bridge=$(basename "$(dirname "$(echo /sys/bus/pci/devices/*/*:01.0/vendor | tr ' ' '\n' | head -n 1)")")
one=$bridge
two=${one%01.0}02.0
step pair echo "$one $two"
modprobe -a e1000 vfio-pci vfio_iommu_type1 tun
sleep 0.2
step devices dmatoll devices --json
step bind dmatoll bind "$one" vfio-pci
step driver-after-bind driver_of "$one"
bind_by_hand "$one" vfio-pci
step user-driver dmatoll-net-user --device "$one" --tap tap0
insmod /usr/lib/modules/*/extra/dmatoll_net.ko strategy=strict
dmesg -c >/dev/null
bind_by_hand "$one" dmatoll-net 2>/dev/null
step module dmesg
step module-driver driver_of "$one"
# A card with a group of its own is not held up by them.
step bind-alone dmatoll bind $device vfio-pci
