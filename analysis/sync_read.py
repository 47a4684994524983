# SPDX-License-Identifier: BSD-2-Clause
"""The disk experiment of 2005: a contiguous region read block after block; throughput and CPU utilisation over the block size."""

import functools

from matplotlib import lines as artists

from analysis import compare, disk, echo, figures, lines, statistics, tables
from analysis.blocks import Block, Drawing, Table

MATCHED = echo.MATCHED
HELD = (
    "Held equal: the block layer, the reading program, the region and the blocks in their order. Not held equal: how a request reaches the driver (ublk and "
    "a process at user level), the compiler's code generation unless it is named, and how the device interrupts."
)


def blocks(section):
    part = disk.part(section, "sync-read")
    if not part.cells:
        return []
    labels = compare.Labels(part)
    block = Block(
        "Synchronous read: the disk figure of 2005",
        [
            "A contiguous region is read one block at a time, each after the one before. In 2005 throughput did not suffer, and system time rose by 17 % at "
            "worst, at the smallest block, and by much less at realistic sizes.",
            HELD,
        ],
    )
    note = "Thick: our driver under the matched strategy. Thin: references." + (f" {disk.EMULATED}" if part.environment != "hardware" else "")
    for title, cells in figures_of(part.cells).items():
        name = "seed-ide" + (f"-{len(block.drawings) + 1}" if block.drawings else "")
        block.drawings.append(Drawing(name, title, functools.partial(draw, part, labels, title, cells), note))
    ratios = [ratio_table(part, labels, "user", "kernel", strategy) for strategy in matched_first(disk.strategies(part.cells))]
    ratios.append(ratio_table(part, labels, "kernel", *compare.BASELINE))
    block.tables = [table for table in (*ratios, point_table(part, labels)) if table.rows]
    return [block]


def figures_of(cells):
    """{title: cells}: a figure's cells differ in their block size alone, and in the load, which may follow it."""
    found = {}
    for cell in cells:
        found.setdefault((disk.series(cell, (compare.LOAD,)), statistics.open_loop(cell)), []).append(cell)
    found = {key: own for key, own in found.items() if len({disk.block(cell) for cell in own}) > 1}
    suffixes = compare.suffixes([others for others, _ in found])
    both = len({paced for _, paced in found}) > 1
    pace = {True: " at a given load", False: " unpaced"} if both else {True: "", False: ""}
    return {f"Synchronous read by block size{suffixes[others]}{pace[paced]}": own for (others, paced), own in found.items()}


def block_text(part, labels, cell):
    """The block size; where that is not all that tells the workloads apart, the rest, too."""
    if len(part.loads) == len({disk.block(other) for other in part.cells}) and disk.block(cell):
        return compare.size(disk.block(cell))
    return labels.load(cell).removeprefix(cell.workload).strip() or cell.workload


def matched_first(strategies):
    return sorted(strategies, key=lambda strategy: strategy != MATCHED)


def marks(cell):
    """What is to be said of a point whose load was not what it stands for."""
    found = ["load not offered"] if echo.not_offered(cell) else []
    missed = statistics.load_missed(cell)
    if missed is not None and missed < -statistics.EQUAL_LOAD_TOLERANCE:
        found.append("load not reached")
    if echo.flagged(cell):
        found.append("load missed")
    return found


def point_table(part, labels):
    table = Table(
        f"{part.stamp}; means over boots, CPU with its 95 % interval",
        ["block", "placement", "strategy", "boots", "MB/s", "load MB/s", "CPU %", "95 % CI", "spread", disk.WORK.unit, disk.IOPS.unit, "p50 µs", "p99 µs", "flags"],
        [],
        left=3,
    )
    for cell in part.cells:
        cpu, requested = cell.metric(disk.CPU.name), cell.metric("load_requested_bps") if statistics.open_loop(cell) else None
        if echo.flagged(cell):
            table.flagged.add(len(table.rows))
        first = next(iter(cell.metrics.values()), None)
        table.rows.append(
            [
                block_text(part, labels, cell),
                cell.placement,
                labels.strategy(cell.configuration),
                str(first.n) if first is not None else "0",
                tables.mean_text(cell.metric(disk.MEGABYTES.name), disk.MEGABYTES),
                tables.mean_text(requested, disk.MEGABYTES),
                tables.mean_text(cpu, disk.CPU),
                tables.interval_text(cpu, disk.CPU),
                tables.spread_text(cpu),
                tables.mean_text(cell.metric(disk.WORK.name), disk.WORK),
                tables.mean_text(cell.metric(disk.IOPS.name), disk.IOPS),
                echo.microseconds(cell.metric("latency_ns_p50")),
                echo.microseconds(cell.metric("latency_ns_p99")),
                ", ".join(marks(cell)),
            ]
        )
    return table


