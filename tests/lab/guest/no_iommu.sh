#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# A machine without an IOMMU.
. /dmatoll/test/steps.sh

cat >/tmp/local.toml <<'END'
[suite]
name = "local"
summary = "each placement once"
[axes]
device = ["82540EM"]
placement = ["kernel", "user", "stock"]
strategy = ["strict", "linux-strict"]
[[workload]]
name = "iperf3-tcp-tx"
END

step doctor dmatoll doctor
step doctor-json dmatoll doctor --json
step devices dmatoll devices --json
modprobe e1000
step bind dmatoll bind $device vfio-pci
step driver-after-bind driver_of $device
step user-driver dmatoll-net-user --device $device --tap tap0
for strategy in strict persistent linux-strict linux-lazy; do
    case $strategy in linux-*) driver=dmatoll-net-linux ;; *) driver=dmatoll-net ;; esac
    insmod /usr/lib/modules/*/extra/dmatoll_net.ko strategy=$strategy
    dmesg -c >/dev/null
    bind_by_hand $device $driver 2>/dev/null
    step module-$strategy dmesg
    step module-$strategy-driver driver_of $device
    rmmod dmatoll_net
done
bind_by_hand $device e1000
step run dmatoll run /tmp/local.toml --target local --device $device --peer $peer --output /tmp/run --no-report
step records cat /tmp/run/trials.jsonl
step driver-after-run driver_of $device
