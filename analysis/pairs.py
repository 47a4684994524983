# SPDX-License-Identifier: BSD-2-Clause
"""What a map and an unmap cost together, of memory copies: what a mapping for each copy adds to the same loop with one that is kept."""

import dataclasses

from analysis import load, modelled, statistics

LIFETIME = "lifetime_copies"  # the workload's parameter: copies that a mapping serves; 0: it is kept
PAIRS_A_COPY = 2  # a map and an unmap for the source, and for the destination
# {metric of a copy: metric of a pair}
METRICS = {
    name: name.replace("_per_copy", "_per_pair")
    for name in ("instructions_per_copy", "cycles_per_copy", *(modelled.name("instructions_per_copy", cost) for cost in modelled.COSTS))
}


def lifetime(cell):
    return statistics.parameters_of(cell.workload_parameters).get(LIFETIME)


def variant(cell):
    """The workload's parameters less how long a mapping serves, and how long is measured."""
    found = statistics.parameters_of(cell.workload_parameters)
    return load.canonical({key: value for key, value in found.items() if key != LIFETIME and not key.endswith("_ms")})


def priced(cells):
    """The cells; those that map for each copy have the metrics of a pair as well, where the same was run with mappings that are kept."""
    kept = {key(cell): cell for cell in cells if lifetime(cell) == 0}
    return [with_pairs(cell, kept[key(cell)]) if lifetime(cell) == 1 and key(cell) in kept else cell for cell in cells]


def key(cell):
    return (cell.environment, cell.configuration, cell.workload, variant(cell))


def with_pairs(mapped, kept):
    found = {pair: cost(mapped.metric(copy), kept.metric(copy)) for copy, pair in METRICS.items()}
    return dataclasses.replace(mapped, metrics={**mapped.metrics, **{name: summary for name, summary in found.items() if summary is not None}})


def cost(mapped, kept):
    """Of two Summaries of a copy the Summary of a pair, over the boots that both have; None if that is not known."""
    if mapped is None or kept is None:
        return None
    one, other = mapped.values, kept.values
    return statistics.summarise({boot: (one[boot] - other[boot]) / PAIRS_A_COPY for boot in one if boot in other})
