# SPDX-License-Identifier: BSD-2-Clause
"""On-demand mapping by its quota: what it costs and how often it maps, between strict and persistent."""

import functools

from analysis import compare, disk, figures, lines, pairs, statistics, tables
from analysis.blocks import Block, Drawing, Table

QUOTA = "quota_pages"
ENDS = ("strict", "persistent")
FAMILIES = ("stream", "dma-copy", "fio")
WORKING_SET = "working_set_pairs"  # of memory copies; a page for each end of a pair
MOST_LOADS = 3


def blocks(section):
    return [block for family in FAMILIES if (block := family_block(section, family)) is not None]


def family_block(section, family):
    whole = disk.part(section, family) if family in disk.FAMILIES else section.part(family)
    loads = [load_ for load_ in whole.loads if any(len(points) > 1 for points in curves(whole, load_).values())]
    if not loads:
        return None
    part = compare.Section(whole.environment, whole.device, [cell for cell in whole.cells if cell.load in loads])
    work = tables.work_metric(part)
    labels = compare.Labels(part)
    return Block(
        f"On-demand mapping by its quota: {work.unit.removeprefix('instructions per ')}",
        [
            "Strategy on-demand keeps so many pages mapped as its quota says; what is beyond it takes the place of what was not used for the longest time. Without a "
            "quota it maps as strict does, page by page; with one that holds all that is used, it is persistent." + (
                " Memory copies use their buffers in turn, so that what is needed next is what was not used for the longest time: a quota that holds less than all "
                "buffers finds nothing, and only saves invalidations." if family == "dma-copy" else ""
            )
        ],
        drawings=[Drawing(f"quota-{family}", f"On-demand by quota: {work.unit}", functools.partial(draw, part, labels, work, loads[:MOST_LOADS]),
                          "Dashed: strict and persistent of the same placement." + (" A choice of the workloads; the table has all." if len(loads) > MOST_LOADS else ""))],
        tables=[table(part, labels, work, loads)],
    )


def quota(cell):
    value = statistics.parameters_of(cell.strategy_parameters).get(QUOTA)
    return value if cell.strategy == "on-demand" and compare.is_number(value) else None


def curves(part, load_):
    """{placement: [(quota, cell)]}, by quota."""
    found = {}
    for cell in part.cells:
        if cell.load == load_ and quota(cell) is not None and cell.metric(tables.work_metric(part).name) is not None:
            found.setdefault(cell.placement, []).append((quota(cell), cell))
    return {placement: sorted(points, key=lambda point: point[0]) for placement, points in found.items()}


def ends(part, load_, placement):
    """The cells of strict and persistent that a placement's curve lies between."""
    return [cell for strategy in ENDS for cell in statistics.find(part.cells, placement, strategy, load=load_)]


def buffer_pages(load_):
    """Pages of all buffers, where the workload says; None where not."""
    value = statistics.parameters_of(load_[1]).get(WORKING_SET)
    return value * pairs.PAIRS_A_COPY if compare.is_number(value) else None


def per(work, operation):
    return work.name.replace("instructions", operation).replace("cycles", operation)


def table(part, labels, work, loads):
    result = Table(
        f"{part.stamp}; means over boots",
        ["workload", "placement", "strategy", "quota, pages", "boots", work.unit, "95 % CI", *(per(work, name).replace("_", " ") for name in ("maps", "invalidations"))],
        [],
        left=3,
    )
    for load_ in loads:
        for placement, points in curves(part, load_).items():
            for pages, cell in [*points, *((None, cell) for cell in ends(part, load_, placement))]:
                summary = cell.metric(work.name)
                result.rows.append(
                    [labels.load(load_), placement, cell.strategy, tables.ABSENT if pages is None else f"{pages:,}", str(summary.n if summary else 0),
                     tables.mean_text(summary, work), tables.interval_text(summary, work),
                     *(tables.operations_text(name, cell.metric(per(work, name))) for name in ("maps", "invalidations"))]
                )
    return result


def draw(part, labels, work, loads):
    rows = [(load_, name) for load_ in loads for name in (work.name, per(work, "maps"))]
    summaries = [cell.metric(work.name) for load_ in loads for points in curves(part, load_).values() for _, cell in points]
    stamp = f"{part.stamp} · {figures.boots_text(summaries, each=' a point')} · bars: 95 % CI"
    figure, axes = lines.panels(len(rows), "Strategy on-demand by its quota", stamp, columns=2, height=3.5)
    lines.room_for_names(figure, axes)
    for axis, (load_, name) in zip(axes, rows):
        found = curves(part, load_)
        pages = sorted({value for points in found.values() for value, _ in points})
        texts = []
        for placement, points in found.items():
            colour = figures.PLACEMENT_COLOURS.get(placement, figures.FAINT)
            drawn = [(place(value), cell.metric(name)) for value, cell in points if cell.metric(name) is not None]
            lines.series(axis, drawn, color=colour, marker="o", markersize=4, linewidth=1.6)
            for cell in ends(part, load_, placement):
                if (summary := cell.metric(name)) is not None:
                    axis.axhline(summary.mean, color=colour, linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)
                    texts.append((place(pages[-1]), summary.mean, f"{cell.strategy}, {placement}", colour))
        named = [value for value in pages if value.bit_count() < 2]  # powers of two: between them there is no room
        axis.set_xticks([place(value) for value in named], [f"{value:,g}" for value in named])
        axis.set_xlim(place(pages[0]) - 0.3, place(pages[-1]) + 0.3)
        if name == work.name:
            axis.set_yscale("log")
        else:
            axis.set_ylim(bottom=0)
        if (all_ := buffer_pages(load_)) is not None:
            axis.axvline(place(all_), color=figures.FAINT, linewidth=0.8, zorder=1)
            axis.annotate("all buffers", (place(all_), 0.02), xycoords=("data", "axes fraction"), xytext=(-3, 0), textcoords="offset points", rotation=90, ha="right",
                          va="bottom", fontsize=7.5, color=figures.FAINT)
        lines.thousands(axis.yaxis)
        axis.set_title(labels.load(load_), fontsize=9, loc="left")
        axis.set_xlabel("quota, pages")
        axis.set_ylabel(name.replace("_", " "))
        lines.plain(axis)
        lines.name_ends(axis, texts)
    return figure


def place(pages):
    """On the axis: a doubling as wide as the next, and 0 one step before 1."""
    return pages.bit_length() - 1 + (pages / (1 << (pages.bit_length() - 1)) - 1) if pages else -1.0
