# SPDX-License-Identifier: BSD-2-Clause
"""IOVA allocators against each other and against Linux's: what a map and an unmap cost with each, and their own work by itself."""

import functools

from analysis import compare, figures, lines, map_unmap, statistics, tables
from analysis.blocks import Block, Drawing, Table

LINUX = "linux"  # Linux's allocator under our domain
ORDER = ("size-classes", "tree", "tree-linear", "eiovar", "magazines", "contiguous", "identity", LINUX)
# What Linux itself takes with its own allocator and the same invalidation.
WHOLE = {"strict": "linux-strict", "deferred": "linux-lazy"}
PAIR = tables.METRIC["instructions_per_pair"]


def blocks(section):
    pairs_, parts = pair_cells(section), part_cells(section)
    shown = [table for table in (pair_table(section, pairs_), part_table(section, parts), thread_table(section)) if table.rows]
    if not shown:
        return []
    block = Block(
        "IOVA allocators",
        [
            "The same strategies with each allocator of I/O virtual addresses. size-classes is the usual one: free stacks by size. tree is balanced and knows its gaps; tree-linear "
            "searches gap after gap from the range it handed out last, as Linux did before 4.7; eiovar has free lists by size in front of the tree, magazines stacks of each CPU; "
            "contiguous carves blocks in sequence; identity takes the physical address; linux is the running kernel's own. What Linux's DMA API takes as a whole stands beside them.",
        ],
        tables=shown,
    )
    if pairs_:
        block.drawings.append(Drawing("allocators", "A map and an unmap by IOVA allocator", functools.partial(draw, section, pairs_), "Dashed: Linux's own DMA API, linux-strict beside strict, linux-lazy beside deferred."))
    return [block]


def rank(name):
    return (ORDER.index(name) if name in ORDER else len(ORDER), name)


def stripped(cell):
    """All that is held equal: the point less its allocator."""
    found = {key: value for key, value in statistics.parameters_of(cell.strategy_parameters).items() if key != compare.ALLOCATOR}
    return (cell.workload, cell.workload_parameters, cell.placement, cell.strategy, compare.load.canonical(found), cell.settings)


def groups(cells):
    """[[cells by allocator]] of what was run with several."""
    found = {}
    for cell in cells:
        found.setdefault(stripped(cell), {})[compare.allocator(cell)] = cell
    return [sorted(by.values(), key=lambda cell: rank(compare.allocator(cell))) for by in found.values() if len(by) > 1]


def pair_cells(section):
    return groups([cell for cell in section.part("dma-copy").cells if cell.metric(PAIR.name) is not None])


def part_cells(section):
    return groups([cell for cell in section.part(map_unmap.FAMILY).cells if alone(cell) is not None])


def alone(cell):
    """IOVA allocation and free by themselves, in ticks without reading the clock, as {boot: both}; None where they were not timed."""
    found = [cell.metric(f"parts_ticks_{name}_p50") for name in ("iova_allocation", "iova_free")]
    if None in found:
        return None
    clock = cell.metric("clock_ticks_p50")
    return statistics.summarise(
        {boot: found[0].values[boot] + found[1].values[boot] - (2 * clock.values.get(boot, 0) if clock else 0) for boot in found[0].values if boot in found[1].values}
    )


def beside(section, cell):
    """Linux's own strategy of the same kind, which is in the kernel, of the same workload; None if there is none."""
    wanted = WHOLE.get(cell.strategy) if cell.placement == "kernel" else None
    found = statistics.find(section.cells, "kernel", wanted, load=cell.load) if wanted else []
    return next((other for other in found if compare.same_settings(other, cell)), None)


def ratio_text(summary, reference):
    return tables.ratio_text(statistics.ratio(summary, reference)) if reference is not None else tables.ABSENT


def pair_table(section, found):
    table = Table(
        f"{section.stamp}; memory copies: instructions of a map and an unmap, means over boots; beside them the same with Linux's allocator as 1, and Linux's DMA API with the same invalidation as 1",
        ["placement", "strategy", "allocator", "boots", PAIR.unit, "95 % CI", ": linux", ": Linux's DMA API"],
        [],
        left=3,
    )
    for group in found:
        linux = next((cell.metric(PAIR.name) for cell in group if compare.allocator(cell) == LINUX), None)
        for cell in group:
            own, api = cell.metric(PAIR.name), beside(section, cell)
            table.rows.append([cell.placement, cell.strategy, compare.allocator(cell), str(own.n), PAIR.format(own.mean), tables.interval_text(own, PAIR), ratio_text(own, linux),
                               ratio_text(own, api.metric(PAIR.name) if api else None)])
    return table


