#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# Disks that must not be taken or written to, and disks that fail. Sector 80000 of the second disk is bad.
. /dmatoll/test/steps.sh

# suite FILE WORKLOAD PORT: one short trial in each placement
suite() {
    cat >"$1" <<END
[suite]
name = "faults"
summary = "of disks"
[axes]
device = ["ICH9-AHCI"]
placement = ["stock", "kernel", "user"]
strategy = ["persistent", "linux-lazy"]
[[workload]]
name = "$2"
port = $3
warm_up_ms = 50
window_ms = 100
END
}
local_run() {
    file=$1
    shift
    rm -rf /tmp/run
    dmatoll run "$file" --target local --device $device --output /tmp/run --no-report --quiet "$@"
    status=$?
    cat /tmp/run/trials.jsonl 2>/dev/null
    return $status
}
state() {
    driver_of $device
    cat /sys/bus/pci/devices/$device/driver_override
    cat /sys/kernel/iommu_groups/"$(group_of $device)"/type
}

suite /tmp/write.toml fio-randwrite 1
suite /tmp/read.toml fio-randread 0
suite /tmp/nowhere.toml fio-randread 5
modprobe ahci
modprobe sd_mod
# Whenever the stock driver was given its device: it looks for disks for a while.
settle() {
    until_true 10 ls /dev/sda /dev/sdb || fail "the disks did not appear"
    for disk in sda sdb; do echo 256 >/sys/block/$disk/queue/max_sectors_kb; done
}
settle
step devices dmatoll devices --json
step state-before state

# In use.
mkfs.ext4 -q /dev/sdb 65536k || fail "no file system"
mkdir -p /mnt
mount -t ext4 /dev/sdb /mnt || fail "not mounted"
step mounted local_run /tmp/read.toml
step bind-mounted dmatoll bind $device vfio-pci
step after-mounted state
umount /mnt
# A mount that our namespace does not show.
unshare -m sh -c 'mount -t ext4 /dev/sdb /mnt && touch /tmp/hidden && while [ -e /tmp/hidden ]; do sleep 0.1; done; umount /mnt' &
hidden=$!
until_true 10 ls /tmp/hidden || fail "no mount in another namespace"
step hidden-mount local_run /tmp/read.toml
rm /tmp/hidden
wait $hidden
# What was taken by hand is no free game afterwards.
insmod /lib/modules/"$(uname -r)"/extra/dmatoll_blk.ko || fail "no module"
step bind-by-user dmatoll bind $device dmatoll-blk
until_true 10 ls /dev/dmatoll1 || fail "dmatoll-blk has no second disk"
mount -t ext4 /dev/dmatoll1 /mnt || fail "not mounted from dmatoll-blk"
step taken-mounted local_run /tmp/read.toml
step taken-mounted-driver driver_of $device
umount /mnt
step taken-restore dmatoll restore
rmmod dmatoll_blk
settle
step after-taken state
# A file system that nobody uses may be taken, and is not written to.
step not-empty local_run /tmp/write.toml
step after-not-empty state
step readable local_run /tmp/read.toml --filter placement=stock
settle
wipefs -q --all /dev/sdb
mkswap /dev/sdb >/dev/null && swapon /dev/sdb || fail "no swap space"
step swap local_run /tmp/read.toml
swapoff /dev/sdb
wipefs -q --all /dev/sdb
step after-swap state

# Killed in the middle: the disks come back.
suite /tmp/long.toml fio-randread 0
sed -i 's/window_ms = .*/window_ms = 20000/' /tmp/long.toml
disk_works() { pidof fio && ls /sys/bus/pci/drivers/"$1"/$device; }
killed_run() {
    rm -rf /tmp/run
    dmatoll run /tmp/long.toml --target local --device $device --filter "placement=$1,strategy=persistent" \
        --output /tmp/run --no-report --quiet >/tmp/killed.log 2>&1 &
    run=$!
    until_true 30 disk_works "$2" || { cat /tmp/killed.log; return 1; }
    sleep 0.5
    kill -9 $run
    wait $run
    echo "ended with $?"
    sleep 0.5
    driver_of $device
    ! pidof fio dmatoll-disk-user
}
for placement in kernel:dmatoll-blk user:vfio-pci; do
    step "killed-${placement%:*}" killed_run "${placement%:*}" "${placement#*:}"
    step "restore-${placement%:*}" dmatoll restore
    settle
    step "after-${placement%:*}" state
done

# There is no such disk.
step no-disk local_run /tmp/nowhere.toml --filter placement=stock
step after-no-disk state
settle

# An error of the medium reaches who reads, and what is beside it can be read.
read_at() { dd if="$1" of=/dev/null bs=512 skip="$2" count=1 iflag=direct; }
faulty() {
    step "$1-bad" read_at "$2" 80000
    step "$1-good" read_at "$2" 80008
    step "$1-bad-again" read_at "$2" 80000
    step "$1-fio" fio --name=x --thread --filename="$2" --ioengine=io_uring --direct=1 --rw=read --bs=4k \
        --offset=39980k --size=64k --iodepth=8 --output-format=json
    step "$1-fio-beside" fio --name=x --thread --filename="$2" --ioengine=io_uring --direct=1 --rw=randread --bs=4k \
        --size=16m --io_size=1m --iodepth=8 --output-format=json
    step "$1-beyond" dd if=/dev/zero of="$2" bs=512 seek=2097152 count=1 oflag=direct
}
faulty stock /dev/sdb

for driver in dmatoll-blk dmatoll-blk-linux; do
    case $driver in
        dmatoll-blk) strategy=strict ;;
        *) strategy=linux-lazy ;;
    esac
    bind_by_hand $device none
    insmod /lib/modules/"$(uname -r)"/extra/dmatoll_blk.ko strategy=$strategy || fail "no module"
    bind_by_hand $device $driver
    until_true 10 ls /dev/dmatoll1 || fail "$driver has no second disk"
    faulty $driver /dev/dmatoll1
    echo $device >/sys/bus/pci/devices/$device/driver/unbind
    rmmod dmatoll_blk
done

modprobe vfio-pci
modprobe vfio_iommu_type1
modprobe ublk_drv
bind_by_hand $device vfio-pci
dmatoll-disk-user --device $device --strategy strict --json >/tmp/driver.out 2>/tmp/driver.err </dev/null &
driver=$!
until_true 20 grep -q ready /tmp/driver.out || fail "the user driver is not ready: $(cat /tmp/driver.err)"
block=$(sed -n 's/.*"block":"\([^"]*\)"[^}]*"port":1.*/\1/p' /tmp/driver.out)
[ -b "$block" ] || fail "no second disk: $(cat /tmp/driver.out)"
faulty user "$block"
kill -TERM $driver
wait $driver
step user-end [ $? -eq 0 ]
bind_by_hand $device ahci
