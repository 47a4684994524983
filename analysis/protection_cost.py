# SPDX-License-Identifier: BSD-2-Clause
"""What protection costs: how far and how long a device reaches, as it was probed, against the instructions of a map and an unmap, or of a disk's I/O."""

import collections
import functools
import math
from dataclasses import dataclass

from matplotlib import pyplot

from analysis import compare, disk, dma_copy, figures, probe, statistics
from analysis.blocks import Block, Drawing, Table

BY_BYTE, BY_PAGE, NO_END = 0, 1, 2  # kinds of exposure, the least first
PAIRS = {
    ("device", "driver"): "the driver from its device",
    ("device", "kernel"): "the kernel from a device that strays",
    ("driver", "kernel"): "the kernel from a driver that tells its device to",
}
CLOSE = 1.1  # costs that far apart are told apart in the figure
NEAR = 0.1  # heights that close
FRAME_BYTES = 1514
LONGEST_MS = 1000.0  # what the axis has room for below "no end"


@dataclass(frozen=True)
class Cost:
    """What a strategy is seen to cost by."""

    family: str
    unit: str  # in a table's head
    what: str  # at an axis
    how: str  # it was measured


PAIR = Cost("dma-copy", "instructions per pair", "instructions of a map and an unmap", "with memory copies")
# On a disk all that an I/O takes: what maps is a part of it.
IO = Cost("fio", "instructions per I/O", "instructions of an I/O, the block layer and the load included", "with fio")


@dataclass(frozen=True)
class Point:
    configuration: tuple
    cost: object  # Summary, instructions
    exposure: tuple  # (kind, ms within reach after a buffer was unmapped)

    def beats(self, other):
        """Costs no more and exposes no more, and one of both less."""
        mine, others = (self.cost.mean, self.exposure), (other.cost.mean, other.exposure)
        return mine != others and self.cost.mean <= other.cost.mean and self.exposure <= other.exposure


def exposure(record, pair):
    """(kind, ms) of one probed trial; None if the pair was not probed."""
    cells = probe.cells_of(record, pair)
    if pair[1] == "kernel":
        tried = [cells[access] for access in ("foreign_write", "foreign_read") if access in cells]
        if not tried:
            return None
        # Of whom nothing is held back there was nothing to try.
        if any(cell["reached"] or cell["verdict"] == probe.NOT_TRIED for cell in tried):
            return NO_END, math.inf
        # A buffer of a driver in the kernel is the kernel's memory, and is somebody else's when it was given back.
        return exposure(record, (pair[0], "driver")) if record["placement"] == "kernel" else (BY_BYTE, 0.0)
    stale, neighbours = ([cells[name + way] for way in ("_write", "_read") if name + way in cells] for name in ("stale", "neighbour"))
    if not stale or not neighbours:
        return None
    if any(cell["open"] for cell in stale):
        return NO_END, math.inf
    if any(cell["reached"] for cell in (*stale, *neighbours)):
        return BY_PAGE, max(cell["longest_ns"] if cell["reached"] else 0 for cell in stale) / 1e6
    return BY_BYTE, 0.0


def cost_of(section):
    """What a section's strategies are seen to cost by."""
    return PAIR if section.part(PAIR.family).cells or not section.part(IO.family).cells else IO


def costs(section):
    """{(load, configuration): Summary}."""
    if cost_of(section) is PAIR:
        return dma_copy.pair_costs(section.part(PAIR.family))
    return {(cell.load, cell.configuration): cell.metric(disk.WORK.name) for cell in section.part(IO.family).cells if cell.metric(disk.WORK.name) is not None}


def probed_alike(section):
    """configuration -> what it has to have in common with a probed one: a disk is probed by looking, however it completes I/Os."""
    return (lambda configuration: configuration) if cost_of(section) is PAIR else (lambda configuration: (*configuration[:2], *configuration[4:6]))


def preferred(load_):
    """Of loads that were run as often: a full frame of Ethernet; of a disk's, where mapping weighs the most, the smallest block in the deepest queue."""
    if isinstance(load_, str):
        return (statistics.parameters_of(load_).get("copy_bytes") == FRAME_BYTES, load_)
    parameters = statistics.parameters_of(load_[1])
    return (-(parameters.get(compare.BLOCK) or 0), parameters.get(compare.DEPTH) or 0, load_[0] == "fio-randread", load_)


def points(run, section, pair):
    """A Point for each configuration of which both are known: the worst of its probed trials, the cost of the load that most have."""
    alike = probed_alike(section)
    exposures = collections.defaultdict(list)
    for configuration, record in probe.records_of(run, section):
        if (seen := exposure(record, pair)) is not None:
            exposures[alike(configuration)].append(seen)
    found = {key: cost for key, cost in costs(section).items() if alike(key[1]) in exposures}
    if not found:
        return []
    frequency = collections.Counter(load_ for load_, _ in found)
    usual = max(frequency, key=lambda load_: (frequency[load_], preferred(load_)))
    return [Point(configuration, cost, max(exposures[alike(configuration)])) for (load_, configuration), cost in found.items() if load_ == usual]


