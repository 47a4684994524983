# SPDX-License-Identifier: BSD-2-Clause
"""The families of the network bench, on records whose figures can be worked out by hand."""

import math

import network
import pytest
import synthetic

from analysis import compare, echo, families, figures, histogram, load, modelled, profiles, report as program, statistics, text


def run_of(tmp_path, lines):
    run = load.load_run(synthetic.write_run(tmp_path / "made", lines))
    return run, program.analyse(run)


def blocks_of(tmp_path, lines):
    run, (section,) = run_of(tmp_path, lines)
    return {block.title: block for block in families.blocks(run, section, profiles.read(run))}


def only(blocks, beginning):
    (found,) = [block for title, block in blocks.items() if title.startswith(beginning)]
    return found


def refused(tmp_path, record):
    with pytest.raises(load.BadRecord) as error:
        load.load_run(synthetic.write_run(tmp_path / "made", [record]))
    return str(error.value)


# The point of a trial


@pytest.mark.parametrize(
    "change",
    [
        {"requested": {**network.REQUESTED, "mtu": 9000}},
        {"requested": {**network.REQUESTED, "offloads": False}},
        {"requested": {**network.REQUESTED, "receive_descriptors": 8}},
        {"requested": {**network.REQUESTED, "interrupts_per_second": 0}},
        {"completion": "poll"},
        {"code_generation": "kernel-like"},
        {"strategy": {"name": "strict", "parameters": {}, "page_size": 2097152}},
        {"strategy": {"name": "strict", "parameters": {"deferred_entries": 16}, "page_size": 4096}},
        {"device": {"name": "e1000", "model": "82574L"}},
        {"device": {"name": "e1000", "model": "82540EM", "interrupt": "MSI"}},
        {"environment": {"kind": "lab-virtual", "guest": {"vcpus": 4}}},
        {"workload": {"name": "iperf3-tcp-tx", "parameters": {"load_bps": 300_000_000, "payload_bytes": 64, "warm_up_ms": 300, "window_ms": 1000}}},
    ],
)
def test_what_differs_in_one_axis_is_not_averaged(tmp_path, change):
    one = network.stream(1, "user", "strict")
    other = {**network.stream(2, "user", "strict"), **change}
    run = load.load_run(synthetic.write_run(tmp_path / "made", [one, other]))
    assert len(statistics.cells(run.finished())) == 2
    same = load.load_run(synthetic.write_run(tmp_path / "same", [one, network.stream(2, "user", "strict")]))
    assert len(statistics.cells(same.finished())) == 1


def test_only_equal_settings_are_compared_and_the_streams_show_the_usual_ones(tmp_path):
    lines = [network.stream(1, p, "persistent", requested={"mtu": mtu}) for p in ("kernel", "user") for mtu in (1500, 9000)]
    _, (section,) = run_of(tmp_path, lines)
    (claim,) = [claim for claim in compare.claims(section) if "user level" in claim.title]
    assert {compare.settings_of(c.numerator)["mtu"] == compare.settings_of(c.denominator)["mtu"] for c in claim.comparisons} == {True}
    part = section.part("stream")
    assert {compare.settings_of(cell)["mtu"] for cell in part.cells} == {1500}
    assert {compare.Labels(part).strategy(cell.configuration) for cell in part.cells} == {"persistent"}


def test_one_axis_at_a_time(tmp_path):
    lines = [network.stream(seed, "user", "persistent", requested={"mtu": mtu}) for seed in (1, 2) for mtu in (1500, 9000)]
    for line in lines:
        line["metrics"]["instructions_per_packet"] = line["requested"]["mtu"] + line["repetition"]["seed"]
    (table,) = only(blocks_of(tmp_path, lines), "One axis").tables
    assert table.header[3:] == ["1500", "9000"]
    (row,) = table.rows
    assert row[:3] == ["iperf3-tcp-tx at 300 Mb/s", "user", "persistent"]
    assert [value.split(" ")[0] for value in row[3:]] == ["1,502", "9,002"]  # 1501.5 and 9001.5, rounded to even


def test_code_generations_have_a_ratio(tmp_path):
    lines = [network.stream(1, "user", "persistent"), network.stream(1, "user", "persistent", code_generation="kernel-like")]
    lines[0]["metrics"]["instructions_per_packet"], lines[1]["metrics"]["instructions_per_packet"] = 1000, 1250
    block = only(blocks_of(tmp_path, lines), "One axis")
    assert block.tables[0].rows[0][-1] == "1.250"
    assert any("compiler's flags" in paragraph for paragraph in block.paragraphs)


