# SPDX-License-Identifier: BSD-2-Clause
"""Copy against map by size: where copying a buffer begins to cost more than mapping it."""

import collections
import functools
from dataclasses import dataclass

from analysis import compare, disk, figures, lines, modelled, pairs, statistics, tables
from analysis.blocks import Block, Drawing, Table

FREE = ("passthrough", "linux-identity")  # neither copy nor map
THRESHOLD = "copy_threshold"  # of hybrid-copy, in bytes: up to it a buffer is copied
MODELLED = modelled.COSTS[-1]
MOST_PANELS = 6


@dataclass(frozen=True)
class Kind:
    """A family of trials that has sizes."""

    family: str
    size: str  # the workload's parameter
    metric: figures.Metric  # what copying and mapping are compared by
    about: str
    unit_bytes: int = 1  # of the parameter

    def part(self, section):
        return disk.part(section, self.family) if self.family in disk.FAMILIES else section.part(self.family)

    def series(self, cell):
        """(name, all parameters but the size as text)."""
        found = statistics.parameters_of(cell.workload_parameters)
        others = {key: value for key, value in found.items() if key not in (self.size, pairs.LIFETIME) and not key.endswith(compare.MEASURING)}
        return cell.workload, compare.load.canonical(others)


KINDS = (
    Kind("dma-copy", "copy_bytes", tables.METRIC["instructions_per_pair"], "memory copies"),
    Kind("map-unmap", "buffer_pages", tables.METRIC["instructions_per_pair"], "buffers of pages, copied for the device to read", 4096),
    Kind("fio", compare.BLOCK, disk.WORK, "a disk's requests"),
)


@dataclass
class Curve:
    """What a strategy costs at each size, of one series."""

    configuration: tuple
    cells: dict  # size -> Cell

    @property
    def strategy(self):
        return self.configuration[4]

    @property
    def way(self):
        """copy or map, if it is one of both at all of its sizes."""
        if self.strategy == "copy":
            return "copy"
        if self.strategy in FREE:
            return None
        if self.strategy != "hybrid-copy":
            return "map"
        threshold = statistics.parameters_of(self.configuration[5]).get(THRESHOLD)
        if not compare.is_number(threshold):
            return None
        return "copy" if threshold >= max(self.cells) else "map" if threshold < min(self.cells) else None

    def points(self, name):
        return [(size, summary) for size, cell in sorted(self.cells.items()) if (summary := cell.metric(name)) is not None]


def curves(part, kind):
    """{(series, placement): [Curve]} of at least two sizes each, where something is copied and something mapped."""
    found = collections.defaultdict(dict)
    for cell in part.cells:
        size = statistics.parameters_of(cell.workload_parameters).get(kind.size)
        if compare.is_number(size) and size > 0 and cell.metric(kind.metric.name) is not None:
            by = found[kind.series(cell), cell.placement]
            by.setdefault(cell.configuration, Curve(cell.configuration, {})).cells.setdefault(size * kind.unit_bytes, cell)
    result = {key: [curve for curve in by.values() if len(curve.cells) > 1] for key, by in found.items()}
    return {key: own for key, own in result.items() if {"copy", "map"} <= {curve.way for curve in own}}


CHEAPER, DEARER, UNCLEAR = "cheaper", "dearer", "unclear"


def cross(sizes, differences):
    """The size at which what copying costs more (below 0: less) goes through 0 upwards; CHEAPER or DEARER where it is that throughout."""
    over = [difference > 0 for difference in differences]
    if len(set(over)) == 1:
        return DEARER if over[0] else CHEAPER
    turns = [index for index in range(len(over) - 1) if over[index] != over[index + 1]]
    if len(turns) > 1 or over[0]:
        return UNCLEAR
    low, high = turns[0], turns[0] + 1
    return sizes[low] + (sizes[high] - sizes[low]) * differences[low] / (differences[low] - differences[high])


