# SPDX-License-Identifier: BSD-2-Clause
"""A run as a user starts it: what is recorded, that it repeats, and the report that is made from it."""

import json
import re

import pytest

import program

SUITE = program.suite("repeats", ["kernel", "user", "stock"], ["persistent", "linux-lazy"],
                      [("iperf3-tcp-tx", 100, {"load_bps": 100_000_000}), ("iperf3-udp-rx", 100, {})])
FILTER = "workload=iperf3-tcp-tx"
COMBINATIONS = {("kernel", "persistent"), ("kernel", "linux-lazy"), ("user", "persistent"), ("stock", "linux-lazy")}


@pytest.fixture(scope="module")
def runs(dmatoll, tmp_path_factory):
    """The same plan twice, at the same time: once on a CPU of its own, once on one that is kept busy."""
    place = tmp_path_factory.mktemp("runs")
    suite = place / "repeats.toml"
    suite.write_text(SUITE)
    cpus = program.host_cpus()
    arguments = ["run", suite, "--filter", FILTER, "--seed", "7", "--deadline", "300"]
    with program.Busy(cpus[-1]), \
            program.Started(dmatoll, *arguments, "--output", place / "quiet", "--no-report", cpu=cpus[0]) as quiet, \
            program.Started(dmatoll, *arguments, "--output", place / "busy", cpu=cpus[-1]) as busy:
        ended = [quiet.finish(), busy.finish()]
    for result in ended:
        assert result.returncode == 0, result
    return place / "quiet", place / "busy"


@pytest.fixture(scope="module")
def record(runs):
    return {(each["placement"], each["strategy"]["name"]): each for each in program.records(runs[0])}


def test_each_trial_has_one_record(record, runs):
    assert set(record) == COMBINATIONS
    assert len(program.records(runs[0])) == len(COMBINATIONS)


KEYS = {
    "": ["schema", "run", "trial", "started_utc", "placement", "code_generation", "completion", "window_ns", "status"],
    "repetition": ["index", "of", "boot"],
    "environment": ["kind", "kernel", "cmdline", "cpu_model", "qemu", "iommu", "git", "dirty", "compiler"],
    "environment.iommu": ["driver", "cap", "ecap", "address_width"],
    "device": ["name", "model", "bdf", "interrupt"],
    "strategy": ["name", "parameters", "page_size", "protection"],
    "strategy.protection": ["granularity", "window", "kernel_from_device", "kernel_from_driver", "driver_from_device"],
    "domain": ["requested", "attached"],
    "workload": ["name", "parameters"],
    "metrics": ["throughput_bps", "load_requested_bps", "load_achieved_bps", "packets", "cpu_utilisation",
                "instructions_per_packet"],
    "meters": ["driver_counters", "proc_stat", "lab_instructions"],
}


def inner(record, path):
    for key in filter(None, path.split(".")):
        record = record[key]
    return record


@pytest.mark.parametrize("path", KEYS, ids=lambda path: path or "record")
def test_the_record_has_what_others_rely_on(record, path):
    for each in record.values():
        missing = set(KEYS[path]) - set(inner(each, path))
        assert not missing, (each["trial"], path, missing)


def test_the_record_tells_what_it_measured(record):
    for (placement, strategy), each in record.items():
        assert each["status"] == "ok" and "reason" not in each
        assert each["environment"]["kind"] == "lab-virtual"
        assert each["window_ns"] >= 100_000_000
        assert each["metrics"]["packets"] > 0
        # A meter that is not there says why, and its metric is absent.
        for meter in each["meters"].values():
            assert meter["available"] or meter["reason"]
        vcpus = each["meters"]["lab_instructions"]["vcpus"]
        assert len(vcpus) == 2
        device = vcpus[0]["user"] + vcpus[0]["kernel"]
        # Packets are counted over a little more than the window: a rate for a rate.
        counted_for = each["packets_interval_ns"]
        assert each["window_ns"] <= counted_for < 1.1 * each["window_ns"]
        expected = device / each["window_ns"] * counted_for / each["metrics"]["packets"]
        assert each["metrics"]["instructions_per_packet"] == pytest.approx(expected)
        assert each["metrics"]["cpu_utilisation"] == pytest.approx(device / each["window_ns"])
        assert each["metrics"]["iommu"]["faults"] == 0
        # Who counts mappings records the counts; who cannot has no zero in their place.
        # Linux's own strategies do not tell of their invalidations, and the stock driver tells of nothing.
        counted = each["metrics"]["iommu"]
        assert ("maps" in counted) == ("unmaps" in counted) == (placement != "stock"), (placement, strategy)
        assert ("invalidations" in counted) == (strategy == "persistent"), (placement, strategy)
        assert "ios" not in each["metrics"] and "latency_ns" not in each["metrics"]


def test_the_domain_that_was_asked_for_is_the_one_attached(record):
    attached = {key: each["domain"]["attached"] for key, each in record.items()}
    assert attached[("kernel", "persistent")] == "paging"
    assert attached[("kernel", "linux-lazy")] == attached[("stock", "linux-lazy")] == "DMA-FQ"
    assert attached[("user", "persistent")] == "vfio-type1"
    drivers = {key: each["effective"]["driver"] for key, each in record.items()}
    assert drivers == {("kernel", "persistent"): "dmatoll-net", ("kernel", "linux-lazy"): "dmatoll-net-linux",
                       ("stock", "linux-lazy"): "e1000", ("user", "persistent"): "vfio-pci"}


def test_the_same_seed_gives_the_same_instructions_even_on_a_busy_cpu(runs):
    def measured(directory):
        return [(each["trial"], each["window_ns"], each["metrics"]["packets"],
                 each["meters"]["lab_instructions"]["vcpus"]) for each in program.records(directory)]

    assert measured(runs[0]) == measured(runs[1])


def test_the_manifest_holds_the_plan_and_where_it_ran(runs):
    manifest = json.loads((runs[0] / "manifest.json").read_text())
    assert manifest["seed"] == 7 and manifest["target"] == "lab" and manifest["clock"] == "virtual"
    assert [trial["id"] for trial in manifest["plan"]["trials"]] == [each["trial"] for each in program.records(runs[0])]


def test_iperf3s_own_words_are_kept_beside_the_record(runs):
    for each in program.records(runs[0]):
        for end in ("client", "server"):
            assert "end" in json.loads((runs[0] / "raw" / each["trial"] / f"{end}.json").read_text())


def test_the_report_stands_alone(runs):
    report = (runs[1] / "report.html").read_text()
    assert not re.search(r'(src|href)\s*=\s*["\'](?!data:|#)[^"\']', report), "it refers to another file"
    assert "emulated, virtual clock" in report
    for placement, strategy in COMBINATIONS:
        assert placement in report and strategy in report
