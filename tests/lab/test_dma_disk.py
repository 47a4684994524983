# SPDX-License-Identifier: BSD-2-Clause
"""A disk that copies memory and reads and writes it where it should not, driven by a process and by the module in a guest."""

import json

import pytest

import program

# Those that give up a buffer some time later, and those that do not.
BOUNDED = ("deferred", "optimistic", "contiguous")
KEPT = ("on-demand", "persistent")
COPIED = ("copy", "hybrid-copy")
STRATEGIES = ["strict", "shared", *BOUNDED, *COPIED, *KEPT]


@pytest.fixture(scope="module")
def steps(dmatoll, guest_image):
    return program.steps(dmatoll, guest_image, "dma_disk.sh", "--disks", "--limit", "280")


def answers(step):
    """By command, the last of each."""
    step.done()
    lines = [json.loads(line) for line in step.text.splitlines() if line.startswith("{")]
    return {line["command"]: line for line in lines if line["event"] == "answer"}


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_it_copies_ahead_of_a_stray_access_and_behind_it(steps, strategy):
    answer = answers(steps[strategy])["run copies=64"]
    assert answer["copies"] == 64 and answer["copies_bad"] == answer["copies_lost"] == answer["restarts"] == 0, answer
    assert answer["bytes_copied"] == 64 * 4096


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_what_was_never_mapped_is_out_of_reach(steps, strategy):
    found = answers(steps[strategy])
    assert found["stray_read iova=0x70000000"]["reached"] == 0
    assert found["stray_write iova=0x70000000"]["found"] == "nowhere"


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_it_reaches_of_its_drivers_buffers_what_the_strategy_lets_it(steps, strategy):
    judge(strategy, answers(steps[strategy])["reach rounds=4 patience_ms=20"])


@pytest.mark.parametrize("strategy", ["strict", "deferred", "copy", "persistent"])
def test_in_the_kernel_it_is_the_same(steps, strategy):
    step = steps[f"kernel-{strategy}"]
    step.done()
    words = [line.split(" ", 1) for line in step.text.splitlines() if " " in line]
    found = {name: int(value) for name, value in words if value.isdigit()}
    assert found["copies"] == 64 and found["copies_bad"] == found["copies_lost"] == found["restarts"] == 0, found
    assert found["reached"] == 0 and ["found", "nowhere"] in words
    judge(strategy, found)


def judge(strategy, found):
    for access in ("neighbour_write", "neighbour_read"):
        assert found[f"{access}_accesses"] == 8 and found[access] == (0 if strategy in COPIED else 8), found
    assert found["backward_write_accesses"] == 8 and found["backward_write"] == 0, found
    for access in ("stale_write", "stale_read"):
        if strategy in KEPT:
            assert found[f"{access}_open"] == 4, found
        elif strategy in BOUNDED:
            # The window is there, and it ends.
            assert found[access] > 0 and found[f"{access}_open"] == 0, found
            assert found[f"{access}_longest_ns"] < found[f"{access}_refused_ns"], found
        else:
            assert found[f"{access}_accesses"] == 4 and found[access] == 0, found


def test_it_copies_whole_blocks(steps):
    steps["whole-blocks"].refused("does not copy that many bytes")
