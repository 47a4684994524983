# SPDX-License-Identifier: BSD-2-Clause
"""The reproduction: claims, verdicts from records whose ratios are known, and the program as a user runs it."""

import dataclasses
import html.parser
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import disks
import network
import pytest
import synthetic
from analysis import load, report
from paper import claims, document, needs, runs, verdicts

ROOT = Path(__file__).resolve().parents[2]
PLAN = {"suite": "seed-gbe", "filter": "", "seed": 1, "trials": []}


def entry(**changes):
    """A claim as text: user : kernel instructions per packet of an echo, at most 1.10."""
    values = {
        "id": "made-up",
        "statement": "A made-up claim",
        "source": "nobody",
        "label": "VERIFIED",
        "suite": "seed-gbe",
        "filter": "placement=kernel|user",
        "boots": 2,
        "points": 1,
        "minutes": 3,
        "quick_filter": "placement=kernel|user,repetition=0|1",
        "quick_boots": 2,
        "quick_points": 1,
        "quick_minutes": 1,
        "metric": "instructions_per_packet",
        "numerator": {"placement": "user", "strategy": "persistent"},
        "denominator": {"placement": "kernel", "strategy": "persistent"},
        "relation": "at most",
        "value": 1.10,
        **changes,
    }
    values = {key: value for key, value in values.items() if value is not None}
    return "[[claim]]\n" + "".join(f"{key} = {toml(value)}\n" for key, value in values.items())


def toml(value):
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {toml(inner)}" for key, inner in value.items()) + " }"
    return json.dumps(value)


def claims_file(directory, *entries):
    path = directory / "claims.toml"
    path.write_text("\n".join(entries), encoding="utf-8")
    return path


def claim_of(tmp_path, **changes):
    (claim,) = claims.read(claims_file(tmp_path, entry(**changes)))
    return claim


def echoes(ratios, loads=(100_000_000,), kernel=10_000):
    """A pair of echoes a boot and load: user costs `ratio` times what the kernel does."""
    return [
        network.echo(seed, placement, "persistent", load_, work=kernel * (ratio if placement == "user" else 1))
        for seed, ratio in enumerate(ratios, start=1)
        for load_ in loads
        for placement in ("kernel", "user")
    ]


def judged(tmp_path, claim, lines, quick=False):
    run = load.load_run(synthetic.write_run(tmp_path / "made", lines, manifest={"plan": PLAN}))
    return verdicts.judge(claim, claim.amount(quick), report.analyse(run))


# Verdicts


@pytest.mark.parametrize(
    ("ratios", "expected"),
    [
        ((1.05, 1.06), "not decided"),  # in the mean 1.055, but two boots leave an interval to 1.12
        ((1.05, 1.051), "reproduced"),
        ((1.10, 1.10), "reproduced"),  # the edge belongs to it
        ((1.11, 1.11), "contradicted"),
        ((1.20, 1.21), "contradicted"),
        ((1.08, 1.13), "not decided"),
        ((1.12, 1.14), "not decided"),  # in the mean above, the interval reaches below
    ],
)
def test_the_whole_interval_has_to_be_within(tmp_path, ratios, expected):
    found = judged(tmp_path, claim_of(tmp_path), echoes(ratios))
    assert found.verdict == expected and found.boots == 2 and found.stamp == "emulated, virtual clock"
    (point,) = found.points
    assert point.ratio.low is not None and (point.numerator, point.denominator) == (pytest.approx(10_000 * sum(ratios) / 2), 10_000)


@pytest.mark.parametrize(
    ("relation", "value", "tolerance", "ratio", "expected"),
    [
        ("at most", 1.0, 0.05, 1.05, "reproduced"),
        ("at most", 1.0, 0.05, 1.0501, "contradicted"),
        ("at most", 1.0, 0.0, 0.2, "reproduced"),
        ("at least", 1.0, 0.02, 0.98, "reproduced"),
        ("at least", 1.0, 0.02, 0.9799, "contradicted"),
        ("at least", 1.0, 0.0, 7.0, "reproduced"),
        ("equal to", 1.0, 0.25, 1.25, "reproduced"),
        ("equal to", 1.0, 0.25, 0.75, "reproduced"),
        ("equal to", 1.0, 0.25, 1.2501, "contradicted"),
        ("equal to", 1.0, 0.25, 0.7499, "contradicted"),
    ],
)
def test_edges_of_the_tolerance(tmp_path, relation, value, tolerance, ratio, expected):
    claim = claim_of(tmp_path, relation=relation, value=value, tolerance=tolerance)
    assert judged(tmp_path, claim, echoes((ratio, ratio))).verdict == expected


def test_an_interval_that_holds_the_whole_range_decides_nothing(tmp_path):
    claim = claim_of(tmp_path, relation="equal to", value=1.0, tolerance=0.01)
    assert judged(tmp_path, claim, echoes((0.9, 1.1))).verdict == "not decided"


