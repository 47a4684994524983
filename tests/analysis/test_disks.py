# SPDX-License-Identifier: BSD-2-Clause
"""Trials of disks: fio and the synchronous read of 2005, on records whose figures can be worked out by hand."""

import json
import math

import disks
import network
import pytest
import synthetic

from analysis import compare, disk, families, figures, fio, load, modelled, profiles, report as program, statistics, sync_read, text


def run_of(tmp_path, lines):
    run = load.load_run(synthetic.write_run(tmp_path / "made", lines))
    return run, program.analyse(run)


def blocks_of(tmp_path, lines):
    run, (section,) = run_of(tmp_path, lines)
    return {block.title: block for block in families.blocks(run, section, profiles.read(run))}


def only(blocks, beginning):
    (found,) = [block for title, block in blocks.items() if title.startswith(beginning)]
    return found


def table_of(block, words):
    (found,) = [table for table in block.tables if words in table.caption]
    return found


def row_of(table, *cells):
    (found,) = [row for row in table.rows if tuple(row[: len(cells)]) == cells]
    return dict(zip(table.header, found)) | {"all": found}


# Loading


@pytest.mark.parametrize(
    ("metric", "value", "expected"),
    [
        ("ios", -1, "metrics.ios: expected no negative number"),
        ("iops", "many", "metrics.iops: expected a number"),
        ("instructions_per_io", float("inf"), "Infinity is not a number"),
        ("latency_ns", 5, "metrics.latency_ns: expected an object"),
        ("iommu", {"maps": None, "unmaps": [1]}, "metrics.iommu.unmaps: expected a number"),
    ],
)
def test_broken_metrics_of_a_disk_are_refused_by_name(tmp_path, metric, value, expected):
    record = disks.fio(1, "kernel", "strict")
    record["metrics"][metric] = value
    with pytest.raises(load.BadRecord) as error:
        load.load_run(synthetic.write_run(tmp_path / "made", [record]))
    assert "trials.jsonl:1" in str(error.value) and expected in str(error.value)


def test_block_size_depth_and_disk_are_different_points(tmp_path):
    lines = []
    for number, change in enumerate(({}, {"block_bytes": 8192}, {"io_depth": 2}, {"port": 1})):
        line = disks.fio(1, "kernel", "strict")
        line["workload"]["parameters"].update(change)
        lines.append({**line, "trial": str(number)})
    run, _ = run_of(tmp_path, lines)
    assert len(statistics.cells(run.finished())) == 4


def test_work_is_split_by_mode_and_counted_a_request(tmp_path):
    line = disks.fio(1, "user", "persistent", work=20_000)
    row = load.row(line)
    assert row["user_instructions_per_io"] == pytest.approx(6_000) and row["kernel_instructions_per_io"] == pytest.approx(14_000)
    assert row["system_calls_per_io"] == 2
    assert not [name for name in row if name.endswith("_per_packet")]


def test_a_modelled_invalidation_of_a_disk_is_a_rate(tmp_path):
    line = disks.fio(1, "kernel", "strict", work=20_000)
    # 5,000 requests in 100 ms, a little more than the window; counters were watched for twice as long and saw 10,000 invalidations.
    line["window_ns"], line["ios_interval_ns"] = 99_000_000, 100_000_000
    line["metrics"]["iommu"]["invalidations"] = 10_000
    line["meters"]["driver_counters"] = {"available": True, "interval_ns": 200_000_000}
    row = load.row(line)
    assert row[modelled.name("instructions_per_io", 1000)] == pytest.approx(21_000)
    assert row[modelled.name("instructions_per_io", 0)] == 20_000
    assert row[modelled.name("cpu_utilisation", 1000)] == pytest.approx(1 + 10_000 * 1000 / 200e6)


