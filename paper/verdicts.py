# SPDX-License-Identifier: BSD-2-Clause
"""Verdicts, computed from records.

A claim is about a ratio at one or more points (workloads with their parameters). At a point it holds if the whole 95 % interval of the
ratio is where the claim says, edges included; it fails if the whole interval is outside; otherwise the point is open. A point that cannot be
compared is left out. The claim is contradicted if it fails at any point; reproduced if it holds at every point that is left, and these are as
many as it needs, with those that must be there; and otherwise not decided.
"""

import fnmatch
from dataclasses import dataclass, field

from analysis import compare, disk, echo, statistics
from paper import claims

REPRODUCED = "reproduced"
CONTRADICTED = "contradicted"
NOT_DECIDED = "not decided"
NOT_TESTABLE = "not testable here"
NOT_RUN = "not run"
VERDICTS = (REPRODUCED, CONTRADICTED, NOT_DECIDED, NOT_TESTABLE, NOT_RUN)

HOLDS, FAILS, OPEN, LEFT_OUT = "holds", "fails", "open", "left out"
# Metrics of what a CPU does; what they begin with.
OF_THE_CPU = ("instructions_", "cycles_", "cpu_", *claims.TIMES)
REACHES_BEYOND = "the interval reaches beyond the bound"


@dataclass
class Point:
    name: str
    state: str
    ratio: statistics.Ratio | None
    numerator: float | None = None  # means
    denominator: float | None = None
    reason: str = ""  # why it is left out or open
    must: bool = False  # without it the claim is not reproduced


@dataclass
class Judgement:
    """What one run says about one claim."""

    verdict: str
    reason: str
    points: list = field(default_factory=list)
    stamp: str = ""  # where the numbers come from
    boots: int = 0  # the fewest of any point compared


def judge(claim, amount, sections):
    """Of a run's sections (environments, devices) the first that decides; one that may not, or has too little, if there is no other."""
    if claim.suite is None:
        return Judgement(NOT_TESTABLE, claim.because)
    found = [judge_section(claim, amount, section) for section in sections]
    if not found:
        return Judgement(NOT_RUN, "no finished trial")
    return min(found, key=lambda judgement: (NOT_TESTABLE, NOT_RUN).index(judgement.verdict) if judgement.verdict in (NOT_TESTABLE, NOT_RUN) else -1)


def judge_section(claim, amount, section):
    if claim.because is not None and section.environment != "hardware":
        return Judgement(NOT_TESTABLE, claim.because, stamp=section.stamp)
    if section.environment == "lab-wall" and claim.metric.startswith(OF_THE_CPU):
        return Judgement(NOT_RUN, "what an emulator on the wall clock takes is its host's CPU: run it on the virtual clock", stamp=section.stamp)
    found = matching(claim, section)
    for pair in claim.pairs:
        if not any(known == pair for _, known, *_ in found):
            return Judgement(NOT_RUN, f"no finished trials of both {pair[0]} and {pair[1]}{claim.where_text}", stamp=section.stamp)
    points = [point(claim, amount, *each) for each in found]
    points = [found for found in points if found is not None]
    if len(points) < amount.points:
        return Judgement(NOT_RUN, f"{len(points)} of {amount.points} points have {amount.boots} boots on both sides", points, section.stamp)
    if claim.must and not any(found.must for found in points):
        return Judgement(NOT_RUN, f"no point has {claim.must_text}, which the claim is about", points, section.stamp)
    boots = min((found.ratio.n for found in points if found.ratio is not None), default=0)
    return Judgement(*overall(points, amount.points), points, section.stamp, boots)


def overall(points, needed):
    """(verdict, reason) of points, of which `needed` have to be compared."""
    held = [found for found in points if found.state != LEFT_OUT]
    out = f"; {len(points) - len(held)} left out" if len(held) < len(points) else ""
    failing = [found for found in held if found.state == FAILS]
    open_ = [found for found in held if found.state == OPEN]
    without = [found for found in points if found.state == LEFT_OUT and found.must]
    if failing:
        return CONTRADICTED, f"fails at {len(failing)} of {len(held)} points{out}"
    if not held:
        return NOT_DECIDED, f"none of {len(points)} points can be compared"
    if open_:
        return NOT_DECIDED, f"open at {len(open_)} of {len(held)} points: {'; '.join(dict.fromkeys(found.reason for found in open_))}{out}"
    if without:
        return NOT_DECIDED, f"{without[0].name}, which the claim is about, cannot be compared: {without[0].reason}"
    if len(held) < needed:
        return NOT_DECIDED, f"only {len(held)} of the {needed} points that it needs can be compared{out}"
    return REPRODUCED, f"holds at {'all ' if len(held) > 1 else ''}{len(held)} point{'s' if len(held) > 1 else ''}{out}"


