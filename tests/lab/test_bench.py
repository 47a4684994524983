# SPDX-License-Identifier: BSD-2-Clause
"""What mapping takes, timed in a guest as a user would time it. How long it took is asserted nowhere."""

import json
import re
import shutil

import pytest

import program

USER = ["strict", "deferred", "contiguous", "optimistic", "copy", "persistent"]
KERNEL = [*USER, "linux-strict", "linux-lazy", "linux-identity"]
POINTS = [("kernel", strategy) for strategy in KERNEL] + [("user", strategy) for strategy in USER]
PAGES = (1, 16)
WITH_PARTS = ("strict", "deferred")
PARTS = {
    "kernel": {"iova_allocation", "page_table_map", "page_table_unmap", "invalidation", "domain_invalidation", "iova_free"},
    "user": {"iova_allocation", "iova_free", "map_call", "unmap_call", "system_call", "pin_call"},
}
UPWARDS = ("min", "p50", "p90", "p99", "p99_9", "max")
ROUNDS = 200

SUITE = f"""
[suite]
name = "times"
summary = "made by a test"
boots = 1

[[part]]
name = "strategies"

[part.axes]
device = ["82540EM"]
placement = ["kernel", "user", "stock"]
strategy = {KERNEL}

[[part.workload]]
name = "map-unmap"
buffer_pages = {list(PAGES)}
held_buffers = 4
rounds = {ROUNDS}

[[part]]
name = "shapes"

[part.axes]
device = ["82540EM"]
placement = ["kernel", "user"]
strategy = ["strict", "linux-strict"]

[[part.workload]]
name = "map-unmap"
buffer_pages = 1024
rounds = 10

[[part.workload]]
name = "map-unmap"
buffer_pages = 1023
skew_pages = 1
rounds = 10

[[part.workload]]
name = "map-unmap"
hold_us = 50
rounds = {ROUNDS}

[[part.workload]]
name = "map-unmap"
threads = 2
rounds = {ROUNDS}
"""


@pytest.fixture(scope="module")
def run(dmatoll, tmp_path_factory):
    place = tmp_path_factory.mktemp("bench")
    (place / "times.toml").write_text(SUITE)
    ended = program.run(dmatoll, "run", place / "times.toml", "--output", place / "run", "--jobs", "1", "--no-report", limit=580)
    return ended, program.records(place / "run")


def select(run, **wanted):
    """The records of that placement, strategy or parameters."""
    found = [
        record for record in run[1]
        if all({"placement": record["placement"], "strategy": record["strategy"]["name"], **record["workload"]["parameters"]}[key] == value
               for key, value in wanted.items())
    ]
    assert found, wanted
    return found


def metrics_of(record):
    assert record["status"] == "ok", record.get("reason")
    return record["metrics"]


def in_order(summary, n):
    assert summary["n"] == n, summary
    values = [summary[name] for name in UPWARDS]
    assert values == sorted(values) and summary["min"] <= summary["mean"] <= summary["max"] and summary["max"] > 0, summary


def test_all_of_it_runs(run):
    ended, records = run
    assert ended.returncode == 0, ended.stdout[-4000:] + ended.stderr[-4000:]
    assert {(record["placement"], record["strategy"]["name"]) for record in records} == set(POINTS)
    assert len(records) == len(POINTS) * len(PAGES) + 4 + 4 + 3, [record["trial"] for record in records]
    # A driver that stops with mappings left says so, and the run fails.
    assert "were left" not in ended.stdout


