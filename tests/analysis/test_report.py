# SPDX-License-Identifier: BSD-2-Clause
import html.parser
import json
import re
import xml.etree.ElementTree

import pytest
import synthetic

from analysis import compare, figures, load, provenance, report as program, statistics, tables


def sections_of(records, tmp_path, **options):
    run = load.load_run(synthetic.write_run(tmp_path / "made", records, **options))
    return run, program.analyse(run)


def rows_of(section, load_name):
    group = next(group for group in tables.main_table(section) if group["load"] == load_name)
    return {(row["placement"], row["strategy"]): row for row in group["rows"]}


class Page(html.parser.HTMLParser):
    """Collects elements, their attributes and the text of a page."""

    def __init__(self, content):
        super().__init__()
        self.elements, self.text = [], []
        self.feed(content)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text.append(data)


# What a user runs


def test_report_is_written_and_the_table_printed(report, run):
    result = report(run)
    assert result.returncode == 0, result.stderr
    assert (run / "report.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert "iperf3-udp-tx" in result.stdout and "x passthrough" in result.stdout
    assert "emulated, virtual clock" in result.stdout
    assert str(run / "report.html") in result.stdout
    assert not [path for path in run.iterdir() if path.name.startswith(".")]  # nothing half written is left


def test_text_and_json_write_no_file(report, run):
    assert report(run, "--text").returncode == 0
    result = report(run, "--json")
    data = json.loads(result.stdout)
    assert not (run / "report.html").exists()
    (section,) = data["sections"]
    assert section["stamp"] == "emulated, virtual clock"
    assert len(section["cells"]) == 40
    cell = next(c for c in section["cells"] if (c["placement"], c["strategy"], c["workload"]) == ("user", "persistent", "iperf3-tcp-tx"))
    metric = cell["metrics"]["instructions_per_packet"]
    assert metric["n"] == 3 and metric["min"] <= metric["mean"] <= metric["max"] and len(metric["boots"]) == 3
    assert "iommu_maps" not in next(c for c in section["cells"] if c["placement"] == "stock")["metrics"]


def test_figures_as_files(report, run, tmp_path):
    result = report(run, "--text", "--figures", tmp_path / "figures")
    assert result.returncode == 0, result.stderr
    names = sorted(path.name for path in (tmp_path / "figures").iterdir())
    assert names == ["cpu_utilisation.svg", "instructions_per_packet.svg", "modelled-stream.svg", "throughput_bps.svg"]
    for name in names:
        root = xml.etree.ElementTree.parse(tmp_path / "figures" / name).getroot()
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert "emulated, virtual clock" in "".join(root.itertext())


def test_no_such_run(report, tmp_path):
    result = report(tmp_path / "nowhere")
    assert result.returncode == 3
    assert "no such run directory" in result.stderr and "Traceback" not in result.stderr


def test_no_trial_finished_says_why(report, tmp_path):
    lines = [synthetic.failed(1, "user", "strict", "iperf3-tcp-tx", "vfio-pci: no IOMMU group")]
    result = report(synthetic.write_run(tmp_path / "run", lines))
    assert result.returncode == 4
    assert "vfio-pci: no IOMMU group" in result.stderr and "no trial finished" in result.stderr


def test_an_empty_run_has_no_finished_trial(report, tmp_path):
    assert report(synthetic.write_run(tmp_path / "run", [], end="")).returncode == 4


def test_an_unreadable_line_is_named(report, tmp_path):
    lines = [synthetic.record(1, "kernel", "strict", "iperf3-tcp-tx"), "{", "{}"]
    result = report(synthetic.write_run(tmp_path / "run", lines))
    assert result.returncode == 5
    assert "trials.jsonl:2" in result.stderr and "Traceback" not in result.stderr


def test_output_that_cannot_be_written(report, run, tmp_path):
    result = report(run, "--output", tmp_path / "missing" / "report.html")
    assert result.returncode == 6
    assert "No such file or directory" in result.stderr and "Traceback" not in result.stderr


def test_a_full_disk(report, run):
    result = report(run, "--output", "/dev/full")
    assert result.returncode == 6 and "No space left on device" in result.stderr
    with open("/dev/full", "w") as full:
        result = report(run, "--text", stdout=full)
    assert result.returncode == 6 and "No space left on device" in result.stderr


def test_wrong_use(report, run):
    assert report().returncode == 2
    assert report(run, "--text", "--json").returncode == 2


def test_a_torn_last_line_is_said_in_the_report(report, tmp_path):
    directory = synthetic.write_run(tmp_path / "run", [*synthetic.records(), '{"schema": 1, "tr'], end="")
    result = report(directory)
    assert result.returncode == 0
    assert "cut off" in result.stderr
    assert "the last line is cut off" in (directory / "report.html").read_text(encoding="utf-8")


# The page


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    lines = synthetic.records()
    lines.append(synthetic.failed(9, "user", "strict", "iperf3-tcp-tx", "the peer never answered"))
    run = load.load_run(synthetic.write_run(tmp_path_factory.mktemp("page") / "run", lines))
    return program.page(run, program.analyse(run))


def test_the_page_loads_nothing(page):
    for tag, attributes in Page(page).elements:
        assert tag not in ("script", "link", "iframe", "img", "object", "embed", "image")
        for name, value in attributes.items():
            if name in ("src", "href", "xlink:href", "srcset", "data", "action"):
                assert value.startswith("#"), f"{tag} {name}={value}"
    assert "@import" not in page
    assert not re.search(r"url\(\s*['\"]?(?!#)", page)


def test_ids_are_unique_and_references_lead_somewhere(page):
    elements = Page(page).elements
    ids = [attributes["id"] for _, attributes in elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    references = [value[1:] for _, attributes in elements for name, value in attributes.items() if name.endswith("href")]
    references += re.findall(r"url\(#([^)]+)\)", page)
    assert references and set(references) <= set(ids)


def test_every_figure_and_table_of_numbers_has_the_stamp(page):
    assert page.count("<svg") == 4
    for svg in re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL):
        if "Modelled:" in svg:
            assert "modelled from emulated, virtual clock · n = 3 boots a bar" in svg
            continue
        assert "emulated, virtual clock · n = 3 boots a bar" in svg
        assert "largest spread" in svg
    captions = re.findall(r"<caption>(.*?)</caption>", page, flags=re.DOTALL)
    assert len(captions) > 8
    assert all("emulated, virtual clock" in caption for caption in captions)


def test_the_page_says_what_failed_and_how_to_repeat(page):
    assert "the peer never answered" in page
    assert "dmatoll run quick --target lab --seed 1" in page
    assert "samples alias with timers on the virtual clock" in page  # the reason of a meter that was not there
    assert "page, window at most 10 ms" in page and "domain, window zero" in page


def with_system_calls(record, calls):
    """The record of a driver's process that made so many system calls a packet."""
    count = calls * record["metrics"]["packets"]
    record["meters"]["driver_counters"] = {"available": True, "counts": {"process_system_calls": count}}
    return record


def test_the_page_says_where_the_instructions_of_the_user_placement_go(tmp_path):
    records = [
        with_system_calls(record, 3) if record["placement"] == "user" else record for record in synthetic.records()
    ]
    run, (section,) = sections_of(records, tmp_path)
    driver, placement = compare.claims(section)
    assert tables.gap_rows(section, driver) == []
    rows = tables.gap_rows(section, placement)
    assert [row["load"] for row in rows] == [row["load"] for row in tables.claim_rows(section, placement) if "instr" in row["metric"]]
    for row in rows:
        total, kernel, user, calls = row["values"]
        assert calls == "3"
        parts = int(kernel.replace(",", "")) + int(user.replace(",", ""))
        assert abs(int(total.replace(",", "")) - parts) <= 1  # each is rounded by itself
    content = program.page(run, [section])
    assert "Where the difference goes" in content

    titles, groups = tables.operations_table(section)
    column = titles.index("driver's system calls")
    shown = {row["placement"]: row["values"][column] for row in groups[0]["rows"]}
    assert shown == {"stock": tables.ABSENT, "kernel": tables.ABSENT, "user": "3"}


def test_without_its_counter_no_system_calls_are_claimed(tmp_path):
    _, (section,) = sections_of(synthetic.records(), tmp_path)
    assert "driver's system calls" not in tables.operations_table(section)[0]
    assert all(row["values"][-1] == "not measured" for row in tables.gap_rows(section, compare.claims(section)[1]))


@pytest.mark.parametrize(
    ("requested", "attached", "expected"),
    [
        ("own", "paging", "paging"),
        ("own", "vfio-type1", "vfio-type1"),
        ("own", "DMA", "DMA (requested own)"),
        ("DMA-FQ", "DMA-FQ", "DMA-FQ"),
        ("DMA-FQ", "DMA", "DMA (requested DMA-FQ)"),
    ],
)
def test_a_domain_that_was_not_asked_for_is_named(tmp_path, requested, attached, expected):
    domain = {"requested": requested, "attached": attached}
    run, (section,) = sections_of([synthetic.record(1, "kernel", "strict", "iperf3-udp-tx", domain=domain)], tmp_path)
    _, _, (row,) = tables.protection_table(run, section)
    assert row["domain"] == expected


def test_a_reason_is_one_line_and_its_details_stand_below(tmp_path):
    lines = synthetic.records() + [
        synthetic.failed(9, "user", "strict", "iperf3-udp-tx", "The guest ended. Its console:\nfirst words\nlast words")
    ]
    run, sections = sections_of(lines, tmp_path)
    (row,) = tables.failure_rows(run)
    assert (row["reason"], row["details"]) == ("The guest ended. Its console:", "first words\nlast words")
    assert "<pre>first words\nlast words</pre>" in program.page(run, sections)


def test_what_records_say_is_escaped(tmp_path):
    evil = '<script>alert(1)</script>$\\frac{"&$'
    lines = [
        synthetic.record(
            seed,
            "kernel",
            "strict",
            "iperf3-tcp-tx",
            trial=f"{seed} {name}",
            strategy={"name": name, "parameters": {evil: name}, "protection": {evil: {"granularity": evil, "window": evil}}},
            workload={"name": evil, "parameters": {evil: evil}},
            device={"name": evil},
        )
        for seed in (1, 2)
        for name in ("strict", evil)
    ]
    lines[0]["environment"]["kernel"] = evil
    lines[0]["environment"][evil] = evil
    lines[0]["meters"][evil] = {"available": False, "reason": evil}
    lines.append(synthetic.failed(1, "kernel", "strict", "iperf3-udp-tx", evil))
    run, sections = sections_of(lines, tmp_path, manifest={"suite": evil, evil: evil})
    content = program.page(run, sections)
    assert "<script" not in content
    assert "script" not in {tag for tag, _ in Page(content).elements}
    assert evil in "".join(Page(content).text)


def test_the_terminal_gets_no_control_characters(report, tmp_path):
    lines = [*synthetic.records(seeds=(1,)), synthetic.failed(1, "user", "strict", "iperf3-tcp-tx", "\x1b]0;owned\x07\nnext")]
    lines[-1]["trial"] = "\x1b[31m"
    result = report(synthetic.write_run(tmp_path / "run", lines))
    assert "owned" in result.stdout
    assert "\x1b" not in result.stdout + result.stderr and "\x07" not in result.stdout


# The content


def test_ratios_against_the_baseline_and_passthrough(tmp_path):
    values = {("stock", "linux-lazy"): 1000, ("stock", "linux-identity"): 500, ("kernel", "linux-identity"): 400, ("user", "persistent"): 600}
    lines = []
    for (placement, strategy), value in values.items():
        for seed in (1, 2):
            lines.append(synthetic.record(seed, placement, strategy, "iperf3-tcp-tx"))
            lines[-1]["metrics"]["instructions_per_packet"] = value
    _, (section,) = sections_of(lines, tmp_path)
    rows = rows_of(section, "iperf3-tcp-tx unpaced")
    assert rows[("stock", "linux-lazy")]["baseline"] and rows[("stock", "linux-lazy")]["work_baseline"] == "1.000"
    assert rows[("stock", "linux-lazy")]["work_passthrough"] == "2.000"  # against stock/linux-identity
    assert rows[("user", "persistent")]["work_baseline"] == "0.600"
    assert rows[("user", "persistent")]["work_passthrough"] == "1.500"  # against kernel/linux-identity
    assert rows[("user", "persistent")]["spread"] == "0 (identical)"
    assert rows[("user", "persistent")]["interval"] == "identical"


def claim_lines(kernel, user, achieved=300e6):
    lines = []
    for seed in (1, 2, 3):
        for placement, utilisation, load_ in (("kernel", kernel, 300e6), ("user", user, achieved)):
            lines.append(synthetic.record(seed, placement, "persistent", "iperf3-udp-tx"))
            lines[-1]["metrics"].update(
                cpu_utilisation=utilisation, instructions_per_packet=utilisation * 1e5, load_requested_bps=300e6, load_achieved_bps=load_
            )
    return lines


@pytest.mark.parametrize(("user", "expected"), [(0.215, "holds"), (0.25, "exceeds")])
def test_the_claim_of_2005_is_judged(tmp_path, user, expected):
    _, (section,) = sections_of(claim_lines(0.2, user), tmp_path)
    claim = compare.claims(section)[1]
    rows = tables.claim_rows(section, claim)
    assert [row["metric"] for row in rows] == ["instructions per packet", "CPU utilisation"]
    assert [row["verdict"] for row in rows] == [expected, expected]
    assert rows[1]["interval"] == "identical in every boot"
    assert rows[1]["ratio"] == f"{user / 0.2:.3f}"


def test_utilisation_at_different_loads_is_not_compared(tmp_path):
    _, (section,) = sections_of(claim_lines(0.2, 0.15, achieved=200e6), tmp_path)
    rows = tables.claim_rows(section, compare.claims(section)[1])
    assert rows[1]["verdict"].startswith("not comparable")
    flagged = {row["placement"]: row["flagged"] for row in tables.load_table(section)}
    assert flagged == {"kernel": False, "user": True}  # a third of the load is missing


def test_a_claim_without_its_cells_says_what_is_missing(tmp_path):
    _, (section,) = sections_of([synthetic.record(1, "kernel", "persistent", "iperf3-tcp-tx")], tmp_path)
    claim = compare.claims(section)[1]
    assert not claim.comparisons
    assert claim.missing[0][1] == "no finished trial of user/persistent"


def test_a_single_boot_shows_no_interval(tmp_path):
    run, (section,) = sections_of(synthetic.records(seeds=(1,)), tmp_path)
    assert rows_of(section, "iperf3-tcp-tx unpaced")[("kernel", "strict")]["interval"] == "one boot"
    rows = tables.claim_rows(section, compare.claims(section)[0])
    assert all(row["interval"] == "one boot" and "one boot, no interval" in row["verdict"] for row in rows)
    content = program.page(run, [section])
    assert "n = 1 boot a bar: no interval" in content


def test_no_spread_is_said_as_such(tmp_path):
    lines = synthetic.records(spread=0)
    _, (section,) = sections_of(lines, tmp_path)
    svg = figures.draw(section, tables.METRIC["instructions_per_packet"], "x")
    assert "identical in every boot (spread 0)" in svg


def test_missing_metrics_leave_out_their_figure_only(tmp_path):
    lines = synthetic.records()
    for line in lines:
        for name in ("instructions_per_packet", "cpu_utilisation"):
            line["metrics"].pop(name)
    run, (section,) = sections_of(lines, tmp_path)
    content = program.page(run, [section])
    assert content.count("<svg") == 1 and "Throughput" in content
    assert rows_of(section, "iperf3-tcp-tx unpaced")[("kernel", "strict")]["work"] == tables.ABSENT


def test_a_metric_that_one_cell_lacks_is_drawn_as_not_measured(tmp_path):
    lines = synthetic.records()
    for line in lines:
        if line["placement"] == "stock" and line["workload"]["name"] == "iperf3-tcp-tx":
            del line["metrics"]["instructions_per_packet"]
    _, (section,) = sections_of(lines, tmp_path)
    svg = figures.draw(section, tables.METRIC["instructions_per_packet"], "x")
    assert svg.count(">not measured<") == 3


def test_hardware_and_emulation_are_never_put_together(tmp_path):
    lines = [
        *synthetic.records(workloads=["iperf3-tcp-tx"]),
        *[{**line, "trial": f"hw-{i}"} for i, line in enumerate(synthetic.records(workloads=["iperf3-tcp-tx"], kind="hardware"))],
    ]
    run, sections = sections_of(lines, tmp_path)
    assert [section.stamp for section in sections] == ["hardware", "emulated, virtual clock"]
    for section in sections:
        svg = figures.draw(section, tables.METRIC["instructions_per_packet"], "x")
        assert ("hardware ·" in svg) != ("emulated, virtual clock ·" in svg)


def labels_of(tmp_path, *parameters):
    lines = []
    for index, variant in enumerate(parameters):
        workload = {"name": "w", "parameters": variant}
        lines.append(synthetic.record(1, "kernel", "strict", "iperf3-udp-tx", trial=str(index), workload=workload))
    _, (section,) = sections_of(lines, tmp_path)
    labels = compare.Labels(section)
    return sorted(labels.load(load_) for load_ in section.loads)


def test_workloads_are_told_apart_by_what_differs_only(tmp_path):
    same = {"payload_bytes": 1472}
    assert labels_of(tmp_path, same) == ["w"]
    paced = labels_of(tmp_path, {**same, "load_bps": 0, "window_ms": 300}, {**same, "load_bps": 1.5e8, "window_ms": 400})
    assert paced == ["w at 150 Mb/s", "w unpaced"]
    sizes = labels_of(tmp_path, {"load_bps": 1e8, "payload_bytes": 64}, {"load_bps": 1e8, "payload_bytes": 1472})
    assert sizes == ["w at 100 Mb/s payload_bytes=1472", "w at 100 Mb/s payload_bytes=64"]


def test_paced_and_unpaced_are_different_workloads(tmp_path):
    _, (section,) = sections_of(synthetic.records(workloads=synthetic.PACED), tmp_path)
    labels = compare.Labels(section)
    cpu = tables.METRIC["cpu_utilisation"]
    drawn = {labels.load(cell) for cell in figures.figure_cells(section, cpu)}
    assert len(section.loads) == 6
    assert drawn == {f"iperf3-{transport}-{flow} at 300 Mb/s" for transport in ("tcp", "udp") for flow in ("rx", "tx")}


@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        ({"granularity": "none", "window": "none"}, "none"),
        ({"granularity": "page", "window": "zero"}, "page, window zero"),
        ({"granularity": "page", "window": "bounded", "window_ns": 10_000_000}, "page, window at most 10 ms"),
        ({"granularity": "page", "window": {"kind": "bounded", "bound_ns": 1500}}, "page, window at most 1.5 us"),
        ({"granularity": "pool", "window": {"kind": "unbounded", "bound_ns": 0}}, "pool, window unbounded"),
        ({"granularity": "page", "window": 0}, "page, window zero"),
    ],
)
def test_protection_in_words(stated, expected):
    assert provenance.protection_text(stated) == expected