def test_a_claim_holds_at_every_point_or_not_at_all(tmp_path):
    loads = (50_000_000, 100_000_000)
    lines = echoes((1.0, 1.0), loads)
    for line in lines:
        if line["placement"] == "user" and line["metrics"]["load_requested_bps"] == loads[1]:
            line["metrics"]["instructions_per_packet"] = 12_000
    claim = claim_of(tmp_path, points=2)
    found = judged(tmp_path, claim, lines)
    assert found.verdict == "contradicted" and found.reason == "fails at 1 of 2 points"
    assert [point.state for point in found.points] == ["holds", "fails"]
    for line in lines:
        line["metrics"]["instructions_per_packet"] = 10_000 * (1.05 if line["placement"] == "user" else 1)
    assert judged(tmp_path, claim, lines).reason == "holds at all 2 points"


def test_too_few_points_or_boots_are_no_verdict(tmp_path):
    assert judged(tmp_path, claim_of(tmp_path, points=2), echoes((1.0, 1.0))).verdict == "not run"
    found = judged(tmp_path, claim_of(tmp_path, boots=3), echoes((1.0, 1.0)))
    assert found.verdict == "not run" and found.reason == "0 of 1 points have 3 boots on both sides"
    lines = [line for line in echoes((1.0, 1.0, 1.0)) if not (line["placement"] == "user" and line["repetition"]["seed"] == 2)]
    assert judged(tmp_path, claim_of(tmp_path, boots=3), lines).verdict == "not run"
    assert judged(tmp_path, claim_of(tmp_path, boots=2), lines).verdict == "reproduced"


def test_boots_without_a_partner_are_no_evidence(tmp_path):
    """Three boots on each side, of which two have a seed in common."""
    lines = echoes((1.0, 1.0)) + [network.echo(3, "kernel", "persistent", 100_000_000, work=9e3), network.echo(4, "user", "persistent", 100_000_000, work=9e3)]
    assert judged(tmp_path, claim_of(tmp_path, boots=3), lines).verdict == "not run"


def test_failed_trials_are_missing_trials(tmp_path):
    lines = echoes((1.0, 1.0))
    lines[0] = {**lines[0], "status": "error", "reason": "the peer never answered"}
    found = judged(tmp_path, claim_of(tmp_path), lines)
    assert found.verdict == "not run"
    lines = [{**line, "status": "error", "reason": "x"} for line in lines]
    assert judged(tmp_path, claim_of(tmp_path), lines).reason == "no finished trial"


def test_a_metric_that_was_not_measured_is_not_zero(tmp_path):
    lines = echoes((1.0, 1.0))
    for line in lines:
        if line["placement"] == "user":
            del line["metrics"]["instructions_per_packet"]
    assert judged(tmp_path, claim_of(tmp_path), lines).verdict == "not run"


def loads_of(lines, placement, load_, factor):
    """Of one placement's trials at one offered load, what they carried."""
    for line in lines:
        if line["placement"] == placement and line["metrics"]["load_requested_bps"] == load_:
            line["metrics"]["load_achieved_bps"] = load_ * factor
    return lines


def test_utilisation_is_judged_at_equal_load_only(tmp_path):
    """A claim that needs two points is not reproduced by one of them."""
    lines = loads_of(echoes((1.05, 1.05), (50_000_000, 100_000_000)), "kernel", 100_000_000, 0.9)
    found = judged(tmp_path, claim_of(tmp_path, metric="cpu_utilisation", points=2), lines)
    assert found.verdict == "not decided" and found.reason == "only 1 of the 2 points that it needs can be compared; 1 left out"
    assert [(point.state, point.reason) for point in found.points] == [("holds", ""), ("left out", "loads differ")]
    found = judged(tmp_path, claim_of(tmp_path, metric="cpu_utilisation", points=1), lines)
    assert found.verdict == "reproduced" and found.reason == "holds at 1 point; 1 left out"
    lines = loads_of(lines, "kernel", 50_000_000, 0.9)
    found = judged(tmp_path, claim_of(tmp_path, metric="cpu_utilisation", points=2), lines)
    assert found.verdict == "not decided" and found.reason == "none of 2 points can be compared"


@pytest.mark.parametrize(("ratio", "state"), [(1.05, "open"), (0.5, "open"), (1.5, "fails")])
def test_to_miss_the_load_alone_is_no_way_out(tmp_path, ratio, state):
    """Only the driver at user level misses the load: that point is not left out."""
    lines = loads_of(echoes((ratio, ratio), (50_000_000, 100_000_000)), "user", 100_000_000, 0.9)
    for line in lines:
        if line["metrics"]["load_requested_bps"] == 50_000_000:
            line["metrics"]["cpu_utilisation"] = 0.25
    found = judged(tmp_path, claim_of(tmp_path, metric="cpu_utilisation"), lines)
    assert found.points[0].state == "holds"
    assert (found.points[1].state, found.points[1].reason) == (state, "only user/persistent missed the load")
    assert found.points[1].ratio.value == pytest.approx(ratio)
    assert found.verdict == {"open": "not decided", "fails": "contradicted"}[state]


