# SPDX-License-Identifier: BSD-2-Clause
"""The modelled series beside the raw ones: a table and a figure for each family of trials that has invalidations."""

import functools

from matplotlib import patches, pyplot, ticker

from analysis import compare, disk, figures, lines, modelled, statistics, tables
from analysis.blocks import Block, Drawing, Table

TITLES = {"stream": "streams", "echo": "UDP echo", "raw-frames": "raw frames", "dma-copy": "memory copies", "sync-read": "synchronous read", "fio": "fio"}
MOST_LOADS = 4  # of the figure; the table has all


def blocks(section):
    parts = {family: disk.part(section, family) if family in disk.FAMILIES else section.part(family) for family in TITLES}
    return [block for family, part in parts.items() if (block := family_block(part, family)) is not None]


def family_block(part, family):
    work = tables.work_metric(part)
    counted = work.name.replace("instructions", "invalidations")
    known = [cell for cell in part.cells if cell.metric(modelled.name(work.name, modelled.COSTS[-1]))]
    if not any(cell.metric(counted).mean > 0 for cell in known if cell.metric(counted)):
        return None
    labels = compare.Labels(part)
    stamp = f"modelled from {part.stamp}"
    block = Block(
        f"Modelled: what invalidations would cost, {TITLES[family]}",
        [
            "The emulator invalidates at once, hardware makes the CPU wait. Here each invalidation that was counted is charged a stated "
            f"{', '.join(str(cost) for cost in modelled.COSTS[:-1])} or {modelled.COSTS[-1]:,} cycles; 0 is the raw figure, 2,100 about what was "
            "published for a Xeon of 2013. One cycle is one instruction and one nanosecond of the 1 GIPS core. Nothing else is modelled: a "
            "closed loop would also slow down, a device would also miss its IOTLB.",
            "Left out: what runs on Linux's DMA API (linux-strict, linux-lazy), which does not tell how often it invalidates.",
        ],
    )
    block.tables = [table(part, labels, stamp, work, counted)]
    make = functools.partial(draw, part, labels, stamp, family, work)
    block.drawings = [Drawing(f"modelled-{family}", f"Modelled cost of invalidations, {TITLES[family]}", make)]
    return block


def table(part, labels, stamp, work, counted):
    cpu = tables.METRIC["cpu_utilisation"]
    result = Table(
        f"{stamp}; means over boots",
        ["workload", "placement", "strategy", work.unit.replace("instructions", "invalidations")]
        + [f"{work.unit}, {cost:,}" for cost in modelled.COSTS]
        + [f"CPU %, {cost:,}" for cost in modelled.COSTS],
        [],
        left=3,
    )
    for cell in part.cells:
        invalidations = cell.metric(counted)
        raw = cell.metric(work.name)
        if raw is None:
            continue
        if invalidations is None:
            values = ["not known", tables.mean_text(raw, work), *["–"] * (len(modelled.COSTS) * 2 - 1)]
        else:
            values = [tables.operations_text("invalidations", invalidations)]
            values += [tables.mean_text(cell.metric(modelled.name(work.name, cost)), work) for cost in modelled.COSTS]
            offered = statistics.open_loop(cell)
            values += [tables.mean_text(cell.metric(modelled.name(cpu.name, cost)), cpu) if offered else "–" for cost in modelled.COSTS]
        result.rows.append([labels.load(cell), cell.placement, labels.strategy(cell.configuration), *values])
    return result


