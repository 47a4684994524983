# SPDX-License-Identifier: BSD-2-Clause
"""Claims whose sides differ in more than placement and strategy: orders, differences, allocators, metrics and parameters."""

import pytest
from engine import PARTS, copy, timed
from test_paper import claim_of, claims_file, entry, judged

from paper import claims, needs

KERNEL = {side: {"placement": "kernel", "strategy": strategy} for side, strategy in (("kept", "persistent"), ("strict", "strict"), ("linux", "linux-strict"))}
DMA = {"suite": "dma", "filter": "part=sizes", "quick_filter": "part=sizes", "metric": "instructions_per_pair", "value": 1.0, "where": {"workload": "dma-copy"}}
ORDER = {**DMA, "numerator": None, "denominator": None}


def copies(strategy, pair, size=1514, seeds=(1, 2), **changes):
    return [copy(seed, "kernel", strategy, lifetime, size, pair=pair, **changes) for seed in seeds for lifetime in (0, 1)]


def ordered(tmp_path, **changes):
    """The claim that kept mappings cost no more than strict, and these no more than Linux's."""
    return order_of(tmp_path, [KERNEL["kept"], KERNEL["strict"], KERNEL["linux"]], **changes)


def order_of(tmp_path, sides, **changes):
    text = entry(**{**ORDER, **changes}) + "order = [" + ", ".join("{ " + ", ".join(f'{key} = "{value}"' for key, value in side.items()) + " }" for side in sides) + "]\n"
    (claim,) = claims.read(claims_file(tmp_path, text))
    return claim


def test_an_order_is_each_against_the_next(tmp_path):
    claim = ordered(tmp_path, points=2)
    lines = copies("persistent", 30) + copies("strict", 1900) + copies("linux-strict", 2400)
    found = judged(tmp_path, claim, lines)
    assert (found.verdict, found.reason) == ("reproduced", "holds at all 2 points")
    assert [point.name.partition(", ")[2] for point in found.points] == ["kernel/persistent : kernel/strict", "kernel/strict : kernel/linux-strict"]
    assert judged(tmp_path, claim, copies("persistent", 30) + copies("strict", 2500) + copies("linux-strict", 2400)).reason == "fails at 1 of 2 points"
    assert "kernel/persistent : kernel/strict, kernel/strict : kernel/linux-strict, at most 1.00" in claim.expected


def test_an_order_without_one_of_its_sides_is_not_run(tmp_path):
    found = judged(tmp_path, ordered(tmp_path), copies("persistent", 30) + copies("strict", 1900))
    assert found.verdict == "not run" and found.reason.startswith("no finished trials of both kernel/strict and kernel/linux-strict")


def test_what_both_sides_cost_anyway_is_taken_from_both(tmp_path):
    # Above 100: 100 against 1900, less than a tenth; without that 200 against 2000, more.
    lines = copies("persistent", 200) + copies("strict", 2000) + copies("linux-strict", 100)
    changes = {**DMA, "numerator": KERNEL["kept"], "denominator": KERNEL["strict"], "value": 0.06}
    above = claim_of(tmp_path, **changes, above=KERNEL["linux"])
    found = judged(tmp_path, above, lines)
    assert found.verdict == "reproduced" and found.points[0].ratio.value == pytest.approx(100 / 1900) and found.points[0].numerator == 100
    assert "(both above kernel/linux-strict)" in above.expected
    assert judged(tmp_path, claim_of(tmp_path, **changes), lines).verdict == "contradicted"
    assert judged(tmp_path, above, copies("persistent", 200) + copies("strict", 2000)).verdict == "not run"


def test_a_pair_needs_its_kept_mapping_in_each_boot(tmp_path):
    lines = copies("persistent", 30) + copies("strict", 1900)
    claim = claim_of(tmp_path, **DMA, numerator=KERNEL["kept"], denominator=KERNEL["strict"])
    assert judged(tmp_path, claim, lines).verdict == "reproduced"
    without = [line for line in lines if line["workload"]["parameters"]["lifetime_copies"] == 1]
    assert judged(tmp_path, claim, without).verdict == "not run"
    assert {dict(need.parameters)["lifetime_copies"] for need in needs.needs_of(claim, claim.full)} == {0, 1}


def test_sides_may_differ_in_the_allocator(tmp_path):
    tree = {"placement": "kernel", "strategy": "strict", "iova_allocator": "tree"}
    claim = claim_of(tmp_path, **DMA, numerator=KERNEL["strict"], denominator=tree)
    lines = copies("strict", 1000) + copies("strict", 2000, settings={"iova_allocator": "tree"}) + copies("strict", 9000, settings={"iova_allocator": "eiovar"})
    found = judged(tmp_path, claim, lines)
    # The third is on neither side.
    assert found.verdict == "reproduced" and len(found.points) == 1 and found.points[0].ratio.value == pytest.approx(0.5, rel=1e-3)
    assert "kernel/strict : kernel/strict with tree" in claim.expected


