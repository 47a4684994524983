# SPDX-License-Identifier: BSD-2-Clause
"""The figure of 2005 and its size series: applied load on x, CPU on the left axis, achieved throughput on the right."""

import functools

from matplotlib import lines as artists

from analysis import echo, figures, lines
from analysis.blocks import Drawing

WORK = "instructions_per_packet"


def drawings(part, labels):
    result = []
    for size in reversed(echo.sizes(part.cells)):
        cells = [cell for cell in part.cells if echo.payload(cell) == size]
        if len({echo.offered(cell) for cell in cells}) > 1:
            make = functools.partial(draw_load, part, labels, size, cells)
            note = "Thick: our driver under the matched strategy. Thin: references."
            result.append(Drawing(f"echo-{size:g}", f"UDP echo, {size:g} bytes", make, note))
    found = levels([cell for cell in part.cells if cell.metric(WORK) is not None])
    if found:
        result.append(Drawing("echo-sizes", "UDP echo by payload", functools.partial(draw_sizes, part, labels, found)))
    return result


def matched(cell):
    return cell.placement in ("kernel", "user") and cell.strategy == echo.MATCHED


def drawn(cells):
    """Configurations of the figure: our driver under the matched strategy in both placements; as references stock and linux-lazy."""
    found = dict.fromkeys(cell.configuration for cell in cells if matched(cell) or cell.placement == "stock" or cell.strategy == "linux-lazy")
    return list(found) or list(dict.fromkeys(cell.configuration for cell in cells))


def draw_load(part, labels, size, cells):
    configurations = drawn(cells)
    boots = figures.boots_text([cell.metric("load_requested_bps") for cell in cells if cell.metric("load_requested_bps")], each=" a point")
    figure, (axis,) = lines.panels(1, f"UDP echo, {size} bytes of payload", f"{part.stamp} · {boots} · bars: 95 % CI over boots", height=4.6, width=9.6)
    figure.subplots_adjust(right=0.66)
    right = axis.twinx()
    top = max(echo.offered(cell) for cell in cells) / 1e6
    right.plot([0, top], [0, top], color="#cccccc", linewidth=0.8, zorder=1)
    handles = []
    for index, configuration in enumerate(configurations):
        own = sorted((cell for cell in cells if cell.configuration == configuration), key=echo.offered)
        bold = matched(own[0])
        colour = figures.PLACEMENT_COLOURS.get(own[0].placement, figures.FAINT)
        style = {"color": colour, "marker": lines.MARKERS[index % len(lines.MARKERS)], "linewidth": 2 if bold else 0.9, "markersize": 4.5 if bold else 3}
        for target, metric, scale, look in ((axis, "cpu_utilisation", 100, {}), (right, "load_achieved_bps", 1e-6, {"linestyle": (0, (4, 2)), "markerfacecolor": "white"})):
            points = [(echo.offered(cell) / 1e6, cell.metric(metric)) for cell in own if cell.metric(metric) is not None]
            if points:
                lines.series(target, points, scale, **style, **look)
        handles.append(artists.Line2D([], [], label=f"{own[0].placement}, {labels.strategy(configuration)}", **style))
        mark(axis, right, own)
    axis.set_xlabel("applied load, Mb/s of payload")
    axis.set_ylabel("CPU utilisation, % (solid)")
    right.set_ylabel("achieved throughput, Mb/s (dashed)")
    axis.set_xlim(0, top * 1.04)
    axis.set_ylim(0, max(100.0, axis.get_ylim()[1]) * 1.02)
    right.set_ylim(0, top * 1.04)
    lines.plain(axis)
    right.spines["top"].set_visible(False)
    right.tick_params(labelsize=8, length=3, color=figures.FAINT)
    grey = {"color": figures.INK, "linewidth": 1.2}
    handles += [
        artists.Line2D([], [], label="CPU utilisation", **grey),
        artists.Line2D([], [], label="achieved throughput", linestyle=(0, (4, 2)), **grey),
        artists.Line2D([], [], label="achieved = applied", color="#cccccc"),
    ]
    if any(echo.saturated(cell) for cell in cells):
        handles.append(artists.Line2D([], [], label="saturated from here", color=figures.INK, marker="|", markersize=11, linestyle="none"))
    if any(echo.flagged(cell) for cell in cells):
        handles.append(artists.Line2D([], [], label="load missed by more than 20 %", color="#D55E00", marker="x", markersize=8, markeredgewidth=2, linestyle="none"))
    figure.legend(handles=handles, loc="center left", bbox_to_anchor=(0.745, 0.55), frameon=False, fontsize=8.5)
    return figure