def test_the_bar_that_dwarfs_the_others_is_cut_and_said_to_be(tmp_path):
    _, (section,) = sections_of(synthetic.records(), tmp_path)
    metric = tables.METRIC["instructions_per_packet"]
    (load_,) = [item for item in section.loads if item[0] == "iperf3-tcp-tx"]
    _, cut = figures.reach(section, metric, load_, section.configurations)
    strict = statistics.find(section.cells, "user", "strict", load=load_)[0]
    assert cut < strict.metric(metric.name).mean / 3
    assert "bar cut" in figures.draw(section, metric, "x")
    assert "bar cut" not in figures.draw(section, tables.METRIC["throughput_bps"], "x")


@pytest.mark.parametrize(
    ("manifest", "command"),
    [
        (
            {"target": "lab", "clock": "virtual", "seed": 7, "plan": {"suite": "quick", "seed": 7, "filter": "", "trials": [{}, {}]}},
            "dmatoll run quick --target lab --clock virtual --seed 7",
        ),
        ({"plan": {"suite": "quick", "filter": "boot=0", "trials": [{}, {}]}}, "dmatoll run quick --filter boot=0"),
        ({"command": ["dmatoll", "run", "my suite.toml"], "plan": {"trials": [{}, {}]}}, "dmatoll run 'my suite.toml'"),
        ({"plan": {"trials": [{}, {}]}}, None),
    ],
)
def test_the_command_and_the_size_of_the_plan_come_from_the_manifest(tmp_path, manifest, command):
    run, _ = sections_of(synthetic.records(seeds=(1,)), tmp_path, manifest=manifest)
    assert provenance.command(run) == command
    assert provenance.planned(run) == 2