def test_what_a_driver_does_for_a_request_is_a_rate(tmp_path):
    """Counters were watched for twice as long as requests: of what they saw, half was for these."""
    line = disks.fio(1, "user", "strict", work=20_000)
    ios = line["metrics"]["ios"]
    line["ios_interval_ns"] = 100_000_000
    line["metrics"].update(iommu={"maps": 4 * ios, "unmaps": 4 * ios, "invalidations": 2 * ios}, polls=6 * ios)
    line["meters"]["driver_counters"] = {"available": True, "counts": {"process_system_calls": 10 * ios}, "interval_ns": 200_000_000}
    (cell,) = statistics.cells(run_of(tmp_path, [line])[0].finished())
    found = [cell.metric(f"{name}_per_io").mean for name in ("maps", "unmaps", "invalidations", "polls", "system_calls")]
    assert found == pytest.approx([2, 2, 1, 3, 5])


# fio


def test_what_an_io_costs_against_baseline_and_passthrough(tmp_path):
    work = {("stock", "linux-lazy"): 1000, ("stock", "linux-identity"): 800, ("kernel", "linux-identity"): 500, ("user", "persistent"): 1500}
    lines = [disks.fio(seed, *link, work=value) for link, value in work.items() for seed in (1, 2)]
    table = table_of(only(blocks_of(tmp_path, lines), "Disk: fio"), "fio-randread 4 KiB QD1: means")
    user = row_of(table, "user", "persistent")
    assert (user["instructions per I/O"], user["× baseline"], user["× passthrough"]) == ("1,500", "1.500", "3.000")
    assert user["thousand IOPS"] == "666.67" and user["MB/s"] == "2,730.7" and user["spread"] == "0 (identical)"
    assert row_of(table, "stock", "linux-lazy")["× passthrough"] == "1.250"


def test_operations_a_request(tmp_path):
    lines = [disks.fio(seed, "kernel", strategy) for seed in (1, 2) for strategy in ("strict", "linux-lazy")]
    table = table_of(only(blocks_of(tmp_path, lines), "Disk: fio"), "per I/O, means over boots")
    assert row_of(table, "fio-randread 4 KiB QD1", "kernel", "strict")["invalidations"] == "1"
    assert row_of(table, "fio-randread 4 KiB QD1", "kernel", "linux-lazy")["invalidations"] == "not measured"


def test_our_driver_is_held_against_the_distributions_with_no_allowance(tmp_path):
    lines = [disks.fio(s, p, "linux-lazy", depth=depth, work=w * s) for s in (1, 2, 3) for p, w in (("stock", 10_000), ("kernel", 10_001)) for depth in (1, 32)]
    for line in lines:
        if line["workload"]["parameters"]["io_depth"] == 32 and line["placement"] == "kernel":
            line["metrics"]["instructions_per_io"] *= 10_000 / 10_001
    table = table_of(only(blocks_of(tmp_path, lines), "Disk: fio"), "distribution's")
    assert [row[7] for row in table.rows] == ["exceeds", "holds"] and table.flagged == {0}
    assert [row[0] for row in table.rows] == ["fio-randread 4 KiB QD1", "fio-randread 4 KiB QD32"]


def test_user_level_is_held_against_a_bound_from_64_kib_on(tmp_path):
    lines = [disks.fio(s, p, "strict", block=block, work=w) for s in (1, 2) for block in (4096, 32768, 65536, 131072) for p, w in (("kernel", 1000), ("user", 1101))]
    table = table_of(only(blocks_of(tmp_path, lines), "Disk: fio"), "both strict")
    assert [(row[0].split(" QD")[0], row[6], row[7]) for row in table.rows] == [
        ("fio-randread 4 KiB", "–", "no bound here"),
        ("fio-randread 32 KiB", "–", "no bound here"),
        ("fio-randread 64 KiB", "1.10", "exceeds"),
        ("fio-randread 128 KiB", "1.10", "exceeds"),
    ]
    assert "1.17" in table.caption


def test_each_strategy_of_both_placements_is_compared_and_no_other(tmp_path):
    _, (section,) = run_of(tmp_path, disks.fios(seeds=(1, 2)))
    titles = [claim.title for claim in disk.claims(disk.part(section, "fio"))]
    assert [title.rpartition("both ")[2] for title in titles[1:]] == ["persistent", "strict"]


