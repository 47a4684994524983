# SPDX-License-Identifier: BSD-2-Clause
"""On-demand mapping by its quota, from records whose figures can be worked out by hand."""

import synthetic
from engine import copy

from analysis import compare, families, figures, load, profiles, quota, report as program


def on_demand(pages, pair, mapped, placement="kernel", seed=1):
    return copy(seed, placement, "on-demand", pair=pair, mapped=mapped, settings={"quota_pages": pages, "page_size": 4096})


CURVE = [on_demand(256, 30, 0), on_demand(0, 2000, 1), on_demand(128, 30, 0), on_demand(64, 1500, 0.75)]


def block_of(tmp_path, lines):
    run = load.load_run(synthetic.write_run(tmp_path / "made", lines))
    (section,) = program.analyse(run)
    found = [block for block in families.blocks(run, section, profiles.read(run)) if block.title.startswith("On-demand")]
    return section, (found[0] if found else None)


def test_a_curve_goes_by_quota_and_has_both_ends(tmp_path):
    _, block = block_of(tmp_path, [*CURVE, copy(1, "kernel", "strict"), copy(1, "kernel", "persistent"), copy(1, "user", "strict")])
    rows = [dict(zip(block.tables[0].header, row)) for row in block.tables[0].rows]
    assert [(row["strategy"], row["quota, pages"]) for row in rows] == [
        ("on-demand", "0"), ("on-demand", "64"), ("on-demand", "128"), ("on-demand", "256"), ("strict", "–"), ("persistent", "–")]
    assert {row["placement"] for row in rows} == {"kernel"}  # no curve at user level
    # 200 of the loop and 10 of the seed beside two pairs, each dearer by one.
    assert rows[0]["instructions per copy"] == "4,212" and rows[1]["maps per copy"] == "1.5" and rows[2]["maps per copy"] == "0"
    (drawing,) = block.drawings
    assert "<svg" in figures.draw_drawing(drawing, drawing.name)


def test_one_quota_is_no_curve(tmp_path):
    assert block_of(tmp_path, [CURVE[0], copy(1, "kernel", "strict")])[1] is None
    assert block_of(tmp_path, [CURVE[0], on_demand(1, 5, 0, "user")])[1] is None


def test_a_swept_quota_does_not_crowd_the_other_figures(tmp_path):
    section, _ = block_of(tmp_path, [*CURVE, *(copy(1, "kernel", "on-demand", size=size, pair=30, settings={"quota_pages": 1024}) for size in (64, 1514, 4096))])
    assert {quota.quota(cell) for cell in section.cells} == {0, 64, 128, 256, 1024}
    assert {quota.quota(cell) for cell in compare.usual_parameters(section.cells)} == {1024}


def test_the_axis_has_room_for_no_quota():
    places = [quota.place(pages) for pages in (0, 1, 2, 3, 4, 96, 128)]
    assert places == [-1, 0, 1, 1.5, 2, 6.5, 7]


def test_buffers_are_two_pages_a_pair():
    assert quota.buffer_pages(("dma-copy", '{"working_set_pairs":64}')) == 128 and quota.buffer_pages(("fio", "{}")) is None
