# SPDX-License-Identifier: BSD-2-Clause
"""A run that is killed, and one that is interrupted: what was finished stays, nothing runs on, the rest can be run."""

import json
import signal

import program

SUITE = program.suite("cut", ["kernel"], ["linux-lazy"],
                      [("iperf3-tcp-tx", 100, {"payload_bytes": 1000 * number}) for number in (1, 2, 3, 4)])


def cut_off(dmatoll, suite, run, already, number, *options):
    """Starts or resumes the run, and sends the signal when one more trial is recorded."""
    with program.Started(dmatoll, "run", suite, "--no-report", *options) as started:
        program.wait_for("a record", lambda: len(program.whole_lines(run / "trials.jsonl")) > already
                         or started.process.poll() is not None)
        if started.process.poll() is not None:
            raise AssertionError(f"the run was over before it could be cut off: {started.finish()}")
        emulators = started.emulators()
        assert len(emulators) == 1, program.whole_lines(run / "trials.jsonl")
        started.signal(number)
        result = started.finish()
        program.wait_for("the guest's end", lambda: not program.lives(emulators[0]), limit=30)
    return result


def test_a_run_that_is_killed_and_interrupted_is_gone_on_with(dmatoll, place):
    suite = place / "cut.toml"
    suite.write_text(SUITE)
    run = place / "run"

    killed = cut_off(dmatoll, suite, run, 0, signal.SIGKILL, "--output", run)
    assert killed.returncode == -signal.SIGKILL
    first = program.records(run)
    assert [each["status"] for each in first] == ["ok"] * len(first)
    assert 1 <= len(first) < 4
    # As if the kill had hit in the middle of a line.
    with open(run / "trials.jsonl", "a") as file:
        file.write('{"schema":1,"trial":"torn')

    interrupted = cut_off(dmatoll, suite, run, len(first), signal.SIGINT, "--resume", run)
    assert interrupted.returncode == 130, interrupted
    assert f"dmatoll run {suite} --resume {run}" in interrupted.stderr
    second = program.records(run)
    assert second[: len(first)] == first
    assert len(first) < len(second) < 4

    resumed = program.run(dmatoll, "run", suite, "--no-report", "--resume", run)
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    assert f"{4 - len(second)} trials in" in resumed.stdout
    everything = program.records(run)
    assert everything[: len(second)] == second
    plan = json.loads((run / "manifest.json").read_text())["plan"]
    assert [each["trial"] for each in everything] == [trial["id"] for trial in plan["trials"]]

    again = program.run(dmatoll, "run", suite, "--no-report", "--resume", run)
    assert again.returncode == 0 and "Nothing is left to run" in again.stdout
    assert program.records(run) == everything
