# SPDX-License-Identifier: BSD-2-Clause
"""Disks that are in use or hold something, and disks that fail, in a guest that is used like a machine."""

import json

import pytest

import program

DEVICE = "0000:00:04.0"


@pytest.fixture(scope="module")
def steps(dmatoll, guest_image):
    return program.steps(dmatoll, guest_image, "disk_faults.sh", "--disks", "--bad-sector", "80000", "--limit", "280")


def records(step):
    return [json.loads(line) for line in step.text.splitlines() if line.startswith("{")]


def test_the_controller_is_listed_with_its_disks(steps):
    found = {each["bdf"]: each for each in json.loads(steps["devices"].text)}
    assert found[DEVICE]["model"] == "ICH9-AHCI" and found[DEVICE]["driver"] == "ahci"
    assert found[DEVICE]["disks"] == ["sda", "sdb"]


def test_disks_in_use_are_refused_with_what_holds_them(steps):
    steps["mounted"].refused(DEVICE, "sdb is mounted at /mnt", "--force")
    steps["bind-mounted"].refused(DEVICE, "sdb is mounted at /mnt", "--force")
    steps["hidden-mount"].refused(DEVICE, "sdb or a partition of it is opened exclusively")
    steps["swap"].refused(DEVICE, "sdb is swap space")
    for after in ("after-mounted", "after-swap"):
        assert steps[after].text == steps["state-before"].text


def test_a_device_that_was_taken_before_is_asked_about_again(steps):
    steps["bind-by-user"].done("dmatoll-blk", "ahci")
    steps["taken-mounted"].refused(DEVICE, "dmatoll1 is mounted at /mnt", "--force")
    assert steps["taken-mounted-driver"].text == "dmatoll-blk"
    steps["taken-restore"].done("ahci again")
    assert steps["after-taken"].text == steps["state-before"].text


def test_a_disk_that_is_not_empty_is_read_but_not_written_to(steps):
    steps["not-empty"].refused("ext4 on sdb", "writes", "--force")
    steps["readable"].done()
    assert [each["status"] for each in records(steps["readable"])] == ["ok"]
    assert steps["after-not-empty"].text == steps["state-before"].text


@pytest.mark.parametrize("placement, driver", [("kernel", "dmatoll-blk"), ("user", "vfio-pci")])
def test_after_the_harness_was_killed_restore_brings_the_disks_back(steps, placement, driver):
    steps[f"killed-{placement}"].done("ended with 137", driver)
    steps[f"restore-{placement}"].done("ahci again")
    assert steps[f"after-{placement}"].text == steps["state-before"].text


def test_a_port_without_a_disk_is_an_error_of_the_trial(steps):
    assert steps["no-disk"].status == 3
    (record,) = records(steps["no-disk"])
    assert record["status"] == "error"
    assert f"{DEVICE} has no disk at port 5" in record["reason"] and "sda at port 0, sdb at port 1" in record["reason"]
    assert steps["after-no-disk"].text == steps["state-before"].text


@pytest.mark.parametrize("driver", ["stock", "dmatoll-blk", "dmatoll-blk-linux", "user"])
def test_a_medium_error_reaches_who_reads_and_the_driver_goes_on(steps, driver):
    steps[f"{driver}-bad"].refused("Input/output error")
    steps[f"{driver}-good"].done()
    steps[f"{driver}-bad-again"].refused("Input/output error")
    steps[f"{driver}-fio"].refused("Input/output error")
    steps[f"{driver}-fio-beside"].done()
    steps[f"{driver}-beyond"].refused("No space left on device")


def test_the_user_driver_ends_in_order(steps):
    steps["user-end"].done()