def test_utilisation_of_a_disk_is_compared_at_equal_load_only(tmp_path):
    lines = [disks.fio(s, p, "strict", block=65536, load_bps=80e6) for s in (1, 2) for p in ("kernel", "user")]
    table = table_of(only(blocks_of(tmp_path, lines), "Disk: fio"), "both strict")
    assert [row[1] for row in table.rows] == ["instructions per I/O", "CPU utilisation"]
    for line in lines:
        if line["placement"] == "user":
            line["metrics"]["load_achieved_bps"] *= 0.9
    (tmp_path / "other").mkdir()
    table = table_of(only(blocks_of(tmp_path / "other", lines), "Disk: fio"), "both strict")
    assert table.rows[1][7].startswith("not comparable")


def test_where_the_instructions_of_the_user_placement_go(tmp_path):
    lines = [disks.fio(1, p, "persistent", work=w) for p, w in (("kernel", 10_000), ("user", 20_000))]
    table = table_of(only(blocks_of(tmp_path, lines), "Disk: fio"), "user − kernel per I/O")
    assert table.rows == [["fio-randread 4 KiB QD1", "persistent", "+10,000", "+5,000", "+5,000", "2"]]


def test_latencies_are_those_of_boots(tmp_path):
    lines = [disks.fio(seed, "kernel", "strict") for seed in (1, 2)]
    for line, p99 in zip(lines, (100_000, 300_000)):
        line["metrics"]["latency_ns"]["p99"] = p99
    row = row_of(table_of(only(blocks_of(tmp_path, lines), "Disk: fio"), "latency of an I/O"), "fio-randread 4 KiB QD1", "kernel", "strict")
    assert row["p99"] == "200.0 (100 %)" and row["boots"] == "2" and (row["min"], row["max"]) == ("20.0", "150.0")


def test_latencies_of_a_disk_are_not_those_of_an_echo(tmp_path):
    line = disks.fio(1, "kernel", "strict")
    line["metrics"]["latency_ns"].update(n=3, histogram=[[100, 1], [200, 2]])
    assert not [title for title in blocks_of(tmp_path, [line]) if "echo" in title]


def test_invalidations_of_a_disk_are_modelled_beside_the_raw_figure(tmp_path):
    block = only(blocks_of(tmp_path, disks.fios(seeds=(1, 2), links=[("kernel", "strict"), ("kernel", "linux-lazy")])), "Modelled")
    assert block.title.endswith("fio")
    (table,) = block.tables
    strict = [row for row in table.rows if row[2] == "strict"]
    for row in strict:
        raw, thousand = (float(value.replace(",", "")) for value in row[4:6])
        assert thousand - raw == pytest.approx(1000, abs=1.5) and row[3] == "1"
    assert all(row[3] == "not known" for row in table.rows if row[2] == "linux-lazy")
    assert [row[0] for row in strict][:3] == ["fio-randread 4 KiB QD1", "fio-randread 4 KiB QD32", "fio-randread 128 KiB QD32"]
    assert "modelled from emulated, virtual clock" in figures.draw_drawing(block.drawings[0], "x")


def test_figures_of_fio_are_stamped(tmp_path):
    lines = disks.fios(seeds=(1, 2)) + disks.fios(seeds=(1, 2), points=[("randread", 4096, 1)], load_bps=8e6)
    block = only(blocks_of(tmp_path, lines), "Disk: fio")
    assert [drawing.name for drawing in block.drawings] == ["fio-instructions_per_io", "fio-iops", "fio-cpu_utilisation", "fio-placement"]
    for drawing in block.drawings:
        svg = figures.draw_drawing(drawing, "x")
        assert "emulated, virtual clock · n = 2" in svg
    assert "fio-randread 4 KiB QD1 at 8 Mb/s" in figures.draw_drawing(block.drawings[2], "x")


