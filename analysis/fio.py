# SPDX-License-Identifier: BSD-2-Clause
"""fio on a disk: what an I/O costs by placement, strategy, block size and queue depth, and how long it takes."""

import functools

from matplotlib import lines as artists

from analysis import compare, disk, figures, lines, statistics, tables
from analysis.blocks import Block, Drawing, Table

MOST_PANELS = 8
INTRODUCTION = (
    "fio through the kernel's block layer, with direct I/O. An I/O is one request of the block size; its cost is all that the CPU of the device under "
    "test does in the window: driver, block layer, fio and, at user level, ublk and the driver's process. CPU utilisation is compared only at equal "
    "offered load. Latencies are those that fio reports, from the submission to the completion of a request."
)


def blocks(run, section):
    return [*measured(run, section), *verified(section)]


def verified(section):
    cells = [cell for cell in section.cells if compare.family_of(cell) == "fio-verify"]
    if not cells:
        return []
    labels = compare.Labels(compare.Section(section.environment, section.device, cells))
    table = Table(
        f"{section.stamp}; sums over trials, in MiB; what did not come back as it was written is among the trials that did not finish",
        ["workload", "placement", "strategy", "trials", "written", "read back in between", "and at the end"],
        [],
        left=3,
    )
    for cell in cells:
        amounts = [cell.totals.get(f"bytes_{what}") for what in ("written", "verified", "verified_at_end")]
        texts = [tables.ABSENT if amount is None else f"{amount / (1 << 20):,.0f}" for amount in amounts]
        table.rows.append([labels.load(cell), cell.placement, labels.strategy(cell.configuration), str(cell.trials), *texts])
    return [Block("Disk: data written and read back", tables=[table])]


def measured(run, section):
    part = disk.part(section, "fio")
    if not part.cells:
        return []
    block = Block("Disk: fio", [INTRODUCTION])
    for metric in (disk.WORK, disk.IOPS, disk.CPU):
        if figures.figure_cells(part, metric):
            shown = compare.Section(part.environment, part.device, chosen(part, metric))
            notes = [] if len(shown.loads) == len(loads_of(part, metric)) else ["A choice of the workloads; the tables have all."]
            if metric is disk.IOPS and part.environment != "hardware":
                notes.append(disk.EMULATED)
            block.drawings.append(Drawing(f"fio-{metric.name}", metric.title, functools.partial(figures.make, shown, metric), " ".join(notes)))
    found = ratios(part)
    if found:
        block.drawings.append(Drawing("fio-placement", "User level against the kernel by block size", functools.partial(draw_ratios, part, found)))
    block.tables = [*claim_tables(part), *cost_tables(part), operations_table(part), latency_table(part), protection_table(run, part)]
    block.tables = [table for table in block.tables if table is not None and table.rows]
    return [block]


def loads_of(part, metric):
    return list(dict.fromkeys(cell.load for cell in figures.figure_cells(part, metric)))