def ratio_table(part, labels, one, other, strategy):
    """The figure's numbers, one row a block size: both placements, their ratios, and what they are held against."""
    ours = one == "kernel"  # against the distribution's driver; otherwise user level against the kernel
    table = Table(
        f"{part.stamp}; {one} : {other}, both {strategy}; ratios with their 95 % interval by t over the logarithms, boots paired by their seed; CPU is "
        "compared where both carried the same within 2 %. " + ("Bound 1.00 on instructions" if ours else "Bound 1.10 on CPU from 64 KiB on; in 2005 1.17 at worst"),
        ["block", "pair", f"{other} CPU %", f"{one} CPU %", "CPU ratio", "bound", f"{other} instructions per I/O", f"{one}", "ratio", "bound",
         f"{other} MB/s", f"{one} MB/s", "ratio", "from"],
        [],
    )
    for top, bottom in sorted(echo.pairs(part.cells, one, other, strategy), key=lambda pair: disk.order(pair[0])):
        cpu, work, throughput = (tables.relative(top, bottom, metric.name) for metric in (disk.CPU, disk.WORK, disk.MEGABYTES))
        if cpu is None and work is None and throughput is None:
            continue
        alike = disk.carried_alike(top, bottom)
        if ours:
            bounds = [tables.ABSENT, echo.verdict(work, compare.DRIVER_BOUND)]
        else:
            limit = disk.bound(top)
            bounds = [echo.verdict(held, limit) if limit is not None else "none below 64 KiB" for held in (cpu if alike else None, work)]
        if statistics.EXCEEDS in bounds:
            table.flagged.add(len(table.rows))
        same = labels.strategy(top.configuration) == labels.strategy(bottom.configuration) == strategy
        table.rows.append(
            [
                block_text(part, labels, top),
                "" if same else f"{labels.strategy(top.configuration)} : {labels.strategy(bottom.configuration)}",
                *(tables.mean_text(cell.metric(disk.CPU.name), disk.CPU) for cell in (bottom, top)),
                disk.ratio_text(cpu) if alike else "throughputs differ",
                bounds[0],
                *(tables.mean_text(cell.metric(disk.WORK.name), disk.WORK) for cell in (bottom, top)),
                disk.ratio_text(work),
                bounds[1],
                *(tables.mean_text(cell.metric(disk.MEGABYTES.name), disk.MEGABYTES) for cell in (bottom, top)),
                disk.ratio_text(throughput),
                tables.pairing_text(work or cpu or throughput),
            ]
        )
    return table


def bold(cell):
    return cell.placement in ("kernel", "user") and cell.strategy == MATCHED


def drawn(cells):
    """Configurations of the figure: our driver under the matched strategy in both placements; as references stock and linux-lazy."""
    found = dict.fromkeys(cell.configuration for cell in cells if bold(cell) or cell.placement == "stock" or cell.strategy == "linux-lazy")
    return list(found) or list(dict.fromkeys(cell.configuration for cell in cells))


def draw(part, labels, title, cells):
    shown = [cell for cell in cells if cell.configuration in drawn(cells) and disk.block(cell)]
    summaries = [cell.metric(disk.CPU.name) or cell.metric(disk.MEGABYTES.name) for cell in shown]
    summaries = [summary for summary in summaries if summary is not None]
    boots = figures.boots_text(summaries, each=" a point") if summaries else "nothing measured"
    stamp = f"{part.stamp} · {boots} · {figures.spread_text(summaries)} · bars: 95 % CI"
    figure, (axis,) = lines.panels(1, title, stamp, height=4.6, width=9.6)
    figure.subplots_adjust(right=0.66)
    right = axis.twinx()
    handles, marked, falls_short = [], [], False
    for index, configuration in enumerate(drawn(cells)):
        own = [cell for cell in shown if cell.configuration == configuration]
        if not own:
            continue
        thick = bold(own[0])
        style = {"color": figures.PLACEMENT_COLOURS.get(own[0].placement, figures.FAINT), "marker": lines.MARKERS[index % len(lines.MARKERS)],
                 "linewidth": 2 if thick else 0.9, "markersize": 4.5 if thick else 3}
        dashed = {"linestyle": (0, (4, 2)), "markerfacecolor": "white"}
        for target, metric, look in ((axis, disk.CPU, {}), (right, disk.MEGABYTES, dashed)):
            points = [(disk.block(cell), cell.metric(metric.name)) for cell in own if cell.metric(metric.name) is not None]
            if points:
                lines.series(target, points, metric.scale, **style, **look)
        handles.append(artists.Line2D([], [], label=f"{own[0].placement}, {labels.strategy(configuration)}", **style))
        for cell in own:
            if cell.metric(disk.MEGABYTES.name) is not None and marks(cell):
                right.plot([disk.block(cell)], [cell.metric(disk.MEGABYTES.name).mean * disk.MEGABYTES.scale], marker="x", markersize=9,
                           markeredgewidth=2, color="#D55E00", zorder=9)
                falls_short = True
        marked += [cell.metric(disk.MEGABYTES.name).mean for cell in own if cell.metric(disk.MEGABYTES.name) is not None]
    lines.block_sizes(axis, sorted({disk.block(cell) for cell in shown}))
    axis.set_xlabel("block size")
    axis.set_ylabel("CPU utilisation, % (solid)")
    # From zero, and not to 100 %: at large blocks a disk leaves the CPU nearly idle, and what differs has to be seen.
    axis.set_ylim(0, max([(cpu.high or cpu.mean) * 100 for cell in shown if (cpu := cell.metric(disk.CPU.name))], default=100) * 1.12)
    wide = [value for value in marked if value > 0]
    logarithmic = bool(wide) and max(wide) > 30 * min(wide)
    if logarithmic:
        right.set_yscale("log")
    else:
        right.set_ylim(bottom=0, top=max([value * disk.MEGABYTES.scale for value in wide], default=1) * 1.1)
    right.set_ylabel(f"throughput, MB/s (dashed{', log' if logarithmic else ''})")
    lines.thousands(right.yaxis)
    lines.plain(axis)
    right.spines["top"].set_visible(False)
    right.tick_params(labelsize=8, length=3, color=figures.FAINT)
    grey = {"color": figures.INK, "linewidth": 1.2}
    handles += [artists.Line2D([], [], label="CPU utilisation", **grey), artists.Line2D([], [], label="throughput", linestyle=(0, (4, 2)), **grey)]
    if falls_short:
        handles.append(artists.Line2D([], [], label="load not reached", color="#D55E00", marker="x", markersize=8, markeredgewidth=2, linestyle="none"))
    figure.legend(handles=handles, loc="center left", bbox_to_anchor=(0.745, 0.55), frameon=False, fontsize=8.5)
    return figure
