# SPDX-License-Identifier: BSD-2-Clause
"""A guest that panics, one that hangs, a peer that never answers: an error record each, and the run goes on."""

import json
import re

import pytest

import program

# What guest/iperf3 does to a client with that payload.
PANIC, HANG, SILENT_PEER = FAULTS = [1001, 1002, 1003]
FINE = [1400, 1401, 1402]
# A trial without a fault takes about three seconds of an idle machine.
DEADLINE = 30


def seed_with_faults_first(dmatoll, suite):
    """One whose order has a trial without a fault behind each one with a fault."""
    for seed in range(1, 1000):
        plan = json.loads(program.run(dmatoll, "plan", suite, "--json", "--seed", seed).stdout)
        order = [trial["parameters"]["payload_bytes"] for trial in plan["trials"]]
        if set(order[::2]) == set(FAULTS):
            return seed
    raise AssertionError("no seed has such an order")


@pytest.fixture(scope="module")
def run(dmatoll, tmp_path_factory):
    place = tmp_path_factory.mktemp("faults")
    lab = program.image_with(place, {"usr/sbin/iperf3": (program.HERE / "guest" / "iperf3").read_bytes()})
    suite = place / "faults.toml"
    suite.write_text(program.suite("faults", ["stock"], ["linux-lazy"],
                                   [("iperf3-tcp-tx", 100, {"payload_bytes": payload}) for payload in FAULTS + FINE]))
    result = program.run(dmatoll, "run", suite, "--output", place / "run", "--deadline", DEADLINE, "--no-report",
                         "--seed", seed_with_faults_first(dmatoll, suite), lab=lab)
    return result, place / "run"


@pytest.fixture(scope="module")
def record(run):
    return {each["workload"]["parameters"]["payload_bytes"]: each for each in program.records(run[1])}


def test_the_run_goes_on_to_its_end_and_says_that_there_were_errors(run, record):
    result, directory = run
    assert result.returncode == 3, result
    assert "6 trials in" in result.stdout and "3 ok, 3 errors" in result.stdout
    assert len(program.records(directory)) == 6 and set(record) == set(FAULTS + FINE)


def test_the_trial_behind_each_fault_is_fine(run):
    each = iter(program.records(run[1]))
    for fault, next_one in zip(each, each):
        assert fault["workload"]["parameters"]["payload_bytes"] in FAULTS
        assert next_one["status"] == "ok", next_one.get("reason")
        assert next_one["metrics"]["packets"] > 0


@pytest.mark.parametrize("fault", [PANIC, HANG, SILENT_PEER])
def test_an_error_has_a_reason_and_no_metrics(record, fault):
    assert record[fault]["status"] == "error"
    assert "metrics" not in record[fault] and "window_ns" not in record[fault]
    # What was asked for is there as in any other record.
    for key in ("schema", "run", "trial", "repetition", "environment", "device", "placement", "strategy", "domain", "workload"):
        assert record[fault][key], key


def test_a_panic_is_recorded_with_the_consoles_last_lines(record):
    reason = record[PANIC]["reason"]
    assert "panicked" in reason.splitlines()[0]
    assert "Kernel panic - not syncing: sysrq triggered crash" in reason
    assert "console.log" in reason


def test_a_hang_is_recorded_with_the_consoles_last_lines(record):
    reason = record[HANG]["reason"]
    # A silent trial has its own length on top.
    waited = re.search(r"no progress within (\d+) s", reason.splitlines()[0])
    assert DEADLINE <= int(waited[1]) < 2 * DEADLINE
    assert "about to hang" in reason


def test_a_silent_peer_is_recorded_with_what_iperf3_said(record):
    reason = record[SILENT_PEER]["reason"]
    assert "iperf3" in reason and "connect" in reason, reason


def test_each_guest_that_was_lost_has_its_files(run):
    consoles = sorted(path.parent.name for path in (run[1] / "raw").glob("boot-0*/console.log"))
    assert consoles == ["boot-0", "boot-0-again-1", "boot-0-again-2"]
