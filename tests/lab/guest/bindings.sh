#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# Devices that are taken and given back, and all the reasons not to take one.
. /dmatoll/test/steps.sh

cat >/tmp/local.toml <<'END'
[suite]
name = "local"
summary = "runs until it is killed"
[axes]
device = ["82540EM"]
placement = ["kernel", "user"]
strategy = ["strict"]
[[workload]]
name = "iperf3-tcp-tx"
warm_up_ms = 500
window_ms = 20000
load_bps = 10000000
END

# Its one trial lasts longer than anybody waits.
cat >/tmp/probe.toml <<'END'
[suite]
name = "probe"
summary = "a probe that is interrupted"
[axes]
device = ["82540EM"]
placement = ["kernel"]
strategy = ["strict"]
[[workload]]
name = "probe"
rounds = 1000
END

unprivileged() { su -s /bin/sh dmatoll -c "PATH=$PATH; $*"; }
traffic_flows() { pidof iperf3 && ls /sys/bus/pci/drivers/"$1"/$device; }

# killed_run PLACEMENT DRIVER: a run on this machine that is killed while traffic flows.
killed_run() {
    dmatoll run /tmp/local.toml --target local --device $device --peer $peer --filter placement="$1" \
        --output /tmp/"$1" --no-report --quiet >/tmp/"$1".log 2>&1 &
    run=$!
    until_true 30 traffic_flows "$2" || { cat /tmp/"$1".log; return 1; }
    sleep 1
    kill -9 $run
    wait $run
    echo "ended with $?"
    sleep 0.5
    driver_of $device
    pidof iperf3 dmatoll-net-user && return 1
    ip netns
}
peer_is_held() { [ "$(driver_of $peer)" = vfio-pci ]; }
# The second device of a probe is in its hands when Ctrl-C comes.
interrupted_probe() {
    dmatoll run /tmp/probe.toml --target local --device $device --peer $peer --output /tmp/probe --no-report --quiet \
        >/tmp/probe.log 2>&1 &
    run=$!
    until_true 60 peer_is_held || { kill -INT $run; wait $run; cat /tmp/probe.log; return 1; }
    kill -INT $run
    wait $run
    echo "ended with $?"
}
state() {
    driver_of $device
    driver_of $peer
    cat /sys/bus/pci/devices/$device/driver_override
    cat /sys/kernel/iommu_groups/"$(group_of $device)"/type
    ls /run/netns 2>/dev/null
    lsmod | grep -o '^dmatoll_net' || true
}

step devices-unbound dmatoll devices --json
modprobe e1000
modprobe virtio_net
sleep 0.2
name=$(interface_of $device)
set_up_interface "$name"
step state-before state

step bind-unprivileged unprivileged dmatoll bind $device vfio-pci
step user-driver-unprivileged unprivileged dmatoll-net-user --device $device --tap tap0
step run-unprivileged unprivileged dmatoll run /tmp/local.toml --target local --device $device --peer $peer \
    --output /tmp/unprivileged

ip route add default via 192.0.2.9 dev "$name"
step devices-default-route dmatoll devices --json
step bind-default-route dmatoll bind $device vfio-pci
step run-default-route dmatoll run /tmp/local.toml --target local --device $device --peer $peer --output /tmp/routed
step after-refusals state
step bind-forced dmatoll bind $device vfio-pci --force
step driver-forced driver_of $device
step restore-forced dmatoll restore
step after-forced state
step restore-nothing dmatoll restore

step bind-unknown-device dmatoll bind 0000:00:1d.3 vfio-pci
step bind-other-device dmatoll bind 0000:00:00.0 vfio-pci
step bind-unknown-driver dmatoll bind $device no-such-driver
step restore-unknown-driver dmatoll restore
step after-unknown-driver state
step user-driver-unknown-device dmatoll-net-user --device 0000:00:1d.3 --tap tap0
step user-driver-other-device dmatoll-net-user --device 0000:00:00.0 --tap tap0
step user-driver-not-bound dmatoll-net-user --device $device --tap tap0
step user-driver-unknown-strategy dmatoll-net-user --device $device --tap tap0 --strategy strikt
step user-driver-kernel-strategy dmatoll-net-user --device $device --tap tap0 --strategy linux-lazy
step user-driver-kernel-allocator dmatoll-net-user --device $device --tap tap0 --iova-allocator identity

step bind-kernel-driver dmatoll bind $device dmatoll-net
step driver-kernel-driver driver_of $device
step restore-kernel-driver dmatoll restore
rmmod dmatoll_net
step after-kernel-driver state

# The user driver without huge pages.
modprobe tun
step bind-vfio dmatoll bind $device vfio-pci
mv /dev/vfio/vfio /dev/vfio/hidden
step user-driver-no-vfio dmatoll-net-user --device $device --tap tap0
mv /dev/vfio/hidden /dev/vfio/vfio
modprobe vfio_iommu_type1

echo 0 >/proc/sys/vm/nr_hugepages
set_up_peer
dmatoll-net-user --device $device --tap tap0 --control /tmp/control.sock >/tmp/driver.out 2>/tmp/driver.err </dev/null &
driver=$!
until_true 10 grep -q ready /tmp/driver.out
step no-hugepages-ready cat /tmp/driver.out
step no-hugepages-note cat /tmp/driver.err
set_up_interface tap0
step tap-queue ip link show tap0
step no-hugepages-works until_true 10 answers
step no-hugepages-group-busy dmatoll-net-user --device $device --tap tap1
kill -TERM $driver
wait $driver
step no-hugepages-end [ $? -eq 0 ]
step restore-vfio dmatoll restore
ip netns exec peer killall iperf3
ip netns delete peer
sleep 0.5
step after-vfio state

# Killed in the middle.
step killed-kernel killed_run kernel dmatoll-net
step restore-killed-kernel dmatoll restore
step after-killed-kernel state
step killed-user killed_run user vfio-pci
step restore-killed-user dmatoll restore
step after-killed-user state
step trouble trouble

# What it tries the kernel complains of.
step interrupted-probe interrupted_probe
step after-interrupted-probe state
