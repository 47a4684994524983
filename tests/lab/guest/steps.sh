# SPDX-License-Identifier: BSD-2-Clause
#
# For scripts that run in the lab's guest: what each step said and how it ended, for the test on the host to judge.
device=0000:00:04.0
peer=0000:00:05.0
peer_address=192.0.2.2

# step NAME COMMAND...
step() {
    printf '\n=== step %s\n' "$1"
    shift
    "$@" </dev/null 2>&1
    printf '\n=== status %d\n' $?
}

fail() { echo "the script $0 failed: $*"; exit 1; }

# until_true SECONDS COMMAND...: of the guest's time
until_true() {
    tries=$(($1 * 20))
    shift
    while ! "$@" >/dev/null 2>&1; do
        tries=$((tries - 1))
        [ $tries -gt 0 ] || return 1
        sleep 0.05
    done
}

driver_of() { basename "$(readlink "/sys/bus/pci/devices/$1/driver")" 2>/dev/null; }
interface_of() { basename "$(echo /sys/bus/pci/devices/"$1"/net/*)"; }
group_of() { basename "$(readlink "/sys/bus/pci/devices/$1/iommu_group")"; }

# bind DEVICE DRIVER, by hand: what a user does who does not know `dmatoll bind`.
bind_by_hand() {
    if [ -e "/sys/bus/pci/devices/$1/driver" ]; then echo "$1" >"/sys/bus/pci/devices/$1/driver/unbind"; fi
    echo "$2" >"/sys/bus/pci/devices/$1/driver_override"
    echo "$1" >/sys/bus/pci/drivers_probe
}

serves() { ip netns exec peer netstat -ltn | grep -q ':5201 '; }
serves_no_more() { ! serves; }
start_server() {
    ip netns exec peer taskset 2 iperf3 --server --daemon
    until_true 5 serves || fail "no iperf3 listens at the other end"
}

# The other end of the cable, in a namespace of its own, with an iperf3 that listens.
set_up_peer() {
    modprobe virtio_net
    until_true 5 ls /sys/bus/pci/devices/$peer/virtio*/net || fail "the peer has no interface"
    name=$(basename /sys/bus/pci/devices/$peer/virtio*/net/*)
    ip netns add peer
    ip link set "$name" netns peer
    ip netns exec peer ip address add $peer_address/24 dev "$name"
    ip netns exec peer ip link set "$name" up
    start_server
}

# set_up_interface NAME
set_up_interface() {
    ip address replace 192.0.2.1/24 dev "$1"
    ip link set "$1" up
}

answers() { ping -c 1 -W 1 $peer_address; }

# Bits of the command register [PCI 3.0 §6.2.2]: 2 is bus mastering.
bus_master() {
    echo $((($(od -An -tu1 -j4 -N1 /sys/bus/pci/devices/$device/config) >> 2) & 1))
}

no_bus_master() { [ "$(bus_master)" -eq 0 ]; }

dead() { [ ! -e /proc/"$1"/exe ] || ! readlink /proc/"$1"/exe; }
more_frames() {
    before=$(cat /sys/class/net/"$1"/statistics/tx_packets)
    sleep 0.1
    [ $(($(cat /sys/class/net/"$1"/statistics/tx_packets) - before)) -gt 20 ]
}
# Both directions, for longer than anybody looks; ends with the interface.
start_traffic() {
    set_up_interface "$1"
    until_true 10 answers || fail "no answer through $1"
    taskset 1 iperf3 --client $peer_address --bidir --time 1000 --connect-timeout 3000 >/tmp/traffic.log 2>&1 &
    traffic=$!
    until_true 10 more_frames "$1" || fail "no traffic through $1: $(cat /tmp/traffic.log)"
}
stop_traffic() {
    kill -9 $traffic 2>/dev/null
    wait $traffic 2>/dev/null
    # Its other end learns nothing by itself: a fresh one.
    ip netns exec peer killall -9 iperf3
    # As long as the old one listens a new one ends.
    until_true 5 serves_no_more || fail "iperf3 at the other end does not end"
    start_server
}

# What no kernel says when all is well: wrong accesses of devices, warnings, stuck queues, leaks.
trouble() {
    ! dmesg | grep -E 'DMAR: \[|handling fault|WARNING|cut here|BUG|Oops|Call Trace|NETDEV WATCHDOG|waiting for .* to become free|refcount|soft lockup|Timeout|leaked'
}