def test_disks_of_two_kinds_are_drawn_apart(tmp_path):
    points = [("randread", 4096, 1), ("randread", 65536, 1)]
    lines = []
    for port in (0, 1):
        for line in disks.fios(seeds=(1, 2), points=points):
            line["workload"]["parameters"].update(port=port, window_ms=line["workload"]["parameters"]["block_bytes"])
            lines.append({**line, "trial": f"{port}{line['trial']}"})
    block = only(blocks_of(tmp_path, lines), "Disk: fio")
    svg = figures.draw_drawing(next(d for d in block.drawings if d.name == "fio-placement"), "x")
    assert ">fio-randread QD1 port=0<" in svg and ">fio-randread QD1 port=1<" in svg
    assert table_of(block, "both strict").rows[0][0] == "fio-randread 4 KiB QD1 port=0"


def test_many_workloads_are_drawn_in_part_and_all_in_the_tables(tmp_path):
    points = [("randread", 4096, depth) for depth in range(1, 13)]
    block = only(blocks_of(tmp_path, disks.fios(seeds=(1,), links=[("kernel", "strict")], points=points)), "Disk: fio")
    svg = figures.draw_drawing(block.drawings[0], "x")
    assert svg.count(">fio-randread 4 KiB QD") == fio.MOST_PANELS and "QD12" in svg and "QD1<" in svg
    assert "tables have all" in block.drawings[0].note
    assert sum("means over boots; × baseline" in table.caption for table in block.tables) == 12


def test_what_was_verified_is_summed_and_no_cost(tmp_path):
    lines = []
    for seed in (1, 2):
        line = disks.fio(seed, "user", "strict")
        line["workload"] = {"name": "fio-verify", "parameters": {"most_block_bytes": 262144, "io_depth": 17, "port": 1, "verify_bytes": 1 << 30}}
        line["metrics"] = {"bytes_written": 1 << 30, "bytes_verified": 1 << 30, "bytes_verified_at_end": 1 << 29, "ios": 5000}
        lines.append(line)
    blocks = blocks_of(tmp_path, lines)
    assert list(blocks) == ["Disk: data written and read back"]
    assert only(blocks, "Disk: data").tables[0].rows == [["fio-verify QD17", "user", "strict", "2", "2,048", "2,048", "1,024"]]


# The disk figure of 2005


def seed_block(tmp_path, lines):
    return only(blocks_of(tmp_path, lines), "Synchronous read")


def test_user_against_kernel_by_block_size(tmp_path):
    lines = []
    for seed, ratio in ((1, 1.02), (2, 1.08)):
        for block in (1024, 65536):
            lines.append(disks.sync_read(seed, "kernel", "persistent", block, load_bps=8e6, work=10_000 * seed))
            lines.append(disks.sync_read(seed, "user", "persistent", block, load_bps=8e6, work=10_000 * seed * ratio))
    table = table_of(seed_block(tmp_path, lines), "user : kernel")
    mean = math.sqrt(1.02 * 1.08)
    half = statistics.t_quantile(1) * (math.log(1.08) - math.log(1.02)) / 2
    expected = f"{mean:.3f} ({mean * math.exp(-half):.3f} … {mean * math.exp(half):.3f})"
    for name, verdict in (("1 KiB", "none below 64 KiB"), ("64 KiB", "holds in the mean; the interval reaches above")):
        row = row_of(table, name)["all"]
        assert row[4] == row[8] == expected and row[5] == row[9] == verdict
        assert row[10:13] == ["1.0", "1.0", "1.000 (identical in every boot)"] and row[13] == "2 boots, paired"


def test_utilisation_is_not_compared_where_throughputs_differ(tmp_path):
    table = table_of(seed_block(tmp_path, disks.sync_reads(sizes=(1024, 4096))), "user : kernel")
    assert [row[4] for row in table.rows] == ["throughputs differ"] * 2 and table.rows[0][8].startswith("1.561")


def test_a_closed_loop_that_carries_the_same_is_compared(tmp_path):
    lines = [disks.sync_read(s, p, "persistent", 65536, work=w, achieved=100e6) for s in (1, 2) for p, w in (("kernel", 10_000), ("user", 12_000))]
    (row,) = table_of(seed_block(tmp_path, lines), "user : kernel").rows
    assert row[4].startswith("1.200") and row[5] == "exceeds"


