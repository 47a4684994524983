# SPDX-License-Identifier: BSD-2-Clause
"""What strategies protect, from records of probes that were never made."""

import pytest
import synthetic
from engine import cell, probe

from analysis import axes, families, load, profiles, report as program, text

def only_block(tmp_path, lines):
    run = load.load_run(synthetic.write_run(tmp_path / "made", lines))
    (section,) = program.analyse(run)
    (block,) = [block for block in families.blocks(run, section, profiles.read(run)) if block.title.startswith("What each strategy protects")]
    return run, section, block


def rows_of(table):
    return {(row[0], row[1]): dict(zip(table.header, row)) for row in table.rows}


def test_what_was_seen_stands_beside_what_was_promised(tmp_path):
    lines = [probe("kernel", "strict"), probe("kernel", "persistent", {("device", "driver", "stale_write"): {"promised": "nothing", "reached": 40, "open": 4}})]
    run, section, block = only_block(tmp_path, lines)
    own = rows_of(block.tables[2])
    assert own["kernel", "strict"]["stale write"] == "no (promised)" and own["kernel", "strict"]["neighbour read"] == "reached"
    assert own["kernel", "persistent"]["stale write"] == "reached"
    assert rows_of(block.tables[0])["kernel", "strict"]["foreign write"] == "no (promised)"
    assert not any(table.flagged for table in block.tables)
    assert "What each strategy protects" in text.summary(run, program.analyse(run))
    # It is no cost.
    assert axes.blocks(section) == []


def test_a_broken_promise_stands_out(tmp_path):
    broken = {("driver", "kernel", "foreign_read"): {"reached": 1, "verdict": "less than promised"}}
    _, _, block = only_block(tmp_path, [probe("user", "strict"), probe("user", "persistent", broken)])
    (row,) = block.tables[1].flagged
    assert block.tables[1].rows[row][:2] == ["user", "persistent"]
    assert rows_of(block.tables[1])["user", "persistent"]["foreign read"] == "reached (against the promise: refused)"


def test_what_was_not_tried_is_no_protection(tmp_path):
    untried = {("driver", "kernel", access): {"promised": "nothing", "accesses": 0, "verdict": "not tried"} for access in ("foreign_write", "foreign_read")}
    _, _, block = only_block(tmp_path, [probe("kernel", "strict", untried)])
    assert rows_of(block.tables[1])["kernel", "strict"]["foreign write"] == "–"


def test_a_window_is_told_in_milliseconds(tmp_path):
    bounded = {"promised": "refused after", "promised_ns": 10_000_000, "reached": 300, "longest_ns": 9_870_000, "refused_ns": 10_120_000}
    changed = {("device", "driver", access): bounded for access in ("stale_write", "stale_read")}
    _, _, block = only_block(tmp_path, [probe("kernel", "deferred", changed), probe("kernel", "strict")])
    found = rows_of(block.tables[3])
    assert found["kernel", "deferred"] == {"placement": "kernel", "strategy": "deferred", "promised": "10 (+8)", "write reached": "9.87", "write refused": "10.12",
                                           "read reached": "9.87", "read refused": "10.12", "still open": "0", "faults logged": "3"}
    assert found["kernel", "strict"]["write reached"] == "never" and found["kernel", "strict"]["promised"] == "0"


@pytest.mark.parametrize("cells", [7, [7], [{"attacker": "device"}], [cell("device", "driver", "stale_read", longest_ns=None)],
                                   [cell("device", "driver", "stale_read", "refused after")], [cell("device", "driver", "neighbour_read", reached=-1)]])
def test_cells_that_are_none_are_refused(tmp_path, cells):
    record = probe("kernel", "strict")
    record["probe"]["cells"] = cells
    with pytest.raises(load.BadRecord, match="probe.cells"):
        load.load_run(synthetic.write_run(tmp_path / "made", [record]))
