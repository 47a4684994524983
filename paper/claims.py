# SPDX-License-Identifier: BSD-2-Clause
"""Reads claims.toml. What is wrong in it is said with the file and the claim."""

import difflib
import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

from analysis import compare, load, pairs, statistics

FILE = Path(__file__).resolve().parent / "claims.toml"

# How sure we are of what a source says. VERIFIED: read in the source itself; VERIFIED-2nd: in somebody else's notes on it; DERIVED:
# arithmetic or reasoning from the field's published costs; RECALLED: from memory, with that confidence. Only what is VERIFIED is printed as
# published.
LABELS = ("VERIFIED", "VERIFIED-2nd", "DERIVED", "RECALLED-hi", "RECALLED-med", "RECALLED-lo")
RELATIONS = ("at most", "at least", "equal to")
TIMES = tuple(f"{what}_ticks_p50" for what in ("map", "unmap", "pair"))  # of a micro-benchmark
NUMBERS = list(dict.fromkeys([name for name in load.METRICS if name not in (*load.NESTED, *load.NESTED_TWICE)] + list(pairs.METRICS.values()) + list(TIMES)))
ALLOCATORS = ("size-classes", "tree", "tree-linear", "eiovar", "magazines", "contiguous", "identity", "linux")


class ClaimsError(Exception):
    """A claims file that cannot be used. The message names the file and the claim."""


@dataclass(frozen=True)
class Selection:
    """The trials of one side of a comparison."""

    placement: str
    strategy: str
    iova_allocator: str = compare.USUAL_ALLOCATOR
    metric: str | None = None  # None: the claim's
    at: tuple = ()  # of (workload's parameter, value): only of this side

    def __str__(self):
        parts = [f"{self.placement}/{self.strategy}"]
        parts += [] if self.iova_allocator == compare.USUAL_ALLOCATOR else [f"with {self.iova_allocator}"]
        parts += [METRIC_NAMES.get(self.metric, self.metric)] if self.metric else []
        return " ".join(parts + [where_part(key, value) for key, value in self.at])


@dataclass(frozen=True)
class Amount:
    """What has to be there for a verdict."""

    filter: str
    boots: int
    points: int
    minutes: float


@dataclass(frozen=True)
class Claim:
    id: str
    statement: str
    source: str
    label: str
    published: str | None  # what the source says; None where it may not be printed as published
    because: str | None  # why an emulator cannot tell; None where it can
    suite: str | None = None  # None: nothing here measures it
    full: Amount | None = None
    quick: Amount | None = None
    metric: str | None = None
    pairs: tuple = ()  # of (numerator, denominator)
    above: Selection | None = None  # what it costs is taken from both sides
    relation: str | None = None
    value: float | None = None
    tolerance: float = 0.0
    where: dict = field(default_factory=dict)
    must: dict = field(default_factory=dict)  # as where: of these points at least one has to be compared
    note: str | None = None

    def amount(self, quick):
        return self.quick if quick else self.full

    @property
    def low(self):
        """The ratio must not be below; None: as low as it likes."""
        return None if self.relation == "at most" else self.value * (1 - self.tolerance)

    @property
    def high(self):
        return None if self.relation == "at least" else self.value * (1 + self.tolerance)

    @property
    def expected(self):
        """As text: user/persistent : kernel/persistent, CPU utilisation at most 1.10."""
        if self.metric is None:
            return "–"
        margin = f" ± {self.tolerance * 100:g} %" if self.relation == "equal to" else f" (tolerance {self.tolerance * 100:g} %)" if self.tolerance else ""
        above = f" (both above {self.above})" if self.above else ""
        return f"{METRIC_NAMES.get(self.metric, self.metric)}, {self.pairs_text}{above}, {self.relation} {self.value:.2f}{margin}{self.where_text}"

    @property
    def pairs_text(self):
        return ", ".join(pair_text(pair) for pair in self.pairs)

    @property
    def selections(self):
        """All that have to be there, each once."""
        return list(dict.fromkeys([side for pair in self.pairs for side in pair] + ([self.above] if self.above else [])))

    @property
    def must_text(self):
        return ", ".join(where_part(key, wanted) for key, wanted in self.must.items())

    @property
    def where_text(self):
        parts = [where_part(key, wanted) for key, wanted in self.where.items()]
        return f" ({', '.join(parts)})" if parts else ""