def test_points_that_did_not_reach_their_load_are_marked(tmp_path):
    lines = []
    for placement, work in (("kernel", 10_000), ("user", 16_000)):  # at most 100,000 and 62,500 of 1 KiB a second
        lines += [disks.sync_read(s, placement, "persistent", 1024, load_bps=80_000 * 8192, work=work) for s in (1, 2)]
        lines += [disks.sync_read(s, placement, "persistent", 4096, load_bps=8e6, work=work) for s in (1, 2)]
    block = seed_block(tmp_path, lines)
    table = table_of(block, "CPU with its 95 % interval")
    assert [row[-1] for row in table.rows] == ["", "load not reached, load missed", "", ""] and table.flagged == {1}
    assert ">load not reached<" in figures.draw_drawing(block.drawings[0], "x")
    calm = seed_block(tmp_path, [line for line in lines if line["workload"]["parameters"]["block_bytes"] == 4096] + disks.sync_reads(sizes=(8192,), load_bps=8e6))
    assert ">load not reached<" not in figures.draw_drawing(calm.drawings[0], "x")


def test_the_seed_figure_is_stamped_and_has_its_axes(tmp_path):
    svg = figures.draw_drawing(seed_block(tmp_path, disks.sync_reads()).drawings[0], "x")
    for expected in ("emulated, virtual clock · n = 3 boots a point", "largest spread", "CPU utilisation, % (solid)", "throughput, MB/s (dashed, log)",
                     "block size", ">1K<", ">1M<", "kernel, persistent", "user, persistent", "stock, linux-lazy"):
        assert expected in svg


