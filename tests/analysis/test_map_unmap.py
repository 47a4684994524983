# SPDX-License-Identifier: BSD-2-Clause
"""Maps and unmaps timed by themselves, from records whose figures can be worked out by hand."""

import pytest
import synthetic
from engine import CALLS, PARTS, timed

from analysis import families, figures, load, map_unmap, profiles, report as program, text


def block_of(tmp_path, lines):
    run = load.load_run(synthetic.write_run(tmp_path / "made", lines))
    (section,) = program.analyse(run)
    found = [block for block in families.blocks(run, section, profiles.read(run)) if block.title.startswith("Map and unmap")]
    return run, section, (found[0] if found else None)


def rows_of(block, *beginning):
    (table,) = [table for table in block.tables if all(part in table.caption for part in beginning)]
    return [dict(zip(table.header, row)) for row in table.rows]


def cell_of(tmp_path, line):
    _, section, _ = block_of(tmp_path, [line])
    return section.cells[0]


def test_a_pair_of_strict_is_its_parts_and_the_strategy(tmp_path):
    found = map_unmap.split(cell_of(tmp_path, timed(1, "kernel", "strict", 501, 900, PARTS)))
    assert found == {"iova_allocation": 60, "page_table_map": 300, "page_table_unmap": 250, "invalidation": 400, "iova_free": 50, "own": 502 + 900 - 1060}


def test_deferred_pays_its_share_of_a_queue(tmp_path):
    found = map_unmap.split(cell_of(tmp_path, timed(1, "kernel", "deferred", 420, 300, PARTS, invalidations=1 / 256)))
    # 421 + 300 were timed: the allocation and both page tables are in them; a free and a 256th of an invalidation come later.
    assert found["own"] == pytest.approx(721 - 610) and found["domain_invalidation"] == pytest.approx(320 / 256) and found["iova_free"] == 50
    assert "invalidation" not in found


def test_a_process_maps_by_system_calls(tmp_path):
    found = map_unmap.split(cell_of(tmp_path, timed(1, "user", "strict", 4100, 3600, CALLS)))
    assert list(found) == ["iova_allocation", "map_call", "unmap_call", "iova_free", "own"] and found["own"] == 7701 - 7610
    # An unmap that is deferred puts the range in a queue; VFIO's call and the free come later.
    deferred = map_unmap.split(cell_of(tmp_path, timed(1, "user", "deferred", 4100, 46, CALLS)))
    assert deferred == {"iova_allocation": 60, "map_call": 4000, "own": 4147 - 4060, "unmap_call": 3500, "iova_free": 50}


def test_what_vfios_calls_contain_stands_beside_them(tmp_path):
    _, _, block = block_of(tmp_path, [timed(1, "user", "strict", 4100, 3600, CALLS), timed(1, "kernel", "strict", 500, 900, PARTS)])
    found = {row["placement"]: row for row in rows_of(block, "one page; p50")}
    assert (found["user"]["a call that does nothing"], found["user"]["a call that pins and unpins"]) == ("200", "1,400")
    assert found["kernel"]["a call that pins and unpins"] == "–" and any("an estimate" in paragraph for paragraph in block.paragraphs)
    _, _, kernel = block_of(tmp_path / "kernel", [timed(1, "kernel", "strict", 500, 900, PARTS)])
    assert "a call that pins and unpins" not in rows_of(kernel, "one page; p50")[0] and not any("an estimate" in paragraph for paragraph in kernel.paragraphs)


def test_without_a_call_that_pins_none_stands_beside_vfios(tmp_path):
    # Records from before it was timed.
    before = {name: took for name, took in CALLS.items() if name != "pin_call"}
    _, _, block = block_of(tmp_path, [timed(1, "user", "strict", 4100, 3600, before)])
    (row,) = rows_of(block, "one page; p50")
    assert not {"a call that does nothing", "a call that pins and unpins"} & set(row)


