# SPDX-License-Identifier: BSD-2-Clause
"""What the program says to wrong words, and where there is no room: no trial gets to run."""

import errno
import json
import os
import pathlib
import subprocess

import pytest

import program

GOOD = program.suite("tiny", ["stock"], ["linux-lazy"], [("iperf3-tcp-tx", 100, {})])


def refused(result, *words):
    assert result.returncode not in (0, 3, 126, 127) and result.returncode > 0, result
    for word in words:
        assert word in result.stderr, f"{word!r} is missing in: {result.stderr}"
    # One who is refused is not told of a suite that ran.
    assert "trials in" not in result.stdout


def suite_file(place, text):
    path = place / "own.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    "wrong, right, unknown, meant",
    [
        ('"linux-lazy"', '"linux-lasy"', "linux-lasy", "linux-lazy"),
        ('"82540EM"', '"82540EN"', "82540EN", "82540EM"),
        ('"stock"', '"stok"', "stok", "stock"),
        ('"iperf3-tcp-tx"', '"iperf3-tcp-tz"', "iperf3-tcp-tz", "iperf3-tcp-tx"),
        ("boots = 1", "boot = 1", "boot", "boots"),
        ("[axes]", "[axis]", "axis", "axes"),
        ("window_ms = 100", "windows_ms = 100", "windows_ms", "window_ms"),
    ],
    ids=["strategy", "device", "placement", "workload", "suite key", "table", "parameter"],
)
@pytest.mark.parametrize("command", ["plan", "run"])
def test_an_unknown_word_in_a_suite_is_named_with_its_place_and_its_neighbour(dmatoll, place, command, wrong, right,
                                                                             unknown, meant):
    assert wrong in GOOD
    path = suite_file(place, GOOD.replace(wrong, right))
    result = program.run(dmatoll, command, path, cwd=place)
    refused(result, f"'{unknown}'", f"'{meant}'", str(path))
    assert not (place / "results").exists()


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["plan", "quik"], ["'quik'", "'quick'"]),
        (["run", "quik"], ["'quik'", "'quick'"]),
        (["run", "no/such/suite.toml"], ["no/such/suite.toml", "No such file"]),
        (["plan", "quick", "--filter", "strategy=strikt"], ["'strikt'", "'strict'"]),
        (["plan", "quick", "--filter", "strategie=strict"], ["'strategie'", "'strategy'"]),
        (["run", "quick", "--filter", "placement"], ["'placement'", "key=value"]),
        (["run", "quick", "--filter", "boot=99"], ["quick", "boot=99"]),
        (["run", "quick", "--target", "local"], ["--device", "--peer"]),
        (["run", "quick", "--resume", "no-such-run"], ["no-such-run"]),
        (["run", "quick", "--resume", "latest", "--seed", "3"], ["--seed", "--resume"]),
        (["report", "no-such-run"], ["no-such-run"]),
        (["bind", "0000:ff:1f.7", "vfio-pci"], ["0000:ff:1f.7", "dmatoll devices"]),
        (["bind", "eth0", "vfio-pci"], ["'eth0'", "0000:00:04.0"]),
        (["run", "quick", "--no-such-option"], ["--no-such-option"]),
        (["ruin"], ["'ruin'", "'run'"]),
    ],
    ids=lambda value: "-".join(value),
)
def test_a_wrong_argument_is_refused_by_name(dmatoll, place, arguments, words):
    refused(program.run(dmatoll, *arguments, cwd=place), *words)


def test_what_is_printed_for_programs_is_json(dmatoll, place):
    catalogue = json.loads(program.run(dmatoll, "list", "--json", cwd=place).stdout)
    assert {"strict", "persistent"} <= {strategy["name"] for strategy in catalogue["strategies"]}
    for strategy in catalogue["strategies"]:
        for placement in strategy["placements"]:
            assert {"kernel_from_device", "kernel_from_driver", "driver_from_device"} <= set(strategy["protection"][placement])
    assert "quick" in {suite["name"] for suite in catalogue["suites"]}
    assert isinstance(json.loads(program.run(dmatoll, "devices", "--json", cwd=place).stdout), list)

    doctor = json.loads(program.run(dmatoll, "doctor", "--json", cwd=place).stdout)
    checks = {check["name"]: check for check in doctor["lab"]}
    assert checks["qemu-system-x86_64"]["there"] is True


def trials(dmatoll, place, *arguments):
    plan = json.loads(program.run(dmatoll, "plan", "quick", "--json", *arguments, cwd=place).stdout)
    return [(trial["id"], trial["boot_seed"]) for trial in plan["trials"]]


def test_the_seed_decides_the_order_and_nothing_else(dmatoll, place):
    one = trials(dmatoll, place, "--seed", "1")
    other = trials(dmatoll, place, "--seed", "2")
    assert one == trials(dmatoll, place, "--seed", "1")
    assert [name for name, _ in one] != [name for name, _ in other]
    assert sorted(name for name, _ in one) == sorted(name for name, _ in other)
    assert len(set(one)) == len(one)


