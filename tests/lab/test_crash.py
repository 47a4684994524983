# SPDX-License-Identifier: BSD-2-Clause
"""A driver that fails under traffic: a process comes back, the kernel does not."""

import pytest

import program

# Far below the ten seconds after which a process counts as sound again: restarts that come soon are delayed more and more,
# and come all the same.
SUITE = """
[suite]
name = "failures"
summary = "made by a test"

[[part]]
name = "process"
[part.axes]
device = ["82540EM"]
placement = ["user"]
strategy = ["persistent"]
[[part.workload]]
name = "crash-kill"
kills = 3
window_ms = 500
[[part.workload]]
name = "crash-null"
kills = 1
window_ms = 500
[[part.workload]]
name = "crash-loop"
kills = 1
window_ms = 500

[[part]]
name = "kernel"
[part.axes]
device = ["82540EM"]
placement = ["kernel"]
strategy = ["persistent"]
[[part.workload]]
name = "crash-null"
kills = 1
"""


@pytest.fixture(scope="module")
def records(dmatoll, tmp_path_factory):
    place = tmp_path_factory.mktemp("crash")
    suite = place / "failures.toml"
    suite.write_text(SUITE)
    ended = program.run(dmatoll, "run", suite, "--output", place / "run", "--no-report")
    assert ended.returncode == 0, ended
    return {(each["placement"], each["workload"]["name"]): each for each in program.records(place / "run")}


@pytest.mark.parametrize(("how", "kills"), [("kill", 3), ("null", 1), ("loop", 1)])
def test_a_process_comes_back_each_time(records, how, kills):
    record = records["user", f"crash-{how}"]
    assert record["status"] == "ok", record.get("reason")
    metrics = record["metrics"]
    assert metrics["kills"] == metrics["recoveries"] == metrics["outage_ns"]["n"] == kills
    assert metrics["kernel_messages"] == 0, record["crash"]["kernel_messages"]
    assert 0 < metrics["packets_lost"] < metrics["packets_sent"]
    assert 0 < metrics["outage_ns"]["median"] <= metrics["outage_ns"]["worst"]


def test_a_kernel_does_not(records):
    record = records["kernel", "crash-null"]
    assert record["status"] == "ok", record.get("reason")
    assert record["metrics"]["recoveries"] == 0
    assert "NULL pointer dereference" in record["crash"]["oops"]