def test_only_what_was_timed_is_told_of_what_was_put_off(tmp_path):
    line = timed(1, "user", "deferred", 4100, 46, CALLS)
    # Records from before it was timed.
    del line["metrics"]["put_off_ticks_per_pair"]
    _, _, before = block_of(tmp_path / "before", [line])
    line["metrics"]["put_off_ticks"] = {**timed(1, "user", "deferred")["metrics"]["clock_ticks"], "n": 500, "mean": 820}
    line["metrics"]["put_off_ticks_per_pair"] = 205
    _, section, now = block_of(tmp_path / "now", [line])
    told = [any("still waits at the end" in paragraph for paragraph in block.paragraphs) for block in (before, now)]
    assert told == [False, True]
    # The clock was read, 20 ticks, for each map, each unmap, and each fourth pair once more.
    (cell,) = section.cells
    assert map_unmap.took(cell, "pair", "mean") == pytest.approx(line["metrics"]["pair_ticks"]["mean"] - 2.25 * 20)


def test_that_threads_run_together_is_told_if_their_records_say_so(tmp_path):
    lines = [timed(1, "kernel", "strict", 600, 900 * threads, PARTS, threads=threads) for threads in (1, 2)]
    captions = []
    for name in ("now", "before"):
        _, _, block = block_of(tmp_path / name, lines)
        captions += [drawing.note for drawing in block.drawings if drawing.name == "map-unmap-threads"]
        lines[1]["metrics"].pop("threads_together", None)
    assert captions == ["Threads begin together, and all go on until the slowest has had its rounds.", ""]


def test_what_is_not_split_has_no_parts(tmp_path):
    assert map_unmap.split(cell_of(tmp_path, timed(1, "kernel", "linux-strict", invalidations=None))) == {}


def test_the_table_has_parts_ratio_and_model(tmp_path):
    lines = [timed(seed, "kernel", "strict", 500, 900, PARTS) for seed in (1, 3)]
    lines += [timed(seed, "kernel", "linux-strict", 1000, 1400, invalidations=None) for seed in (1, 3)]
    run, _, block = block_of(tmp_path, lines)
    found = {row["strategy"]: row for row in rows_of(block, "one page; p50")}
    strict, linux = found["strict"], found["linux-strict"]
    assert (strict["map"], strict["unmap"], strict["pair"], strict["boots"]) == ("502", "900", "1,402", "2")
    assert strict["invalidation"] == "400" and strict["pair, modelled"] == "3,502" and strict[": Linux"] == "0.584"
    assert linux["invalidation"] == "–" and linux["pair, modelled"] == "not known" and linux[": Linux"] == "1.000"
    assert "Map and unmap" in text.summary(run, program.analyse(run))
    (drawing,) = block.drawings  # one page and one thread: neither curve
    assert "<svg" in figures.draw_drawing(drawing, drawing.name)


def test_what_is_put_off_is_held_against_linux_by_the_whole_run(tmp_path):
    # 421 + 300 and 621 + 400 were timed, 810 and 1,110 instructions a pair counted, with what was put off.
    lines = [timed(1, "kernel", "deferred", 420, 300, PARTS, invalidations=1 / 256), timed(1, "kernel", "linux-lazy", 620, 400, invalidations=None)]
    lines += [timed(1, "kernel", "linux-strict", 1000, 1400, invalidations=None)]
    _, _, block = block_of(tmp_path, lines)
    found = {row["strategy"]: row for row in rows_of(block, "one page; p50")}
    assert found["deferred"][": Linux"] == f"{810 / 1110:.3f}" and found["linux-strict"][": Linux"] == "1.000"


def test_where_no_instructions_are_counted_it_is_held_against_linux_by_the_means(tmp_path):
    lines = [timed(1, "kernel", "deferred", 420, 300, PARTS, kind="hardware"), timed(1, "kernel", "linux-lazy", 620, 400, kind="hardware")]
    for line, mean in zip(lines, (840, 1240)):
        del line["metrics"]["instructions_per_pair"]
        line["metrics"]["pair_ticks"]["mean"] = mean
    _, _, block = block_of(tmp_path, lines)
    found = {row["strategy"]: row for row in rows_of(block, "one page; p50")}
    # Reading the clock, 20 ticks, is in each twice.
    assert found["deferred"][": Linux"] == f"{800 / 1200:.3f}"