def test_the_point_that_a_claim_is_about_has_to_be_compared(tmp_path):
    """At worst 17 %, at the smallest block: without the smallest block nothing of it is reproduced."""
    lines = disks.sync_reads(seeds=(1, 2), links=[("kernel", "persistent"), ("user", "persistent")], load_bps=1_000_000)
    changes = {"suite": "seed-ide", "metric": "cpu_utilisation", "value": 9.0, "points": 5, "must": {"block_bytes": 1024}}
    assert judged(tmp_path, claim_of(tmp_path, **changes), lines).reason == "holds at all 11 points"
    larger = [line for line in lines if line["workload"]["parameters"]["block_bytes"] > 1024]
    found = judged(tmp_path, claim_of(tmp_path, **changes), larger)
    assert (found.verdict, found.reason) == ("not run", "no point has blocks of 1 KiB, which the claim is about")
    for line in lines:
        if line["placement"] == "kernel" and line["workload"]["parameters"]["block_bytes"] == 1024:
            line["metrics"]["load_achieved_bps"] *= 0.9
    found = judged(tmp_path, claim_of(tmp_path, **changes), lines)
    assert found.verdict == "not decided" and found.reason == "sync-read 1 KiB at 1 Mb/s, which the claim is about, cannot be compared: loads differ"


def test_a_load_that_was_not_offered_is_left_out(tmp_path):
    lines = echoes((3.0, 3.0))
    lines[0]["flags"] = ["load-not-offered"]
    assert judged(tmp_path, claim_of(tmp_path), lines).verdict == "not decided"


def test_only_the_usual_settings_are_judged(tmp_path):
    lines = echoes((1.0, 1.0)) + [network.echo(seed, "user", "persistent", 100_000_000, work=9e4, code_generation="kernel-like") for seed in (1, 2)]
    assert judged(tmp_path, claim_of(tmp_path), lines).verdict == "reproduced"


def test_code_that_is_compiled_otherwise_stands_for_no_placement(tmp_path):
    lines = [{**line, **({"code_generation": "kernel-like"} if line["placement"] == "user" else {})} for line in echoes((1.0, 1.0))]
    assert judged(tmp_path, claim_of(tmp_path), lines).verdict == "not run"


# What a run's plan has to hold


def planned_for(claim, amount):
    """The trials that a claim needs, as a manifest has them."""
    return [
        {"placement": need.placement, "strategy": need.strategy, "workload": need.workload, "parameters": dict(need.parameters), "part": need.part, "boot": boot}
        for need in needs.needs_of(claim, amount)
        for boot in (range(amount.boots) if None in need.boots else need.boots)
    ]


def best_of(tmp_path, claim, trials, **plan):
    """What a run says whose plan has these trials, and whose records would do."""
    loads = sorted({trial["parameters"]["load_bps"] for trial in planned_for(claim, claim.full)})
    manifest = {"plan": {**PLAN, "trials": trials, **plan}}
    directory = synthetic.write_run(tmp_path / "made", echoes((1.0, 1.0), loads), manifest=manifest)
    return runs.best(claim, claim.full, [runs.read(directory)])


def test_a_run_fits_if_its_plan_holds_the_trials_of_the_claim(tmp_path):
    claim = claim_of(tmp_path)
    trials = planned_for(claim, claim.full)
    assert len(trials) == 2 * 2 * 10  # placements, boots, loads of the suite
    results, judgement = best_of(tmp_path, claim, trials)
    assert results is not None and judgement.verdict == "reproduced"


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"boot": 0}, "user/persistent udp-echo load_bps=97483443: 1 of 2 boots"),
        ({"strategy": "strict"}, "user/persistent udp-echo load_bps=97483443: 0 of 2 boots"),
        ({"placement": "stock"}, "user/persistent udp-echo load_bps=97483443: 0 of 2 boots"),
        ({"workload": "iperf3-udp-tx"}, "user/persistent udp-echo load_bps=97483443: 0 of 2 boots"),
        ({"part": "references"}, "user/persistent udp-echo load_bps=97483443: 0 of 2 boots"),
        ({"parameters": {"load_bps": 97_000_000}}, "user/persistent udp-echo load_bps=97483443: 0 of 2 boots"),
    ],
)
def test_a_run_without_them_says_which_are_missing(tmp_path, changes, named):
    """Its records would do; but it was planned from a suite that says something else."""
    claim = claim_of(tmp_path)
    trials = planned_for(claim, claim.full)
    for trial in trials:
        if trial["placement"] == "user" and trial["parameters"]["load_bps"] == 97_483_443:
            trial.update(changes)
    results, judgement = best_of(tmp_path, claim, trials)
    assert results is None and judgement.verdict == "not run"
    assert judgement.reason.endswith(f"its plan is of another revision of the suite, without {named}")


def test_a_run_of_less_is_told_from_one_of_another_suite_file(tmp_path):
    claim = claim_of(tmp_path, quick_filter="placement=kernel|user,repetition=0|1,load=97483443")
    results, judgement = best_of(tmp_path, claim, planned_for(claim, claim.quick), filter=claim.full.filter)
    assert results is None and "another revision" in judgement.reason and "; user/persistent" in judgement.reason
    assert "and 14 more" in judgement.reason


