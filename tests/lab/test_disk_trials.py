# SPDX-License-Identifier: BSD-2-Clause
"""Disk trials in all placements, in one boot: what is recorded, and that data is what was written."""

import pytest

import program

SUITE = """
[suite]
name = "disks"
summary = "made by a test"

[axes]
device = ["ICH9-AHCI"]
placement = ["stock", "kernel", "user"]
strategy = ["persistent", "linux-lazy"]

[[part]]
name = "interrupts"

[[part.workload]]
name = "fio-randread"
io_depth = [1, 32]
warm_up_ms = 50
window_ms = 100

[[part.workload]]
name = "fio-randrw"
block_bytes = 65536
port = 1
warm_up_ms = 50
window_ms = 100

[[part.workload]]
name = "sync-read"
block_bytes = 16384
model_request_us = 100
model_bytes_per_second = 50_000_000
warm_up_ms = 50
window_ms = 300

[[part.workload]]
name = "fio-verify"
verify_bytes = 8_388_608

[[part]]
name = "polled"

[part.axes]
device = ["ICH9-AHCI"]
placement = ["kernel", "user"]
strategy = ["persistent"]
completion = ["poll"]

[[part.workload]]
name = "fio-randread"
io_depth = 32
warm_up_ms = 50
window_ms = 100
"""
COMBINATIONS = {("stock", "linux-lazy"), ("kernel", "persistent"), ("kernel", "linux-lazy"), ("user", "persistent")}
# 16 KiB each 100 us and the time of 16 KiB at 50 MB/s.
MODEL_BPS = 16384 * 8 / (100e-6 + 16384 / 50e6)


@pytest.fixture(scope="module")
def records(dmatoll, tmp_path_factory):
    place = tmp_path_factory.mktemp("disks")
    suite = place / "disks.toml"
    suite.write_text(SUITE)
    result = program.run(dmatoll, "run", suite, "--no-report", "--output", place / "run", "--jobs", "1", limit=800)
    assert result.returncode == 0, result.stdout[-4000:] + result.stderr[-4000:]
    return program.records(place / "run")


def of(records, workload, completion="interrupt"):
    return [each for each in records if each["workload"]["name"] == workload and each["completion"] == completion]


def polled(records):
    return of(records, "fio-randread", "poll")


def test_every_trial_ran(records):
    assert {(each["placement"], each["strategy"]["name"]) for each in records} == COMBINATIONS
    assert len(records) == 5 * len(COMBINATIONS) + len(polled(records))
    assert sorted(each["placement"] for each in polled(records)) == ["kernel", "user"]
    assert {each["status"] for each in records} == {"ok"}, [each.get("reason") for each in records]


def test_metrics_and_meters(records):
    for each in of(records, "fio-randread") + of(records, "fio-randrw") + of(records, "sync-read") + polled(records):
        metrics = each["metrics"]
        for key in ("ios", "iops", "throughput_bps", "load_achieved_bps", "cpu_utilisation", "instructions_per_io"):
            assert metrics[key] > 0, (each["trial"], key)
        latency = metrics["latency_ns"]
        assert latency["n"] > 0
        assert latency["min"] <= latency["p50"] <= latency["p90"] <= latency["p99"] <= latency["p99_9"] <= latency["max"]
        block = each["workload"]["parameters"]["block_bytes"]
        counts = each["meters"]["block_layer"]["counts"]
        assert (counts["bytes_read"] + counts["bytes_written"]) // block == metrics["ios"]
        assert each["virtual_clock"]["beat_us"] == 50
        assert each["meters"]["driver_counters"]["available"] is (each["placement"] != "stock")
        assert each["metrics"]["iommu"]["faults"] == 0


def test_who_polls_is_counted_with_the_device(records):
    for each in polled(records):
        assert each["metrics"]["polls"] > 0 and each["meters"]["driver_counters"]["counts"]["interrupts"] == 0
        # The CPU of the device never idles; that of this program does.
        device, other = (sum(vcpu.values()) for vcpu in each["meters"]["lab_instructions"]["vcpus"])
        assert device > 0.8 * each["window_ns"] and other < 0.5 * each["window_ns"], each["trial"]


def test_both_directions_were_there(records):
    for each in of(records, "fio-randrw"):
        counts = each["meters"]["block_layer"]["counts"]
        assert counts["bytes_read"] > 0 and counts["bytes_written"] > 0


def test_mapping_follows_the_strategy(records):
    for each in of(records, "fio-randread"):
        iommu = each["metrics"]["iommu"]
        if each["strategy"]["name"] == "linux-lazy" and each["placement"] == "kernel":
            assert iommu["maps"] >= each["metrics"]["ios"] * 0.9
        if each["placement"] == "user":
            assert iommu["maps"] == 0, "the pool is mapped once"


def test_queues_are_equal_in_all_placements(records):
    for key in ("scheduler", "max_sectors_kb", "nr_requests", "rq_affinity", "read_ahead_kb", "nomerges",
                "wbt_lat_usec", "add_random", "rotational", "iostats", "logical_block_size"):
        values = {(each["placement"], each["effective"]["queue"].get(key)) for each in records}
        # A queue without throttling of write-back has no such file.
        assert len({value for _, value in values if value is not None}) == 1, (key, values)
    assert {each["effective"]["queue"]["scheduler"] for each in records} == {"none"}


def test_the_offered_load_follows_the_model(records):
    for each in of(records, "sync-read"):
        assert each["metrics"]["load_requested_bps"] == pytest.approx(MODEL_BPS, rel=1e-6)
        assert each["workload"]["parameters"]["model_request_us"] == 100


def test_what_was_written_is_what_was_read(records):
    for each in of(records, "fio-verify"):
        assert each["metrics"]["bytes_verified"] == each["metrics"]["bytes_written"] >= 8_388_608