@dataclass(frozen=True)
class Crossing:
    sizes: list
    boots: dict  # boot -> bytes, CHEAPER, DEARER or UNCLEAR

    @property
    def at(self):
        """Summary in bytes over the boots; None unless the lines cross in each."""
        values = list(self.boots.values())
        return statistics.summarise(self.boots) if values and all(compare.is_number(value) for value in values) else None

    def text(self):
        """(where, its interval)."""
        if self.at is not None:
            ends = self.at.low, self.at.high
            return f"{self.at.mean:,.0f} B", "one boot" if ends[0] is None else "identical" if self.at.identical else f"{max(ends[0], 0):,.0f} … {ends[1]:,.0f} B"
        kinds = {value if isinstance(value, str) else "crossing" for value in self.boots.values()}
        if kinds == {CHEAPER}:
            return f"beyond {compare.size(self.sizes[-1])}: copying costs less throughout", tables.ABSENT
        if kinds == {DEARER}:
            return f"below {compare.size(self.sizes[0])}: copying costs more throughout", tables.ABSENT
        return "no single size" if kinds == {UNCLEAR} else "differs between boots", tables.ABSENT


def crossing(copied, mapped, name):
    """Where two curves cross by this metric; None if they have it at fewer than two common sizes, or in no common boot."""
    sizes = [size for size in sorted(copied.cells.keys() & mapped.cells.keys()) if None not in (copied.cells[size].metric(name), mapped.cells[size].metric(name))]
    if len(sizes) < 2:
        return None
    values = [[curve.cells[size].metric(name).values for size in sizes] for curve in (copied, mapped)]
    boots = [boot for boot in values[0][0] if all(boot in found for by in values for found in by)]
    found = {boot: cross(sizes, [one[boot] - other[boot] for one, other in zip(*values)]) for boot in boots}
    return Crossing(sizes, found) if found else None


def rivals(own):
    """[(copied, mapped)]: each curve that maps, against the one that copies at the most of its sizes, `copy` itself if there are several."""
    copying = sorted((curve for curve in own if curve.way == "copy"), key=lambda curve: curve.strategy != "copy")
    return [(max(copying, key=lambda curve: len(curve.cells.keys() & mapped.cells.keys())), mapped) for mapped in own if mapped.way == "map"]


def blocks(section):
    return [block for kind in KINDS if (block := kind_block(section, kind)) is not None]


def kind_block(section, kind):
    part = kind.part(section)
    found = curves(part, kind)
    if not found:
        return None
    shown = [cell for own in found.values() for curve in own for cell in curve.cells.values()]
    labels = compare.Labels(compare.Section(part.environment, part.device, shown))
    titles = names(found)
    block = Block(
        f"Copy against map: {kind.about} by size",
        [
            f"A strategy that copies costs more the longer a buffer is, one that maps does not until the buffer has more pages. Where the lines cross ({kind.metric.unit}) "
            "copying begins to cost more; between two sizes that were measured the lines are taken as straight. The interval is that of the crossings of each boot.",
            f"Beside it the same with each invalidation charged {MODELLED:,} cycles, modelled: the emulator invalidates at once. It also copies 8 bytes an instruction and "
            "has no cache that misses, so that on hardware copying costs more than here, too.",
        ]
        if part.environment != "hardware"
        else ["Where the lines cross, copying begins to cost more; between two sizes that were measured the lines are taken as straight."],
        tables=[table(part, kind, found, labels, titles)],
    )
    block.drawings.append(
        Drawing(f"crossover-{kind.family}", f"Copy against map: {kind.about}", functools.partial(draw, part, kind, found, labels, titles),
                "A ring: copying costs more from here on. " + ("A choice of the panels; the table has all." if len(found) > MOST_PANELS else ""))
    )
    return block


def names(found):
    """{(series, placement): title}."""
    suffixes = compare.suffixes([others for (_, others), _ in found], compare.ALWAYS_NAMED)
    return {key: f"{key[0][0]}{compare.load_suffix(key[0][1])}{suffixes[key[0][1]]}, {key[1]}" for key in found}


