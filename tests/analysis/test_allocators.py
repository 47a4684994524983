# SPDX-License-Identifier: BSD-2-Clause
"""IOVA allocators against each other and Linux's, from records whose figures can be worked out by hand."""

import synthetic
from engine import PARTS, copy, timed

from analysis import compare, families, figures, load, profiles, report as program


def copies(allocator, pair, strategy="strict", placement="kernel", seeds=(1, 3)):
    settings = {} if allocator is None else {"iova_allocator": allocator}
    return [copy(seed, placement, strategy, lifetime, pair=pair, settings=settings) for seed in seeds for lifetime in (0, 1)]


def block_of(tmp_path, lines):
    run = load.load_run(synthetic.write_run(tmp_path / "made", lines))
    (section,) = program.analyse(run)
    found = [block for block in families.blocks(run, section, profiles.read(run)) if block.title == "IOVA allocators"]
    return section, (found[0] if found else None)


def rows_of(block, beginning):
    (table,) = [table for table in block.tables if beginning in table.caption]
    return [dict(zip(table.header, row)) for row in table.rows]


def test_allocators_stand_beside_linux(tmp_path):
    lines = copies(None, 1000) + copies("tree-linear", 5000) + copies("linux", 1998) + copies(None, 2498, "linux-strict") + copies(None, 1000, placement="user")
    _, block = block_of(tmp_path, lines)
    found = rows_of(block, "memory copies")
    # What was run with one allocator only is no comparison. Each pair is dearer by its seed, 2 in the mean.
    assert [(row["placement"], row["allocator"], row["instructions per pair"]) for row in found] == [
        ("kernel", "size-classes", "1,002"), ("kernel", "tree-linear", "5,002"), ("kernel", "linux", "2,000")]
    assert [row[": linux"] for row in found] == ["0.501", "2.501", "1.000"]
    assert [row[": Linux's DMA API"] for row in found] == ["0.401", "2.001", "0.800"]
    (drawing,) = block.drawings
    assert "<svg" in figures.draw_drawing(drawing, drawing.name)


def test_deferred_stands_beside_lazy(tmp_path):
    lines = copies(None, 1000, "deferred") + copies("tree", 1100, "deferred") + copies(None, 2000, "linux-lazy") + copies(None, 3000, "linux-strict")
    _, block = block_of(tmp_path, lines)
    assert [row[": Linux's DMA API"] for row in rows_of(block, "memory copies")] == ["0.500", "0.550"]


def test_an_allocator_by_itself(tmp_path):
    lines = [timed(1, "kernel", "strict", 500, 900, {**PARTS, "iova_allocation": 45, "iova_free": 35})]
    lines += [timed(1, "kernel", "strict", 700, 950, {**PARTS, "iova_allocation": 110, "iova_free": 90}, settings={"iova_allocator": "linux"})]
    _, block = block_of(tmp_path, lines)
    rows = rows_of(block, "allocation and free by themselves")
    assert [(row["allocator"], row["allocation"], row["free"], row["both"], row[": linux"]) for row in rows] == [
        ("size-classes", "45", "35", "80", "0.400"), ("linux", "110", "90", "200", "1.000")]


def test_one_allocator_is_no_comparison(tmp_path):
    assert block_of(tmp_path, copies(None, 1000) + [timed(1, "kernel", "strict", 500, 900, PARTS)])[1] is None


def test_other_figures_show_the_usual_allocator(tmp_path):
    section, _ = block_of(tmp_path, copies(None, 1000) + copies("tree", 900) + copies("eiovar", 800))
    assert {compare.allocator(cell) for cell in compare.usual_parameters(section.cells)} == {"size-classes"}
    assert {compare.allocator(cell) for cell in compare.usual_parameters(section.cells, "tree")} == {"tree"}


def test_allocators_stand_beside_each_other_by_threads(tmp_path):
    lines = [timed(1, "kernel", "strict", 500, unmap * threads, threads=threads, settings=settings)
             for settings, unmap in (({}, 900), ({"iova_allocator": "magazines"}, 1000), ({"iova_allocator": "linux"}, 1500)) for threads in (1, 2)]
    # One number of threads is no curve.
    lines += [timed(1, "kernel", "deferred", threads=1, settings=settings) for settings in ({}, {"iova_allocator": "linux"})]
    _, block = block_of(tmp_path, lines)
    rows = rows_of(block, "by threads")
    assert [(row["strategy"], row["allocator"], row["threads"]) for row in rows] == [
        ("strict", allocator, threads) for threads in ("1", "2") for allocator in ("size-classes", "magazines", "linux")]
    assert [row["p50"] for row in rows] == ["1,401", "1,501", "2,001", "2,301", "2,501", "3,501"]
    assert rows[2][": linux"] == "1.000" and float(rows[0][": linux"]) < float(rows[1][": linux"]) < 1
