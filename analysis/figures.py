# SPDX-License-Identifier: BSD-2-Clause
"""Figures as SVG text for embedding: one panel a workload, one bar a configuration, every boot shown as a dot.

Each figure is stamped with where its numbers come from, how many boots it shows, and their spread.
"""

import io
import math
import re

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot  # noqa: E402  (the backend has to be chosen first)

from analysis import compare, statistics  # noqa: E402

# Okabe and Ito's palette: told apart with any colour vision, and in grey by lightness.
PLACEMENT_COLOURS = {"stock": "#8a8a8a", "kernel": "#0072B2", "user": "#E69F00"}
INK = "#1a1a1a"
FAINT = "#6b6b6b"

PANELS_A_ROW = 4

STYLE = {
    "font.family": "sans-serif",
    # Text stays text: searchable and small. Widths are laid out for the widest of these.
    "font.sans-serif": ["DejaVu Sans", "Verdana", "Helvetica", "Arial", "sans-serif"],
    "svg.fonttype": "none",
    "svg.hashsalt": "dmatoll",
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": INK,
    "text.parse_math": False,  # names come from records: a dollar sign is a dollar sign
    "axes.unicode_minus": True,
}


class Metric:
    """How one metric is drawn: its name, title, unit and the factor from the record's unit to the drawn one."""

    def __init__(self, name, title, unit, scale, decimals, loop=None, may_cut=True):
        self.name = name
        self.title = title
        self.unit = unit
        self.scale = scale
        self.decimals = decimals
        self.loop = loop  # "open": only cells with an offered load; "closed": only those without, if there are any
        self.may_cut = may_cut  # whether the longest bars may be cut; not where more is better

    def format(self, value):
        scaled = value * self.scale
        decimals = self.decimals
        if scaled and abs(scaled) < 10 and decimals == 0:
            decimals = 1
        return f"{scaled:,.{decimals}f}"


METRICS = [
    Metric("cpu_utilisation", "CPU utilisation at equal offered load", "% of one CPU", 100, 1, loop="open"),
    Metric("instructions_per_packet", "Instructions per packet", "instructions per packet", 1, 0),
    Metric("cycles_per_packet", "Cycles per packet", "cycles per packet", 1, 0),
    Metric("throughput_bps", "Throughput", "Mb/s", 1e-6, 0, loop="closed", may_cut=False),
]

DISK_METRICS = [
    Metric("instructions_per_io", "Instructions per I/O", "instructions per I/O", 1, 0),
    Metric("cycles_per_io", "Cycles per I/O", "cycles per I/O", 1, 0),
    Metric("iops", "I/O operations per second", "thousand IOPS", 1e-3, 2, loop="closed", may_cut=False),
]

COPY_METRICS = [
    Metric("instructions_per_copy", "Instructions per copy", "instructions per copy", 1, 0, may_cut=False),
    Metric("cycles_per_copy", "Cycles per copy", "cycles per copy", 1, 0, may_cut=False),
    Metric("instructions_per_pair", "Instructions of a map and an unmap", "instructions per pair", 1, 0, may_cut=False),
    Metric("cycles_per_pair", "Cycles of a map and an unmap", "cycles per pair", 1, 0, may_cut=False),
]


def figure_cells(section, metric):
    """The cells that the figure of `metric` shows."""
    measured = [cell for cell in section.cells if cell.metric(metric.name) is not None]
    if metric.loop == "open":
        return [cell for cell in measured if statistics.open_loop(cell)]
    if metric.loop == "closed":
        return [cell for cell in measured if not statistics.open_loop(cell)] or measured
    return measured


def draw(section, metric, prefix):
    """The figure of one metric as an SVG element, or None if no cell has it. `prefix` makes its ids unique in the page."""
    figure = make(section, metric)
    return None if figure is None else svg(figure, prefix)


def draw_drawing(drawing, prefix):
    """A block's drawing as an SVG element."""
    with matplotlib.rc_context(STYLE):
        return svg(drawing.figure(), prefix)


def svg(figure, prefix):
    """A figure as an SVG element for embedding; the figure is closed."""
    buffer = io.StringIO()
    with matplotlib.rc_context(STYLE):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    pyplot.close(figure)
    return embeddable(buffer.getvalue(), prefix)


