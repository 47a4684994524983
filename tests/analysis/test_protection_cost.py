# SPDX-License-Identifier: BSD-2-Clause
"""The window against the cost, from records that were never measured."""

import math

import disks
import pytest
import synthetic
from engine import copy, probe

from analysis import families, figures, load, profiles, protection_cost, report as program, text

OPEN = {("device", "driver", access): {"promised": "nothing", "reached": 40, "open": 4, "longest_ns": 50_000_000} for access in ("stale_write", "stale_read")}
LATE = {("device", "driver", access): {"promised": "refused after", "promised_ns": 10_000_000, "reached": 40, "longest_ns": 9_900_000} for access in ("stale_write", "stale_read")}
BY_BYTE = {("device", "driver", access): {"promised": "refused", "reached": 0} for access in ("neighbour_write", "neighbour_read")}
OWNER = {("driver", "kernel", access): {"promised": "nothing", "accesses": 0, "verdict": "not tried"} for access in ("foreign_write", "foreign_read")}


def section_of(tmp_path, lines):
    run = load.load_run(synthetic.write_run(tmp_path / "made", lines))
    (section,) = program.analyse(run)
    return run, section


def both(placement, strategy, changed=()):
    """Copied with and without a mapping for each copy, and probed."""
    return [copy(1, placement, strategy, lifetime) for lifetime in (0, 1)] + [probe(placement, strategy, {**dict(changed), **(OWNER if placement == "kernel" else {})})]


def test_what_is_reached_and_how_long_is_one_scale(tmp_path):
    lines = [probe("kernel", strategy, changed) for strategy, changed in (("strict", ()), ("persistent", OPEN), ("linux-strict", LATE))]
    records = [record for record in load.load_run(synthetic.write_run(tmp_path / "made", lines)).records]
    seen = [protection_cost.exposure(record, ("device", "driver")) for record in records]
    assert seen == [(protection_cost.BY_PAGE, 0.0), (protection_cost.NO_END, math.inf), (protection_cost.BY_PAGE, pytest.approx(9.9))]
    copied = probe("kernel", "strict", BY_BYTE)
    assert protection_cost.exposure(copied, ("device", "driver")) == (protection_cost.BY_BYTE, 0.0)
    heights = [protection_cost.height(each) for each in ((protection_cost.BY_BYTE, 0.0), seen[0], (protection_cost.BY_PAGE, 1.0), seen[2], seen[1])]
    assert heights == sorted(heights) and len(set(heights)) == len(heights)


def test_nobody_to_try_it_from_is_no_protection():
    record = probe("kernel", "strict", OWNER)
    assert protection_cost.exposure(record, ("driver", "kernel"))[0] == protection_cost.NO_END
    assert protection_cost.exposure(probe("user", "persistent", OPEN), ("device", "kernel"))[0] == protection_cost.BY_BYTE
    assert protection_cost.exposure(probe("user", "strict"), ("driver", "kernel"))[0] == protection_cost.BY_BYTE


def test_a_buffer_of_a_driver_in_the_kernel_is_the_kernels_memory():
    assert protection_cost.exposure(probe("kernel", "persistent", OPEN), ("device", "kernel"))[0] == protection_cost.NO_END
    assert protection_cost.exposure(probe("kernel", "deferred", LATE), ("device", "kernel")) == (protection_cost.BY_PAGE, pytest.approx(9.9))


def test_the_front_holds_what_no_other_one_beats(tmp_path):
    # persistent is cheap and open, strict dearer and closed; linux-strict is dearer than strict and protects no more.
    run, section = section_of(tmp_path, both("kernel", "strict") + both("kernel", "persistent", OPEN) + both("kernel", "linux-strict"))
    found = protection_cost.points(run, section, ("device", "driver"))
    assert len(found) == 3
    assert {point.configuration[4] for point in protection_cost.front(found)} == {"strict", "persistent"}
    (block,) = [block for block in families.blocks(run, section, profiles.read(run)) if block.title == "What protection costs"]
    rows = {row[1]: dict(zip(block.tables[0].header, row)) for row in block.tables[0].rows}
    assert rows["strict"]["on the front"] == rows["persistent"]["on the front"] == "yes" and rows["linux-strict"]["on the front"] == ""
    assert rows["strict"]["within reach"] == "not after its use, by the page" and rows["persistent"]["within reach"] == "without end"
    assert rows["strict"]["instructions per pair"] == "1,901"
    assert len(block.drawings) == 3 and all("<svg" in figures.draw_drawing(drawing, drawing.name) for drawing in block.drawings)
    assert "What protection costs" in text.summary(run, program.analyse(run))


def test_equals_are_both_on_the_front(tmp_path):
    run, section = section_of(tmp_path, both("kernel", "strict") + both("user", "strict"))
    found = protection_cost.points(run, section, ("device", "driver"))
    assert len(protection_cost.front(found)) == 2


def test_one_of_both_alone_makes_no_point(tmp_path):
    run, section = section_of(tmp_path, [copy(1, "kernel", "strict", lifetime) for lifetime in (0, 1)] + [probe("user", "strict")])
    assert all(protection_cost.points(run, section, pair) == [] for pair in protection_cost.PAIRS)
    assert protection_cost.blocks(run, section) == []


def probed_disk(placement, strategy, changed=()):
    """A disk is probed by looking; its I/Os end with interrupts."""
    like = disks.fio(1, placement, strategy)
    made = probe(placement, strategy, changed, device=like["device"], completion="poll")
    made["strategy"] = {**like["strategy"]}
    return made


def test_a_disk_is_held_against_what_an_io_costs(tmp_path):
    lines = [disks.fio(1, "kernel", strategy, depth=depth, block=block, work=work) for depth, block, work in ((32, 4096, 0), (1, 4096, 1), (32, 131072, 2))
             for strategy, work in (("strict", 24_000 + work), ("persistent", 20_000 + work))]
    run, section = section_of(tmp_path, lines + [probed_disk("kernel", "strict"), probed_disk("kernel", "persistent", OPEN), probed_disk("user", "strict")])
    found = protection_cost.points(run, section, ("device", "driver"))
    assert {(point.configuration[1], point.configuration[3], point.configuration[4], round(point.cost.mean)) for point in found} == {
        ("kernel", "interrupt", "strict", 24_000), ("kernel", "interrupt", "persistent", 20_000)}
    assert {point.configuration[4]: point.exposure[0] for point in found} == {"strict": protection_cost.BY_PAGE, "persistent": protection_cost.NO_END}
    (block,) = [block for block in families.blocks(run, section, profiles.read(run)) if block.title == "What protection costs"]
    assert "instructions per I/O" in block.tables[0].header and "with fio" in block.paragraphs[0]
    assert all("<svg" in figures.draw_drawing(drawing, drawing.name) for drawing in block.drawings)