def test_a_cell_that_deviates_in_two_axes_is_not_lost(tmp_path):
    lines = [network.stream(1, "user", "persistent"), network.stream(1, "user", "persistent", requested={"mtu": 9000, "offloads": False})]
    (table,) = only(blocks_of(tmp_path, lines), "One axis").tables
    assert len(table.rows) == 1 and "mtu=9000" in table.rows[0][2] and "other settings" in table.caption


# UDP echo


def test_user_against_kernel_is_paired_by_boot_at_equal_load(tmp_path):
    lines = []
    for seed, ratio in ((1, 1.02), (2, 1.08)):
        lines.append(network.echo(seed, "kernel", "persistent", 100_000_000, work=10_000 * seed))
        lines.append(network.echo(seed, "user", "persistent", 100_000_000, work=10_000 * seed * ratio))
    block = only(blocks_of(tmp_path, lines), "UDP echo")
    (row,) = block.tables[-1].rows
    assert float(row[3]) == pytest.approx(math.sqrt(1.02 * 1.08), abs=5e-4)  # the geometric mean of the pairs
    assert row[6] == row[3] and row[5] == row[8] != "–" and row[-1] == "2 boots, paired"
    half = statistics.t_quantile(1) * (math.log(1.08) - math.log(1.02)) / 2
    assert row[4] == f"{math.sqrt(1.02 * 1.08) * math.exp(-half):.3f} … {math.sqrt(1.02 * 1.08) * math.exp(half):.3f}"


def test_utilisation_is_not_compared_where_loads_differ(tmp_path):
    lines = [network.echo(1, "kernel", "persistent", 500_000_000, work=20_000), network.echo(1, "user", "persistent", 500_000_000, work=40_000)]
    row = only(blocks_of(tmp_path, lines), "UDP echo").tables[-1].rows[0]
    assert row[3] == "loads differ" and row[5] == "–" and row[6] == "2.000"


def test_our_driver_is_held_against_the_distributions_with_no_allowance(tmp_path):
    lines = [
        network.echo(seed, placement, "linux-lazy", 100_000_000, work=work * seed)
        for seed in (1, 2, 3)
        for placement, work in (("stock", 10_000), ("kernel", 10_300))
    ]
    (row,) = only(blocks_of(tmp_path, lines), "UDP echo").tables[-1].rows
    assert row[6] == "1.030" and row[8].startswith("exceeds")


def test_a_percentile_that_no_sample_stands_for_is_absent(tmp_path):
    few, many = [[100_000, 90], [900_000, 10]], [[100_000, 9_000], [900_000, 1_000]]
    for histogram, expected in ((few, "–"), (many, "900.0")):
        place = tmp_path / expected
        place.mkdir()
        lines = [network.echo(1, "kernel", "persistent", 100_000_000, histogram=histogram)]
        row = only(blocks_of(place, lines), "UDP echo").tables[0].rows[0]
        assert row[-2] == expected and row[-4] == "100.0"


def test_a_load_that_the_generator_did_not_apply_is_marked(tmp_path):
    lines = [network.echo(1, "kernel", "persistent", 100_000_000, flags=["load-not-offered"])]
    row = only(blocks_of(tmp_path, lines), "UDP echo").tables[0].rows[0]
    assert "load not offered" in row[-1]


def test_the_width_of_a_guests_addresses_is_one_axis(tmp_path):
    lines = []
    for bits in (39, 48):
        line = network.stream(1, "user", "persistent", requested={})
        line["environment"] = {**line["environment"], "guest": {"vcpus": 2, "memory_mib": 1024, "address_bits": bits},
                               "iommu": {**(line["environment"].get("iommu") or {}), "address_width": bits}}
        line["trial"] += str(bits)
        lines.append(line)
    (table,) = only(blocks_of(tmp_path, lines), "One axis").tables
    assert table.header[3:] == ["39", "48"]


def test_what_was_counted_for_longer_than_the_window_is_a_rate(tmp_path):
    from analysis import load

    line = network.stream(1, "user", "persistent")
    line["meters"]["lab_instructions"] = {"available": True, "vcpus": [{"user": 300, "kernel": 700}, {"user": 1, "kernel": 1}]}
    line["meters"]["driver_counters"] = {"available": True, "interval_ns": 2_000_000}
    line["window_ns"], line["packets_interval_ns"] = 1_000_000, 2_000_000
    line["metrics"] = {**line["metrics"], "packets": 100, "instructions_per_packet": 20.0, "cpu_utilisation": 0.001, "iommu": {"invalidations": 50}}
    row = load.row(line)
    assert row["user_instructions_per_packet"] == pytest.approx(6) and row["kernel_instructions_per_packet"] == pytest.approx(14)
    # Fifty in twice the window, a hundred packets in the same: half a wait a packet, and 25 waits in the window.
    assert row["modelled_1000_instructions_per_packet"] == pytest.approx(520)
    assert row["modelled_1000_cpu_utilisation"] == pytest.approx(0.001 + 25 * 1000 / 1_000_000)
    # An echo's packets are those of the window: of the counters' two windows half is theirs.
    del line["packets_interval_ns"]
    line["meters"]["driver_counters"]["counts"] = {"process_system_calls": 400}
    assert load.row(line)["system_calls_per_packet"] == pytest.approx(2)