def pair_text(pair):
    return f"{pair[0]} : {pair[1]}"


def where_part(key, wanted):
    if key == "workload":
        return wanted
    if key == "port":
        return f"disk {wanted}"
    if key == compare.LOAD and wanted == {"min": 1}:
        return "at an offered load"
    shown = compare.size if key.endswith("_bytes") else (lambda value: f"{value:g}" if isinstance(value, (int, float)) else str(value))
    name = "blocks" if key == compare.BLOCK else key.replace("_", " ")
    if not isinstance(wanted, dict):
        return f"{name} of {shown(wanted)}"
    limits = {"min": "of at least", "max": "of at most"}
    return f"{name} " + " and ".join(f"{limits[limit]} {shown(value)}" for limit, value in wanted.items())


METRIC_NAMES = {
    "cpu_utilisation": "CPU utilisation",
    "throughput_bps": "throughput",
    "load_achieved_bps": "achieved load",
    "instructions_per_packet": "instructions per packet",
    "instructions_per_io": "instructions per I/O",
    "instructions_per_copy": "instructions per copy",
    "instructions_per_pair": "instructions of a map and an unmap",
    "cycles_per_pair": "cycles of a map and an unmap",
    "map_ticks_p50": "a map (p50)",
    "unmap_ticks_p50": "an unmap (p50)",
    "pair_ticks_p50": "a map and an unmap (p50)",
}

TEXT = {"id": True, "statement": True, "source": True, "label": True, "published": False, "because": False, "note": False}
RUN = {"suite", "filter", "quick_filter", "boots", "quick_boots", "points", "quick_points", "minutes", "quick_minutes", "metric", "numerator", "denominator",
       "order", "above", "relation", "value", "tolerance", "where", "must"}
OPTIONAL = {"tolerance", "where", "must", "above", "numerator", "denominator", "order"}


