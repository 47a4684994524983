# SPDX-License-Identifier: BSD-2-Clause
"""Frames and a link that are not as they should be, and a TAP that goes away; vCPUs that really run at the same time.

What an emulated cable can carry: the peer sends anything from a header on. The emulated 82540EM pads what is short, as
the sender's MAC would have to, so that a runt arrives as a frame of 64 bytes and its undersize counter is never used: that
one is tested in the model. Of frames that are too long it takes up to 1522 bytes without their CRC, four more than there
can be, which leaves the rest to the driver; beyond that it counts them itself.
"""

import json
import re

import pytest

import program

PLACEMENTS = ["user", "kernel"]
SHORTEST = 64
RING = 256  # receive descriptors


@pytest.fixture(scope="module")
def steps(dmatoll, guest_image, tmp_path_factory):
    # A monitor that the guest reaches through a port of its own.
    socket = tmp_path_factory.mktemp("monitor") / "socket"
    arguments = ["-chardev", f"socket,id=monitor,path={socket},server=on,wait=off", "-mon", "chardev=monitor,mode=readline",
                 "-chardev", f"socket,id=port,path={socket}", "-device", "virtio-serial-pci,addr=8",
                 "-device", "virtserialport,chardev=port,name=monitor"]
    return program.steps(dmatoll, guest_image, "frame_faults.sh", "--clock", "wall",
                         *[f"--qemu={argument}" for argument in arguments])


def counters(text):
    """Of `ethtool -S`, or of the driver process; the device's own have hw_ in front."""
    if text.startswith("{"):
        stats = json.loads(text)
        return {**stats["counters"], **{f"hw_{name}": value for name, value in stats["hardware"].items()}}
    return {name: int(value) for name, value in re.findall(r"^ *(\w+): (\d+)$", text, re.M)}


class Exchange:
    """What a step of from_peer or to_peer says: the senders' and receivers' own results, and the driver's counters."""

    def __init__(self, step):
        step.done()
        part = dict(re.findall(r"^--- (\w+)\n(.*?)(?=\n--- |\Z)", step.text, re.M | re.S))
        self.sent = json.loads(part["sent"])["sent"]["frames"]
        assert self.sent > 50, part["sent"]
        self.received = json.loads(part["received"])["received"] if "received" in part else None
        before, after = counters(part["before"]), counters(part["after"])
        self.counted = {name: after[name] - before[name] for name in after}


def nobody_else(exchange):
    """Frames in the driver's counters that are not the exchange's: neighbour discovery, for example."""
    assert exchange.counted["frames_received"] < 20, exchange.counted


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_good_frames_arrive(steps, placement):
    exchange = Exchange(steps[f"{placement}-good"])
    assert exchange.received["frames"] == exchange.sent and exchange.received["bytes"] == exchange.sent * 1518
    assert exchange.counted["frames_received"] >= exchange.sent
    assert exchange.counted["receive_errors"] == exchange.counted["hw_receive_oversize"] == 0


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_a_frame_that_the_device_should_not_have_taken_is_an_error_and_not_delivered(steps, placement):
    exchange = Exchange(steps[f"{placement}-too-long-for-the-driver"])
    assert exchange.received["frames"] == 0
    assert exchange.counted["receive_errors"] == exchange.sent
    nobody_else(exchange)
    steps[f"{placement}-after-too-long-for-the-driver"].done()


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_a_frame_longer_than_the_mtu_is_counted_by_the_device(steps, placement):
    for length in (1527, 9014):
        exchange = Exchange(steps[f"{placement}-too-long-for-the-device-{length}"])
        assert exchange.received["frames"] == 0
        assert exchange.counted["hw_receive_oversize"] == exchange.sent
        nobody_else(exchange)
    steps[f"{placement}-after-too-long-for-the-device"].done()


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_runts_arrive_padded(steps, placement):
    for length in (18, 63):
        exchange = Exchange(steps[f"{placement}-runts-{length}"])
        assert exchange.received["frames"] == exchange.sent
        assert exchange.received["bytes"] == exchange.sent * SHORTEST
        assert exchange.counted["receive_errors"] == 0
    steps[f"{placement}-after-runts"].done()


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_a_flood_of_the_shortest_frames_is_delivered_or_counted(steps, placement):
    exchange = Exchange(steps[f"{placement}-flood"])
    assert exchange.sent > 2 * RING
    assert RING < exchange.received["frames"] <= exchange.sent
    assert exchange.received["bytes"] == exchange.received["frames"] * SHORTEST
    assert exchange.received["other_lengths"] == 0
    assert exchange.counted["receive_errors"] == 0
    assert exchange.received["frames"] <= exchange.counted["frames_received"] <= exchange.sent + 20
    steps[f"{placement}-after-flood"].done()


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_a_flood_of_its_own_leaves_the_device(steps, placement):
    exchange = Exchange(steps[f"{placement}-own-flood"])
    assert exchange.sent > 2 * RING
    assert exchange.counted["transmit_errors"] == 0
    assert exchange.counted["frames_transmitted"] >= exchange.sent
    steps[f"{placement}-after-own-flood"].done()


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_a_link_goes_down_and_comes_up_under_traffic(steps, placement):
    for number in (1, 2):
        steps[f"{placement}-down-{number}"].done()
        assert steps[f"{placement}-no-answer-{number}"].status != 0
        steps[f"{placement}-up-{number}"].done()
        steps[f"{placement}-answers-{number}"].done()
        steps[f"{placement}-goes-on-{number}"].done()


def test_a_driver_whose_tap_was_deleted_ends_and_says_so(steps):
    steps["user-tap-deleted"].done()
    steps["user-ended"].refused()
    assert "tap0 was deleted" in steps["user-words"].text
    # It is no crash: nothing is started again.
    events = [json.loads(line)["event"] for line in steps["user-events"].text.splitlines()]
    assert events[0] == "ready" and events[-1] == "failed" and "restarted" not in events
    assert steps["user-master"].text == "0"


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_the_guests_kernel_saw_nothing_wrong(steps, placement):
    if placement == "kernel":
        steps["kernel-unload"].done()
    steps[f"{placement}-trouble"].done()