def test_a_run_that_was_filtered_otherwise_is_taken_if_its_plan_has_all(tmp_path, monkeypatch):
    claim = claim_of(tmp_path)
    results, judgement = best_of(tmp_path, claim, planned_for(claim, claim.full), filter="strategy=persistent")
    assert results is not None and judgement.verdict != "not run"
    # And not where nobody knows what all is.
    monkeypatch.setattr(needs, "needs_of", lambda *_: None)
    results, judgement = runs.best(claim, claim.full, [runs.read(tmp_path / "made")])
    assert results is None and judgement.verdict == "not run"


def test_every_claim_of_ours_needs_trials_of_its_suite():
    for claim in claims.read():
        for amount in (claim.full, claim.quick) if claim.suite else ():
            wanted = needs.needs_of(claim, amount)
            sides = {(need.placement, need.strategy) for need in wanted}
            assert sides == {(side.placement, side.strategy) for side in claim.selections}, claim.id
            # Two metrics of one trial are both sides of a claim, too.
            sides = {dataclasses.replace(side, metric=None) for side in claim.selections}
            assert len(wanted) >= min(2, len(sides)) * amount.points and all(len(need.boots) == amount.boots for need in wanted), claim.id
            suite = tomllib.loads((needs.SUITES / f"{claim.suite}.toml").read_text(encoding="utf-8"))["suite"]
            assert suite.get("boots", 1) >= amount.boots, f"{claim.id}: the suite {claim.suite} has too few boots"


def test_a_point_that_is_left_out_has_its_boots_all_the_same(tmp_path):
    lines = echoes((1.0,))
    lines[0]["flags"] = ["load-not-offered"]
    assert judged(tmp_path, claim_of(tmp_path), lines).verdict == "not run"


def test_the_machine_that_has_enough_is_judged(tmp_path):
    """Of a run on hardware and in the lab, where the hardware's was cut off."""
    real = [{**line, "trial": line["trial"] + "hw", "environment": {**line["environment"], "kind": "hardware"}} for line in echoes((2.0,))]
    found = judged(tmp_path, claim_of(tmp_path), real + echoes((1.0, 1.0)))
    assert (found.verdict, found.stamp) == ("reproduced", "emulated, virtual clock")


@pytest.mark.parametrize(("metric", "expected"), [("instructions_per_packet", "not run"), ("cpu_utilisation", "not run"), ("load_achieved_bps", "reproduced")])
def test_work_on_the_wall_clock_of_an_emulator_is_no_evidence(tmp_path, metric, expected):
    lines = [{**line, "environment": {**line["environment"], "kind": "lab-wall"}} for line in echoes((1.0, 1.0))]
    assert judged(tmp_path, claim_of(tmp_path, metric=metric), lines).verdict == expected


def test_block_sizes_are_selected(tmp_path):
    lines = disks.sync_reads(seeds=(1, 2), links=[("kernel", "persistent"), ("user", "persistent")])
    changes = {"suite": "seed-ide", "metric": "instructions_per_io", "value": 1.35}
    found = judged(tmp_path, claim_of(tmp_path, **changes, points=5, where={"workload": "sync-*", "block_bytes": {"min": 65536}}), lines)
    assert [point.name for point in found.points] == [f"sync-read {size}" for size in ("64 KiB", "128 KiB", "256 KiB", "512 KiB", "1 MiB")]
    assert found.verdict == "reproduced"
    found = judged(tmp_path, claim_of(tmp_path, **changes, where={"block_bytes": 1024}), lines)
    assert found.verdict == "contradicted" and len(found.points) == 1
    found = judged(tmp_path, claim_of(tmp_path, **changes, where={"block_bytes": {"min": 2048, "max": 4096}}), lines)
    assert len(found.points) == 2
    assert judged(tmp_path, claim_of(tmp_path, **changes, where={"workload": "fio-*"}), lines).verdict == "not run"


def test_what_an_emulator_cannot_tell_is_judged_on_hardware(tmp_path):
    claim = claim_of(tmp_path, because="an emulator has no PCIe")
    lines = echoes((1.0, 1.0))
    found = judged(tmp_path, claim, lines)
    assert (found.verdict, found.reason, found.points) == ("not testable here", "an emulator has no PCIe", [])
    real = [{**line, "trial": line["trial"] + "hw", "environment": {**line["environment"], "kind": "hardware"}} for line in lines]
    found = judged(tmp_path, claim, lines + real)
    assert (found.verdict, found.stamp) == ("reproduced", "hardware")


def test_what_an_emulator_cannot_tell_is_not_run_on_one(bench):
    result = call(bench, "--program", bench / "dmatoll", claims_=(entry(because="an emulator has no PCIe"),))
    assert result.returncode == 0 and not calls(bench)
    assert re.search(r"made-up +not testable here", result.stdout)


def test_a_claim_that_nothing_here_measures(tmp_path):
    text = '[[claim]]\nid = "far"\nstatement = "s"\nsource = "t"\nlabel = "VERIFIED"\nbecause = "it takes ten cards"\n'
    (claim,) = claims.read(claims_file(tmp_path, text))
    results, found = runs.best(claim, claim.amount(False), [])
    assert results is None and (found.verdict, found.reason) == ("not testable here", "it takes ten cards")


# The claims file