def part_table(section, found):
    unit = map_unmap.unit_of(section)
    table = Table(
        f"{section.stamp}; {unit} of one IOVA's allocation and free by themselves, p50, the domain's lock included, without reading the clock; beside them Linux's allocator as 1",
        ["workload", "placement", "strategy", "allocator", "boots", "allocation", "free", "both", ": linux"],
        [],
        left=4,
    )
    labels = compare.Labels(compare.Section(section.environment, section.device, [cell for group in found for cell in group])) if found else None
    for group in found:
        linux = next((alone(cell) for cell in group if compare.allocator(cell) == LINUX), None)
        for cell in group:
            both, clock = alone(cell), map_unmap.clock(cell)
            each = [map_unmap.value(cell, f"parts_ticks_{name}_p50") - clock for name in ("iova_allocation", "iova_free")]
            table.rows.append([labels.load(cell), cell.placement, cell.strategy, compare.allocator(cell), str(both.n), *(f"{number:,.0f}" for number in (*each, both.mean)), ratio_text(both, linux)])
    return table


def thread_cells(section):
    """[[cells by allocator]] of what was run with several allocators and several numbers of threads, the fewest threads first."""
    found = groups([cell for cell in section.cells if compare.family_of(cell) == map_unmap.FAMILY and threads(cell)])
    numbers = {}
    for group in found:
        numbers.setdefault(but_threads(group[0]), set()).add(threads(group[0]))
    return sorted((group for group in found if len(numbers[but_threads(group[0])]) > 1), key=lambda group: (but_threads(group[0]), threads(group[0])))


def threads(cell):
    return statistics.parameters_of(cell.workload_parameters).get(map_unmap.THREADS)


def but_threads(cell):
    found = {key: value for key, value in statistics.parameters_of(cell.workload_parameters).items() if key != map_unmap.THREADS}
    workload, _, *rest = stripped(cell)
    return (workload, compare.load.canonical(found), *rest)


def thread_table(section):
    table = Table(
        f"{section.stamp}; {map_unmap.unit_of(section)} of a pair by threads, without reading the clock: p50, and the mean over boots, which holds what one waits for another; beside it the same with Linux's allocator as 1",
        ["placement", "strategy", "allocator", "threads", "p50", "mean", ": linux"],
        [],
        left=3,
    )
    for group in thread_cells(section):
        linux = next((map_unmap.took(cell, "pair", "mean") for cell in group if compare.allocator(cell) == LINUX), None)
        for cell in group:
            mean = map_unmap.took(cell, "pair", "mean")
            table.rows.append([cell.placement, cell.strategy, compare.allocator(cell), f"{threads(cell):g}", map_unmap.count(map_unmap.took(cell, "pair")), map_unmap.count(mean),
                               f"{mean / linux:.3f}" if mean and linux else tables.ABSENT])
    return table


def draw(section, found):
    """A panel a strategy and placement, a bar an allocator."""
    rows = max(len(group) for group in found)
    summaries = [cell.metric(PAIR.name) for group in found for cell in group]
    figure, axes = lines.panels(len(found), "Instructions of a map and an unmap by IOVA allocator", f"{section.stamp} · {figures.boots_text(summaries)}", height=0.28 * rows + 1.0, columns=2, left=1.2)
    figure.subplots_adjust(right=0.97, wspace=0.32)
    for axis, group in zip(axes, found):
        names = [compare.allocator(cell) for cell in group]
        for position, cell in enumerate(group):
            summary = cell.metric(PAIR.name)
            axis.barh(position, summary.mean, height=0.74, color=figures.PLACEMENT_COLOURS.get(cell.placement, figures.FAINT), alpha=1 if compare.allocator(cell) != LINUX else 0.55)
            if summary.low is not None:
                axis.plot([max(summary.low, 0), summary.high], [position, position], color=figures.INK, linewidth=1.2)
            axis.annotate(PAIR.format(summary.mean), (max(summary.mean, summary.high or 0), position), xytext=(4, 0), textcoords="offset points", va="center", fontsize=7.5, zorder=6,
                          bbox={"boxstyle": "square,pad=0.1", "facecolor": "white", "edgecolor": "none"})
        api = beside(section, group[0])
        if api is not None and api.metric(PAIR.name) is not None:
            axis.axvline(api.metric(PAIR.name).mean, color=figures.INK, linewidth=0.9, linestyle=(0, (4, 3)))
            axis.annotate(api.strategy, (api.metric(PAIR.name).mean, 1), xycoords=("data", "axes fraction"), xytext=(0, 2), textcoords="offset points", ha="center", fontsize=7)
        axis.set_xlim(0, axis.get_xlim()[1] * 1.2)
        axis.set_ylim(len(group) - 0.4, -0.6)
        axis.set_yticks(range(len(group)), names)
        axis.set_title(f"{group[0].strategy}, {group[0].placement}", fontsize=9, loc="left", pad=12)
        axis.set_xlabel(PAIR.unit)
        axis.xaxis.set_major_locator(lines.ticker.MaxNLocator(4))
        lines.thousands(axis.xaxis)
        lines.plain(axis)
        axis.grid(False)
        axis.tick_params(axis="y", length=0)
    return figure