def test_points_that_miss_their_load_are_flagged(tmp_path):
    # 1472 bytes at 20,000 instructions: 50,000 echoes, 588.8 Mb/s; 700 is missed by 16 %, 900 by 35 %.
    lines = [network.echo(1, "kernel", "persistent", load_, work=20_000) for load_ in (500_000_000, 700_000_000, 900_000_000)]
    assert "flags" in lines[2] and "flags" not in lines[1]
    table = only(blocks_of(tmp_path, lines), "UDP echo").tables[0]
    assert [row[-1] for row in table.rows] == ["", "saturated", "saturated, load missed"]
    assert table.flagged == {2}
    assert [row[2:5] for row in table.rows][2] == ["900.0", "900.0", "588.8"]


def test_the_figure_of_2005_is_stamped_and_marked(tmp_path):
    block = only(blocks_of(tmp_path, network.echoes(seeds=(1, 2))), "UDP echo")
    svg = figures.draw_drawing(block.drawings[0], "x")
    for expected in ("emulated, virtual clock · n = 2 boots", "CPU utilisation, % (solid)", "achieved throughput, Mb/s (dashed)", "applied load",
                     "load missed by more than 20 %", "saturated from here", "kernel, persistent", "user, persistent", "stock, linux-lazy"):
        assert expected in svg
    calm = only(blocks_of(tmp_path, network.echoes(loads=(10e6, 20e6))), "UDP echo")
    assert "load missed" not in figures.draw_drawing(calm.drawings[0], "x")


def test_sizes_at_one_line_rate_are_one_series(tmp_path):
    loads = {size: round(size * 100e6 / (size + 38)) for size in (64, 1472)}
    lines = [network.echo(1, p, "persistent", load_, size, work=5000 + size) for size, load_ in loads.items() for p in ("kernel", "user")]
    (drawing,) = only(blocks_of(tmp_path, lines), "UDP echo").drawings
    assert drawing.name == "echo-sizes" and "100 Mb/s of line rate" in figures.draw_drawing(drawing, "x")


def test_an_echo_without_utilisation_or_latency_is_still_shown(tmp_path):
    lines = network.echoes(loads=(10e6, 20e6), seeds=(1,))
    for line in lines:
        for name in ("cpu_utilisation", "latency_ns", "load_sent_bps"):
            del line["metrics"][name]
    blocks = blocks_of(tmp_path, lines)
    block = only(blocks, "UDP echo")
    assert block.tables[0].rows[0][3] == "–" and block.tables[0].rows[0][8:12] == ["–"] * 4
    assert "<svg" in figures.draw_drawing(block.drawings[0], "x")
    assert not any(title.startswith("Latency") for title in blocks)


# Latency


def test_histograms_merge_exactly():
    merged = histogram.merge([[[10, 1], [20, 2]], [[20, 3], [30, 4]], [[40, 0]]])
    assert merged == [(10, 1), (20, 5), (30, 4)]
    assert [histogram.percentile(merged, share) for share in (0.0, 0.1, 0.11, 0.6, 0.61, 1.0)] == [10, 10, 20, 20, 30, 30]
    assert histogram.percentile([], 0.5) is None
    assert histogram.resolved([(1, 100)], 0.99) and not histogram.resolved([(1, 99)], 0.99)


def test_percentiles_are_those_of_all_boots_together(tmp_path):
    lines = [
        network.echo(1, "kernel", "persistent", 10_000_000, histogram=[[1_000, 900], [5_000, 100]]),
        network.echo(2, "kernel", "persistent", 10_000_000, histogram=[[1_000, 1000]]),
    ]
    (row,) = only(blocks_of(tmp_path, lines), "Latency").tables[0].rows
    # Of 2,000 samples 100 took 5 µs: p90 is below them, p99 and p99.9 among them, p99.99 would be less than one sample.
    assert row[3:] == ["2", "2,000", "90.0", "1.0", "1.0", "5.0", "5.0", "–", "900.0"]