def test_the_committed_claims_are_sound():
    known = claims.read()
    assert {"seed-net-throughput", "seed-net-cpu", "seed-disk-throughput", "seed-disk-cpu-worst", "seed-disk-cpu-realistic", "seed-disk-driver"} <= {c.id for c in known}
    for claim in known:
        assert claim.suite is None or (ROOT / "harness" / "suites" / f"{claim.suite}.toml").is_file(), claim.suite
        assert not (claim.published and claim.label != "VERIFIED")


def test_the_readme_has_the_table_of_the_claims():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (found,) = re.findall(r"<!-- claims: paper/reproduce --table -->\n(.*?)<!-- end of claims -->", readme, flags=re.DOTALL)
    assert found == document.readme_table(claims.read()), "the README's table and paper/claims.toml differ: paste the output of paper/reproduce --table"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"metric": "speed"}, "metric: expected one of"),
        ({"metric": "cpu_utilization"}, "did you mean cpu_utilisation?"),
        ({"metric": "latency_ns"}, "metric: expected one of"),
        ({"relation": "below"}, "relation: expected one of at most, at least, equal to, got 'below'"),
        ({"value": "1.1"}, "value: expected a number"),
        ({"value": True}, "value: expected a number"),
        ({"value": 0}, "value: expected a positive number"),
        ({"tolerance": -0.1}, "tolerance: expected a number of at least 0"),
        ({"tolerance": 5}, "tolerance: expected a fraction below 1"),
        ({"boots": 1}, "boots: expected at least 2: one boot has no interval"),
        ({"quick_boots": 1}, "quick_boots: expected at least 2"),
        ({"points": 0}, "points: expected a whole number of at least 1"),
        ({"points": 1.5}, "points: expected a whole number"),
        ({"filter": ""}, "filter: expected text"),
        ({"filter": None}, "filter: missing"),
        ({"statement": None}, "statement: missing"),
        ({"label": "SURE"}, "label: expected one of"),
        ({"label": "RECALLED-hi", "published": "17 %"}, "published: what is RECALLED-hi is not printed as published"),
        ({"label": "DERIVED", "published": "17 %"}, "published: what is DERIVED is not printed as published"),
        ({"numerator": "user"}, "numerator: expected { placement"),
        ({"numerator": {"placement": "users", "strategy": "strict"}}, "numerator.placement: expected one of stock, kernel, user, got 'users'; did you mean user?"),
        ({"denominator": {"placement": "user", "strategy": "strikt"}}, "did you mean strict?"),
        ({"where": {"block_bytes": {"least": 3}}}, "where.block_bytes: expected min, max or both"),
        ({"where": {"block_bytes": {"min": "3"}}}, "min: expected a number"),
        ({"where": {"workload": 3}}, "where.workload: expected text"),
        ({"where": 3}, "where: expected a table"),
        ({"metrics": "x"}, "metrics: unknown; did you mean metric?"),
        ({"id": "Made up"}, "id: expected small letters"),
    ],
)
def test_what_is_wrong_with_a_claim_is_said(tmp_path, changes, expected):
    path = claims_file(tmp_path, entry(id="sound"), entry(**changes))
    with pytest.raises(claims.ClaimsError) as error:
        claims.read(path)
    message = str(error.value)
    assert message.startswith(f"{path}: claim {changes.get('id', 'made-up')}: ") and expected in message


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("[[claim]\n", "not TOML"),
        ("", "expected at least one [[claim]]"),
        ("claim = 3", "expected at least one [[claim]]"),
        ("[paper]\nx = 1", "paper: unknown"),
        ("[[claim]]\nstatement = 's'", "claim number 1: id: missing"),
        ("\udcff", "not TOML"),
        ('[[claim]]\nid = "a"\nstatement = "s"\nsource = "t"\nlabel = "VERIFIED"\n', "claim a: expected a suite to run, or because"),
        ('[[claim]]\nid = "a"\nstatement = "s"\nsource = "t"\nlabel = "VERIFIED"\nboots = 4\n', "claim a: boots: needs a suite"),
    ],
)
def test_a_broken_claims_file_is_named(tmp_path, content, expected):
    path = tmp_path / "claims.toml"
    path.write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(claims.ClaimsError) as error:
        claims.read(path)
    assert str(error.value).startswith(f"{path}: ") and expected in str(error.value)


def test_two_claims_of_one_name_are_refused(tmp_path):
    with pytest.raises(claims.ClaimsError, match="made-up: id: another claim has it, too"):
        claims.read(claims_file(tmp_path, entry(), entry()))


def test_what_is_remembered_is_not_printed_as_published(tmp_path):
    claim = claim_of(tmp_path, label="RECALLED-med")
    assert "from memory, nothing of it is checked" in document.source_text(claim) and claim.published is None


# Which run fits


def results_of(directory, lines, **plan):
    return runs.read(synthetic.write_run(directory, lines, manifest={"plan": {**PLAN, **plan}}))