def test_what_differs_in_more_than_the_block_is_drawn_apart(tmp_path):
    lines = disks.sync_reads(seeds=(1, 2), sizes=(1024, 4096)) + disks.sync_reads(seeds=(1, 2), sizes=(1024, 4096), load_bps=8e6)
    block = seed_block(tmp_path, lines)
    assert [(d.name, d.title) for d in block.drawings] == [
        ("seed-ide", "Synchronous read by block size unpaced"), ("seed-ide-2", "Synchronous read by block size at a given load"),
    ]
    assert [row[0] for row in table_of(block, "user : kernel").rows] == ["1 KiB", "1 KiB at 8 Mb/s", "4 KiB", "4 KiB at 8 Mb/s"]
    for line in lines[: len(lines) // 2]:
        line["workload"]["parameters"]["direct"] = True
    (tmp_path / "other").mkdir()
    block = seed_block(tmp_path / "other", lines[: len(lines) // 2] + [
        {**line, "trial": line["trial"] + "buffered", "workload": {"name": "sync-read", "parameters": {**line["workload"]["parameters"], "direct": False}}}
        for line in lines[: len(lines) // 2]
    ])
    assert [d.title for d in block.drawings] == [f"Synchronous read by block size direct={value}" for value in (False, True)]


def test_how_long_a_block_size_is_measured_does_not_make_another_figure(tmp_path):
    lines = disks.sync_reads(seeds=(1, 2))
    for line in lines:
        parameters = line["workload"]["parameters"]
        parameters["window_ms"] = 2000 if parameters["block_bytes"] > 65536 else 500
    block = seed_block(tmp_path, lines)
    assert [d.title for d in block.drawings] == ["Synchronous read by block size"]
    assert [row[0] for row in table_of(block, "user : kernel").rows][-1] == "1 MiB"


def test_hardware_is_not_called_emulated(tmp_path):
    lines = disks.sync_reads(sizes=(1024, 2048))
    for line in lines:
        line["environment"]["kind"] = "hardware"
    block = seed_block(tmp_path, lines)
    assert "hardware · n = 3" in figures.draw_drawing(block.drawings[0], "x") and "emulat" not in block.drawings[0].note
    assert all(table.caption.startswith("hardware") for table in block.tables)


@pytest.mark.parametrize("block", [None, "4096", [4096], True])
def test_a_block_size_that_is_no_number_breaks_nothing(tmp_path, block):
    lines = disks.sync_reads(seeds=(1,), sizes=(1024,)) + disks.fios(seeds=(1,), points=[("randread", 4096, 1)])
    for line in lines:
        line["workload"]["parameters"]["block_bytes"] = block
    run, sections = run_of(tmp_path, lines)
    content = program.page(run, sections)
    assert "Disk: fio" in content and "Synchronous read" in content
    assert "ICH9-AHCI" in text.summary(run, sections)


def test_without_what_was_not_measured_the_rest_is_shown(tmp_path):
    lines = disks.sync_reads(seeds=(1,), sizes=(1024, 2048)) + disks.fios(seeds=(1,))
    for line in lines:
        for name in ("cpu_utilisation", "instructions_per_io", "latency_ns", "iops"):
            line["metrics"].pop(name, None)
    run, sections = run_of(tmp_path, lines)
    assert "<svg" in program.page(run, sections)
    assert not [table for table in only(blocks_of(tmp_path, lines), "Disk: fio").tables if "latency of an I/O" in table.caption]


# Both halves in one run


def test_disk_and_network_stand_side_by_side(tmp_path, report):
    directory = synthetic.write_run(tmp_path / "both", synthetic.records(seeds=(1, 2)) + disks.fios(seeds=(1, 2)) + disks.sync_reads(seeds=(1, 2)) + network.echoes(seeds=(1, 2)))
    result = report(directory)
    assert result.returncode == 0, result.stderr
    assert "e1000 82540EM" in result.stdout and "ahci ICH9-AHCI" in result.stdout and "iperf3-tcp-rx" in result.stdout
    data = json.loads(report(directory, "--json").stdout)
    claims = {section["device"]: [claim["title"] for claim in section["claims"] if claim["comparisons"]] for section in data["sections"]}
    assert any("both strict" in title for title in claims["ahci ICH9-AHCI"])
    for section in data["sections"]:
        for cell in section["cells"]:
            units = {name.rpartition("_per_")[2] for name in cell["metrics"] if name.startswith("instructions_per_")}
            assert units == ({"io"} if section["device"].startswith("ahci") else {"packet"})
    page = (directory / "report.html").read_text(encoding="utf-8")
    assert page.count("Disk: fio") == 1 and page.count("<svg") > 8


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"block_bytes": 4096, "io_depth": 32, "load_bps": 0}, " 4 KiB QD32"),
        ({"block_bytes": 1 << 20}, " 1 MiB"),
        ({"block_bytes": 512, "load_bps": 8e6}, " 512 B at 8 Mb/s"),
        ({"block_bytes": 1536}, " 1.5 KiB"),
        ({"load_bps": 0}, " unpaced"),
        ({"io_depth": "4"}, ""),
    ],
)
def test_what_a_workload_always_goes_by(parameters, expected):
    assert compare.load_suffix(load.canonical(parameters)) == expected


def test_the_matched_strategy_stands_first():
    assert sync_read.matched_first(["copy", "persistent", "strict"]) == ["persistent", "copy", "strict"]


# Profiles


def test_a_profile_of_a_disk_is_by_io(tmp_path):
    lines = [disks.fio(1, "kernel", "persistent"), disks.fio(1, "user", "persistent")]
    directory = synthetic.write_run(tmp_path / "made", lines)
    network.write_profiles(
        directory,
        network.profile(lines[0]["trial"], 10, "io", driver=100, block_layer=800),
        network.profile(lines[1]["trial"], 10, "io", driver=300, block_layer=700),
    )
    run = load.load_run(directory)
    (section,) = program.analyse(run)
    (block,) = profiles.blocks(profiles.read(run), section)
    assert not run.warnings and "instructions per I/O" in block.tables[0].caption
    assert [row[1:] for row in block.tables[0].rows] == [["kernel", "persistent", "10", "80", "90"], ["user", "persistent", "30", "70", "100"]]
    svg = figures.draw_drawing(block.drawings[0], "x")
    assert block.drawings[0].title == "Where the instructions of an I/O go" and "packet" not in svg
