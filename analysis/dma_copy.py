# SPDX-License-Identifier: BSD-2-Clause
"""Memory that a NIC copies on command: what a map and an unmap cost where nothing else is done."""

import functools

from analysis import compare, figures, pairs, statistics, tables
from analysis.blocks import Block, Drawing, Table

WORK = tables.METRIC["instructions_per_copy"]
PAIR = tables.METRIC["instructions_per_pair"]
REFERENCE = ("kernel", "linux-strict")


def blocks(section):
    part = section.part("dma-copy")
    if not part.cells:
        return []
    labels = compare.Labels(part)
    usual = compare.Section(part.environment, part.device, compare.usual_parameters(of_usual_size([cell for cell in part.cells if pairs.lifetime(cell) == 1])))
    block = Block(
        "Memory copies: what a map and an unmap cost",
        [
            "The device reads at one address and writes at another, through its PHY's loopback; source and destination are mapped and unmapped by the strategy. "
            "There is no IP stack and no peer. A lifetime is how many copies a mapping serves; 0: it is kept.",
            "The cost of a pair of a map and an unmap is the difference between a mapping for each copy and one that is kept, by half, since a copy has two ends: what the "
            "strategy itself does when it is called, its IOVA, the page table and the invalidation.",
        ],
        tables=[table for table in (pair_table(part, labels), copy_table(part, labels)) if table.rows],
    )
    if any(cell.metric(WORK.name) for cell in usual.cells):
        block.drawings.append(Drawing("dma-copy", "Instructions per copy", functools.partial(figures.make, usual, WORK), "A mapping for each copy, at the size that most were run with."))
    return [block]


def of_usual_size(cells):
    """Those of the size that most have: what sizes make is a figure of its own."""
    sizes = [statistics.parameters_of(cell.workload_parameters).get("copy_bytes") for cell in cells]
    return [cell for cell, size in zip(cells, sizes) if size == max(sizes, key=sizes.count)]


def pair_costs(part):
    """{(workload less its lifetime, configuration): Summary}, in instructions."""
    return {(pairs.variant(cell), cell.configuration): cell.metric(PAIR.name) for cell in part.cells if cell.metric(PAIR.name) is not None}


def pair_table(part, labels):
    costs = pair_costs(part)
    variants = compare.suffixes(dict.fromkeys(parameters for parameters, _ in costs), ("copy_bytes",))
    table = Table(
        f"{part.stamp}; instructions of one map and one unmap, means over boots; beside them those of linux-strict in the kernel as 1",
        ["copies", "placement", "strategy", "boots", "instructions per pair", "95 % CI", "spread", ": linux-strict"],
        [],
        left=3,
    )
    for parameters, suffix in sorted(variants.items(), key=lambda variant: statistics.parameters_of(variant[0]).get("copy_bytes", 0)):
        own = {configuration: cost for (known, configuration), cost in costs.items() if known == parameters}
        reference = next((cost for configuration, cost in own.items() if (configuration[1], configuration[4]) == REFERENCE), None)
        for configuration in part.configurations:
            cost = own.get(configuration)
            if cost is None:
                continue
            ratio = statistics.ratio(cost, reference) if reference is not None and cost.minimum > 0 else None
            table.rows.append(
                [name_of(parameters) + suffix, configuration[1], labels.strategy(configuration), str(cost.n), PAIR.format(cost.mean),
                 tables.interval_text(cost, PAIR), tables.spread_text(cost), tables.ratio_text(ratio)]
            )
    return table


def name_of(parameters):
    found = statistics.parameters_of(parameters)
    return f"{found['copy_bytes']} B" if compare.is_number(found.get("copy_bytes")) else "copy"


def copy_table(part, labels):
    table = Table(
        f"{part.stamp}; for each copy, means over boots",
        ["workload", "placement", "strategy", "boots", WORK.unit, "spread", "maps", "unmaps", "invalidations", "driver's system calls"],
        [],
        left=3,
    )
    for load_ in part.loads:
        for configuration in part.configurations:
            cell = part.cell(configuration, load_)
            if cell is None:
                continue
            summary = cell.metric(WORK.name)
            operations = [tables.operations_text(name, cell.metric(f"{name}_per_copy")) for name in ("maps", "unmaps", "invalidations")]
            calls = tables.operations_text("system_calls", cell.metric("system_calls_per_copy")) if cell.placement == "user" else tables.ABSENT
            table.rows.append(
                [labels.load(load_), cell.placement, labels.strategy(configuration), str(summary.n if summary else 0), tables.mean_text(summary, WORK),
                 tables.spread_text(summary), *operations, calls]
            )
    return table
