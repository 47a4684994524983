# SPDX-License-Identifier: BSD-2-Clause
"""Statistics with the boot as the unit of replication.

Trials of one cell (device, placement, strategy, workload) within one boot are averaged first: they share the boot's
physical page placement and are no independent evidence. Boots, each with a seed of its own, are what spreads.
"""

import json
import math
from dataclasses import dataclass, field

import pandas
from scipy import stats

from analysis import histogram, load, point

CONFIDENCE = 0.95

# Cells are compared at equal load: a difference in achieved load biases a CPU ratio by as much, so it has to be small
# against the bound of 1.10 that CPU ratios are held against. What is held against 1.00 is instructions per packet.
EQUAL_LOAD_TOLERANCE = 0.02

# ipbench's convention: a point that misses its requested load by more than this is flagged.
LOAD_MISSED = 0.20

CELL_KEYS = (
    "environment",
    "device",
    "placement",
    "code_generation",
    "completion",
    "strategy",
    "strategy_parameters",
    "settings",
    "workload",
    "workload_parameters",
)


@dataclass(frozen=True)
class Summary:
    """One metric of one cell over its boots. sd, low and high are None for a single boot: one value has no spread."""

    n: int
    mean: float
    minimum: float
    maximum: float
    sd: float | None
    low: float | None
    high: float | None
    values: dict  # replicate -> the boot's mean

    @property
    def identical(self):
        """Several boots, all with the same value."""
        return self.n > 1 and self.minimum == self.maximum

    @property
    def spread(self):
        """(max - min) / mean, or None where that means nothing."""
        return (self.maximum - self.minimum) / self.mean if self.n > 1 and self.mean else None


def summarise(values):
    """Summary of {replicate: value}, NaN and None left out; None if nothing is left."""
    values = {key: float(value) for key, value in values.items() if value is not None and not math.isnan(value)}
    if not values:
        return None
    numbers = list(values.values())
    n = len(numbers)
    minimum, maximum = min(numbers), max(numbers)
    # The mean of equal numbers is that number, not one rounding beside it.
    mean = minimum if minimum == maximum else math.fsum(numbers) / n
    if n == 1:
        return Summary(1, mean, minimum, maximum, None, None, None, values)
    sd = math.sqrt(math.fsum((number - mean) ** 2 for number in numbers) / (n - 1))
    half = t_quantile(n - 1) * sd / math.sqrt(n)
    return Summary(n, mean, minimum, maximum, sd, mean - half, mean + half, values)


def t_quantile(degrees):
    return float(stats.t.ppf((1 + CONFIDENCE) / 2, degrees))


@dataclass(frozen=True)
class Ratio:
    """numerator / denominator with its interval; low and high are None where one boot does not allow one."""

    value: float
    low: float | None
    high: float | None
    paired: bool
    n: int  # pairs; unpaired: the boots of the smaller cell
    minimum: float | None  # of the pairs
    maximum: float | None
    unpaired_boots: int = 0  # boots left out because the other cell has no such seed

    @property
    def identical(self):
        return self.n > 1 and self.low is not None and self.low == self.high


def ratio(numerator, denominator):
    """Ratio of two Summaries.

    Paired by seed where at least two seeds (or the only one of both) are common: geometric mean of the pairs' ratios,
    t interval of their logarithms. Otherwise: ratio of the means, Welch's t interval of the difference of logarithms
    with the variances by the delta method. None if either is absent or not positive.
    """
    if numerator is None or denominator is None or numerator.minimum <= 0 or denominator.minimum <= 0:
        return None
    common = [key for key in numerator.values if key in denominator.values]
    if len(common) >= 2 or (common and numerator.n == denominator.n == 1):
        return paired_ratio(numerator, denominator, common)
    return unpaired_ratio(numerator, denominator)


