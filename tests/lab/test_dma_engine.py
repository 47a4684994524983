# SPDX-License-Identifier: BSD-2-Clause
"""A NIC that copies memory on command: under every strategy, in the kernel and as a process, by hand and in a run."""

import json

import pytest

import program

KERNEL = ["strict", "deferred", "copy", "persistent", "passthrough", "linux-strict", "linux-lazy", "linux-identity"]
USER = ["strict", "deferred", "copy", "persistent"]
POINTS = [("kernel", strategy) for strategy in KERNEL] + [("user", strategy) for strategy in USER]
# Under which a buffer stays within the device's reach when it has been unmapped, and what was put off is through.
KEPT = ("persistent", "passthrough", "linux-identity")
# Under which the device may do anything with whatever it is let to.
BOTH_WAYS = ("passthrough", "linux-identity")

SUITE = program.suite("copies", ["kernel", "user", "stock"], ["strict", "persistent", "linux-strict"],
                      [("dma-copy", 50, {"lifetime_copies": "[0, 1]"})])


@pytest.fixture(scope="module")
def steps(dmatoll, guest_image):
    return program.steps(dmatoll, guest_image, "dma_engine.sh", "--limit", "400")


def said(step):
    """Lines "name value"."""
    return dict(line.split(" ", 1) for line in step.text.splitlines() if " " in line)


@pytest.mark.parametrize(("side", "strategy"), POINTS)
def test_what_was_to_be_copied_is_copied(steps, side, strategy):
    for what, size in (("copies", 1514), ("kept", 4096), ("shortest", 60)):
        step = steps[f"{side}-{strategy}-{what}"]
        step.done()
        found = said(step)
        assert found["state"] == "ready" and "failure" not in found, step
        assert found["copies"] == "3000" and found["bytes_copied"] == str(3000 * size)
        assert found["copies_bad"] == found["copies_lost"] == found["restarts"] == "0"
    for what in ("end", "kept-end"):
        assert said(steps[f"{side}-{strategy}-{what}"])["copies_bad"] == "0"


@pytest.mark.parametrize(("side", "strategy"), POINTS)
def test_mapping_work_is_what_the_strategy_says(steps, side, strategy):
    each, kept = (said(steps[f"{side}-{strategy}-{what}"]) for what in ("copies", "kept"))
    if strategy in ("strict", "deferred", "linux-strict", "linux-lazy", "linux-identity"):
        # Both ends of each copy; or of each of the 32 pairs.
        assert each["maps"] == "6000" and kept["maps"] == "64", (each, kept)
        # What `deferred` has put off may be counted with the next run.
        assert strategy == "deferred" or (each["unmaps"] == "6000" and kept["unmaps"] == "0"), (each, kept)
    else:
        assert each["unmaps"] == "0" and int(each["maps"]) <= 64
    if strategy == "strict":
        assert each["invalidations"] == "6000"
    if strategy.startswith("linux"):
        assert "invalidations" not in each


@pytest.mark.parametrize(("side", "strategy"), POINTS)
def test_a_stray_access_gets_where_the_strategy_lets_it(steps, side, strategy):
    written, read = (said(steps[f"{side}-{strategy}-stray-{what}"]) for what in ("write", "read"))
    if strategy in KEPT:
        assert written["found"] == "destination" and written["pair"] == "5"
    else:
        assert written["found"] == "nowhere"
    # The shadow of strategy copy holds what was sent last; the device reads that, and never the buffer.
    assert read["reached"] == ("1" if strategy in (*KEPT, "copy") else "0"), read
    # The kept mapping of a source is for reading alone, unless nothing is.
    wrong = said(steps[f"{side}-{strategy}-wrong-direction"])
    assert wrong["found"] == ("source" if strategy in BOTH_WAYS else "nowhere")


@pytest.mark.parametrize(("side", "strategy"), POINTS)
def test_what_was_never_mapped_is_out_of_reach(steps, side, strategy):
    # Beyond the memory of the guest: nothing of it is reachable there under any strategy.
    assert said(steps[f"{side}-{strategy}-stray-write-nowhere"])["found"] == "nowhere"
    assert said(steps[f"{side}-{strategy}-stray-read-nowhere"])["reached"] == "0"


@pytest.mark.parametrize("strategy", KERNEL)
def test_the_module_counts(steps, strategy):
    assert steps[f"kernel-{strategy}-strategy"].text.strip() == strategy
    counts = {name: int(value) for name, value in said(steps[f"kernel-{strategy}-statistics"]).items()}
    assert counts["copies"] == 9000 and counts["copies_bad"] == 0
    assert counts["bytes_copied"] == 3000 * (1514 + 4096 + 60)