def test_latency_says_what_the_record_says_about_it(tmp_path):
    block = only(blocks_of(tmp_path, network.echoes(loads=(10e6, 20e6))), "Latency")
    assert "emulated, virtual clock (turn-ordered, virtual clock)" in block.tables[0].caption
    assert "turn-ordered, virtual clock" in figures.draw_drawing(block.drawings[0], "x")


@pytest.mark.parametrize(
    ("broken", "expected"),
    [
        ("1, 2", "expected a list"),
        ([[1]], "[0]: expected [upper bound, count]"),
        ([[1, -1]], "[0]: expected [upper bound, count]"),
        ([[1, 2.5]], "[0]: expected [upper bound, count]"),
        ([[1, True]], "[0]: expected [upper bound, count]"),
        ([[5, 1], [5, 1]], "[1]: expected a bound above 5, got 5"),
        ([[5, 1], [4, 1]], "[1]: expected a bound above 5, got 4"),
        ([[5, 1], [6, 1]], "expected counts that add up to n = 3, got 2"),
    ],
)
def test_a_broken_histogram_is_refused_by_name(tmp_path, broken, expected):
    record = network.echo(1, "kernel", "persistent", 10_000_000)
    record["metrics"]["latency_ns"].update(histogram=broken, n=3)
    message = refused(tmp_path, record)
    assert "trials.jsonl:1: metrics.latency_ns.histogram" in message and expected in message


@pytest.mark.parametrize(
    ("metric", "value", "expected"),
    [
        ("load_sent_bps", -1, "metrics.load_sent_bps: expected no negative number"),
        ("kills", "3", "metrics.kills: expected a number"),
        ("outage_ns", [1], "metrics.outage_ns: expected an object"),
        ("outage_ns", {"all": 3}, "metrics.outage_ns.all: expected a list"),
        ("outage_ns", {"all": [1, None, -2]}, "metrics.outage_ns.all[2]: expected no negative number"),
    ],
)
def test_broken_new_metrics_are_refused(tmp_path, metric, value, expected):
    record = network.crash(1)
    record["metrics"][metric] = value
    assert expected in refused(tmp_path, record)


# The modelled series


def test_a_modelled_invalidation_costs_what_is_stated(tmp_path):
    line = network.echo(1, "kernel", "strict", 100_000_000, work=10_000)
    packets = line["metrics"]["packets"]
    line["metrics"]["iommu"] = {"maps": packets, "unmaps": packets, "invalidations": 2 * packets}
    _, (section,) = run_of(tmp_path, [line])
    (cell,) = section.cells
    cost = {c: cell.metric(modelled.name("instructions_per_packet", c)).mean for c in modelled.COSTS}
    assert cost == {0: 10_000, 1000: 12_000, 2100: 14_200}
    cpu = cell.metric(modelled.name("cpu_utilisation", 2100)).mean
    assert cpu == pytest.approx(cell.metric("cpu_utilisation").mean * 1.42)


def test_unknown_invalidations_are_not_modelled_and_said_so(tmp_path):
    lines = [network.echo(1, "kernel", "linux-lazy", 10_000_000), network.echo(1, "kernel", "strict", 10_000_000)]
    lines[0]["metrics"].pop("iommu", None)
    lines[1]["metrics"]["iommu"] = {"invalidations": 500}
    block = only(blocks_of(tmp_path, lines), "Modelled")
    rows = {row[2]: row for row in block.tables[0].rows}
    assert rows["linux-lazy"][3] == "not known" and rows["linux-lazy"][5:] == ["–"] * 5
    assert rows["strict"][3] != "not known"
    assert block.tables[0].caption.startswith("modelled")
    assert "modelled from emulated, virtual clock" in figures.draw_drawing(block.drawings[0], "x")


@pytest.mark.parametrize("kind", ["hardware", "lab-wall"])
def test_only_the_virtual_clock_is_modelled(tmp_path, kind):
    line = synthetic.record(1, "kernel", "strict", "iperf3-tcp-tx", kind=kind)
    assert not any(title.startswith("Modelled") for title in blocks_of(tmp_path, [line]))


# Raw frames, crashes, profiles


def test_raw_frames_by_size(tmp_path):
    lines = [network.raw(s, "user", "persistent", size, work=work + s) for s in (1, 3) for size, work in ((64, 80), (1518, 200))]
    block = only(blocks_of(tmp_path, lines), "Raw frames")
    assert block.tables[0].header[2:] == ["64", "1518"]
    assert block.tables[0].rows == [["user", "persistent", "82 (2.44 %)", "202 (0.99 %)"]]
    assert "emulated, virtual clock" in figures.draw_drawing(block.drawings[0], "x")