def paired_ratio(numerator, denominator, common):
    pairs = [numerator.values[key] / denominator.values[key] for key in common]
    left_out = numerator.n + denominator.n - 2 * len(common)
    n = len(pairs)
    if min(pairs) == max(pairs):
        edge = pairs[0] if n > 1 else None
        return Ratio(pairs[0], edge, edge, True, n, pairs[0], pairs[0], left_out)
    logs = [math.log(pair) for pair in pairs]
    mean = math.fsum(logs) / n
    sd = math.sqrt(math.fsum((log - mean) ** 2 for log in logs) / (n - 1))
    half = t_quantile(n - 1) * sd / math.sqrt(n)
    return Ratio(
        math.exp(mean), math.exp(mean - half), math.exp(mean + half), True, n, min(pairs), max(pairs), left_out
    )


def unpaired_ratio(numerator, denominator):
    value = numerator.mean / denominator.mean
    n = min(numerator.n, denominator.n)
    if numerator.sd is None or denominator.sd is None:
        return Ratio(value, None, None, False, n, None, None)
    parts = [((cell.sd / cell.mean) ** 2 / cell.n, cell.n) for cell in (numerator, denominator)]
    variance = sum(part for part, _ in parts)
    if variance == 0:
        return Ratio(value, value, value, False, n, None, None)
    degrees = variance**2 / sum(part**2 / (boots - 1) for part, boots in parts)
    half = t_quantile(degrees) * math.sqrt(variance)
    return Ratio(value, value * math.exp(-half), value * math.exp(half), False, n, None, None)


HOLDS = "holds"
HOLDS_MEAN = "holds in the mean; the interval reaches above"
HOLDS_ONE = "holds; one boot, no interval"
EXCEEDS = "exceeds"
EXCEEDS_MEAN = "exceeds in the mean; the interval reaches below"
EXCEEDS_ONE = "exceeds; one boot, no interval"


def verdict(result, bound):
    """Where a Ratio stands against an upper bound, with the interval taken into account."""
    if result.value <= bound:
        if result.high is None:
            return HOLDS_ONE
        return HOLDS if result.high <= bound else HOLDS_MEAN
    if result.low is None:
        return EXCEEDS_ONE
    return EXCEEDS if result.low > bound else EXCEEDS_MEAN


@dataclass(frozen=True)
class Cell:
    """One point of the comparison: the keys that are held equal, and a Summary for each metric that was measured."""

    environment: str
    device: str
    placement: str
    code_generation: str | None
    completion: str | None
    strategy: str
    strategy_parameters: str
    settings: str
    workload: str
    workload_parameters: str
    trials: int
    metrics: dict  # name -> Summary
    histogram: list = field(default_factory=list)  # latencies of all its trials, merged: [(upper bound in ns, count)]
    outages: tuple = ()  # in ns, of all its trials
    totals: dict = field(default_factory=dict)  # of what is counted, not averaged, over its trials
    stamps: tuple = ()  # what the records say about their latencies
    flags: tuple = ()

    @property
    def configuration(self):
        """What is compared: everything but the workload."""
        return tuple(getattr(self, key) for key in point.CONFIGURATION)

    @property
    def load(self):
        """The workload with its parameters."""
        return (self.workload, self.workload_parameters)

    def metric(self, name):
        return self.metrics.get(name)


COUNTED = ("kills", "recoveries", "packets_lost", "packets_sent", "kernel_messages", "bytes_written", "bytes_verified", "bytes_verified_at_end")

# What the driver does for a packet or an I/O: the name of the column in a record's row.
OPERATIONS = {"maps": "iommu_maps", "unmaps": "iommu_unmaps", "invalidations": "iommu_invalidations", "polls": "polls"}