def make(section, metric):
    shown = figure_cells(section, metric)
    if not shown:
        return None
    labels = compare.Labels(section)
    loads = [load for load in section.loads if any(cell.load == load for cell in shown)]
    configurations = [
        configuration
        for configuration in section.configurations
        if any(cell.configuration == configuration for cell in shown)
    ]
    positions = positions_of(configurations)
    rows = math.ceil(len(loads) / PANELS_A_ROW)
    columns = math.ceil(len(loads) / rows)
    depth = max(positions) + 1
    with matplotlib.rc_context(STYLE):
        # 0.083 in a character is the widest listed font at this size; beside it the placement, turned.
        margin = 0.083 * max(len(labels.strategy(configuration)) for configuration in configurations) + 0.28
        panel_height = 0.26 * depth + 0.85
        width = 11.0 if columns > 2 else 4.6 * columns + margin
        height = rows * panel_height + 0.95
        figure, axes = pyplot.subplots(rows, columns, figsize=(width, height), squeeze=False)
        figure.subplots_adjust(
            left=(margin + 0.15) / width,
            right=1 - 0.12 / width,
            top=1 - 0.72 / height,
            bottom=0.70 / height,
            wspace=0.09,
            hspace=0.95 / (panel_height - 0.85),
        )
        for index, axis in enumerate(axes.flat):
            if index >= len(loads):
                axis.set_visible(False)
                continue
            panel(axis, section, metric, loads[index], configurations, positions, labels)
            if index % columns == 0:
                name_rows(axis, configurations, positions, labels)
            else:
                axis.set_yticks([])
        figure.text(0.08 / width, 1 - 0.10 / height, metric.title, fontsize=12, fontweight="bold", va="top")
        figure.text(1 - 0.12 / width, 1 - 0.13 / height, legend_text(section, metric, loads, configurations), color=FAINT, ha="right", va="top")
        figure.text(0.08 / width, 0.10 / height, stamp(section, shown, metric), color=INK, fontsize=8.5, va="bottom")
    return figure


def positions_of(configurations):
    """Rows from the top, with a gap where the placement changes."""
    result, row = [], 0.0
    for index, configuration in enumerate(configurations):
        if index and configuration[1] != configurations[index - 1][1]:
            row += 0.55
        result.append(row)
        row += 1
    return result


def name_rows(axis, configurations, positions, labels):
    axis.set_yticks(positions, [labels.strategy(configuration) for configuration in configurations])
    for placement in dict.fromkeys(configuration[1] for configuration in configurations):
        own = [p for p, configuration in zip(positions, configurations) if configuration[1] == placement]
        axis.annotate(
            placement,
            (0, (own[0] + own[-1]) / 2),
            xycoords=("axes fraction", "data"),
            xytext=(-axis.figure.subplotpars.left * axis.figure.get_figwidth() * 72 + 14, 0),
            textcoords="offset points",
            rotation=90,
            ha="center",
            va="center",
            fontweight="bold",
        )