def mark(axis, right, own):
    """The first saturated point of a line on its CPU curve; the points that missed their load on the throughput curve."""
    full = next((cell for cell in own if echo.saturated(cell) and cell.metric("cpu_utilisation")), None)
    if full is not None:
        axis.plot([echo.offered(full) / 1e6], [full.metric("cpu_utilisation").mean * 100], marker="|", markersize=15, color=figures.INK, zorder=8)
    for cell in own:
        achieved = cell.metric("load_achieved_bps")
        if achieved is not None and echo.flagged(cell):
            right.plot([echo.offered(cell) / 1e6], [achieved.mean / 1e6], marker="x", markersize=9, markeredgewidth=2, color="#D55E00", zorder=9)


LINE_OVERHEAD = 38  # bytes a packet: what the group of 2005 added to a packet's size when it reckoned the load of a line


def levels(cells):
    """{name of a load: cells}: cells of several sizes at the same payload rate; where no two sizes share one, at the same line rate."""
    cells = [cell for cell in cells if echo.payload(cell) > 0]
    by_rate = group(cells, lambda cell: f"{echo.offered(cell) / 1e6:,.10g} Mb/s of payload")
    if by_rate:
        return by_rate
    return group(cells, lambda cell: f"{round(echo.offered(cell) * (1 + LINE_OVERHEAD / echo.payload(cell)) / 1e6):,} Mb/s of line rate")


def group(cells, key):
    found = {}
    for cell in sorted(cells, key=echo.offered):
        found.setdefault(key(cell), []).append(cell)
    return {name: part for name, part in found.items() if len(echo.sizes(part)) > 1}


MOST_LEVELS = 3


def draw_sizes(part, labels, found):
    metric = WORK
    # The levels with the most sizes say most; the tables have them all.
    chosen = sorted(sorted(found, key=lambda name: -len(echo.sizes(found[name])))[:MOST_LEVELS], key=lambda name: echo.offered(found[name][0]))
    boots = figures.boots_text([cell.metric(metric) for name in chosen for cell in found[name]], each=" a point")
    figure, axes = lines.panels(len(chosen), "UDP echo: instructions per packet by payload", f"{part.stamp} · {boots} · bars: 95 % CI over boots")
    handles = {}
    for axis, name in zip(axes, chosen):
        for index, configuration in enumerate(drawn(part.cells)):
            own = sorted((cell for cell in found[name] if cell.configuration == configuration), key=echo.payload)
            if not own:
                continue
            style = {
                "color": figures.PLACEMENT_COLOURS.get(own[0].placement, figures.FAINT),
                "marker": lines.MARKERS[index % len(lines.MARKERS)],
                "linewidth": 2 if matched(own[0]) else 0.9,
                "markersize": 4,
            }
            lines.series(axis, [(echo.payload(cell), cell.metric(metric)) for cell in own], **style)
            handles.setdefault(configuration, artists.Line2D([], [], label=f"{own[0].placement}, {labels.strategy(configuration)}", **style))
        axis.set_title(name, fontsize=9, loc="left")
        axis.set_xlabel("payload, bytes")
        axis.set_ylim(bottom=0)
        axis.set_xlim(left=0)
        lines.thousands(axis.yaxis)
        lines.plain(axis)
    axes[0].set_ylabel("instructions per packet")
    figure.legend(handles=list(handles.values()), loc="lower left", bbox_to_anchor=(0.0, 0.055), ncol=4, frameon=False, fontsize=8)
    return figure
