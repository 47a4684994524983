# SPDX-License-Identifier: BSD-2-Clause
"""The user driver's disks under every strategy, and through the ends of their driver."""

import json

import pytest

import program

STRATEGIES = ["strict", "deferred", "copy", "persistent"]
# Of the bad sector in guest/user_disk.sh.
BAD = "80000"


@pytest.fixture(scope="module")
def steps(dmatoll, guest_image):
    return program.steps(dmatoll, guest_image, "user_disk.sh", "--clock", "wall", "--disks", "--bad-sector", BAD,
                         "--limit", "280")


def lines(step):
    return [json.loads(line) for line in step.text.splitlines() if line.startswith("{")]


def events(step, kind):
    return [event for event in lines(step) if event["event"] == kind]


def unprivileged(step):
    status = dict(line.split(":\t", 1) for line in step.text.splitlines())
    assert "0" not in status["Uid"].split()
    assert all(int(status[capabilities], 16) == 0 for capabilities in ("CapPrm", "CapEff", "CapBnd"))


def fio_job(step):
    step.done()
    (job,) = json.loads(step.text[step.text.index("{"):])["jobs"]
    assert job["error"] == 0
    return job


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_what_was_written_is_read(steps, strategy):
    for what in ("odd", "odd-shallow", "compared", "files", "discarded", "rewritten"):
        steps[f"{strategy}-{what}"].done()


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_stop_leaves_nothing(steps, strategy):
    steps[f"{strategy}-stop"].done()


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_statistics_count_requests_and_mapping_work(steps, strategy):
    (statistics,) = lines(steps[f"{strategy}-statistics"])
    assert statistics["strategy"] == strategy and statistics["restarts"] == 0
    counts = statistics["counters"]
    for name in ("read_requests", "write_requests", "flush_requests", "trim_requests", "interrupts"):
        assert counts[name] > 0, name
    assert counts["request_errors"] == counts["recoveries"] == 0
    assert statistics["process"]["requests_refused"] == 0
    transfers = counts["read_requests"] + counts["write_requests"]
    if strategy in ("strict", "deferred"):
        # One range a request, and a few for what the ports need for themselves.
        assert transfers <= counts["maps"] <= transfers + 4
    else:
        assert counts["unmaps"] == 0
    unprivileged(steps[f"{strategy}-process"])


def test_the_device_is_given_back(steps):
    assert steps["given-back"].text == "ahci"
    steps["given-back-data"].done()


def test_the_disk_survives_its_driver(steps):
    for how in ("1", "2", "3", "null", "loop"):
        steps[f"killed-{how}"].done()
    crashes = events(steps["killed-events"], "crashed")
    # The watchdog ends what hangs.
    assert [crash["signal"] for crash in crashes] == [9, 9, 9, 11, 9]
    assert [crash["reason"] != "" for crash in crashes] == [False] * 4 + [True]
    assert "it hung" in crashes[-1]["reason"]
    services = events(steps["killed-events"], "ready") + events(steps["killed-events"], "restarted")
    assert len({service["pid"] for service in services}) == len(services) == 6
    assert all(service["disks"] == services[0]["disks"] for service in services)
    unprivileged(steps["killed-process"])


@pytest.mark.parametrize("load", ["killed", "flush"])
def test_nobody_loses_data_when_a_driver_dies(steps, load):
    job = fio_job(steps[f"{load}-load"])
    assert job["write"]["io_bytes"] > 0 and job["read"]["io_bytes"] > 0
    steps[f"{load}-files"].done()
    steps[f"{load}-stop"].done()


def test_a_driver_that_dies_with_a_flush_in_flight_is_followed(steps):
    for kill in ("1", "2", "3"):
        steps[f"flush-{kill}"].done("op=FLUSH")


@pytest.mark.parametrize("kill", ["1", "2", "3"])
def test_a_supervisor_that_is_killed_is_followed_by_the_next(steps, kill):
    steps[f"orphan-{kill}"].done()
    left = lines(steps[f"orphan-{kill}-list"])
    assert left == [{**disk, "served": False} for disk in lines(steps["served-list"])]
    # Nobody takes the controller meanwhile.
    block = {disk["port"]: disk["block"] for disk in left}[1]
    steps[f"orphan-{kill}-in-use"].refused(f"{block.removeprefix('/dev/')} is mounted at /mnt", "takes it over", "--force")
    steps[f"orphan-{kill}-followed"].done()


def test_what_was_written_over_the_ends_of_supervisors_is_read_back(steps):
    steps["flush-read-back"].done()


def test_disks_that_are_served_are_not_removed(steps):
    assert [disk["served"] for disk in lines(steps["served-list"])] == [True, True]
    steps["served-is-not-removed"].refused("ublkb0 is being served", "ublkb1 is being served")


def test_a_medium_error_reaches_who_reads_and_nobody_else(steps):
    for reader in ("1", "2", "3"):
        steps[f"medium-{reader}"].refused("Input/output error")
    fio_job(steps["medium-load"])
    steps["medium-beside"].done()
    (statistics,) = lines(steps["medium-statistics"])
    assert statistics["counters"]["request_errors"] >= 3 and statistics["restarts"] == 0
    assert [event["event"] for event in lines(steps["medium-events"])] == ["ready"]


def test_an_end_under_load_ends_all_of_it(steps):
    steps["busy-stop"].done()
    steps["busy-load"].done()
    steps["busy-nothing-left"].done()


def test_the_kernel_has_nothing_to_say(steps):
    steps["trouble"].done()