def test_crashes_are_summed_and_outages_taken_together(tmp_path):
    lines = [network.crash(1, outages=(1_000_000, 9_000_000)), network.crash(2, outages=(2_000_000,)), network.crash(3, "loop", recoveries=2)]
    table = only(blocks_of(tmp_path, lines), "A driver that fails").tables[0]
    rows = {row[0]: row for row in table.rows}
    assert rows["SIGKILL"][3:] == ["2", "6", "6", "2.00", "9.00", "21", "2,000", "0"]
    assert table.flagged == {table.rows.index(rows["endless loop"])}  # a recovery is missing


def test_the_oops_of_the_kernel_is_shown_in_short(tmp_path):
    ((summary, shown),) = only(blocks_of(tmp_path, [network.oops(lines=40)]), "A driver that fails").texts
    assert "BUG: kernel NULL pointer dereference" in summary
    assert "line 10\n" in shown and "line 30" not in shown and "29 more lines" in shown


def test_profiles_side_by_side(tmp_path):
    lines = [network.stream(1, "kernel", "persistent"), network.stream(1, "user", "persistent")]
    directory = synthetic.write_run(tmp_path / "made", lines)
    network.write_profiles(
        directory,
        network.profile(lines[1]["trial"], 10, driver=300, ip_stack=700),
        network.profile(lines[0]["trial"], 10, driver=100, ip_stack=800),
    )
    run = load.load_run(directory)
    (section,) = program.analyse(run)
    block = profiles.blocks(profiles.read(run), section)[0]
    assert block.tables[0].header[3:] == ["driver", "ip stack", "total"] and "instructions per packet" in block.tables[0].caption
    assert block.drawings[0].title == "Where the instructions of a packet go"
    assert [row[1:] for row in block.tables[0].rows] == [["kernel", "persistent", "10", "80", "90"], ["user", "persistent", "30", "70", "100"]]
    svg = figures.draw_drawing(block.drawings[0], "x")
    assert "tap and system calls" not in svg and "ip stack" in svg and "emulated, virtual clock" in svg
    assert not run.warnings


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"total": 999}, "groups: expected a sum of 999, got 1000"),
        ({"count": 0}, "count: expected a positive number"),
        ({"count": None}, "count: missing"),
        ({"unit": "frame"}, "unit: expected packet or io or copy, got 'frame'"),
        ({"groups": {"driver": -1}}, "driver: expected no negative number"),
        ({"groups": None}, "expected groups and functions"),
        ({"functions": ["f"]}, "functions: expected objects with a name"),
        ({"trial": "another"}, "no finished trial another"),
    ],
)
def test_a_profile_that_cannot_be_is_left_out_with_the_reason(tmp_path, change, expected):
    line = network.stream(1, "kernel", "persistent")
    directory = synthetic.write_run(tmp_path / "made", [line])
    network.write_profiles(directory, {**network.profile(line["trial"], 10, driver=1000), **change})
    run = load.load_run(directory)
    assert profiles.read(run) == profiles.read(run) == []
    assert len(run.warnings) == 1 and expected in run.warnings[0] and "profiles/0.json" in run.warnings[0]


# The whole report


def test_the_page_and_the_terminal_show_every_family_and_only_those(report, tmp_path):
    lines = [*network.echoes(loads=(10e6, 20e6), seeds=(1, 2)), network.raw(1, "user", "persistent", 64), network.crash(1)]
    directory = synthetic.write_run(tmp_path / "made", lines)
    result = report(directory)
    assert result.returncode == 0, result.stderr
    content = (directory / "report.html").read_text(encoding="utf-8")
    for title in ("UDP echo: CPU", "Latency of an echo", "Raw frames", "A driver that fails"):
        assert title in result.stdout and title in content
    for absent in ("Where the instructions go", "Against the baseline", "One axis at a time"):
        assert absent not in result.stdout and absent not in content


def test_a_name_from_a_record_stays_text(tmp_path):
    line = network.echo(1, "kernel", "persistent", 10_000_000, latency_stamp="<b>\x1b[31m</b>")
    run, sections = run_of(tmp_path, [line])
    assert "<b>\x1b" not in program.page(run, sections)
    assert "\x1b" not in text.summary(run, sections)


def test_payloads_that_are_no_number_do_not_stop_the_report(tmp_path):
    line = network.echo(1, "kernel", "persistent", 10_000_000, payload=64)
    line["workload"]["parameters"]["payload_bytes"] = ["64"]
    run, sections = run_of(tmp_path, [line])
    assert echo.sizes(sections[0].cells) == [0]
    assert "UDP echo" in program.page(run, sections)
