# SPDX-License-Identifier: BSD-2-Clause
"""The trials that a claim needs, by its suite and its filter, and which of them a run's plan does not have."""

import fnmatch
import itertools
import tomllib
from dataclasses import dataclass
from pathlib import Path

from analysis import compare

SUITES = Path(__file__).resolve().parent.parent / "harness" / "suites"
# Of a filter, by the name that a trial has for it.
FILTER_NAMES = {"load": "load_bps", "repetition": "boot"}
# Of a workload's table, what is not told apart by.
NOT_POINTS = {"name", "window_ms", "warm_up_ms", "cool_down_ms"}
MOST_NAMED = 4


@dataclass(frozen=True)
class Need:
    """Trials of one side at one point."""

    placement: str
    strategy: str
    workload: str
    parameters: tuple  # of (name, value), those that the suite gives
    part: str | None
    boots: tuple  # these; None in it: any, so many
    iova_allocator: str = compare.USUAL_ALLOCATOR

    def __str__(self):
        allocator = [] if self.iova_allocator == compare.USUAL_ALLOCATOR else [f"{compare.ALLOCATOR}={self.iova_allocator}"]
        return " ".join([f"{self.placement}/{self.strategy}", *allocator, self.workload, *(f"{name}={value}" for name, value in self.parameters)])


def parse_filter(text):
    """{name: [wanted]}."""
    parts = (part.partition("=") for part in text.split(",") if part)
    return {FILTER_NAMES.get(key, key): values.split("|") for key, _, values in parts}


def passes(wanted, key, value):
    return key not in wanted or any(fnmatch.fnmatchcase(str(value), each) for each in wanted[key])


def within(where, workload, parameters):
    """Whether a point is the claim's, as far as its suite says; what it leaves to the workload is asked of the trials."""
    for key, wanted in where.items():
        if key == "workload":
            if not fnmatch.fnmatchcase(workload, wanted):
                return False
        elif key in parameters:
            value = parameters[key]
            if isinstance(wanted, dict):
                if not wanted.get("min", value) <= value <= wanted.get("max", value):
                    return False
            elif value != wanted:
                return False
    return True


def needs_of(claim, amount, suites=SUITES):
    """[Need], or None where the suite cannot be read: then nothing is known about it."""
    try:
        suite = tomllib.loads((suites / f"{claim.suite}.toml").read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError):
        return None
    wanted = parse_filter(amount.filter)
    boots = tuple(int(boot) for boot in wanted.get("boot", [])) or (None,) * amount.boots
    found = []
    for part in suite.get("part") or [{}]:
        if not passes(wanted, "part", part.get("name", "")):
            continue
        axes = {**suite.get("axes", {}), **part.get("axes", {})}
        driver = part.get("driver", suite.get("driver", {}))
        allocators = listed(driver.get(compare.ALLOCATOR, compare.USUAL_ALLOCATOR))
        for side in claim.selections:
            if side.placement not in axes.get("placement", []) or side.strategy not in axes.get("strategy", []):
                continue
            if side.iova_allocator not in allocators or not passes(wanted, compare.ALLOCATOR, side.iova_allocator):
                continue
            if not passes(wanted, "placement", side.placement) or not passes(wanted, "strategy", side.strategy):
                continue
            for workload in part.get("workload") or suite.get("workload", []):
                given = {name: listed(value) for name, value in workload.items() if name not in NOT_POINTS}
                for values in itertools.product(*given.values()):
                    parameters = dict(zip(given, values))
                    if not passes(wanted, "workload", workload["name"]) or not within({**claim.where, **dict(side.at)}, workload["name"], parameters):
                        continue
                    if all(passes(wanted, name, value) for name, value in parameters.items()):
                        found.append(Need(side.placement, side.strategy, workload["name"], tuple(parameters.items()), part.get("name"), boots, side.iova_allocator))
    return list(dict.fromkeys(found))


def listed(value):
    return value if isinstance(value, list) else [value]


def has(trial, need):
    parameters = trial.get("parameters")
    return (
        isinstance(parameters, dict)
        and trial.get("placement") == need.placement
        and trial.get("strategy") == need.strategy
        and trial.get("workload") == need.workload
        and trial.get(compare.ALLOCATOR, compare.USUAL_ALLOCATOR) == need.iova_allocator
        and (need.part is None or trial.get("part") == need.part)
        and all(parameters.get(name) == value for name, value in need.parameters)
    )


def missing(needs, trials):
    """["user/persistent udp-echo load_bps=1000: 1 of 4 boots", ...]: what a plan with these trials does not have."""
    result = []
    for need in needs:
        boots = {trial.get("boot") for trial in trials if isinstance(trial, dict) and has(trial, need)}
        there = min(len(boots), len(need.boots)) if None in need.boots else len(boots & set(need.boots))
        if there < len(need.boots):
            result.append(f"{need}: {there} of {len(need.boots)} boots")
    return result


def as_text(lacking):
    more = f", and {len(lacking) - MOST_NAMED} more" if len(lacking) > MOST_NAMED else ""
    return "; ".join(lacking[:MOST_NAMED]) + more