def test_of_runs_of_the_same_the_longest_is_shown(tmp_path):
    short = timed(1, "kernel", "strict", 500, 900, PARTS)
    long = timed(1, "kernel", "strict", 510, 900, PARTS)
    long["workload"]["parameters"]["rounds"] = 8192
    long["trial"] += "/long"
    _, _, block = block_of(tmp_path, [short, long])
    (row,) = rows_of(block, "one page; p50")
    assert row["map"] == "511"


def test_curves_by_pages_and_threads(tmp_path):
    lines = [timed(1, "kernel", "strict", 500 + 10 * pages, 900 + 20 * pages, PARTS, pages=pages) for pages in (1, 16, 256)]
    # More threads on a machine with more CPUs: another machine, but the curve is its own.
    for threads in (1, 2, 4):
        line = timed(1, "kernel", "strict", 600, 900 * threads, PARTS, threads=threads)
        line["environment"]["guest"] = {"vcpus": 4}
        line["trial"] += "/4"
        lines.append(line)
    _, section, block = block_of(tmp_path, lines)
    assert [drawing.name for drawing in block.drawings] == ["map-unmap-split", "map-unmap-pages", "map-unmap-threads"]
    assert all("<svg" in figures.draw_drawing(drawing, drawing.name) for drawing in block.drawings)
    threads = rows_of(block, "beside it against one thread")
    assert [(row["threads"], row["p50"]) for row in threads] == [("1", "1,501"), ("2", "2,401"), ("4", "4,201")]
    assert threads[2][": one thread"] == f"{4201 / 1501:.3f}"
    # Rounds differ with the pages, and that makes no other workload.
    pages = [row for row in rows_of(block, "instructions of the whole run")]
    assert [row["unmap"] for row in pages] == ["920", "1,220", "6,020"]


def test_percentiles_are_as_they_were_timed(tmp_path):
    _, _, block = block_of(tmp_path, [timed(1, "kernel", "strict", 499, 900, PARTS)])
    (map_, unmap) = rows_of(block, "with reading the clock; each boot's")
    assert map_["p50"] == "520" and map_["p99.9"] == "1,420" and map_["max"] == "5,520" and map_["timed"] == "2,000" and unmap["what"] == "unmap"


def test_on_hardware_nothing_is_modelled(tmp_path):
    _, _, block = block_of(tmp_path, [timed(1, "kernel", "strict", 500, 900, PARTS, kind="hardware")])
    (row,) = rows_of(block, "one page; p50")
    assert "pair, modelled" not in row and not any("odelled" in paragraph for paragraph in block.paragraphs)
    assert "ticks of the CPU's clock" in block.paragraphs[0]


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [("parts_ticks", 3, "metrics.parts_ticks: expected an object"), ("parts_ticks", {"invalidation": 3}, "metrics.parts_ticks.invalidation: expected an object"),
     ("parts_ticks", {"invalidation": {"p50": "x"}}, "metrics.parts_ticks.invalidation.p50: expected a number"), ("map_ticks", {"p50": -1}, "metrics.map_ticks.p50: expected no negative")],
)
def test_bad_times_are_named(tmp_path, key, value, expected):
    line = timed(1, "kernel", "strict", 500, 900, PARTS)
    line["metrics"][key] = value
    with pytest.raises(load.BadRecord, match=expected.replace(".", r"\.")):
        load.load_run(synthetic.write_run(tmp_path / "made", [line]))


def test_a_part_that_was_not_timed_stands_nowhere(tmp_path):
    _, section, _ = block_of(tmp_path, [timed(1, "kernel", "strict", 500, 900, {"iova_allocation": 60})])
    assert set(map_unmap.split(section.cells[0])) == {"iova_allocation", "own"}
