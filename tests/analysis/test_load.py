# SPDX-License-Identifier: BSD-2-Clause
import math

import pytest
import synthetic

from analysis import load


def one(**changes):
    return synthetic.record(1, "kernel", "strict", "iperf3-udp-tx", **changes)


def load_lines(tmp_path, lines, **options):
    return load.load_run(synthetic.write_run(tmp_path / "run", lines, **options))


def test_a_record_becomes_a_row(tmp_path):
    record = one()
    row = load_lines(tmp_path, [record]).frame.iloc[0]
    assert (row["placement"], row["strategy"], row["workload"]) == ("kernel", "strict", "iperf3-udp-tx")
    assert row["device"] == "e1000 82540EM"
    assert row["replicate"] == "1"
    assert row["instructions_per_packet"] == record["metrics"]["instructions_per_packet"]
    assert row["iommu_invalidations"] == record["metrics"]["iommu"]["invalidations"]
    vcpu = record["meters"]["lab_instructions"]["vcpus"][0]
    assert row["user_instructions_per_packet"] == vcpu["user"] / record["metrics"]["packets"]


def test_a_metric_that_is_absent_or_null_is_not_zero(tmp_path):
    without = one(trial="a")
    del without["metrics"]["cpu_utilisation"], without["metrics"]["iommu"]
    null = one(trial="b")
    null["metrics"]["cpu_utilisation"] = None
    null["metrics"]["iommu"]["maps"] = None
    frame = load_lines(tmp_path, [without, null]).frame
    assert frame["cpu_utilisation"].isna().all()
    assert frame["iommu_maps"].isna().all()
    assert math.isnan(frame.iloc[0]["iommu_invalidations"])
    assert frame.iloc[1]["iommu_invalidations"] > 0


def test_a_torn_last_line_is_dropped_with_a_warning(tmp_path):
    import json

    whole = json.dumps(one(trial="second"))
    run = load_lines(tmp_path, [one(), whole[: len(whole) // 2]], end="")
    assert len(run.frame) == 1
    assert len(run.warnings) == 1
    assert "trials.jsonl:2" in run.warnings[0] and "cut off" in run.warnings[0]


def test_a_torn_line_in_the_middle_is_an_error_with_its_number(tmp_path):
    with pytest.raises(load.BadRecord, match=r"trials\.jsonl:2: not a JSON record"):
        load_lines(tmp_path, [one(), '{"schema": 1, "tri', one(trial="c")])


def test_a_last_line_without_newline_counts_when_it_is_whole(tmp_path):
    run = load_lines(tmp_path, [one(), one(trial="b")], end="")
    assert len(run.frame) == 2 and not run.warnings


def test_bytes_that_are_no_text_are_an_error_with_the_line(tmp_path):
    directory = synthetic.write_run(tmp_path / "run", [one()])
    with open(directory / "trials.jsonl", "ab") as file:
        file.write(b'\xff\xfe{"schema"\n')
    with pytest.raises(load.BadRecord, match=r":2: not a JSON record"):
        load.load_run(directory)


def test_trials_that_failed_are_kept_with_their_reason(tmp_path):
    run = load_lines(
        tmp_path,
        [
            one(),
            synthetic.failed(1, "user", "strict", "iperf3-udp-tx", "the guest panicked"),
            synthetic.failed(1, "user", "persistent", "iperf3-udp-tx", "no VFIO", status="skipped"),
            {"schema": 1, "trial": 7, "status": "error", "reason": "the guest did not start"},
        ],
    )
    assert len(run.finished()) == 1
    assert list(run.unfinished()["reason"]) == ["the guest panicked", "no VFIO", "the guest did not start"]


def test_a_trial_that_was_tried_again_counts_once(tmp_path):
    error = synthetic.failed(1, "kernel", "strict", "iperf3-udp-tx", "a hiccup")
    for lines in ([error, one()], [one(), error]):
        run = load_lines(tmp_path, lines)
        assert len(run.finished()) == 1 and run.unfinished().empty
        assert "1 records are of trials that were tried again" in run.warnings[0]


def test_a_missing_or_broken_manifest_is_a_warning(tmp_path):
    directory = synthetic.write_run(tmp_path / "run", [one()])
    (directory / "manifest.json").write_text("{", encoding="utf-8")
    assert "manifest.json cannot be read" in load.load_run(directory).warnings[0]
    (directory / "manifest.json").unlink()
    run = load.load_run(directory)
    assert "manifest.json is missing" in run.warnings[0] and run.manifest == {}


def test_no_such_run(tmp_path):
    with pytest.raises(load.NoSuchRun, match="no such run directory"):
        load.load_run(tmp_path / "nowhere")
    with pytest.raises(load.NoSuchRun, match="no trials.jsonl"):
        load.load_run(tmp_path)


def metrics(**changes):
    return {**one()["metrics"], **changes}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema": 2}, "schema: expected version 1, got 2"),
        ({"schema": None}, "schema: expected version 1, got None"),
        ({"schema": True}, "schema: expected version 1"),
        ({"status": "fine"}, "status: expected one of ok, error, skipped, got 'fine'"),
        ({"placement": "cloud"}, "placement: expected one of"),
        ({"placement": None}, "placement: missing"),
        ({"strategy": "strict"}, "strategy: expected an object, got str"),
        ({"strategy": {"parameters": {}}}, r"strategy\.name: missing"),
        ({"environment": {"kind": "dream"}}, r"environment\.kind: expected one of"),
        ({"environment": None}, r"environment\.kind: missing"),
        ({"metrics": None}, "metrics: missing"),
        ({"metrics": metrics(packets="many")}, r"metrics\.packets: expected a number, got 'many'"),
        ({"metrics": metrics(packets=True)}, r"metrics\.packets: expected a number, got True"),
        ({"metrics": metrics(packets=-1)}, r"metrics\.packets: expected no negative number"),
        ({"metrics": metrics(iommu=[1])}, r"metrics\.iommu: expected an object, got list"),
        ({"metrics": metrics(iommu={"maps": "1"})}, r"metrics\.iommu\.maps: expected a number"),
        ({"metrics": metrics(packets=float("nan"))}, "NaN is not a number that a record may hold"),
        ({"metrics": metrics(packets=10**400)}, r"metrics\.packets: expected a finite number"),
    ],
)
def test_a_record_that_breaks_the_schema_is_refused(tmp_path, changes, message):
    with pytest.raises(load.BadRecord, match=r"trials\.jsonl:2: .*" + message):
        load_lines(tmp_path, [one(trial="good"), one(**changes)])


def test_a_line_that_is_no_object_is_refused(tmp_path):
    with pytest.raises(load.BadRecord, match=":1: expected a JSON object, got list"):
        load_lines(tmp_path, ["[1, 2]"])


def test_unknown_keys_and_metrics_are_no_reason_to_refuse(tmp_path):
    run = load_lines(tmp_path, [one(news={"a": 1}, metrics=metrics(novelty="yes"))])
    assert len(run.finished()) == 1