def cells(frame):
    """The cells of a frame of finished trials, in a stable order."""
    if frame.empty:
        return []
    frame = frame.copy()
    for key in CELL_KEYS:
        frame[key] = frame[key].astype(object).where(frame[key].notna(), None)
    for name, source in OPERATIONS.items():
        for counted, unit in load.UNITS.items():
            if source in frame and counted in frame:
                # What was counted was watched for different times: a rate for a rate.
                longer = frame[f"{counted}_ns"] / frame["counted_ns"].where(frame["counted_ns"] > 0)
                frame[f"{name}_per_{unit}"] = frame[source] / frame[counted].where(frame[counted] > 0) * longer
    numeric = [
        column
        for column in frame.columns
        if column not in CELL_KEYS and pandas.api.types.is_numeric_dtype(frame[column]) and column != "trial"
    ]
    grouped = {}
    for position, keys in enumerate(zip(*(frame[key] for key in CELL_KEYS))):
        grouped.setdefault(keys, []).append(position)
    result = []
    for keys, positions in grouped.items():
        part = frame.iloc[positions]
        boots = part.groupby("replicate", sort=False)[numeric].mean()  # NaN is left out, not counted as zero
        metrics = {}
        for column in numeric:
            summary = summarise(boots[column].to_dict())
            if summary is not None:
                metrics[column] = summary
        result.append(
            Cell(
                *keys,
                trials=len(part),
                metrics=metrics,
                histogram=histogram.merge(lists(part, "histogram")),
                outages=tuple(outage for found in lists(part, "outages") for outage in found),
                totals={name: float(part[name].sum()) for name in COUNTED if name in part and part[name].notna().any()},
                stamps=tuple(dict.fromkeys(stamp for stamp in part["stamp"] if stamp)) if "stamp" in part else (),
                flags=tuple(dict.fromkeys(str(flag) for found in lists(part, "flags") for flag in found)),
            )
        )
    return sorted(result, key=order)


def lists(part, column):
    return [value for value in part[column] if isinstance(value, list)] if column in part else []


PLACEMENT_ORDER = {"stock": 0, "kernel": 1, "user": 2}
STRATEGIES = ("linux-identity", "linux-lazy", "linux-strict", "passthrough", "persistent", "on-demand", "copy", "hybrid-copy",
              "optimistic", "contiguous", "deferred", "strict", "shared")
STRATEGY_ORDER = {name: position for position, name in enumerate(STRATEGIES)}


def order(cell):
    return (
        cell.environment,
        cell.device,
        cell.workload,
        cell.workload_parameters,
        PLACEMENT_ORDER.get(cell.placement, 9),
        STRATEGY_ORDER.get(cell.strategy, 9),
        cell.strategy,
        cell.strategy_parameters,
        cell.code_generation or "",
        cell.completion or "",
        cell.settings,
    )


def open_loop(cell):
    """A cell whose load was offered at a given rate, not at the rate at which the machine answers."""
    requested = cell.metric("load_requested_bps")
    return requested is not None and requested.mean > 0


def load_missed(cell):
    """How far the achieved load is from the requested one, as a fraction of it; None if not known."""
    requested, achieved = cell.metric("load_requested_bps"), cell.metric("load_achieved_bps")
    if achieved is None or not open_loop(cell):
        return None
    return (achieved.mean - requested.mean) / requested.mean


def equal_load(one, other):
    """Whether two cells carried the same load: True, False, or None where that is not known."""
    loads = [cell.metric("load_achieved_bps") for cell in (one, other)]
    if None in loads or loads[1].mean == 0:
        return None
    return abs(loads[0].mean / loads[1].mean - 1) <= EQUAL_LOAD_TOLERANCE


def find(cells_, placement, strategy, load=None, device=None, code_generation=None):
    """The cells with these keys; None stands for any."""
    return [
        cell
        for cell in cells_
        if cell.placement == placement
        and cell.strategy == strategy
        and (load is None or cell.load == load)
        and (device is None or cell.device == device)
        and (code_generation is None or cell.code_generation == code_generation)
    ]


def parameters_of(text):
    """Parameters as the dict they were; {} for anything else."""
    value = json.loads(text) if text else {}
    return value if isinstance(value, dict) else {}
