# SPDX-License-Identifier: BSD-2-Clause
"""Taking devices from their drivers and giving them back, in a guest that is used like a machine."""

import json

import pytest

import program

DEVICE = "0000:00:04.0"
BOARDS_AHCI = "0000:00:1f.2"


@pytest.fixture(scope="module")
def steps(dmatoll, guest_image):
    return program.steps(dmatoll, guest_image, "bindings.sh")


def device(step):
    listed = json.loads(step.text)
    # The board has an AHCI controller of its own, in a group with other functions.
    assert [each["bdf"] for each in listed] == [DEVICE, BOARDS_AHCI]
    assert listed[1]["model"] == "ICH9-AHCI" and listed[1]["group_companions"]
    return listed[0]


def test_devices_lists_what_can_be_driven_and_nothing_else(steps):
    found = device(steps["devices-unbound"])
    assert found["driver"] == "" and found["interfaces"] == [] and found["default_route"] is False
    assert isinstance(found["group"], int) and found["group_type"] == "DMA-FQ" and found["group_companions"] == []


def test_without_privilege_all_say_so(steps):
    steps["bind-unprivileged"].refused("needs root")
    steps["user-driver-unprivileged"].refused("needs root")
    steps["run-unprivileged"].refused("needs root")


def test_a_device_that_carries_the_default_route_is_taken_by_force_only(steps):
    found = device(steps["devices-default-route"])
    assert found["default_route"] is True and found["driver"] == "e1000"
    steps["bind-default-route"].refused(DEVICE, found["interfaces"][0], "default route", "--force")
    steps["run-default-route"].refused(DEVICE, "default route", "--force")
    assert steps["after-refusals"].text == steps["state-before"].text
    steps["bind-forced"].done("vfio-pci", "restore")
    assert steps["driver-forced"].text == "vfio-pci"
    steps["restore-forced"].done("e1000 again")
    assert steps["after-forced"].text == steps["state-before"].text
    steps["restore-nothing"].done("Nothing was taken")


def test_unknown_devices_and_drivers_are_refused_by_name(steps):
    steps["bind-unknown-device"].refused("0000:00:1d.3", "dmatoll devices")
    steps["bind-other-device"].refused("0000:00:00.0", "82540EM")
    steps["bind-unknown-driver"].refused("no-such-driver")
    steps["restore-unknown-driver"].done()
    assert steps["after-unknown-driver"].text == steps["state-before"].text


def test_the_user_driver_says_what_is_wrong_with_its_device(steps):
    steps["user-driver-unknown-device"].refused("0000:00:1d.3", "dmatoll devices")
    steps["user-driver-other-device"].refused("0000:00:00.0", "8086:100e")
    steps["user-driver-not-bound"].refused(DEVICE, "bound to e1000", "dmatoll bind")
    steps["user-driver-unknown-strategy"].refused("strikt", "strict, ", "deferred, ", "persistent")
    steps["user-driver-kernel-strategy"].refused("linux-lazy", "in the kernel only")
    steps["user-driver-kernel-allocator"].refused("identity", "physical addresses", "size-classes, tree,")
    steps["user-driver-no-vfio"].refused("/dev/vfio/vfio", "modprobe")
    steps["no-hugepages-group-busy"].refused(DEVICE, "in use by another process")


def test_bind_and_restore_work_with_our_module(steps):
    steps["bind-kernel-driver"].done("dmatoll-net", "e1000")
    assert steps["driver-kernel-driver"].text == "dmatoll-net"
    steps["restore-kernel-driver"].done("e1000 again")
    assert steps["after-kernel-driver"].text == steps["state-before"].text


def test_without_huge_pages_the_user_driver_works_and_says_so(steps):
    ready = json.loads(steps["no-hugepages-ready"].text)
    assert ready["event"] == "ready" and ready["arena"] == "4KiB"
    assert "hugepages" in ready["note"] and "hugepages" in steps["no-hugepages-note"].text
    assert " qdisc noqueue " in steps["tap-queue"].text, "nothing ever waits there"
    steps["no-hugepages-works"].done()
    steps["no-hugepages-end"].done()
    steps["restore-vfio"].done("e1000 again")
    assert steps["after-vfio"].text == steps["state-before"].text


@pytest.mark.parametrize("placement, driver", [("kernel", "dmatoll-net"), ("user", "vfio-pci")])
def test_after_the_harness_was_killed_restore_brings_the_stock_driver_back(steps, placement, driver):
    killed = steps[f"killed-{placement}"]
    killed.done("ended with 137", driver, "dmatoll-peer")
    steps[f"restore-killed-{placement}"].done("e1000 again", "dmatoll-peer")
    assert steps[f"after-killed-{placement}"].text == steps["state-before"].text


def test_a_probe_that_is_interrupted_gives_the_second_device_back(steps):
    # Until then it was in the probe's hands, or there would have been no end.
    steps["interrupted-probe"].done("ended with 130")
    assert steps["after-interrupted-probe"].text == steps["state-before"].text


def test_the_kernel_saw_nothing_wrong(steps):
    steps["trouble"].done()
