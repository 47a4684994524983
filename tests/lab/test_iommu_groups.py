# SPDX-License-Identifier: BSD-2-Clause
"""No IOMMU, and an IOMMU that cannot tell two devices apart: what needs one says so, and touches nothing."""

import concurrent.futures
import json

import pytest

import program

DEVICE = "0000:00:04.0"
BRIDGE = ["-device", "pcie-pci-bridge,id=bridge", "-device", "e1000,bus=bridge,addr=1,romfile=",
          "-device", "e1000,bus=bridge,addr=2,romfile="]


@pytest.fixture(scope="module")
def both(dmatoll, guest_image):
    """Two guests at a time, on a CPU each."""
    cpus = program.host_cpus()
    with concurrent.futures.ThreadPoolExecutor() as pool:
        guests = [pool.submit(program.steps, dmatoll, guest_image, "no_iommu.sh", "--no-iommu", cpu=cpus[0]),
                  pool.submit(program.steps, dmatoll, guest_image, "shared_group.sh",
                              *(f"--qemu={argument}" for argument in BRIDGE), cpu=cpus[-1])]
        return [guest.result() for guest in guests]


@pytest.fixture(scope="module")
def without(both):
    return both[0]


@pytest.fixture(scope="module")
def shared(both):
    return both[1]


def test_doctor_says_that_there_is_no_iommu_and_what_to_do(without):
    report = json.loads(without["doctor-json"].text)
    iommu = {check["name"]: check for check in report["hardware"]}["IOMMU"]
    assert iommu["there"] is False and "intel_iommu=on" in iommu["remedy"]
    assert report["hardware_ready"] is False
    assert "[--] IOMMU" in without["doctor"].text and "intel_iommu=on" in without["doctor"].text
    assert "group" not in json.loads(without["devices"].text)[0]


def test_bind_and_the_user_driver_name_the_missing_group(without):
    without["bind"].refused(DEVICE, "no IOMMU group", "doctor")
    assert without["driver-after-bind"].text == "e1000"
    without["user-driver"].refused(DEVICE, "no IOMMU group", "doctor")


@pytest.mark.parametrize("strategy", ["strict", "persistent", "linux-strict", "linux-lazy"])
def test_the_module_refuses_strategies_that_need_an_iommu(without, strategy):
    log = without[f"module-{strategy}"].text
    assert DEVICE in log and "IOMMU" in log and "intel_iommu=on" in log, log
    assert without[f"module-{strategy}-driver"].text in ("", ".")


def test_a_run_records_each_trial_as_skipped_with_the_reason(without):
    without["run"].done("4 skipped")
    records = [json.loads(line) for line in without["records"].text.splitlines()]
    assert {(each["placement"], each["strategy"]["name"]) for each in records} == {
        ("kernel", "strict"), ("kernel", "linux-strict"), ("user", "strict"), ("stock", "linux-strict")}
    for each in records:
        assert each["status"] == "skipped" and "no IOMMU" in each["reason"] and "metrics" not in each
    assert without["driver-after-run"].text == "e1000"


def test_devices_shows_who_shares_a_group(shared):
    one, two = shared["pair"].text.split()
    devices = {each["bdf"]: each for each in json.loads(shared["devices"].text)}
    assert devices[one]["group_companions"] == [two] and devices[two]["group_companions"] == [one]
    assert devices[DEVICE]["group_companions"] == []


def test_bind_names_the_device_that_shares_the_group(shared):
    one, two = shared["pair"].text.split()
    shared["bind"].refused(one, two, "group")
    assert shared["driver-after-bind"].text == "e1000"
    shared["bind-alone"].done("vfio-pci")


def test_the_user_driver_names_the_device_that_shares_the_group_and_its_driver(shared):
    one, two = shared["pair"].text.split()
    shared["user-driver"].refused(one, f"{two} (e1000)", "vfio-pci")


def test_the_module_says_that_another_device_of_the_group_is_bound(shared):
    one, _ = shared["pair"].text.split()
    log = shared["module"].text
    assert one in log and "another of its devices is bound" in log, log
    assert shared["module-driver"].text in ("", ".")