def table(part, kind, found, labels, titles):
    hardware = part.environment == "hardware"
    result = Table(
        f"{part.stamp}; {kind.metric.unit}; the size from which on copying costs more than mapping" + ("" if hardware else f"; modelled: at {MODELLED:,} cycles an invalidation"),
        ["workload", "mapped by", "copied by", "sizes", "boots", "copying costs more from", "95 % CI", *([] if hardware else ["modelled: from", "95 % CI"])],
        [],
        left=3,
    )
    for key, own in found.items():
        for copied, mapped in rivals(own):
            raw = crossing(copied, mapped, kind.metric.name)
            if raw is None:
                continue
            texts = [*raw.text()]
            if not hardware:
                model = crossing(copied, mapped, modelled.name(kind.metric.name, MODELLED))
                texts += ["invalidations not known", tables.ABSENT] if model is None else model.text()
            result.rows.append([titles[key], labels.strategy(mapped.configuration), labels.strategy(copied.configuration), str(len(raw.sizes)), str(len(raw.boots)), *texts])
    return result


def draw(part, kind, found, labels, titles):
    chosen = list(found.items())[:MOST_PANELS]
    strategies = list(dict.fromkeys(labels.strategy(curve.configuration) for _, own in chosen for curve in own if curve.way == "map"))
    summaries = [summary for _, own in chosen for curve in own for _, summary in curve.points(kind.metric.name)]
    stamp = f"{part.stamp} · {figures.boots_text(summaries, each=' a point')} · bars: 95 % CI"
    figure, axes = lines.panels(len(chosen), f"{kind.metric.title}, by size", stamp, height=4.8, left=1.0)
    lines.room_for_names(figure, axes)
    for axis, (key, own) in zip(axes, chosen):
        ends = []
        for curve in own:
            points = [(size, summary) for size, summary in curve.points(kind.metric.name) if summary.mean > 0]
            if not points:
                continue
            name = labels.strategy(curve.configuration)
            style = look(curve, strategies.index(name) if name in strategies else 0)
            lines.series(axis, points, kind.metric.scale, **style)
            ends.append((points[-1][0], points[-1][1].mean * kind.metric.scale, name, style["color"]))
        for copied, mapped in rivals(own):
            met = crossing(copied, mapped, kind.metric.name)
            if met is not None and met.at is not None:
                axis.plot([met.at.mean], [height_at(copied, kind.metric, met.at.mean)], marker="o", markersize=9, markerfacecolor="none", markeredgecolor=figures.INK,
                          linestyle="none", zorder=9)
        lines.block_sizes(axis, sorted({size for curve in own for size in curve.cells}))
        axis.set_yscale("log")
        lines.thousands(axis.yaxis)
        axis.set_title(titles[key], fontsize=9, loc="left")
        axis.set_xlabel("size, bytes")
        lines.plain(axis)
        lines.name_ends(axis, ends)
    axes[0].set_ylabel(kind.metric.unit)
    return figure


def look(curve, index):
    if curve.way == "copy":
        return {"color": figures.INK, "linewidth": 2.2, "marker": "o", "markersize": 4}
    if curve.way is None:
        return {"color": figures.FAINT, "linewidth": 0.9, "marker": ".", "markersize": 4, "linestyle": (0, (2, 2))}
    return {"color": lines.COLOURS[index % len(lines.COLOURS)], "linewidth": 1.3, "marker": lines.marker(index), "markersize": 3.5}


def height_at(curve, metric, size):
    """On the straight line between the two measured sizes around it."""
    points = curve.points(metric.name)
    (left, low), (right, high) = next((one, other) for one, other in zip(points, points[1:]) if other[0] >= size)
    return (low.mean + (high.mean - low.mean) * (size - left) / (right - left)) * metric.scale