def read(path=FILE):
    """The claims in their order. Raises ClaimsError."""
    path = Path(path)
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ClaimsError(f"{path}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ClaimsError(f"{path}: not TOML: {error}") from error
    unknown = [key for key in content if key != "claim"]
    if unknown:
        raise ClaimsError(f"{path}: {unknown[0]}: unknown; expected [[claim]] only")
    tables = content.get("claim")
    if not isinstance(tables, list) or not tables or not all(isinstance(table, dict) for table in tables):
        raise ClaimsError(f"{path}: expected at least one [[claim]]")
    result, seen = [], set()
    for number, table in enumerate(tables, start=1):
        name = table.get("id") if isinstance(table.get("id"), str) else f"number {number}"
        try:
            claim = parse(table)
            if claim.id in seen:
                raise ValueError("id: another claim has it, too")
        except ValueError as error:
            raise ClaimsError(f"{path}: claim {name}: {error}") from error
        seen.add(claim.id)
        result.append(claim)
    return result


def parse(table):
    for key in table:
        if key not in TEXT and key not in RUN:
            near = difflib.get_close_matches(key, [*TEXT, *RUN], n=1)
            raise ValueError(f"{key}: unknown" + (f"; did you mean {near[0]}?" if near else ""))
    texts = {key: text(table, key, needed) for key, needed in TEXT.items()}
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", texts["id"]):
        raise ValueError(f"id: expected small letters, digits and single dashes, got {texts['id']!r}")
    one_of("label", texts["label"], LABELS)
    if texts["published"] is not None and texts["label"] != "VERIFIED":
        raise ValueError(f"published: what is {texts['label']} is not printed as published; leave it out, or read the source itself and say VERIFIED")
    if "suite" not in table:
        extra = sorted(RUN & table.keys())
        if extra:
            raise ValueError(f"{extra[0]}: needs a suite to run")
        if texts["because"] is None:
            raise ValueError("expected a suite to run, or because: why it cannot be tested here")
        return Claim(**texts)
    missing = sorted(RUN - OPTIONAL - table.keys())
    if missing:
        raise ValueError(f"{missing[0]}: missing")
    one_of("metric", text(table, "metric"), NUMBERS)
    one_of("relation", text(table, "relation"), RELATIONS)
    tolerance = number(table, "tolerance", least=0) if "tolerance" in table else 0.0
    if tolerance >= 1:
        raise ValueError(f"tolerance: expected a fraction below 1, got {tolerance!r}")
    value = number(table, "value", least=0)
    if value == 0:
        raise ValueError("value: expected a positive number, got 0")
    return Claim(
        **texts,
        suite=text(table, "suite"),
        full=amount(table, ""),
        quick=amount(table, "quick_"),
        metric=table["metric"],
        pairs=pairs_of(table),
        above=selection("above", table["above"]) if "above" in table else None,
        relation=table["relation"],
        value=value,
        tolerance=tolerance,
        where=where(table, "where"),
        must=where(table, "must"),
    )


def amount(table, prefix):
    found = Amount(
        text(table, f"{prefix}filter"), whole(table, f"{prefix}boots"), whole(table, f"{prefix}points"), number(table, f"{prefix}minutes", least=0)
    )
    if found.boots < 2:
        raise ValueError(f"{prefix}boots: expected at least 2: one boot has no interval")
    return found


def text(table, key, needed=True):
    value = table.get(key)
    if value is None and not needed:
        return None
    if value is None:
        raise ValueError(f"{key}: missing")
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{key}: expected text, got {value!r}")
    return " ".join(value.split())


def number(table, key, least):
    value = table[key]
    # NaN is refused, too: it is not at least anything.
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value < float("inf"):
        raise ValueError(f"{key}: expected a number of at least {least}, got {value!r}")
    return float(value)


def whole(table, key):
    value = table[key]
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{key}: expected a whole number of at least 1, got {value!r}")
    return value


def one_of(key, value, known):
    if value not in known:
        near = difflib.get_close_matches(value, known, n=1)
        raise ValueError(f"{key}: expected one of {', '.join(known)}, got {value!r}" + (f"; did you mean {near[0]}?" if near else ""))


def pairs_of(table):
    """One of numerator and denominator, or of an order each against the next."""
    if "order" in table:
        if "numerator" in table or "denominator" in table:
            raise ValueError("order: stands in place of numerator and denominator")
        if not isinstance(table["order"], list) or len(table["order"]) < 2:
            raise ValueError(f"order: expected at least two of {SELECTION}, got {table['order']!r}")
        sides = [selection(f"order[{position}]", found) for position, found in enumerate(table["order"])]
        return tuple(zip(sides, sides[1:]))
    for key in ("numerator", "denominator"):
        if key not in table:
            raise ValueError(f"{key}: missing")
    return ((selection("numerator", table["numerator"]), selection("denominator", table["denominator"])),)


SELECTION = "{ placement = ..., strategy = ... }, with iova_allocator, metric or at where it needs them"


def selection(key, found):
    if not isinstance(found, dict) or not {"placement", "strategy"} <= set(found) <= {"placement", "strategy", "iova_allocator", "metric", "at"}:
        raise ValueError(f"{key}: expected {SELECTION}, got {found!r}")
    known = {"placement": load.PLACEMENTS, "strategy": statistics.STRATEGIES, "iova_allocator": ALLOCATORS, "metric": NUMBERS}
    for name in found.keys() & known.keys():
        if not isinstance(found[name], str):
            raise ValueError(f"{key}.{name}: expected text, got {found[name]!r}")
        one_of(f"{key}.{name}", found[name], known[name])
    at = where(found, "at")
    for name, value in at.items():
        if isinstance(value, dict) or name == "workload":
            raise ValueError(f"{key}.at.{name}: expected one value of a parameter, got {value!r}")
    return Selection(**{**found, "at": tuple(at.items())})


def where(table, name):
    """{workload: glob, parameter: value or {min, max}}."""
    found = table.get(name, {})
    if not isinstance(found, dict):
        raise ValueError(f"{name}: expected a table, got {found!r}")
    for key, wanted in found.items():
        if isinstance(wanted, dict):
            if not wanted or not set(wanted) <= {"min", "max"}:
                raise ValueError(f"{name}.{key}: expected min, max or both, got {wanted!r}")
            for limit in wanted:
                number(wanted, limit, least=0)
        elif key == "workload":
            if not isinstance(wanted, str):
                raise ValueError(f"{name}.{key}: expected text, got {wanted!r}")
        elif not isinstance(wanted, (int, float, str)):
            raise ValueError(f"{name}.{key}: expected a value, or {{ min = ..., max = ... }}, got {wanted!r}")
    return found
