# SPDX-License-Identifier: BSD-2-Clause
"""Memory copies: what a map and an unmap cost, from records whose figures can be worked out by hand."""

import pytest
import synthetic
from engine import copy

from analysis import dma_copy, families, load, profiles, report as program, text

def only_block(tmp_path, lines):
    run = load.load_run(synthetic.write_run(tmp_path / "made", lines))
    (section,) = program.analyse(run)
    (block,) = [block for block in families.blocks(run, section, profiles.read(run)) if block.title.startswith("Memory copies")]
    return run, section, block


def rows_of(block, beginning):
    (table,) = [table for table in block.tables if beginning in table.caption]
    return [dict(zip(table.header, row)) for row in table.rows]


def test_a_pair_costs_half_of_what_a_mapping_for_each_copy_adds(tmp_path):
    lines = [copy(seed, "kernel", strategy, lifetime) for seed in (1, 3) for strategy in ("strict", "linux-strict") for lifetime in (0, 1)]
    _, section, block = only_block(tmp_path, lines)
    found = {row["strategy"]: row for row in rows_of(block, "one map and one unmap")}
    # Of 1901 and 1903, and of 2401 and 2403: what the loop itself costs is in neither.
    assert found["strict"]["instructions per pair"] == "1,902" and found["linux-strict"]["instructions per pair"] == "2,402"
    assert found["strict"][": linux-strict"] == "0.792" and found["linux-strict"][": linux-strict"] == "1.000"
    assert found["strict"]["boots"] == "2" and found["strict"]["copies"] == "1514 B"
    costs = dma_copy.pair_costs(section.part("dma-copy"))
    assert sorted(summary.values["1"] for summary in costs.values()) == [1901, 2401]


def test_without_a_kept_mapping_there_is_no_cost_of_a_pair(tmp_path):
    _, section, block = only_block(tmp_path, [copy(1, "kernel", "strict", 1), copy(1, "kernel", "strict", 8), copy(1, "kernel", "persistent", 0)])
    assert dma_copy.pair_costs(section.part("dma-copy")) == {}
    assert [table.caption for table in block.tables if "one map and one unmap" in table.caption] == []


def test_a_pair_is_of_one_size_and_one_placement(tmp_path):
    lines = [copy(1, "kernel", "strict", 0, 64), copy(1, "kernel", "strict", 1, 1514), copy(1, "user", "strict", 0, 1514)]
    _, section, _ = only_block(tmp_path, lines)
    assert dma_copy.pair_costs(section.part("dma-copy")) == {}


def test_operations_stand_beside_each_copy(tmp_path):
    counts = {"process_system_calls": 4000}
    meters = {"driver_counters": {"available": True, "counts": counts, "interval_ns": 1_000_000_000}}
    lines = [copy(1, "user", "strict", 1, meters=meters), copy(1, "kernel", "linux-strict", 1)]
    run, _, block = only_block(tmp_path, lines)
    found = {row["strategy"]: row for row in rows_of(block, "for each copy")}
    assert found["strict"]["maps"] == found["strict"]["unmaps"] == found["strict"]["invalidations"] == "2"
    assert found["strict"]["driver's system calls"] == "4"
    # What Linux's DMA API does inside, nobody counts.
    assert found["linux-strict"]["invalidations"] == "not measured" and found["linux-strict"]["driver's system calls"] == "–"
    assert "Memory copies" in text.summary(run, program.analyse(run))


def test_counted_for_longer_than_the_window_is_a_rate(tmp_path):
    line = copy(1, "kernel", "strict")
    line["window_ns"], line["copies_interval_ns"] = 1_000_000, 2_000_000
    line["meters"]["driver_counters"] = {"available": True, "interval_ns": 2_000_000}
    line["metrics"].update(copies=100, instructions_per_copy=20.0, cpu_utilisation=0.001, iommu={"invalidations": 50})
    assert load.row(line)["modelled_1000_instructions_per_copy"] == pytest.approx(520)