def test_a_run_of_another_suite_or_of_less_does_not_fit(tmp_path):
    claim = claim_of(tmp_path)
    lines = echoes((1.0, 1.0))
    for plan, quick, expected in (
        ({}, False, True),
        ({"filter": claim.full.filter}, False, True),
        ({"filter": claim.full.filter}, True, True),
        ({"filter": claim.quick.filter}, True, True),
        ({"filter": claim.quick.filter}, False, False),
        ({"filter": "load=1"}, False, False),
        ({"suite": "quick"}, False, False),
        ({"suite": ["seed-gbe"]}, False, False),
    ):
        results = results_of(tmp_path / "run", lines, **plan)
        found, judgement = runs.best(claim, claim.amount(quick), [results])
        assert (found is not None) == expected, plan
        assert judgement.verdict == ("reproduced" if expected else "not run")
    assert judgement.reason == "no run of the suite seed-gbe"


def test_the_first_run_that_has_enough_is_taken(tmp_path):
    claim = claim_of(tmp_path)
    short = results_of(tmp_path / "short", echoes((1.0,)))
    bad, good = results_of(tmp_path / "bad", echoes((1.5, 1.5))), results_of(tmp_path / "good", echoes((1.0, 1.0)))
    found, judgement = runs.best(claim, claim.amount(False), [short, bad, good])
    assert found is bad and judgement.verdict == "contradicted"
    found, judgement = runs.best(claim, claim.amount(False), [short])
    assert found is None and "short: 0 of 1 points have 2 boots" in judgement.reason


# The program


FAKE = """#!/usr/bin/python3
import json, os, pathlib, shutil, signal, sys, time
place = pathlib.Path({place!r})
arguments = sys.argv[1:]
with open(place / "calls", "a") as log:
    log.write(json.dumps(arguments) + "\\n")
if arguments[0] == "plan":
    if (place / "refuse").exists():
        sys.exit("dmatoll: There is no suite 'seed-gbe'")
    trials = [1, 2, 4] if (place / "changed").exists() else [1, 2, 3]
    print(json.dumps({{"trials": trials, "estimate": {{"total_seconds": 120}}}}))
    sys.exit(0)
directory = pathlib.Path(arguments[arguments.index("--resume" if "--resume" in arguments else "--output") + 1])
directory.mkdir(parents=True, exist_ok=True)
shutil.copy(place / "source" / "manifest.json", directory)
lines = (place / "source" / "trials.jsonl").read_text().splitlines(keepends=True)
if (place / "slow").exists() and "--resume" not in arguments:
    (directory / "trials.jsonl").write_text("".join(lines[:1]))
    def stop(number, frame):
        (place / "gave-back").write_text("yes")
        time.sleep(1)  # devices are given back: whoever waits less loses them
        (place / "ended").write_text("yes")
        sys.exit(130)
    signal.signal(signal.SIGINT, stop)
    (place / "started").write_text("yes")
    time.sleep(60)
(directory / "trials.jsonl").write_text("".join(lines))
status = place / "status"
sys.exit(int(status.read_text()) if status.exists() else 0)
"""


@pytest.fixture
def bench(tmp_path):
    """A source tree of its own with a dmatoll that only copies records, so that nothing here touches the real results."""
    tree = tmp_path / "tree"
    for room in ("analysis", "paper"):
        shutil.copytree(ROOT / room, tree / room, ignore=shutil.ignore_patterns("__pycache__", "out"))
    synthetic.write_run(tmp_path / "source", echoes((1.05, 1.05)), manifest={"plan": {**PLAN, "filter": "placement=kernel|user"}})
    program = tmp_path / "dmatoll"
    program.write_text(FAKE.format(place=str(tmp_path)), encoding="utf-8")
    program.chmod(0o755)
    return tmp_path