@pytest.mark.parametrize("strategy", USER)
def test_the_process_counts_and_has_no_privileges(steps, strategy):
    stats = json.loads(steps[f"user-{strategy}-statistics"].text)
    assert stats["strategy"] == strategy and stats["placement"] == "user" and stats["domain"] == "vfio-type1"
    assert stats["counters"]["copies"] == 9000 and stats["counters"]["copies_bad"] == 0
    if strategy == "strict":
        # One to map and one to unmap for each end of a copy.
        assert stats["process"]["system_calls"] > 2 * 2 * 3000
    identity = steps[f"user-{strategy}-identity"].text
    assert f"Uid:\t{0x7800_0000 | 4 << 3}\t" in identity and "CapEff:\t0000000000000000" in identity and "NoNewPrivs:\t1" in identity
    steps[f"user-{strategy}-stop"].done()


def test_what_cannot_be_is_refused_with_the_reason(steps):
    steps["kernel-no-verb"].refused("there are begin, run", "word walk")
    steps["kernel-out-of-range"].refused("out of range", "word bytes=59")
    steps["kernel-zero"].refused("out of range", "word iova=0")
    steps["kernel-nothing-begun"].refused("nothing has begun")
    steps["kernel-busy"].refused("copies are being made")
    assert "there are begin" in steps["user-no-verb"].text and "out of range" in steps["user-zero"].text
    assert steps["kernel-no-such-cpu"].status != 0 and "parameter polling_cpu is 99" in steps["kernel-words"].text
    assert steps["kernel-another-device"].status != 0 and "is not a device that this driver knows" in steps["kernel-words"].text


def test_it_polls_and_says_so(steps):
    assert steps["kernel-completion"].text.strip() == "poll"
    assert steps["kernel-cpu"].text.strip() == "1" and said(steps["kernel-cpu-copies"])["copies"] == "3000"
    assert json.loads(steps["user-strict-statistics"].text)["parameters"]["completion"] == "poll"


def test_an_end_in_the_midst_of_it_ends_it(steps):
    assert said(steps["kernel-running"])["state"] == "running"
    steps["kernel-unbound"].done()
    steps["load"].done()
    steps["unload"].done()
    # A process that was killed has a successor, which begins anew.
    assert said(steps["user-after-death"])["copies"] == "3000"
    steps["user-stop-running"].done()


def test_commands_can_stand_in_the_command_line(steps):
    steps["user-command"].done()
    events = [json.loads(line) for line in steps["user-command"].text.splitlines() if line.startswith("{")]
    answers = {event["command"]: event for event in events if event["event"] == "answer"}
    assert answers["run copies=500"]["state"] == "ready" and answers["run copies=500"]["copies"] == 500
    assert answers["end"]["copies_bad"] == 0
    steps["user-command-refused"].refused("out of range", "bytes=1")
    steps["user-command-fails"].refused("nothing has begun")


def test_the_kernel_has_nothing_to_complain_of(steps):
    assert steps["complaints"].status == 0, steps["complaints"].text


@pytest.fixture(scope="module")
def records(dmatoll, tmp_path_factory):
    place = tmp_path_factory.mktemp("copies")
    suite = place / "copies.toml"
    suite.write_text(SUITE)
    ended = program.run(dmatoll, "run", suite, "--output", place / "run", "--jobs", "1", "--seed", "3")
    assert ended.returncode == 0, ended
    return {(each["placement"], each["strategy"]["name"], each["workload"]["parameters"]["lifetime_copies"]): each
            for each in program.records(place / "run")}, ended.stdout


def test_a_run_records_what_a_copy_costs(records):
    found, _ = records
    assert {key[:2] for key in found} == {("kernel", "strict"), ("kernel", "persistent"), ("kernel", "linux-strict"),
                                          ("user", "strict"), ("user", "persistent")}
    for (placement, strategy, lifetime), each in found.items():
        assert each["status"] == "ok", each.get("reason")
        assert each["completion"] == "poll" and each["device"]["interrupt"] == "none"
        assert each["metrics"]["copies"] > 0 and each["metrics"]["instructions_per_copy"] > 0
        assert each["metrics"]["iommu"]["faults"] == 0
        assert "packets" not in each["metrics"]
        assert each["domain"]["attached"] == {"user": "vfio-type1"}.get(placement, "DMA" if strategy == "linux-strict" else "paging")
        maps = each["metrics"]["iommu"]["maps"] / each["metrics"]["copies"]
        # A batch may be under way when the counters are read.
        if lifetime == 1 and strategy != "persistent":
            assert maps == pytest.approx(2, abs=0.1), each["trial"]
        else:
            assert each["metrics"]["iommu"]["maps"] == 0, each["trial"]


def test_the_report_tells_what_a_pair_costs(records):
    _, text = records
    assert "Memory copies: what a map and an unmap cost" in text
    assert "instructions per pair" in text
