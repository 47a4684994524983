# SPDX-License-Identifier: BSD-2-Clause
"""Drivers that end while traffic flows, on the virtual clock and with vCPUs that really run at the same time."""

import concurrent.futures
import json

import pytest

import program

ATTACHED = {"strict": "paging", "deferred": "paging", "copy": "paging", "persistent": "paging", "passthrough": "paging",
            "linux-strict": "DMA", "linux-lazy": "DMA-FQ",
            "linux-identity": "identity"}


@pytest.fixture(scope="module")
def both(dmatoll, guest_image):
    cpus = program.host_cpus()
    with concurrent.futures.ThreadPoolExecutor() as pool:
        guests = {clock: pool.submit(program.steps, dmatoll, guest_image, "death.sh", "--clock", clock,
                                     cpu=cpus[0] if clock == "virtual" else None)
                  for clock in ("virtual", "wall")}
        return {clock: guest.result() for clock, guest in guests.items()}


@pytest.fixture(scope="module", params=["virtual", "wall"])
def steps(both, request):
    return both[request.param]


def test_the_driver_process_has_no_privileges(steps):
    status = dict(line.split(":\t", 1) for line in steps["user-driver-identity"].text.splitlines())
    # A user of the device's own, by its address.
    assert set(status["Uid"].split() + status["Gid"].split()) == {str(0x7800_0000 | 4 << 3)}
    for capabilities in ("CapPrm", "CapEff", "CapBnd"):
        assert int(status[capabilities], 16) == 0
    assert status["NoNewPrivs"] == "1"


def test_a_killed_driver_leaves_a_device_that_cannot_reach_memory(steps):
    assert steps["user-master-alive"].text == "1"
    # Nobody had cleaned up yet: the supervisor stood still.
    assert steps["user-master-dead"].text == "0"
    assert steps["user-no-answer"].status != 0


def test_a_killed_driver_is_restarted_and_traffic_comes_back(steps):
    events = [json.loads(line) for line in steps["user-events"].text.splitlines()]
    assert [each["event"] for each in events] == ["ready", "crashed", "restarted"]
    ready, crashed, restarted = events
    assert crashed["pid"] == ready["pid"] != restarted["pid"]
    assert crashed["signal"] == 9 and crashed["restarts_left"] == 2
    steps["user-answers-again"].done()
    assert steps["user-master-restarted"].text == "1"
    steps["user-traffic-goes-on"].done()
    steps["user-driver-is-another"].done()


def test_the_interface_shows_other_stations_frames_when_it_is_promiscuous_and_only_then(steps):
    steps["user-foreign-frames-asked"].done()
    for once in ("unasked", "no-more"):
        assert steps[f"user-foreign-frames-{once}"].text == "0"
    # A driver that was started again does not know by itself.
    steps["user-foreign-frames-again"].done()


def test_the_user_driver_ends_when_told_to(steps):
    steps["user-end"].done()
    assert steps["user-master-ended"].text == "0"


def test_a_driver_that_hangs_does_not_outlive_its_supervisor(steps):
    steps["hung-fault"].done()
    steps["hung-driver-ends"].done()
    steps["hung-device-is-stopped"].done()


def test_the_guests_kernel_saw_nothing_wrong_with_the_user_driver(steps):
    steps["user-trouble"].done()


@pytest.mark.parametrize("strategy", ATTACHED)
def test_the_module_goes_away_under_traffic(steps, strategy):
    assert steps[f"{strategy}-domain"].text == ATTACHED[strategy]
    if f"{strategy}-unbind" in steps:
        steps[f"{strategy}-unbind"].done()
    steps[f"{strategy}-unload"].done()
    assert steps[f"{strategy}-master"].text == "0"
    assert steps[f"{strategy}-stock"].text == "e1000"
    steps[f"{strategy}-trouble"].done()


def test_the_stock_driver_works_after_all_of_them(steps):
    steps["stock-answers"].done()