def call(bench, *arguments, claims_=(entry(),), **options):
    path = claims_file(bench, *claims_)
    command = [sys.executable, str(bench / "tree" / "paper" / "reproduce"), "--claims", str(path), "--output", str(bench / "out"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, cwd="/", **options)


def calls(bench):
    path = bench / "calls"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_what_is_missing_is_run_once_and_judged(bench):
    result = call(bench, "--program", bench / "dmatoll", claims_=(entry(), entry(id="other", value=1.01)))
    assert result.returncode == 0, result.stderr
    assert "seed-gbe, 3 trials, about 2 min, for made-up, other" in result.stderr
    assert [arguments[0] for arguments in calls(bench)] == ["plan", "run"]
    run = calls(bench)[1]
    assert run[:4] == ["run", "seed-gbe", "--filter", "placement=kernel|user"] and run[4] == "--output"
    assert re.search(r"made-up +reproduced", result.stdout) and re.search(r"other +contradicted", result.stdout)
    assert (bench / "out" / "reproduction.pdf").read_bytes().startswith(b"%PDF")
    again = call(bench, "--program", bench / "dmatoll")
    assert again.returncode == 0 and "Nothing has to run" in again.stderr and len(calls(bench)) == 2


def test_a_run_at_hand_is_not_run_again(bench):
    result = call(bench, "--results", bench / "source", "--json")
    assert result.returncode == 0 and not calls(bench)
    (claim,) = json.loads(result.stdout)["claims"]
    assert claim["verdict"] == "reproduced" and claim["boots"] == 2 and claim["run"].endswith("source")
    (point,) = claim["points"]
    assert point["ratio"] == pytest.approx(1.05) and point["ci95"] == [pytest.approx(1.05)] * 2 and point["n"] == 2


def test_reference_results_count(bench):
    shutil.copytree(bench / "source", bench / "tree" / "results" / "reference" / "seed-gbe")
    result = call(bench, "--no-run")
    assert re.search(r"made-up +reproduced", result.stdout) and "results/reference/seed-gbe" in (bench / "out" / "reproduction.html").read_text()


def test_without_trials_the_command_is_given(bench):
    result = call(bench, "--no-run")
    assert result.returncode == 0 and "Traceback" not in result.stderr
    assert re.search(r"made-up +not run", result.stdout)
    command = "dmatoll run seed-gbe --filter 'placement=kernel|user'"
    assert command in result.stdout
    page = Page((bench / "out" / "reproduction.html").read_text())
    assert command in page.text and "not run" in page.text


def test_quick_asks_for_less(bench):
    call(bench, "--quick", "--program", bench / "dmatoll")
    assert calls(bench)[1][3] == "placement=kernel|user,repetition=0|1"


def test_an_interrupted_run_is_waited_for_and_resumed(bench):
    (bench / "slow").touch()
    path = claims_file(bench, entry())
    command = [sys.executable, str(bench / "tree" / "paper" / "reproduce"), "--claims", str(path), "--output", str(bench / "out"), "--program", str(bench / "dmatoll")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    deadline = time.monotonic() + 60
    while not (bench / "started").exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)  # as the terminal does: both get it
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 130 and "Interrupted. The same command goes on" in errors and "Traceback" not in errors
    assert (bench / "ended").exists()  # dmatoll had the time that it needed
    assert re.search(r"made-up +not run", output) and (bench / "out" / "reproduction.html").exists()
    result = call(bench, "--program", bench / "dmatoll")
    assert "--resume" in calls(bench)[-1] and "--filter" not in calls(bench)[-1]
    assert result.returncode == 0 and re.search(r"made-up +reproduced", result.stdout)


def test_a_run_of_another_plan_is_not_gone_on_with(bench):
    """A run that has too little, since then the suite has other trials: to resume it would never bring them."""
    synthetic.write_run(bench / "source", echoes((1.0,)), manifest={"plan": {**PLAN, "filter": "placement=kernel|user"}})
    for changed in (False, False, True):
        (bench / "changed").touch() if changed else None
        call(bench, "--program", bench / "dmatoll")
    started, resumed, other = [arguments for arguments in calls(bench) if arguments[0] == "run"]
    assert "--output" in started and "--output" in other
    assert resumed[resumed.index("--resume") + 1] == started[started.index("--output") + 1] != other[other.index("--output") + 1]


def test_trials_that_did_not_finish_are_named(bench):
    lines = echoes((1.0, 1.0))
    lines[0] |= {"status": "error", "reason": "the guest has hung"}
    lines[1] |= {"status": "skipped", "reason": "no such device"}
    synthetic.write_run(bench / "source", lines, manifest={"plan": {**PLAN, "filter": "placement=kernel|user"}})
    (bench / "status").write_text("3")
    result = call(bench, "--program", bench / "dmatoll")
    assert result.returncode == 0 and re.search(r"made-up +not run", result.stdout)
    assert f"seed-gbe: {lines[0]['trial']}: error: the guest has hung" in result.stderr
    assert f"seed-gbe: {lines[1]['trial']}: skipped: no such device" in result.stderr
    assert lines[2]["trial"] not in result.stderr


def test_a_suite_that_cannot_be_run_is_a_reason_and_no_end(bench):
    (bench / "refuse").touch()
    result = call(bench, "--program", bench / "dmatoll")
    assert result.returncode == 1 and "There is no suite 'seed-gbe'" in result.stderr
    assert [arguments[0] for arguments in calls(bench)] == ["plan"]
    assert "There is no suite" in (bench / "out" / "reproduction.html").read_text()


@pytest.mark.parametrize(("status", "expected", "code"), [(1, "not run", 1), (3, "reproduced", 0)])
def test_a_run_that_breaks_off_is_said(bench, status, expected, code):
    (bench / "status").write_text(str(status))
    if status == 1:
        synthetic.write_run(bench / "source", echoes((1.0,)), manifest={"plan": {**PLAN, "filter": "placement=kernel|user"}})
    result = call(bench, "--program", bench / "dmatoll")
    assert result.returncode == code and re.search(rf"made-up +{expected}", result.stdout)
    assert (f"ended with status {status}" in result.stderr) == (code == 1)


def test_corrupted_records_are_left_out_with_a_warning(bench):
    runs_ = bench / "tree" / "results" / "runs"
    synthetic.write_run(runs_ / "torn", [*echoes((1.0, 1.0)), "{", "{}"], manifest={"plan": PLAN})
    (runs_ / "other").mkdir()
    (runs_ / "other" / "trials.jsonl").write_bytes(b"\xff\xfe\n\n")
    result = call(bench, "--no-run")
    assert result.returncode == 0 and "Traceback" not in result.stderr
    assert "results/runs/torn is left out" in result.stderr and "trials.jsonl:" in result.stderr
    assert re.search(r"made-up +not run", result.stdout)


@pytest.mark.parametrize("plan", [None, 3, [], "seed-gbe"])
def test_a_manifest_that_says_nothing_fits_nothing(bench, plan):
    synthetic.write_run(bench / "tree" / "results" / "runs" / "odd", echoes((1.0, 1.0)), manifest={"plan": plan})
    result = call(bench, "--no-run")
    assert result.returncode == 0 and re.search(r"made-up +not run", result.stdout)


def test_wrong_use_is_said(bench):
    for arguments, expected in (
        (("--results", "/nowhere"), "/nowhere: no such directory"),
        (("--results", bench / "tree"), "neither a run (no trials.jsonl) nor a directory of runs"),
        (("--program", "/nowhere"), "/nowhere: no program"),
        ((), "is neither build/release/harness/dmatoll nor in PATH"),
    ):
        result = call(bench, *arguments, env={"PATH": "/usr/bin:/bin", "HOME": str(bench)})
        assert result.returncode == 2 and expected in result.stderr and "Traceback" not in result.stderr
    result = call(bench, "--claim", "made-down")
    assert result.returncode == 5 and "no claim made-down; there are made-up" in result.stderr
    result = call(bench, claims_=("[[claim]",))
    assert result.returncode == 5 and "claims.toml: not TOML" in result.stderr
    assert call(bench, "--json", "--table").returncode == 2
    assert "verdicts: reproduced" in call(bench, "--help").stdout


def test_a_document_that_cannot_be_written(bench):
    (bench / "out").write_text("a file")
    result = call(bench, "--no-run")
    assert result.returncode == 6 and "the document cannot be written" in result.stderr and "Traceback" not in result.stderr


# The document


class Page(html.parser.HTMLParser):
    def __init__(self, content):
        super().__init__()
        self.elements, self.parts = [], []
        self.feed(content)
        self.text = "".join(self.parts)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.parts.append(data)


def document_of(bench, *entries):
    seed = bench / "seed-ide"
    synthetic.write_run(seed, disks.sync_reads(seeds=(1, 2)), manifest={"plan": {**PLAN, "suite": "seed-ide"}})
    synthetic.write_run(bench / "source", echoes((1.05, 1.05), (50_000_000, 100_000_000)), manifest={"plan": PLAN})
    result = call(bench, "--no-run", "--results", seed, bench / "source", claims_=entries or (entry(),))
    assert result.returncode == 0, result.stderr
    return (bench / "out" / "reproduction.html").read_text(), (bench / "out" / "reproduction.pdf").read_bytes()


def test_both_figures_of_2005_are_in_it_and_stamped(bench):
    content, pdf = document_of(bench)
    assert content.count("<svg") == 2
    for figure in re.findall(r"<svg.*?</svg>", content, flags=re.DOTALL):
        assert "emulated, virtual clock · n = 2 boots a point" in figure
    assert "applied load" in content and "block size" in content
    assert pdf.startswith(b"%PDF") and len(re.findall(rb"/Type /Page\b", pdf)) >= 4
    assert all("emulated, virtual clock" in caption for caption in re.findall(r"<caption>(.*?)</caption>", content, flags=re.DOTALL))


def test_a_figure_is_of_the_run_that_was_judged(tmp_path):
    """The first run has a figure as well, and too few boots for a verdict."""
    claim = claim_of(tmp_path)
    loads = (50_000_000, 100_000_000)
    short, enough = results_of(tmp_path / "short", echoes((1.0,), loads)), results_of(tmp_path / "enough", echoes((1.0, 1.0), loads))
    (figure, _) = document.seed_figures([(claim, enough, None)], [short, enough], {})
    assert figure.drawing is not None and figure.source.endswith("enough")
    (figure, _) = document.seed_figures([(claim, None, None)], [short], {})
    assert figure.source.endswith("short")


def test_the_document_loads_nothing_and_its_ids_are_unique(bench):
    content, _ = document_of(bench)
    elements = Page(content).elements
    ids = [attributes["id"] for _, attributes in elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    for tag, attributes in elements:
        assert tag not in ("script", "link", "iframe", "img", "object", "embed")
        assert all(value.startswith("#") for name, value in attributes.items() if name in ("src", "href", "xlink:href"))


def test_numbers_and_interval_stand_behind_a_verdict(bench):
    content, _ = document_of(bench)
    assert "holds at all 2 points" in content and "1.050" in content and "10,500 : 10,000" in content and "2 boots, paired" in content
    assert "identical in every boot" in content


def test_what_a_claim_or_a_record_says_is_text(bench):
    evil = "<script>alert(1)</script> $\\frac{1}{2}$ \x07"
    synthetic.write_run(bench / "evil", [{**line, "environment": {**line["environment"], "git": evil, "qemu": "x" * 400}} for line in echoes((1.0, 1.0))],
                        manifest={"plan": PLAN})
    result = call(bench, "--no-run", "--results", bench / "evil", claims_=(entry(statement=evil.replace("\x07", ""), source="w" * 300),))
    assert result.returncode == 0, result.stderr
    content = (bench / "out" / "reproduction.html").read_text()
    assert "<script" not in content and "<script>alert(1)" in Page(content).text