def chosen(part, metric):
    """The cells of at most so many workloads, evenly over their order."""
    loads = loads_of(part, metric)
    if len(loads) > MOST_PANELS:
        loads = [loads[index * (len(loads) - 1) // (MOST_PANELS - 1)] for index in range(MOST_PANELS)]
    return [cell for cell in part.cells if cell.load in loads]


def claim_tables(part):
    """A table for each comparison that has something to compare; what is missing is said in its rows."""
    labels, result = compare.Labels(part), []
    for claim in disk.claims(part):
        rows = tables.claim_rows(part, claim)
        if not rows:
            continue
        table = Table(
            f"{part.stamp}; {claim.title}. {claim.explanation} 95 % confidence by t over the logarithms of the ratios",
            ["workload", "metric", "means", "kernel + user mode", "ratio", "95 % CI", "bound", "verdict", "from"],
            [],
        )
        for row in rows:
            table.rows.append(
                [row["load"], row["metric"], row["values"], row["modes"] or tables.ABSENT, row["ratio"], row["interval"], row["bound"], row["verdict"], row["boots"]]
            )
            if row["state"] == statistics.EXCEEDS:
                table.flagged.add(len(table.rows) - 1)
        table.rows += [[labels.load(load_), reason, *[tables.ABSENT] * 7] for load_, reason in claim.missing]
        result.append(table)
    gaps = [
        [row["load"], claim.title.rpartition("both ")[2], *row["values"]]
        for claim in disk.claims(part)
        for row in tables.gap_rows(part, claim, "io")
    ]
    if gaps:
        header = ["workload", "both", "instructions", "of them in kernel mode", "in user mode", "driver's system calls"]
        result.append(Table(f"{part.stamp}; user − kernel per I/O, differences of the means over boots", header, gaps))
    return result


def cost_tables(part):
    """One table a workload: every configuration against the baseline and against passthrough."""
    result = []
    work = tables.work_metric(part)
    for group in tables.main_table(part):
        table = Table(
            f"{part.stamp}; {group['load']}: means over boots; × baseline: against stock/linux-lazy; × passthrough: against the same driver under linux-identity",
            ["placement", "strategy", "boots", work.unit, "95 % CI", "spread", "× baseline", "× passthrough", disk.IOPS.unit, disk.MEGABYTES.unit]
            + (["CPU %", "× baseline"] if group["open_loop"] else []),
            [],
        )
        for row in group["rows"]:
            cell = row["cell"]
            if cell is None:
                table.rows.append([row["placement"], row["strategy"], "0", "no finished trial", *[tables.ABSENT] * (len(table.header) - 4)])
                continue
            table.rows.append(
                [row["placement"], row["strategy"], str(row["boots"])]
                + [row[key] for key in ("work", "interval", "spread", "work_baseline", "work_passthrough")]
                + [tables.mean_text(cell.metric(metric.name), metric) for metric in (disk.IOPS, disk.MEGABYTES)]
                + ([row["cpu"], row["cpu_baseline"]] if group["open_loop"] else [])
            )
        result.append(table)
    return result


def operations_table(part):
    columns, groups = tables.operations_table(part, "io")
    return Table(
        f"{part.stamp}; per I/O, means over boots. Operations on the page table for our strategies, calls of the DMA API for Linux's; IOMMU faults are the "
        "most that any boot had. What was not measured is not zero",
        ["workload", "placement", "strategy", *columns, "IOMMU faults"],
        [[group["load"], row["placement"], row["strategy"], *row["values"], row["faults"]] for group in groups for row in group["rows"]],
        left=3,
    )


PERCENTILES = ("min", "mean", "p50", "p90", "p99", "p99_9", "max")


def latency_table(part):
    labels = compare.Labels(part)
    table = Table(
        f"{part.stamp}; latency of an I/O in µs: what fio reports for each boot, averaged over boots (min and max: of all boots); in brackets the spread",
        ["workload", "placement", "strategy", "boots", "samples", *(name.replace("_", ".") for name in PERCENTILES)],
        [],
        left=3,
    )
    for cell in part.cells:
        found = [cell.metric(f"latency_ns_{name}") for name in PERCENTILES]
        if all(summary is None for summary in found):
            continue
        samples = cell.metric("latency_ns_n")
        table.rows.append(
            [
                labels.load(cell),
                cell.placement,
                labels.strategy(cell.configuration),
                str(next(summary for summary in found if summary is not None).n),
                tables.ABSENT if samples is None else f"{sum(samples.values.values()):,.0f}",
                *(latency_text(name, summary) for name, summary in zip(PERCENTILES, found)),
            ]
        )
    return table


def latency_text(name, summary):
    if summary is None:
        return tables.ABSENT
    if name in ("min", "max"):
        return f"{(summary.minimum if name == 'min' else summary.maximum) / 1e3:,.1f}"
    return f"{summary.mean / 1e3:,.1f}" + ("" if summary.spread is None else f" ({figures.percent(summary.spread)})")


def protection_table(run, part):
    pairs, loads, rows = tables.protection_table(run, part)
    # The cost beside it is in the tables above; a column a workload would be as wide as they are long.
    return Table(
        f"{part.stamp}; what each strategy states about who is protected from whom, at which granularity, and for how long the device may still reach a buffer",
        ["placement", "strategy", "domain attached", *pairs],
        [[row["placement"], row["strategy"], row["domain"], *row["protection"]] for row in rows],
        left=3 + len(pairs),
    )


def ratios(part):
    """{(workload less its block size): {strategy: [(block, Ratio of instructions, user : kernel)]}}, where there are several blocks."""
    found = {}
    for strategy in disk.strategies(part.cells):
        for top in statistics.find(part.cells, "user", strategy):
            for bottom in statistics.find(part.cells, "kernel", strategy, load=top.load):
                result = tables.relative(top, bottom, disk.WORK.name)
                if result is not None and disk.block(top) and compare.same_settings(top, bottom):
                    found.setdefault(series_of(top), {}).setdefault(strategy, []).append((disk.block(top), result))
    return {key: by for key, by in found.items() if len({block for points in by.values() for block, _ in points}) > 1}


def series_of(cell):
    depth = disk.parameter(cell, compare.DEPTH)
    return (cell.workload + (f" QD{depth:g}" if depth else ""), disk.series(cell, (compare.DEPTH,)))


def draw_ratios(part, found):
    """Instructions per I/O, user : kernel, over the block size; a panel a pattern and depth."""
    boots = sorted({result.n for by in found.values() for points in by.values() for _, result in points})
    counts = f"n = {boots[0]}" + (f" to {boots[-1]}" if len(boots) > 1 else "")
    figure, axes = lines.panels(len(found), "Instructions per I/O, user : kernel, by block size", f"{part.stamp} · {counts} pairs of boots a point · bars: 95 % CI")
    handles = {}
    names = list(dict.fromkeys(strategy for by in found.values() for strategy in by))
    suffixes = compare.suffixes([others for _, others in found])
    for axis, ((title, others), by) in zip(axes, found.items()):
        for strategy, points in by.items():
            points.sort(key=lambda point: point[0])
            style = {"color": lines.COLOURS[names.index(strategy) % len(lines.COLOURS)], "marker": lines.MARKERS[names.index(strategy) % len(lines.MARKERS)],
                     "linewidth": 1.5, "markersize": 4.5}
            values = [result.value for _, result in points]
            low = [result.value - result.low if result.low is not None else 0 for _, result in points]
            high = [result.high - result.value if result.high is not None else 0 for _, result in points]
            axis.errorbar([size for size, _ in points], values, yerr=[low, high], capsize=2.5, elinewidth=1, **style)
            handles.setdefault(strategy, artists.Line2D([], [], label=strategy, **style))
        sizes = sorted({size for points in by.values() for size, _ in points})
        lines.block_sizes(axis, sizes)
        axis.axhline(1, color="#cccccc", linewidth=0.8, zorder=1)
        if sizes[-1] >= disk.REALISTIC_BLOCK_BYTES:
            axis.plot([max(sizes[0], disk.REALISTIC_BLOCK_BYTES), sizes[-1]], [compare.PLACEMENT_BOUND] * 2, color=figures.INK, linewidth=0.9, linestyle=(0, (4, 3)))
        axis.set_title(title + suffixes[others], fontsize=9, loc="left")
        axis.set_xlabel("block size")
        axis.set_ylim(bottom=min(0.9, axis.get_ylim()[0]))
        lines.plain(axis)
    axes[0].set_ylabel("user : kernel")
    bound = artists.Line2D([], [], label="bound 1.10", color=figures.INK, linewidth=0.9, linestyle=(0, (4, 3)))
    figure.legend(handles=[*handles.values(), bound], loc="lower left", bbox_to_anchor=(0.0, 0.055), ncol=6, frameon=False, fontsize=8)
    return figure