def panel(axis, section, metric, load, configurations, positions, labels):
    reference = compare.baseline(section, load)
    limit, cut = reach(section, metric, load, configurations)
    for position, configuration in zip(positions, configurations):
        cell = section.cell(configuration, load)
        summary = cell.metric(metric.name) if cell is not None else None
        if summary is None:
            reason = "not measured" if cell is not None else "no finished trial"
            axis.annotate(reason, (0, position), xytext=(4, 0), textcoords="offset points", va="center", color=FAINT,
                          fontsize=8, fontstyle="italic")
            continue
        bar(axis, metric, position, configuration[1], summary, cut)
    axis.set_xlim(0, limit * 1.32)
    axis.set_ylim(positions[-1] + 0.6, positions[0] - 0.6)
    if reference is not None and reference.metric(metric.name) is not None:
        axis.axvline(reference.metric(metric.name).mean * metric.scale, color=INK, linewidth=0.8, linestyle=(0, (4, 3)),
                     zorder=4)
    axis.set_title(labels.load(load), fontsize=9, loc="left", pad=4)
    axis.set_xlabel(metric.unit, fontsize=8.5, labelpad=2)
    axis.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(4))
    axis.xaxis.set_major_formatter(matplotlib.ticker.FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axis.tick_params(axis="x", labelsize=8, length=3, color=FAINT)
    axis.tick_params(axis="y", length=0)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axis.spines[side].set_color(FAINT)


def reach(section, metric, load, configurations):
    """(how far bars and intervals reach, where bars are cut or None), in the drawn unit.

    One configuration that costs many times what the others do would flatten them all: bars beyond three times the median
    are cut at the longest of the others, visibly, with their value beside them.
    """
    found = [section.cell(configuration, load) for configuration in configurations]
    summaries = [cell.metric(metric.name) for cell in found if cell is not None and cell.metric(metric.name) is not None]
    edges = sorted(right_edge(summary) * metric.scale for summary in summaries) or [1]
    median = edges[(len(edges) - 1) // 2]
    within = [edge for edge in edges if edge <= 3 * median]
    if not within or len(within) == len(edges) or not metric.may_cut:
        return edges[-1] or 1, None
    return within[-1] * 1.12, within[-1] * 1.12


def right_edge(summary):
    # An interval of few boots may be wider than the panel; it is cut there, the table has it in full.
    high = summary.high if summary.high is not None else summary.mean
    return max(summary.mean, summary.maximum, min(high, summary.mean * 1.25))


def bar(axis, metric, position, placement, summary, cut):
    """One bar with its interval and its boots."""
    colour = PLACEMENT_COLOURS.get(placement, FAINT)
    label = {"xytext": (6, 0), "textcoords": "offset points", "va": "center", "fontsize": 8, "zorder": 7,
             "bbox": {"boxstyle": "square,pad=0.12", "facecolor": "white", "edgecolor": "none"}}
    mean, right = summary.mean * metric.scale, right_edge(summary) * metric.scale
    if cut is not None and right > cut:
        axis.barh(position, cut, height=0.74, color=colour, zorder=2)
        for offset in (0.90, 0.93):
            axis.plot([cut * (offset - 0.015), cut * (offset + 0.015)], [position + 0.5, position - 0.5], color="white",
                      linewidth=2, zorder=5)
        axis.annotate(metric.format(summary.mean), (cut, position), fontweight="bold", **label)
        return
    axis.barh(position, mean, height=0.74, color=colour, zorder=2)
    low = (summary.low if summary.low is not None else summary.mean) * metric.scale
    high = (summary.high if summary.high is not None else summary.mean) * metric.scale
    if high > low:
        axis.plot([max(low, 0), min(high, right)], [position, position], color=INK, linewidth=1.2, zorder=5,
                  solid_capstyle="butt")
    values = [value * metric.scale for value in summary.values.values()]
    axis.plot(values, [position] * len(values), linestyle="none", marker="o", markersize=3.4, markerfacecolor="white",
              markeredgecolor=INK, markeredgewidth=0.8, zorder=6)
    axis.annotate(metric.format(summary.mean), (right, position), **label)


def legend_text(section, metric, loads, configurations):
    parts = ["bar: mean", "○ each boot", "— 95 % CI"]
    references = [compare.baseline(section, load) for load in loads]
    if any(reference is not None and reference.metric(metric.name) is not None for reference in references):
        parts.append("╎ stock/linux-lazy")
    if any(reach(section, metric, load, configurations)[1] is not None for load in loads):
        parts.append("// bar cut, its value in bold")
    return " · ".join(parts)


def stamp(section, shown, metric):
    """Where the numbers come from, n, spread: what every figure carries."""
    summaries = [cell.metric(metric.name) for cell in shown]
    return f"{section.stamp} · {boots_text(summaries)} · {spread_text(summaries)}"


def boots_text(summaries, each=" a bar"):
    counts = sorted({summary.n for summary in summaries})
    if counts == [1]:
        return f"n = 1 boot{each}: no interval"
    text = f"n = {counts[0]}" if len(counts) == 1 else f"n = {counts[0]} to {counts[-1]}"
    return f"{text} boots{each}, each with a seed of its own"


def spread_text(summaries):
    spreads = [summary.spread for summary in summaries if summary.spread is not None]
    if not spreads:
        return "spread not known"
    if max(spreads) == 0:
        return "identical in every boot (spread 0)"
    return f"largest spread {percent(max(spreads))} (max − min over mean)"


def percent(fraction):
    value = fraction * 100
    if value == 0:
        return "0 %"
    return "<0.001 %" if abs(value) < 0.001 else f"{value:.{3 if abs(value) < 0.1 else 2 if abs(value) < 10 else 0}f} %"


def embeddable(svg, prefix):
    """The svg element alone, its ids made unique in a page that holds several."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\bid="([^"]+)"', rf'id="{prefix}-\1"', svg)
    svg = re.sub(r"url\(#([^)]+)\)", rf"url(#{prefix}-\1)", svg)
    return re.sub(r'href="#([^"]+)"', rf'href="#{prefix}-\1"', svg)
