# SPDX-License-Identifier: BSD-2-Clause
"""What strategies protect, from records of probes that were never made."""

import pytest
import synthetic
from engine import attack, cell, copy, probe

from analysis import axes, families, load, probe as analysed, profiles, report as program, text

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


def test_a_device_that_had_to_be_started_again_is_told_in_its_cell_and_beside_the_faults(tmp_path):
    changed = {("device", "driver", "backward_write"): {"device_restarts": 4}, ("device", "driver", "stale_read"): {"device_restarts": 2}}
    _, _, block = only_block(tmp_path, [probe("kernel", "strict", changed)])
    assert rows_of(block.tables[2])["kernel", "strict"]["backward write"] == "no, 4 restarts (promised)"
    assert rows_of(block.tables[3])["kernel", "strict"]["device restarts"] == "6"


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
                                           "read reached": "9.87", "read refused": "10.12", "still open": "0", "faults logged": "3", "device restarts": "–"}
    assert found["kernel", "strict"]["write reached"] == "never" and found["kernel", "strict"]["promised"] == "0"


def test_what_a_driver_process_tried_stands_in_a_row_with_what_it_was_answered(tmp_path):
    untried = {"write_messages": {"verdict": "not tried", "accesses": 0, "answer": "", "reason": "no messages"}}
    _, _, block = only_block(tmp_path, [probe("user", "strict"), attack("strict", untried), attack("persistent", {"trace_read": {"reached": 1, "verdict": "less than promised"}})])
    # The device's own cells are not the driver's.
    assert rows_of(block.tables[1]).keys() == {("user", "strict")}
    table = block.tables[-1]
    found = {row[1]: dict(zip(table.header, row)) for row in table.rows}
    assert len(table.rows) == len(analysed.ACTS)
    for strategy in ("strict", "persistent"):
        assert found[analysed.ACTS["process_read"]][strategy] == "no (promised): EPERM"
    assert found[analysed.ACTS["trace_read"]]["strict"] == "no (promised): EPERM"
    assert found[analysed.ACTS["trace_read"]]["persistent"] == "reached (against the promise: refused): EPERM"
    assert found[analysed.ACTS["write_messages"]]["strict"] == "– (no messages)"
    (row,) = table.flagged
    assert table.rows[row][1] == analysed.ACTS["trace_read"]


def test_work_beside_a_flood_is_held_against_undisturbed_work(tmp_path):
    flood = {"flood": {"answer": "4000 interrupts", "work_ns": 90_000_000, "undisturbed_work_ns": 30_500_000, "undisturbed_interrupts": 2}}
    _, _, block = only_block(tmp_path, [attack("strict", flood)])
    (row,) = [row for row in block.tables[-1].rows if row[1] == analysed.ACTS["flood"]]
    assert row[2] == "no (promised): 4000 interrupts; work took 90 ms, before it 30.5 ms with 2 interrupts"


def test_a_driver_process_alone_is_shown_without_what_its_device_did(tmp_path):
    _, _, block = only_block(tmp_path, [attack("strict")])
    (table,) = block.tables
    assert {row[0] for row in table.rows} == set(analysed.ASSETS.values())


def test_a_probe_that_did_not_end_is_there_with_its_reason_and_what_it_had_found(tmp_path):
    broken = {("device", "kernel", "foreign_read"): {"reached": 1, "verdict": "less than promised"}}
    lines = [
        probe("kernel", "strict"),
        probe("kernel", "deferred", status="error", reason="The device copies no more\nits last words", probe=None),
        probe("user", "persistent", broken, status="error", reason="took longer than 60 s"),
        attack("strict", status="skipped", reason="there is no VFIO"),
        # Of another family: its place is elsewhere.
        synthetic.failed(1, "kernel", "strict", "iperf3-tcp-tx", "no iperf3"),
    ]
    _, section, block = only_block(tmp_path, lines)
    table = block.tables[-1]
    assert sorted(row[:5] for row in table.rows) == [
        ["kernel", "deferred", "probe", "error", "The device copies no more"],
        ["user", "persistent", "probe", "error", "took longer than 60 s"],
        ["user", "strict", "probe-driver", "skipped", "there is no VFIO"],
    ]
    found = {row[1]: row[5:] for row in table.rows}
    assert found["deferred"] == ["0", "none"] and found["persistent"] == ["14", "foreign read"]
    assert {table.rows[index][1] for index in table.flagged} == {"deferred", "persistent"}
    # Where all of them ended, there is no such table.
    assert not any("did not end" in each.caption for each in only_block(tmp_path / "whole", [probe("kernel", "strict")])[2].tables)


def test_where_no_probe_ended_their_reasons_are_there(tmp_path):
    lines = [copy(1, "kernel", "strict"), probe("kernel", "deferred", status="error", reason="it broke", probe=None)]
    _, _, block = only_block(tmp_path, lines)
    assert [row[4] for table in block.tables for row in table.rows] == ["it broke"]


@pytest.mark.parametrize("cells", [7, [7], [{"attacker": "device"}], [cell("device", "driver", "stale_read", longest_ns=None)],
                                   [cell("device", "driver", "stale_read", "refused after")], [cell("device", "driver", "neighbour_read", reached=-1)],
                                   [cell("device", "driver", "neighbour_read", device_restarts=None)],
                                   [cell("driver", "machine", "flood", undisturbed_work_ns=1, work_ns=2)]])
def test_cells_that_are_none_are_refused(tmp_path, cells):
    record = probe("kernel", "strict")
    record["probe"]["cells"] = cells
    with pytest.raises(load.BadRecord, match="probe.cells"):
        load.load_run(synthetic.write_run(tmp_path / "made", [record]))