def test_a_suite_that_does_not_sweep_the_allocator_has_nothing_for_it(tmp_path):
    sides = [{"placement": "kernel", "strategy": "strict", "iova_allocator": name} for name in ("tree", "size-classes")]
    plans = {"named": '[part.driver]\niova_allocator = ["size-classes", "tree"]\n', "plain": ""}
    for name, driver in plans.items():
        (tmp_path / f"{name}.toml").write_text(
            '[axes]\nplacement = ["kernel"]\nstrategy = ["strict"]\n[[part]]\nname = "sizes"\n' + driver + '[[part.workload]]\nname = "dma-copy"\ncopy_bytes = 64\n')
        claim = claim_of(tmp_path, **{**DMA, "suite": name}, numerator=sides[0], denominator=sides[1])
        wanted = needs.needs_of(claim, claim.full, tmp_path)
        assert [need.iova_allocator for need in wanted] == (["tree", "size-classes"] if name == "named" else ["size-classes"])
    trial = {"placement": "kernel", "strategy": "strict", "workload": "dma-copy", "parameters": {"copy_bytes": 64}, "part": "sizes"}
    assert needs.has(trial, wanted[0]) and not needs.has({**trial, "iova_allocator": "tree"}, wanted[0])


def test_sides_may_differ_in_the_metric(tmp_path):
    changes = {"suite": "quick", "metric": "unmap_ticks_p50", "value": 1.0, "relation": "at least"}
    claim = claim_of(tmp_path, **changes, numerator=KERNEL["strict"], denominator={**KERNEL["strict"], "metric": "map_ticks_p50"})
    lines = [timed(seed, "kernel", "strict", 500, 900, PARTS) for seed in (1, 2)]
    found = judged(tmp_path, claim, lines)
    assert found.verdict == "reproduced" and found.points[0].ratio.value == pytest.approx(920 / 521.5, rel=1e-3)
    assert judged(tmp_path, claim, [timed(seed, "kernel", "strict", 900, 500, PARTS) for seed in (1, 2)]).verdict == "contradicted"


def test_sides_may_be_at_different_points(tmp_path):
    many, few = ({**KERNEL["strict"], "at": {"buffer_pages": pages}} for pages in (256, 16))
    changes = {"suite": "quick", "metric": "unmap_ticks_p50", "relation": "equal to", "value": 16.0, "tolerance": 0.25, "where": {"workload": "map-unmap"}}
    claim = claim_of(tmp_path, **changes, numerator=many, denominator=few)
    # How many rounds were timed differs with the pages, and makes them no other workloads.
    lines = [timed(seed, "kernel", "strict", 500, 100 * pages, None, pages=pages) for seed in (1, 2) for pages in (1, 16, 256)]
    found = judged(tmp_path, claim, lines)
    assert found.verdict == "reproduced" and len(found.points) == 1 and found.points[0].ratio.value == pytest.approx(25620 / 1620)
    flat = [timed(seed, "kernel", "strict", 500, 900, None, pages=pages) for seed in (1, 2) for pages in (16, 256)]
    assert judged(tmp_path, claim, flat).verdict == "contradicted"
    assert "buffer pages of 256" in claim.expected


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"numerator": {**KERNEL["strict"], "iova_allocator": "trie"}}, "numerator.iova_allocator: expected one of"),
        ({"numerator": {**KERNEL["strict"], "metric": "speed"}}, "numerator.metric: expected one of"),
        ({"numerator": {**KERNEL["strict"], "at": {"buffer_pages": {"min": 1}}}}, "numerator.at.buffer_pages: expected one value"),
        ({"numerator": {**KERNEL["strict"], "pages": 1}}, "numerator: expected { placement"),
        ({"above": {"placement": "kernel"}}, "above: expected { placement"),
        ({"numerator": None}, "numerator: missing"),
    ],
)
def test_a_wrong_side_is_named(tmp_path, changes, expected):
    with pytest.raises(claims.ClaimsError, match=expected.replace("{", r"\{")):
        claim_of(tmp_path, **changes)


def test_a_wrong_order_is_named(tmp_path):
    with pytest.raises(claims.ClaimsError, match="order: expected at least two"):
        order_of(tmp_path, [KERNEL["kept"]])
    with pytest.raises(claims.ClaimsError, match="order: stands in place of"):
        order_of(tmp_path, [KERNEL["kept"], KERNEL["strict"]], numerator=KERNEL["kept"])


def test_times_of_an_emulator_on_the_wall_clock_are_no_evidence(tmp_path):
    claim = claim_of(tmp_path, suite="quick", metric="unmap_ticks_p50", numerator=KERNEL["strict"], denominator={**KERNEL["strict"], "metric": "map_ticks_p50"}, value=9.0)
    lines = [timed(seed, "kernel", "strict", 500, 900, PARTS, kind="lab-wall") for seed in (1, 2)]
    assert judged(tmp_path, claim, lines).verdict == "not run"