@pytest.mark.parametrize(("placement", "strategy"), POINTS)
def test_each_map_and_each_unmap_is_timed(run, placement, strategy):
    for record in select(run, placement=placement, strategy=strategy):
        metrics = metrics_of(record)
        parameters = record["workload"]["parameters"]
        pairs = metrics["pairs"]
        # Of several threads the fastest go on until the slowest is through.
        assert pairs == parameters["rounds"] if parameters["threads"] == 1 else pairs >= parameters["rounds"] * parameters["threads"]
        for what in ("map_ticks", "unmap_ticks", "clock_ticks"):
            in_order(metrics[what], pairs)
        # What they contain.
        assert metrics["map_ticks"]["min"] >= metrics["clock_ticks"]["min"]
        put_off = metrics.get("put_off_ticks", {"mean": 0, "n": 0})
        # What waits at the end, and what a driver process looks for between pairs. In the kernel a timer interrupts for that.
        assert (put_off["n"] > 0) == (strategy in ("deferred", "contiguous") or (placement == "user" and strategy == "optimistic"))
        assert placement == "user" or put_off["n"] <= 1
        assert metrics["put_off_ticks_per_pair"] == pytest.approx(put_off["mean"] * put_off["n"] / pairs)
        assert metrics["pair_ticks"]["mean"] == pytest.approx(metrics["map_ticks"]["mean"] + metrics["unmap_ticks"]["mean"] + metrics["put_off_ticks_per_pair"])
        assert metrics["pair_ticks"]["p50"] == metrics["map_ticks"]["p50"] + metrics["unmap_ticks"]["p50"]
        assert metrics["tick_unit"] == "instructions" and metrics["ticks_per_ns"] == pytest.approx(1, rel=0.05)
        # The meter knows vCPUs, and so one thread of them.
        assert (metrics["instructions_per_pair"] > 0) if parameters["threads"] == 1 else ("instructions_per_pair" not in metrics)


@pytest.mark.parametrize(("placement", "strategy"), POINTS)
def test_mapping_work_is_what_the_strategy_says(run, placement, strategy):
    for pages in PAGES:
        (record,) = select(run, placement=placement, strategy=strategy, buffer_pages=pages, held_buffers=4)
        iommu = metrics_of(record)["iommu"]
        if strategy in ("strict", "linux-strict", "linux-lazy", "linux-identity"):
            assert iommu["maps"] == iommu["unmaps"] == ROUNDS, iommu
            assert ("invalidations" in iommu) == (strategy == "strict")
            assert strategy != "strict" or iommu["invalidations"] == ROUNDS
        elif strategy == "deferred":
            # Nothing of the warm-up waits any more, and nothing of this. VFIO invalidates for each mapping, one call or not.
            assert iommu["maps"] == iommu["unmaps"] == ROUNDS, iommu
            assert iommu["invalidations"] == iommu["unmaps"] if placement == "user" else iommu["invalidations"] < ROUNDS, iommu
        elif strategy == "contiguous":
            # A block of 64 pages is unmapped together; VFIO invalidates for each mapping all the same.
            assert iommu["maps"] == iommu["unmaps"] == ROUNDS, iommu
            assert iommu["invalidations"] == iommu["unmaps"] if placement == "user" else 0 < iommu["invalidations"] < ROUNDS / 2, iommu
        elif strategy == "optimistic":
            # A page of the four buffers is mapped again only if it had gone, having been idle for long. What the warm-up left
            # idle may go meanwhile, and what this run did.
            assert iommu["maps"] <= 4 * pages and iommu["unmaps"] <= 8 * pages, iommu
        else:
            assert strategy in ("copy", "persistent")
            # In the kernel the buffers may be others than the warm-up's.
            assert iommu["maps"] <= (4 * pages if (placement, strategy) == ("kernel", "persistent") else 0), iommu
            assert iommu["unmaps"] == iommu["invalidations"] == 0, iommu


@pytest.mark.parametrize(("placement", "strategy"), POINTS)
def test_parts_are_those_that_the_placement_has(run, placement, strategy):
    for record in select(run, placement=placement, strategy=strategy):
        metrics = metrics_of(record)
        if strategy not in WITH_PARTS:
            assert "parts_ticks" not in metrics and metrics["parts_absent"]
            continue
        assert "parts_absent" not in metrics
        assert set(metrics["parts_ticks"]) == PARTS[placement]
        for part in metrics["parts_ticks"].values():
            in_order(part, record["workload"]["parameters"]["rounds"])


