# SPDX-License-Identifier: BSD-2-Clause
"""Raw frames, without the IP stack: instructions per packet by frame size, placement and strategy."""

import functools

from matplotlib import lines as artists, ticker

from analysis import compare, figures, lines, statistics, tables
from analysis.blocks import Block, Drawing, Table

WORK = tables.METRIC["instructions_per_packet"]
DIRECTIONS = {"raw-frames-tx": "transmit", "raw-frames-rx": "receive", "raw-frames-loopback": "PHY loopback"}


def blocks(section):
    part = section.part("raw-frames")
    if not part.cells:
        return []
    labels = compare.Labels(part)
    block = Block(
        "Raw frames",
        [
            "No IP stack. At user level the driver's own process makes or takes the frames; the kernel's drivers are reached through AF_PACKET, "
            "whose system calls and socket buffers are in their figures and in no one's at user level: across placements this compares "
            "interfaces, within one it compares strategies. Sizes count the CRC. In PHY loopback a packet is sent and received.",
        ],
    )
    measured = [cell for cell in part.cells if cell.metric(WORK.name) is not None]
    panels = [w for w in DIRECTIONS if len({frame_bytes(cell) for cell in measured if cell.workload == w}) > 1]
    if panels:
        block.drawings.append(Drawing("raw-frames", "Raw frames", functools.partial(draw, part, labels, measured, panels)))
    for workload in dict.fromkeys(cell.workload for cell in part.cells):
        block.tables.append(size_table(part, labels, workload))
    return [block]


def frame_bytes(cell):
    value = statistics.parameters_of(cell.workload_parameters).get("frame_bytes")
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else 0


def variant(cell):
    """The workload's parameters less the size of the frame."""
    found = statistics.parameters_of(cell.workload_parameters)
    return compare.load.canonical({key: value for key, value in found.items() if key != "frame_bytes"})


def size_table(part, labels, workload):
    cells = [cell for cell in part.cells if cell.workload == workload]
    sizes = sorted({frame_bytes(cell) for cell in cells})
    variants = compare.suffixes([variant(cell) for cell in cells])
    table = Table(
        f"{part.stamp}; {DIRECTIONS.get(workload, workload)}: instructions per packet by frame size in bytes, means over boots "
        "and in brackets their spread",
        ["placement", "strategy", *(f"{size:g}" for size in sizes)],
        [],
    )
    for configuration in part.configurations:
        for parameters, suffix in variants.items():
            own = {frame_bytes(c): c for c in cells if c.configuration == configuration and variant(c) == parameters}
            if own:
                table.rows.append([configuration[1], labels.strategy(configuration) + compare.load_suffix(parameters) + suffix]
                                  + [work_text(own.get(size)) for size in sizes])
    return table


def work_text(cell):
    summary = cell.metric(WORK.name) if cell is not None else None
    if summary is None:
        return tables.ABSENT
    # Frames that a full socket drops have cost the driver their work, and the stack less than a whole one.
    mark = ", frames dropped" if "frames-dropped" in cell.flags else ""
    return (f"{WORK.format(summary.mean)} ({tables.spread_text(summary)})" if summary.n > 1 else WORK.format(summary.mean)) + mark


def draw(part, labels, measured, panels):
    boots = figures.boots_text([cell.metric(WORK.name) for cell in measured], each=" a point")
    figure, axes = lines.panels(len(panels), "Raw frames: instructions per packet by frame size", f"{part.stamp} · {boots} · bars: 95 % CI over boots", height=3.9)
    figure.subplots_adjust(bottom=1.25 / figure.get_figheight())
    handles = {}
    for axis, workload in zip(axes, panels):
        for configuration in part.configurations:
            for parameters in dict.fromkeys(variant(c) for c in measured if c.workload == workload):
                own = sorted(
                    (c for c in measured if c.workload == workload and c.configuration == configuration and variant(c) == parameters),
                    key=frame_bytes,
                )
                if not own:
                    continue
                same = [c for c in part.configurations if c[1] == configuration[1]]
                style = {"color": figures.PLACEMENT_COLOURS.get(configuration[1], figures.FAINT), "linewidth": 1.4, "markersize": 4,
                         "marker": lines.MARKERS[same.index(configuration) % len(lines.MARKERS)]}
                lines.series(axis, [(frame_bytes(cell), cell.metric(WORK.name)) for cell in own], **style)
                handles.setdefault(configuration, artists.Line2D([], [], label=f"{configuration[1]}, {labels.strategy(configuration)}", **style))
        axis.set_title(DIRECTIONS[workload], fontsize=9, loc="left")
        axis.set_xlabel("frame with CRC, bytes")
        axis.set_yscale("log")
        axis.yaxis.set_minor_formatter(ticker.NullFormatter())
        axis.set_xlim(0, 1600)
        lines.thousands(axis.yaxis)
        lines.plain(axis)
    axes[0].set_ylabel("instructions per packet (log)")
    figure.legend(handles=list(handles.values()), loc="lower left", bbox_to_anchor=(0.0, 0.055), ncol=4, frameon=False, fontsize=8)
    return figure
