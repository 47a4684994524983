# SPDX-License-Identifier: BSD-2-Clause
"""Where copying begins to cost more than mapping, from lines that cross where they were made to."""

import pytest
import synthetic
from engine import copy, timed

from analysis import crossover, families, figures, load, profiles, report as program

SIZES = (64, 512, 1024, 4096)


def records(strategy, pair_at, sizes=SIZES, seeds=(1, 3), placement="kernel", **changes):
    """Each size with mappings for each copy and kept ones; `pair_at`: what a pair costs at a size and seed."""
    return [copy(seed, placement, strategy, lifetime, size, pair=pair_at(size, seed), **changes) for seed in seeds for size in sizes for lifetime in (0, 1)]


def only_block(tmp_path, lines):
    run = load.load_run(synthetic.write_run(tmp_path / "made", lines))
    (section,) = program.analyse(run)
    found = [block for block in families.blocks(run, section, profiles.read(run)) if block.title.startswith("Copy against map")]
    return found[0] if found else None


def row(tmp_path, lines):
    block = only_block(tmp_path, lines)
    (cells,) = block.tables[0].rows
    return dict(zip(block.tables[0].header[:7], cells)), cells[7:], block


@pytest.mark.parametrize(
    ("differences", "expected"),
    [
        ([-10, -5, 5, 10], 384),
        ([-10, 0, 5], 256),  # equal is not dearer yet
        ([-1, 3], 128 * (1 + 0.25)),
        ([-3, -2, -1], crossover.CHEAPER),
        ([1, 2, 3], crossover.DEARER),
        ([5, -5], crossover.UNCLEAR),
        ([-5, 5, -5], crossover.UNCLEAR),
    ],
)
def test_a_crossing_lies_on_the_straight_line_between_two_sizes(differences, expected):
    assert crossover.cross([128, 256, 512, 1024][: len(differences)], differences) == expected


def test_the_crossing_has_an_interval_over_boots(tmp_path):
    # Copying costs half an instruction a byte, mapping 400 and 404: they cross at 800 and 808 bytes.
    lines = records("copy", lambda size, seed: size / 2) + records("strict", lambda size, seed: 398 + 2 * seed)
    found, model, block = row(tmp_path, lines)
    assert found["mapped by"] == "strict" and found["copied by"] == "copy" and found["sizes"] == "4" and found["boots"] == "2"
    assert found["copying costs more from"] == "804 B" and found["95 % CI"] == "753 … 855 B"
    # An invalidation a pair at 2,100 cycles for strict; the copies of the synthetic records invalidate as often.
    assert model[0] == "804 B"
    (drawing,) = block.drawings
    assert "<svg" in figures.draw_drawing(drawing, drawing.name)


def test_what_invalidates_is_dearer_in_the_model(tmp_path):
    lines = records("copy", lambda size, seed: size / 2, mapped=0) + records("strict", lambda size, seed: 400)
    found, model, _ = row(tmp_path, lines)
    assert found["copying costs more from"] == "800 B"
    assert model[0] == "beyond 4 KiB: copying costs less throughout"  # 2,500 are 5,000 bytes


@pytest.mark.parametrize(("pair", "expected"), [(9000, "beyond 4 KiB: copying costs less throughout"), (1, "below 64 B: copying costs more throughout")])
def test_lines_that_do_not_cross_are_said_not_to(tmp_path, pair, expected):
    lines = records("copy", lambda size, seed: size / 2 + 10) + records("strict", lambda size, seed: pair)
    assert row(tmp_path, lines)[0]["copying costs more from"] == expected


def test_boots_that_disagree_have_no_crossing(tmp_path):
    lines = records("copy", lambda size, seed: size / 2) + records("strict", lambda size, seed: 400 if seed == 1 else 9000)
    found, *_ = row(tmp_path, lines)
    assert found["copying costs more from"] == "differs between boots" and found["95 % CI"] == "–"


def test_a_threshold_says_on_which_side_a_hybrid_is(tmp_path):
    copied = records("hybrid-copy", lambda size, seed: size / 2, settings={"copy_threshold": 4096})
    mapped = records("hybrid-copy", lambda size, seed: 400, settings={"copy_threshold": 0})
    between = records("hybrid-copy", lambda size, seed: 300, settings={"copy_threshold": 1024})
    found, _, _ = row(tmp_path, copied + mapped + between)
    assert found["mapped by"].endswith("copy_threshold=0") and found["copied by"].endswith("copy_threshold=4096")
    assert only_block(tmp_path, copied + between) is None


def test_one_size_or_one_side_is_no_curve(tmp_path):
    assert only_block(tmp_path, records("copy", lambda *_: 1, sizes=(64,)) + records("strict", lambda *_: 2, sizes=(64,))) is None
    assert only_block(tmp_path, records("strict", lambda *_: 2)) is None
    # The kernel's copies are not held against a mapping at user level.
    assert only_block(tmp_path, records("copy", lambda *_: 1) + records("strict", lambda *_: 2, placement="user")) is None


def test_linux_does_not_tell_its_invalidations(tmp_path):
    lines = records("copy", lambda size, seed: size / 2) + records("linux-strict", lambda size, seed: 400)
    _, model, _ = row(tmp_path, lines)
    assert model == ["invalidations not known", "–"]


def test_buffers_of_pages_cross_in_bytes(tmp_path):
    lines = [timed(1, "kernel", "copy", 600 * pages, 80, invalidations=0, pages=pages) for pages in (1, 2, 4)]
    lines += [timed(1, "kernel", "strict", 600, 800, pages=pages) for pages in (1, 2, 4)]
    found, model, _ = row(tmp_path, lines)
    # 680 against 1,400 at one page, 1,280 at two, 2,480 at four: at 2.2 pages. With 2,100 more for strict not at all.
    assert found["copying costs more from"] == f"{2.2 * 4096:,.0f} B" and model[0] == "beyond 16 KiB: copying costs less throughout"