def test_threads_count_together(run):
    for strategy in ("strict", "linux-strict"):
        (record,) = select(run, placement="kernel", strategy=strategy, threads=2)
        assert metrics_of(record)["pairs"] == metrics_of(record)["iommu"]["maps"] == metrics_of(record)["iommu"]["unmaps"] >= 2 * ROUNDS


@pytest.fixture(scope="module")
def printed(dmatoll, tmp_path_factory):
    """Two points of the suite `bench`, with its JSON."""
    place = tmp_path_factory.mktemp("printed")
    ended = program.run(dmatoll, "bench", "--filter", "part=pages,placement=kernel,strategy=strict|linux-strict,buffer_pages=1,boot=0",
                        "--output", place / "run", "--no-report", "--json", place / "times.json")
    return ended, place


def test_times_are_printed_and_written_in_google_benchmarks_shape(printed):
    ended, place = printed
    assert ended.returncode == 0, ended
    records = program.records(place / "run")
    assert {record["strategy"]["name"] for record in records} == {"strict", "linux-strict"}
    times = json.loads((place / "times.json").read_text())
    assert times["context"]["executable"] == "dmatoll bench" and times["context"]["date"] and times["context"]["kind"] == "lab-virtual"
    assert [each["name"] for each in times["benchmarks"]] == [record["trial"] for record in records]
    for each, record in zip(times["benchmarks"], records):
        metrics = metrics_of(record)
        assert each["iterations"] == metrics["pairs"] and each["threads"] == 1 and each["time_unit"] == "ns"
        assert each["real_time"] == pytest.approx(metrics["pair_ticks"]["mean"] / metrics["ticks_per_ns"])
        assert each["map_ticks_p50"] == metrics["map_ticks"]["p50"]
        assert ("invalidation_ticks_mean" in each) == (record["strategy"]["name"] == "strict")
        assert re.search(rf"^{record['trial']} .* {metrics['pair_ticks']['mean']:.1f} ", ended.stdout, re.MULTILINE), ended.stdout
    assert "instructions/pair" in ended.stdout and "Mb/s" not in ended.stdout


@pytest.mark.parametrize("why", ["errors", "skipped"])
def test_what_times_nothing_says_so_and_fails(dmatoll, printed, tmp_path, why):
    # No plan asks for more threads than there are CPUs, but a run that is gone on with does as its plan says.
    run = shutil.copytree(printed[1] / "run", tmp_path / "run")
    manifest = json.loads((run / "manifest.json").read_text())
    manifest["plan"]["trials"] = manifest["plan"]["trials"][:1]
    manifest["plan"]["trials"][0]["parameters"]["threads"] = 4
    (run / "manifest.json").write_text(json.dumps(manifest))
    (record,) = [each for each in program.records(run) if each["trial"] == manifest["plan"]["trials"][0]["id"]]
    (run / "trials.jsonl").write_text(json.dumps({**record, "status": "skipped", "metrics": {}}) + "\n" if why == "skipped" else "")
    ended = program.run(dmatoll, "bench", "--resume", run, "--no-report", "--json", tmp_path / "times.json")
    assert ended.returncode == (3 if why == "errors" else 1), ended
    assert "Nothing was timed" in ended.stderr and str(run / "trials.jsonl") in ended.stderr
    assert not (tmp_path / "times.json").exists()


def test_more_threads_than_cpus_are_not_planned(dmatoll, tmp_path):
    (tmp_path / "times.toml").write_text(SUITE.replace("threads = 2", "threads = [2, 4]"))
    plan = program.run(dmatoll, "plan", tmp_path / "times.toml", cwd=tmp_path)
    assert plan.returncode == 0, plan
    assert "4 threads need a CPU each, and the guest (vcpus) has 2" in plan.stdout and "threads=4" not in plan.stdout


def test_what_cannot_be_is_excluded_by_name(dmatoll, tmp_path):
    (tmp_path / "times.toml").write_text(SUITE)
    plan = program.run(dmatoll, "plan", tmp_path / "times.toml", cwd=tmp_path)
    assert plan.returncode == 0, plan
    assert "a driver process has one thread" in plan.stdout
    assert "copies no memory on command" in plan.stdout