def matching(claim, section):
    """[(label, pair, numerator's cell, denominator's cell, cell that both are above or None)] at the usual settings."""
    result = []
    for family in dict.fromkeys(compare.family_of(cell) for cell in section.cells):
        part = disk.part(section, family) if family in disk.FAMILIES else section.part(family)
        labels = compare.Labels(part)
        for pair in claim.pairs:
            numerator, denominator = pair
            tops, bottoms, bases = ([] if side is None else candidates(claim, side, part) for side in (*pair, claim.above))
            for top in sorted(tops, key=echo.offered) if family == "echo" else tops:
                for bottom in bottoms:
                    if not alike(top, numerator, bottom, denominator):
                        continue
                    base = next((cell for cell in bases if alike(top, numerator, cell, claim.above)), None)
                    if claim.above is not None and base is None:
                        continue
                    name = labels.load(top) if len(claim.pairs) == 1 else f"{labels.load(top)}, {claims.pair_text(pair)}"
                    result.append((name, pair, top, bottom, base))
    return result


def candidates(claim, side, part):
    """The cells of one side, in the order of the part."""
    found = statistics.find(compare.usual_parameters(part.cells, side.iova_allocator), side.placement, side.strategy)
    return [cell for cell in found if native(cell) and selected({**claim.where, **dict(side.at)}, cell)]


def alike(one, side, other, other_side):
    """Whether two cells differ in nothing but what their sides say."""
    but = {name for name, _ in (*side.at, *other_side.at)}
    return one.workload == other.workload and rest(one, but) == rest(other, but) and compare.same_settings(one, other)


def rest(cell, but):
    """The workload's parameters; where the sides differ in one, less that and how long is measured."""
    found = statistics.parameters_of(cell.workload_parameters)
    return {key: value for key, value in found.items() if not but or (key not in but and not key.endswith(compare.MEASURING))}


def native(cell):
    return cell.code_generation != "kernel-like"


def selected(where, cell):
    parameters = statistics.parameters_of(cell.workload_parameters)
    for key, wanted in where.items():
        if key == "workload":
            if not fnmatch.fnmatchcase(cell.workload, wanted):
                return False
            continue
        value = parameters.get(key)
        if isinstance(wanted, dict):
            if not compare.is_number(value) or not wanted.get("min", value) <= value <= wanted.get("max", value):
                return False
        elif value != wanted:
            return False
    return True


def point(claim, amount, name, pair, top, bottom, base):
    """None if the trials are too few; otherwise what this point says."""
    values = [value_of(claim, side, cell, base) for side, cell in zip(pair, (top, bottom))]
    if None in values or min(value.n for value in values) < amount.boots:
        return None
    means = [value.mean for value in values]
    must = bool(claim.must) and selected(claim.must, top)
    reason = not_comparable(claim, top, bottom)
    if reason:
        return Point(name, LEFT_OUT, None, *means, reason, must)
    ratio = statistics.ratio(*values)
    if ratio is None:
        return Point(name, LEFT_OUT, None, *means, "a ratio of what is not positive says nothing", must)
    if ratio.n < amount.boots:
        return None  # boots with no seed in common
    state = side(claim, ratio)
    if claim.metric == "cpu_utilisation" and only_numerator_missed(top, bottom):
        # It did less, and is not excused by that: more CPU for less is too much for as much, too; less CPU for less says nothing.
        state = FAILS if state == FAILS and claim.high is not None and ratio.low > claim.high else OPEN
        return Point(name, state, ratio, *means, f"only {pair[0]} missed the load", must)
    return Point(name, state, ratio, *means, REACHES_BEYOND if state == OPEN else "", must)


def value_of(claim, side, cell, base):
    """The side's metric as a Summary, above that of the base if there is one; None if it was not measured."""
    metric = side.metric or claim.metric
    value = cell.metric(metric)
    if base is None or value is None:
        return value
    below = base.metric(metric)
    return None if below is None else statistics.summarise({boot: number - below.values[boot] for boot, number in value.values.items() if boot in below.values})


def not_comparable(claim, top, bottom):
    if echo.not_offered(top) or echo.not_offered(bottom):
        return "the load was not offered"
    if claim.metric != "cpu_utilisation" or only_numerator_missed(top, bottom):
        return ""
    alike = disk.carried_alike(top, bottom) if compare.family_of(top) in disk.FAMILIES else statistics.equal_load(top, bottom) is True
    return "" if alike else "loads differ"


def only_numerator_missed(top, bottom):
    """Whether the denominator carried a load that the numerator did not."""
    missed = [statistics.load_missed(cell) for cell in (top, bottom)]
    return None not in missed and missed[0] < -statistics.EQUAL_LOAD_TOLERANCE <= missed[1]


def side(claim, ratio):
    if ratio.low is None:
        return OPEN
    low = claim.low if claim.low is not None else 0.0
    high = claim.high if claim.high is not None else float("inf")
    if low <= ratio.low and ratio.high <= high:
        return HOLDS
    return FAILS if ratio.high < low or ratio.low > high else OPEN
