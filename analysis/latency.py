# SPDX-License-Identifier: BSD-2-Clause
"""Latency: percentiles and the distribution, from the full histograms of all boots merged."""

import functools

from matplotlib import ticker

from analysis import compare, disk, echo, figures, histogram, lines, statistics
from analysis.blocks import Block, Drawing, Table


def blocks(section):
    cells = [cell for cell in section.cells if cell.histogram and compare.family_of(cell) not in disk.FAMILIES]
    if not cells:
        return []
    labels = compare.Labels(compare.Section(section.environment, section.device, cells))
    stamp = section.stamp + echo.stamps(cells)
    table = Table(
        f"{stamp}; in µs; all boots' histograms merged; a dash: too few samples for that percentile",
        ["workload", "placement", "strategy", "boots", "samples", "min", "p50", "p90", "p99", "p99.9", "p99.99", "max"],
        [],
        left=3,
    )
    for cell in sorted(cells, key=lambda cell: (echo.payload(cell), echo.offered(cell), statistics.order(cell))):
        samples = cell.metric("latency_ns_n")
        shares = [
            f"{histogram.percentile(cell.histogram, share) / 1e3:,.1f}" if histogram.resolved(cell.histogram, share) else "–"
            for share in histogram.PERCENTILES.values()
        ]
        low, high = cell.metric("latency_ns_min"), cell.metric("latency_ns_max")
        table.rows.append(
            [
                labels.load(cell),
                cell.placement,
                labels.strategy(cell.configuration),
                str(samples.n) if samples is not None else "–",
                f"{sum(count for _, count in cell.histogram):,}",
                f"{low.minimum / 1e3:,.1f}" if low is not None else "–",
                *shares,
                f"{high.maximum / 1e3:,.1f}" if high is not None else f"{cell.histogram[-1][0] / 1e3:,.1f}",
            ]
        )
    drawn = [cell for cell in section.part("echo").cells if cell.histogram]
    drawings = []
    if drawn:
        make = functools.partial(draw, drawn, labels, stamp)
        drawings.append(Drawing("echo-latency", "Latency of an echo by percentile", make))
    return [
        Block(
            "Latency of an echo",
            [
                "From the time at which a packet was meant to be sent to its reply: a generator or a machine that falls behind does not hide "
                "it. A percentile is the upper bound of its histogram's bucket, less than 1 % wide. The merged samples show the distribution; "
                "they are no independent evidence, boots are."
            ],
            drawings,
            [table],
        )
    ]


MOST_PANELS = 3


def draw(cells, labels, stamp):
    """Percentiles on a scale of nines, a panel a load: the lowest, the middle and the highest that no configuration saturates."""
    largest = echo.sizes(cells)[-1]
    cells = [cell for cell in cells if echo.payload(cell) == largest]
    loads = sorted(dict.fromkeys(cell.load for cell in cells), key=lambda load: next(echo.offered(c) for c in cells if c.load == load))
    calm = [load for load in loads if not any(echo.saturated(cell) for cell in cells if cell.load == load)] or loads
    chosen = list(dict.fromkeys([calm[0], calm[len(calm) // 2], calm[-1]]))[:MOST_PANELS]
    figure, axes = lines.panels(len(chosen), "Latency of an echo by percentile", f"{stamp} · all boots merged")
    handles = {}
    for axis, load in zip(axes, chosen):
        for cell in cells:
            if cell.load != load:
                continue
            bold = cell.strategy == echo.MATCHED
            shares, values = curve(cell.histogram)
            (line,) = axis.plot(
                [1 / (1 - share) for share in shares],
                [value / 1e3 for value in values],
                color=figures.PLACEMENT_COLOURS.get(cell.placement, figures.FAINT),
                linewidth=2 if bold else 0.9,
                linestyle="-" if bold else lines.DASHES.get(cell.strategy, (0, (3, 1, 1, 1))),
                drawstyle="steps-post",
            )
            handles.setdefault(f"{cell.placement}, {labels.strategy(cell.configuration)}", line)
        axis.set_xscale("log")
        axis.set_xticks([2, 10, 100, 1000, 10000], ["p50", "p90", "p99", "p99.9", "p99.99"])
        axis.xaxis.set_minor_locator(ticker.NullLocator())
        axis.set_xlim(1, 30000)
        axis.set_ylim(bottom=0)
        axis.set_title(labels.load(load), fontsize=9, loc="left")
        lines.thousands(axis.yaxis)
        lines.plain(axis)
    axes[0].set_ylabel("round trip, µs")
    figure.legend(list(handles.values()), list(handles), loc="lower left", bbox_to_anchor=(0.0, 0.055), ncol=4, frameon=False, fontsize=8)
    return figure


def curve(buckets):
    """(shares, values): the value from which on that share of samples is exceeded by fewer."""
    total = sum(count for _, count in buckets)
    shares, values, seen = [], [], 0
    for bound, count in buckets:
        shares.append(seen / total)
        values.append(bound)
        seen += count
    # The largest sample ends the curve where one sample is all that is left.
    return shares, values