def draw(part, labels, stamp, family, work):
    """Raw bars, longer by what 1000 and 2100 cycles an invalidation add."""
    metric = work.name
    names = [modelled.name(metric, cost) for cost in modelled.COSTS]
    shown = compare.usual_parameters([cell for cell in part.cells if all(cell.metric(name) for name in names)])
    # Not of a workload in which nothing is invalidated: it has nothing to show here.
    loads = [load for load in part.loads if any(cell.load == load and cell.metric(names[-1]).mean > cell.metric(names[0]).mean for cell in shown)]
    chosen = loads if len(loads) <= MOST_LOADS else [loads[i * (len(loads) - 1) // (MOST_LOADS - 1)] for i in range(MOST_LOADS)]
    configurations = [c for c in part.configurations if any(cell.configuration == c for cell in shown)]
    texts = [f"{c[1]}, {labels.strategy(c)}" for c in configurations]
    margin = 0.083 * max(map(len, texts)) + 0.2
    panel = 0.3 * len(configurations) + 0.9
    columns = min(len(chosen), 2)
    rows = -(-len(chosen) // columns)
    figure, axes = grid(rows, columns, panel, margin)
    figure.text(0.01, 1 - 0.1 / figure.get_figheight(), f"Modelled: {work.unit}, {TITLES[family]}", fontsize=12, fontweight="bold", va="top")
    boots = figures.boots_text([cell.metric(metric) for cell in shown])
    figure.text(0.01, 0.1 / figure.get_figheight(), f"{stamp} · {boots}", fontsize=8.5, va="bottom")
    for index, axis in enumerate(axes.flat):
        if index >= len(chosen):
            axis.set_visible(False)
            continue
        longest = 1
        for position, configuration in enumerate(configurations):
            cell = part.cell(configuration, chosen[index])
            if cell is None or cell not in shown:
                axis.annotate("no finished trial" if cell is None else "not known", (0, position), xytext=(4, 0), textcoords="offset points",
                              va="center", color=figures.FAINT, fontsize=8, fontstyle="italic")
                continue
            values = [cell.metric(name).mean for name in names]
            colour = figures.PLACEMENT_COLOURS.get(cell.placement, figures.FAINT)
            axis.barh(position, values[0], height=0.7, color=colour)
            for low, high, hatch, alpha in zip(values, values[1:], ("////", "...."), (0.55, 0.3)):
                axis.barh(position, high - low, left=low, height=0.7, color=colour, alpha=alpha, hatch=hatch, edgecolor="white", linewidth=0)
            axis.annotate(" → ".join(f"{value:,.0f}" for value in dict.fromkeys(round(v) for v in values)), (values[-1], position), xytext=(5, 0),
                          textcoords="offset points", va="center", fontsize=7.5)
            longest = max(longest, values[-1])
        axis.set_xlim(0, longest * 1.7)
        axis.set_ylim(len(configurations) - 0.4, -0.6)
        axis.set_yticks(range(len(configurations)), texts if index % columns == 0 else [""] * len(texts))
        axis.set_title(labels.load(chosen[index]), fontsize=9, loc="left")
        axis.xaxis.set_major_locator(ticker.MaxNLocator(4))
        lines.thousands(axis.xaxis)
        lines.plain(axis)
        axis.grid(False)
        axis.tick_params(axis="y", length=0)
    handles = [patches.Patch(facecolor="#777777", label="raw (0 cycles)")]
    handles += [patches.Patch(facecolor="#777777", alpha=alpha, hatch=hatch, edgecolor="white", label=f"at {cost:,} cycles an invalidation")
                for cost, hatch, alpha in zip(modelled.COSTS[1:], ("////", "...."), (0.55, 0.3))]
    figure.legend(handles=handles, loc="upper left", bbox_to_anchor=(0.0, 1 - 0.3 / figure.get_figheight()), ncol=3, frameon=False, fontsize=8)
    return figure


def grid(rows, columns, panel, margin):
    width, height = (11.0 if columns > 1 else 8.0), rows * panel + 0.95
    figure, axes = pyplot.subplots(rows, columns, figsize=(width, height), squeeze=False)
    figure.subplots_adjust(left=margin / width, right=0.985, top=1 - 0.9 / height, bottom=0.6 / height, wspace=0.06, hspace=0.6 / (panel - 0.6))
    return figure, axes
