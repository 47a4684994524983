# SPDX-License-Identifier: BSD-2-Clause
"""What mapping takes, timed in a guest as a user would time it. How long it took is asserted nowhere."""

import pytest

import program

USER = ["strict", "deferred", "contiguous", "optimistic", "copy", "persistent"]
KERNEL = [*USER, "linux-strict", "linux-lazy", "linux-identity"]
POINTS = [("kernel", strategy) for strategy in KERNEL] + [("user", strategy) for strategy in USER]
PAGES = (1, 16)
WITH_PARTS = ("strict", "deferred")
PARTS = {
    "kernel": {"iova_allocation", "page_table_map", "page_table_unmap", "invalidation", "domain_invalidation", "iova_free"},
    "user": {"iova_allocation", "iova_free", "map_call", "unmap_call", "system_call"},
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
    # A driver that stops with mappings left says so.
    assert "were left" not in ended.stderr, ended.stderr


@pytest.mark.parametrize(("placement", "strategy"), POINTS)
def test_each_map_and_each_unmap_is_timed(run, placement, strategy):
    for record in select(run, placement=placement, strategy=strategy):
        metrics = metrics_of(record)
        parameters = record["workload"]["parameters"]
        pairs = parameters["rounds"] * parameters["threads"]
        assert metrics["pairs"] == pairs
        for what in ("map_ticks", "unmap_ticks", "clock_ticks"):
            in_order(metrics[what], pairs)
        # What they contain.
        assert metrics["map_ticks"]["min"] >= metrics["clock_ticks"]["min"]
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
            # What the warm-up put off may be counted here. VFIO invalidates for each mapping, one call or not.
            assert iommu["maps"] == ROUNDS, iommu
            assert iommu["invalidations"] == iommu["unmaps"] if placement == "user" else iommu["invalidations"] < ROUNDS, iommu
        elif strategy in ("copy", "persistent"):
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
        assert metrics_of(record)["pairs"] == metrics_of(record)["iommu"]["maps"] == metrics_of(record)["iommu"]["unmaps"] == 2 * ROUNDS


def test_what_cannot_be_is_excluded_by_name(dmatoll, tmp_path):
    (tmp_path / "times.toml").write_text(SUITE)
    plan = program.run(dmatoll, "plan", tmp_path / "times.toml", cwd=tmp_path)
    assert plan.returncode == 0, plan
    assert "a driver process has one thread" in plan.stdout
    assert "copies no memory on command" in plan.stdout