def front(candidates):
    """Those that no other one beats."""
    return [point for point in candidates if not any(other.beats(point) for other in candidates)]


def placements(candidates):
    found = collections.defaultdict(list)
    for point in candidates:
        found[point.configuration[1]].append(point)
    return found


def blocks(run, section):
    known = {pair: points(run, section, pair) for pair in PAIRS}
    if not any(known.values()):
        return []
    cost = cost_of(section)
    cells = [cell for cell in section.cells if compare.family_of(cell) == cost.family]
    labels = compare.Labels(compare.Section(section.environment, section.device, cells))
    return [
        Block(
            "What protection costs",
            [
                f"How long a buffer stays within the device's reach after it was unmapped, as it was probed, against the {cost.what}, as they were measured "
                f"{cost.how}. On the front are the strategies that no other one of their placement beats in both. Emulation has no cost of an "
                "invalidation on the bus: on hardware what invalidates at once costs more."
            ],
            drawings=[
                Drawing(f"protection-{attacker}-{asset}", f"Protecting {PAIRS[attacker, asset]}", functools.partial(draw, known[attacker, asset], labels, PAIRS[attacker, asset], cost),
                        "A line joins what no other strategy of its placement beats.")
                for attacker, asset in PAIRS
                if known[attacker, asset]
            ],
            tables=[table(section, known[pair], labels, pair) for pair in PAIRS if known[pair]],
        )
    ]


def table(section, candidates, labels, pair):
    result = Table(
        f"{section.stamp}; protecting {PAIRS[pair]}",
        ["placement", "strategy", cost_of(section).unit, "within reach", "on the front"],
        [],
    )
    for part in placements(candidates).values():
        best = front(part)
        for point in sorted(part, key=lambda each: (each.exposure, each.cost.mean)):
            result.rows.append([point.configuration[1], labels.strategy(point.configuration), f"{point.cost.mean:,.0f}", exposure_text(pair, point.exposure), "yes" if point in best else ""])
    return result


def exposure_text(pair, seen):
    kind, milliseconds = seen
    if kind == NO_END:
        return "without end"
    if pair[1] == "kernel" and kind == BY_BYTE:
        return "never"
    return "never, by the byte" if kind == BY_BYTE else "not after its use, by the page" if milliseconds == 0 else f"{milliseconds:,.2f} ms, by the page"


def height(seen):
    """Where it stands on the axis: by the byte 0, by the page 1, then a step for each tenfold from 0.1 ms, without end on top."""
    kind, milliseconds = seen
    if kind == NO_END:
        return 2 + math.log10(LONGEST_MS / 0.1) + 1
    if kind == BY_BYTE:
        return 0.0
    return 1.0 if milliseconds == 0 else 2 + math.log10(min(max(milliseconds, 0.1), LONGEST_MS) / 0.1)


def clusters(part, labels):
    """[((x, y), [strategies])]: those whose dots cover each other have one place for their names."""
    found = []
    for point in sorted(part, key=lambda each: (each.exposure, each.cost.mean)):
        place = (max(point.cost.mean, 1), height(point.exposure))
        if found and abs(place[1] - found[-1][0][1]) < NEAR and place[0] < found[-1][0][0] * CLOSE:
            found[-1][1].append(labels.strategy(point.configuration))
        else:
            found.append((place, [labels.strategy(point.configuration)]))
    return found


def draw(candidates, labels, title, cost):
    ticks = {(BY_BYTE, 0.0): "never, by the byte", (BY_PAGE, 0.0): "not after use, by the page", **{(BY_PAGE, 10.0**power): f"{10.0**power:g} ms" for power in range(-1, 4)},
             (NO_END, math.inf): "without end"}
    with pyplot.rc_context(figures.STYLE):
        figure, axis = pyplot.subplots(figsize=(9.0, 6.4), layout="constrained")
        for (placement, part), marker in zip(placements(candidates).items(), "osD"):
            colour = figures.PLACEMENT_COLOURS.get(placement, figures.FAINT)
            # A strategy that costs nothing measurable stands at one instruction.
            best = sorted(front(part), key=lambda point: point.cost.mean)
            axis.plot([max(point.cost.mean, 1) for point in best], [height(point.exposure) for point in best], color=colour, linewidth=0.8, drawstyle="steps-post")
            axis.scatter([max(point.cost.mean, 1) for point in part], [height(point.exposure) for point in part], marker=marker, color=colour, label=placement, zorder=3)
            # Those of one placement above, those of the other below: the dots of both stand close.
            up = 1 if placement == "kernel" else -1
            for (x, y), names in clusters(part, labels):
                axis.annotate(", ".join(names), (x, y), textcoords="offset points", xytext=(1, 5 * up), fontsize=7.5, rotation=40 * up, rotation_mode="anchor",
                              va="center", color=colour)
        axis.set_xscale("log")
        axis.margins(x=0.08)
        axis.set_xlabel(cost.what)
        axis.set_yticks([height(seen) for seen in ticks], list(ticks.values()))
        axis.set_ylim(-1.0, height((NO_END, math.inf)) + 1.0)
        axis.set_title(f"Protecting {title}", loc="left")
        axis.legend(frameon=False, loc="center left")
    return figure
