#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# Strategies that share, keep or copy, and parameters at their ends, in both placements of whichever device this guest
# has: traffic or data, what was counted, and an end that leaves no mapping.
. /dmatoll/test/steps.sh

place=/sys/bus/pci/devices/$device
control=/tmp/control.sock

no_mappings_left() { ! dmesg | grep 'mappings were left'; }
options_of() { for parameter in "$@"; do echo "--${parameter%%=*}" | tr _ -; echo "${parameter#*=}"; done; }

# in_kernel LABEL STRATEGY PARAMETER=VALUE...
in_kernel() {
    label=kernel-$1
    strategy=$2
    shift 2
    insmod /usr/lib/modules/*/extra/$module.ko strategy="$strategy" "$@" || fail "the module $module"
    bind_by_hand $device $driver
    [ "$(driver_of $device)" = $driver ] || fail "$label: $(dmesg | tail)"
    step $label-strategy cat $place/dmatoll/strategy
    step $label-protection cat $place/dmatoll/protection
    kernel_work
    step $label-unbind sh -c "echo $device >$place/driver/unbind"
    after_kernel_work
    step $label-left no_mappings_left
    step $label-trouble trouble
    rmmod $module
    dmesg -c >/dev/null
}

# in_process LABEL STRATEGY PARAMETER=VALUE...
in_process() {
    label=user-$1
    strategy=$2
    shift 2
    # Or what the last one said is found.
    : >/tmp/driver.out
    bind_by_hand $device vfio-pci
    # Each option is a word.
    $program --device $device --control $control --strategy "$strategy" $(options_of "$@") >/tmp/driver.out \
        2>/tmp/driver.err </dev/null &
    supervisor=$!
    until_true 20 grep -q '"event":"ready"' /tmp/driver.out || fail "$label: $(cat /tmp/driver.out /tmp/driver.err)"
    process_work
    kill -TERM $supervisor
    wait $supervisor
    step $label-stop [ $? -eq 0 ]
    step $label-said cat /tmp/driver.err
    after_process_work
    step $label-trouble trouble
    dmesg -c >/dev/null
}

# ---- a network card: both directions, and an end in the midst of it ----

network() {
    module=dmatoll_net
    driver=dmatoll-net
    program="dmatoll-net-user --tap tap0 --cpu 0"
    set_up_peer
    modprobe -a vfio-pci vfio_iommu_type1 tun
    kernel_work() {
        start_traffic "$(interface_of $device)"
        sleep 0.3
        step $label-counters ethtool -S "$(interface_of $device)"
    }
    after_kernel_work() { stop_traffic; }
    process_work() {
        start_traffic tap0
        sleep 0.3
        step $label-counters ask $control stats
    }
    after_process_work() { stop_traffic; }
}

# ---- disks: data that is read back ----

# verified DISK: blocks of all sizes, sectors that share a page among them.
verified() {
    fio --name=verify --filename="$1" --direct=1 --rw=randrw --blockalign=512 --bssplit=512/25:4k/25:20k/25:256k/25 \
        --size=4M --ioengine=libaio --iodepth=16 --serialize_overlap=1 --verify=crc32c --verify_fatal=1 --minimal >/dev/null
}
disks() {
    module=dmatoll_blk
    driver=dmatoll-blk
    program=dmatoll-disk-user
    modprobe -a vfio-pci vfio_iommu_type1 ublk_drv
    # The buffers' of two disks, and of what the device reads commands from.
    echo 40 >/proc/sys/vm/nr_hugepages
    kernel_work() {
        step $label-data verified /dev/dmatoll1
        step $label-counters cat $place/dmatoll/statistics
    }
    after_kernel_work() { :; }
    process_work() {
        disk=$(sed -n 's/.*"block":"\([^"]*\)"[^}]*"port":1.*/\1/p' /tmp/driver.out | head -n 1)
        step $label-data verified "$disk"
        step $label-counters ask $control stats
    }
    after_process_work() { :; }
}

case $(cat $place/class) in
0x010601) disks ;;
*) network ;;
esac
for placement in in_kernel in_process; do
    $placement shared shared
    $placement contiguous contiguous
    $placement contiguous-short contiguous contiguous_milliseconds=1
    $placement optimistic optimistic
    $placement optimistic-one optimistic optimistic_entries=1 optimistic_milliseconds=2
    $placement on-demand on-demand
    $placement on-demand-none on-demand quota_pages=0
    $placement on-demand-one on-demand quota_pages=1
    $placement hybrid-copy hybrid-copy
    $placement hybrid-copy-none hybrid-copy copy_threshold=0
done
in_kernel deferred-per-cpu deferred deferred_per_cpu=1
insmod /usr/lib/modules/*/extra/$module.ko strategy=on-demand quota_pages=32769
bind_by_hand $device $driver
step out-of-range dmesg
step out-of-range-unbound [ ! -e $place/driver ]