def test_a_place_that_cannot_be_written_is_named_before_anything_is_started(dmatoll, place):
    occupied = place / "file"
    occupied.write_text("in the way")
    result = program.run(dmatoll, "run", suite_file(place, GOOD), "--output", occupied / "run", cwd=place)
    refused(result, str(occupied), os.strerror(errno.ENOTDIR))
    assert occupied.read_text() == "in the way"


def test_a_run_is_never_written_over(dmatoll, place):
    taken = place / "run"
    taken.mkdir()
    (taken / "manifest.json").write_text("{}")
    result = program.run(dmatoll, "run", suite_file(place, GOOD), "--output", taken, cwd=place)
    refused(result, str(taken), "--resume")
    assert (taken / "manifest.json").read_text() == "{}"


@pytest.fixture
def small_disk(place):
    """A file system of 64 KiB, which only root can make."""
    where = place / "disk"
    where.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", where], capture_output=True, text=True)
    if made.returncode != 0:
        pytest.skip(f"no small file system can be made here: {made.stderr.strip()}")
    yield where
    subprocess.run(["umount", "--lazy", where], check=True)


def fill(disk):
    with open(disk / "filling", "wb", buffering=0) as filling:
        try:
            while True:
                filling.write(bytes(4096))
        except OSError as error:
            assert error.errno == errno.ENOSPC


def test_a_full_disk_refuses_a_run_with_the_reason(dmatoll, place, small_disk):
    fill(small_disk)
    result = program.run(dmatoll, "run", suite_file(place, GOOD), "--output", small_disk / "run", cwd=place)
    refused(result, os.strerror(errno.ENOSPC), str(small_disk))


def test_a_disk_that_is_full_when_a_trial_ends_costs_no_finished_trial(dmatoll, place, small_disk, monkeypatch):
    path = suite_file(place, GOOD.replace('["stock"]', '["stock", "kernel"]'))
    plan = json.loads(program.run(dmatoll, "plan", path, "--json", cwd=place).stdout)
    run = small_disk / "run"
    (run / "raw").mkdir(parents=True)
    manifest = {"schema": 1, "run": "run", "target": "lab", "clock": "virtual", "seed": 1, "environment": {}, "plan": plan}
    (run / "manifest.json").write_text(json.dumps(manifest))
    finished = {"schema": 1, "run": "run", "trial": plan["trials"][0]["id"], "status": "ok", "filling": ""}
    # A whole page, so that nothing fits behind it.
    finished["filling"] = "x" * (4095 - len(json.dumps(finished)))
    (run / "trials.jsonl").write_text(json.dumps(finished) + "\n")
    fill(small_disk)

    # An emulator that does not even start: the trial is an error at once.
    emulator = place / "bin" / "qemu-system-x86_64"
    emulator.parent.mkdir()
    emulator.write_text("#!/bin/sh\nexit 1\n")
    emulator.chmod(0o755)
    monkeypatch.setenv("PATH", f"{emulator.parent}:{os.environ['PATH']}")
    result = program.run(dmatoll, "run", path, "--resume", run, "--no-report", cwd=place)
    assert result.returncode == 1, result
    for word in (os.strerror(errno.ENOSPC), str(run / "trials.jsonl"), plan["trials"][1]["id"], "--resume"):
        assert word in result.stderr, result
    assert program.records(run) == [finished]


def finished_probe(dmatoll, place, **changed):
    """A run of one probed trial that is through, in which one cell is as told."""
    plan = json.loads(program.run(dmatoll, "plan", "probe", "--filter", "workload=probe,device=82540EM,strategy=strict,placement=user", "--json", cwd=place).stdout)
    run = place / "run"
    (run / "raw").mkdir(parents=True)
    manifest = {"schema": 1, "run": "run", "target": "lab", "clock": "virtual", "seed": 1, "environment": {}, "plan": plan}
    (run / "manifest.json").write_text(json.dumps(manifest))
    cell = {"attacker": "device", "asset": "driver", "access": "stale_read", "promised": "refused", "accesses": 4, "reached": 0,
            "verdict": "as promised", **changed}
    (run / "trials.jsonl").write_text("".join(
        json.dumps({"schema": 1, "run": "run", "trial": trial["id"], "status": "ok", "probe": {"cells": [cell]}}) + "\n" for trial in plan["trials"]))
    return run


def test_a_broken_promise_is_told_and_ends_a_probe_with_its_own_status(dmatoll, place):
    run = finished_probe(dmatoll, place, reached=3, verdict="less than promised")
    result = program.run(dmatoll, "probe", "--resume", run, "--no-report", cwd=place)
    assert result.returncode == 4, result
    assert "stale_read" in result.stdout and "3 times of 4" in result.stdout and "refused" in result.stdout


def test_kept_promises_are_no_failure_and_nothing_probed_is_one(dmatoll, place):
    run = finished_probe(dmatoll, place)
    assert program.run(dmatoll, "probe", "--resume", run, "--no-report", cwd=place).returncode == 0
    records = program.records(run)
    (run / "trials.jsonl").write_text("".join(json.dumps({**{key: value for key, value in record.items() if key != "probe"}, "status": "skipped"}) + "\n"
                                               for record in records))
    result = program.run(dmatoll, "probe", "--resume", run, "--no-report", cwd=place)
    assert result.returncode == 1 and "Nothing was probed" in result.stderr, result
