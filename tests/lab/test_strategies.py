# SPDX-License-Identifier: BSD-2-Clause
"""Strategies that share, keep or copy, on both devices and in both placements: one guest for each device."""

import json

import pytest

import program

# Case of guest/strategies.sh -> the strategy, and what it says of the device's reach.
CASES = {
    "shared": ("shared", "page zero"),
    "contiguous": ("contiguous", "page bounded 10000000"),
    "contiguous-short": ("contiguous", "page bounded 1000000"),
    "optimistic": ("optimistic", "page bounded 10000000"),
    "optimistic-one": ("optimistic", "page bounded 2000000"),
    "on-demand": ("on-demand", "page unbounded"),
    "on-demand-none": ("on-demand", "page unbounded"),
    "on-demand-one": ("on-demand", "page unbounded"),
    "hybrid-copy": ("hybrid-copy", "page zero"),
    "hybrid-copy-none": ("hybrid-copy", "page zero"),
    "deferred-per-cpu": ("deferred", "page bounded 10000000"),
}
IN_BOTH = [case for case in CASES if case != "deferred-per-cpu"]
WORKED = {"network": ("frames_transmitted", "frames_received"), "disks": ("read_requests", "write_requests")}


@pytest.fixture(scope="module", params=WORKED)
def device(request):
    return request.param


@pytest.fixture(scope="module")
def steps(dmatoll, guest_image, device):
    return program.steps(dmatoll, guest_image, "strategies.sh", *(["--disks"] if device == "disks" else []),
                         "--limit", "280")


def kernel_counts(step):
    """Of `ethtool -S`, "name: value", or of the file statistics, "name value"."""
    words = (line.replace(":", " ").split() for line in step.text.splitlines())
    return {pair[0]: int(pair[1]) for pair in words if len(pair) == 2 and pair[1].isdigit()}


def process_counts(step):
    return json.loads(step.text)["counters"]


def counts_of(steps, placement, case):
    counts = {"kernel": kernel_counts, "user": process_counts}[placement]
    return counts(steps[f"{placement}-{case}-counters"])


@pytest.mark.parametrize("case", CASES)
def test_the_module_says_what_it_is_and_what_it_holds_back(steps, case):
    strategy, reach = CASES[case]
    assert steps[f"kernel-{case}-strategy"].text == strategy
    assert steps[f"kernel-{case}-protection"].text.splitlines() == [
        f"kernel_from_device {reach}", "kernel_from_driver none none", f"driver_from_device {reach}"]


@pytest.mark.parametrize("case", CASES)
def test_an_end_of_the_module_leaves_no_mapping(steps, case):
    for what in ("unbind", "left", "trouble"):
        steps[f"kernel-{case}-{what}"].done()


@pytest.mark.parametrize("case", IN_BOTH)
def test_an_end_of_the_process_leaves_no_mapping(steps, case):
    steps[f"user-{case}-stop"].done()
    assert "mappings" not in steps[f"user-{case}-said"].text
    steps[f"user-{case}-trouble"].done()


@pytest.mark.parametrize("placement, case", [("kernel", case) for case in CASES] + [("user", case) for case in IN_BOTH])
def test_it_works_and_no_mapping_failed(steps, device, placement, case):
    counts = counts_of(steps, placement, case)
    for name in WORKED[device]:
        assert counts[name] > 0, name
    assert counts["map_failures"] == 0
    if device == "disks":
        steps[f"{placement}-{case}-data"].done()


@pytest.mark.parametrize("placement", ["kernel", "user"])
def test_counters_follow_the_strategy(steps, device, placement):
    def of(case, name):
        return counts_of(steps, placement, case)[name]

    assert of("shared", "unmaps") > 0 and of("shared", "first_touches") == 0
    assert of("shared", "invalidations") <= of("shared", "unmaps")
    # A frame is a page, and many of them a block; a disk's request may be a block of its own, and a process invalidates
    # for each mapping.
    assert of("contiguous", "unmaps") > 0
    if (device, placement) == ("network", "kernel"):
        assert of("contiguous", "invalidations") < of("contiguous", "unmaps")
    # Within the quota nothing goes; with one that is too small everything does.
    assert 0 < of("on-demand", "first_touches") <= of("on-demand", "maps")
    for case in ("on-demand-none", "on-demand-one"):
        assert of(case, "unmaps") > 0
    assert of("on-demand-none", "first_touches") == 0
    # One that may be idle goes with the next one's end.
    assert of("optimistic-one", "unmaps") > 0
    # All is copied that is short, and nothing is where nothing is short.
    assert of("hybrid-copy", "maps") < of("hybrid-copy-none", "maps")


def test_a_parameter_out_of_range_is_refused_by_name(steps):
    assert "quota_pages is 32769; it must be 0 to 32768" in steps["out-of-range"].text
    steps["out-of-range-unbound"].done()
