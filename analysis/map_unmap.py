# SPDX-License-Identifier: BSD-2-Clause
"""Maps and unmaps timed each by itself: what they cost by pages and threads, how that spreads, and what of it each part takes."""

import functools

from matplotlib import patches

from analysis import compare, figures, lines, modelled, statistics, tables
from analysis.blocks import Block, Drawing, Table

FAMILY = "map-unmap"
PAGES, THREADS = "buffer_pages", "threads"
# Linux's own mapping of the same kind; linux-strict for any other strategy.
REFERENCES = {"deferred": "linux-lazy", "linux-lazy": "linux-lazy"}
# What these put off is in no single map or unmap.
PUT_OFF = ("deferred", "contiguous", "optimistic", "linux-lazy")
# The parts of a pair in the order in which they happen, how each is shown, and its colour. A colour a kind of work, in both placements.
PARTS = {
    "iova_allocation": ("IOVA allocation", "#0072B2"),
    "page_table_map": ("page table, map", "#E69F00"),
    "map_call": ("VFIO map call", "#E69F00"),
    "page_table_unmap": ("page table, unmap", "#CC79A7"),
    "unmap_call": ("VFIO unmap call", "#CC79A7"),
    "invalidation": ("invalidation", "#D55E00"),
    "domain_invalidation": ("invalidation, shared by a queue", "#D55E00"),
    "iova_free": ("IOVA free", "#56B4E9"),
}
OWN = ("the strategy itself", "#444444")
WHOLE = {"map": ("map, not split", "#b0b0b0"), "unmap": ("unmap, not split", "#d8d8d8")}
AT_ONCE = ("iova_allocation", "page_table_map", "map_call", "page_table_unmap", "unmap_call", "invalidation", "iova_free")
# A pair of deferred has none of these, in the kernel and at user level: they come later, for a whole queue.
LATER = {"kernel": ("domain_invalidation", "iova_free"), "user": ("unmap_call", "iova_free")}
# What VFIO's calls contain, timed by calls of its own.
BESIDE = {"system_call": "a call that does nothing", "pin_call": "a call that pins and unpins"}
CYCLES = modelled.COSTS[-1]
PERCENTILES = ("min", "p50", "p90", "p99", "p99_9", "max")


def blocks(section):
    cells = [cell for cell in section.cells if compare.family_of(cell) == FAMILY and value(cell, "pair_ticks_p50") is not None]
    if not cells:
        return []
    whole = compare.Section(section.environment, section.device, cells)
    # More threads need more CPUs: only for these are machines of another shape looked at.
    usual = section.part(FAMILY)
    usual = compare.Section(usual.environment, usual.device, [cell for cell in usual.cells if cell in cells])
    unit = unit_of(section)
    block = Block(
        "Map and unmap, each timed by itself",
        [
            f"A buffer is mapped and unmapped while the device does nothing; each is timed, in {unit}, and of the times the middle one (p50) is what is compared. Reading the clock "
            "is taken off: once from a map, an unmap and each part, twice from a pair. The parts were timed in loops of their own on the same domain. What a pair takes "
            "beyond them is the strategy's own: its calls and its books. Strategy deferred frees IOVAs and invalidates for a queue at a time, at user level it also unmaps then: that stands there with "
            "the share of one pair, for VFIO's call at most, since one call can serve several. What other strategies put off is in no part, and in none of the middle times: for them "
            "the ratio to Linux is that of the whole run, where its instructions were counted, else that of the means.",
            *(["The mean of a pair holds what was put off, too: a driver process looks between pairs for what is due, in the kernel a timer interrupts whatever runs, a map or an unmap unless buffers "
               "are held for a time, and what still waits at the end is done and timed then. Only Linux's own queue, that of linux-lazy, cannot be told to, and pages that optimistic and on-demand keep for their next use stay mapped."]
              if all(value(cell, "put_off_ticks_per_pair") is not None for cell in cells) else []),
            *(["VFIO's calls pin and unpin memory, too, and nothing splits them: beside them stand what a call takes that does nothing, and one that pins as many pages by the same function and "
               "lets them go again (process_vm_readv() of one byte): of what pinning is of the two together an estimate. At few pages it is mostly the call itself, and VFIO also accounts for what it pins "
               "and checks that it may last."]
              if any(beside(cell) for cell in cells) else []),
            *([] if section.environment == "hardware" else [f"Modelled: each invalidation of a pair charged {CYCLES:,} cycles; the emulator invalidates at once. "
                                                            "Virtual CPUs take turns: threads of the emulator do not contend for a cache line, they only wait for locks that are held."]),
        ],
        tables=[table for table in (split_table(usual, unit), point_table(usual, unit), thread_table(whole, unit), percentile_table(usual, unit)) if table.rows],
    )
    if split_cells(usual):
        block.drawings.append(Drawing("map-unmap-split", "What a map and an unmap consist of", functools.partial(draw_split, usual, unit), "One page a buffer."))
    if page_curves(usual):
        block.drawings.append(Drawing("map-unmap-pages", "Map and unmap by pages", functools.partial(draw_pages, usual, unit), "Both axes are logarithmic: what grows in proportion rises as the grey line does."))
    if thread_curves(whole):
        block.drawings.append(Drawing("map-unmap-threads", "Map and unmap by threads", functools.partial(draw_threads, whole, unit), together(whole)))
    return [block]


def unit_of(section):
    return "instructions" if section.environment in modelled.KINDS else "ticks of the CPU's clock"


def value(cell, name):
    """The mean over boots; None where it was not measured."""
    summary = cell.metric(name)
    return None if summary is None else summary.mean


def clock(cell):
    return value(cell, "clock_ticks_p50") or 0.0


def timing(cell, what, percentile="p50"):
    """Summary of one map or unmap, or both as `pair`, less the readings of the clock in each boot; None where it was not timed."""
    found, clock_ = cell.metric(f"{what}_ticks_{percentile}"), cell.metric("clock_ticks_p50")
    if found is None:
        return None
    readings = functools.partial(readings_of_pair, cell, percentile) if what == "pair" else lambda _: 1
    return statistics.summarise({boot: max(number - readings(boot) * (clock_.values.get(boot, 0) if clock_ else 0), 0) for boot, number in found.values.items()})


def readings_of_pair(cell, percentile, boot):
    """How often the clock was read for a pair: in its mean also for what was put off."""
    times, pairs = cell.metric("put_off_ticks_n"), cell.metric("pairs")
    if percentile != "mean" or times is None or pairs is None:
        return 2
    return 2 + times.values.get(boot, 0) / pairs.values[boot]


def took(cell, what, percentile="p50"):
    """The mean of that."""
    summary = timing(cell, what, percentile)
    return None if summary is None else summary.mean


def ratio(cell, reference):
    """Of the pairs' middle times, as text."""
    return tables.ABSENT if reference is None else tables.ratio_text(statistics.ratio(timing(cell, "pair"), timing(reference, "pair")))


def reference_of(cell, cells):
    """Linux's own mapping in the kernel of the same workload; None where it was not timed."""
    wanted = REFERENCES.get(cell.strategy, "linux-strict")
    return next((found for found in cells if (found.placement, found.strategy) == ("kernel", wanted) and others(found) == others(cell)), None)


def against(cell, cells):
    """A pair's ratio to Linux's as text: of the middle times; where either puts something off of the whole run, or of the means where nothing counted that."""
    reference = reference_of(cell, cells)
    if reference is None or (cell.strategy not in PUT_OFF and reference.strategy not in PUT_OFF):
        return ratio(cell, reference)
    whole = [each.metric("instructions_per_pair") for each in (cell, reference)]
    if None in whole:
        whole = [timing(each, "pair", "mean") for each in (cell, reference)]
    return tables.ABSENT if None in whole else tables.ratio_text(statistics.ratio(*whole))


def invalidations(cell):
    return value(cell, "invalidations_per_pair")


def part_of(cell, name):
    """What that part takes, less the reading of the clock; None where it was not timed."""
    found = value(cell, f"parts_ticks_{name}_p50")
    return None if found is None else max(found - clock(cell), 0.0)


def beside(cell):
    """{name: what that call takes} of those that tell what VFIO's contain; {} where pinning was not timed."""
    found = {name: part_of(cell, name) for name in BESIDE}
    return {} if found["pin_call"] is None else found


def together(whole):
    """What the curves by threads show, if their records say so."""
    points = [cell for by in thread_curves(whole).values() for points in by.values() for _, cell in points]
    return "Threads begin together, and all go on until the slowest has had its rounds." if all(value(cell, "threads_together") for cell in points) else ""


def split(cell):
    """{part: what one pair takes of it}, the strategy's own included; {} where there are no parts."""
    parts = {name: found for name in PARTS if (found := part_of(cell, name)) is not None}
    if not parts:
        return {}
    later = [name for name in LATER.get(cell.placement, ()) if name in parts] if cell.strategy == "deferred" else []
    timed = [name for name in AT_ONCE if name in parts and name not in later and not (later and name == "invalidation")]
    result = {name: parts[name] for name in timed}
    result["own"] = took(cell, "pair") - sum(result.values())
    for name in later:
        share = (invalidations(cell) or 0) if name == "domain_invalidation" else 1
        result[name] = parts[name] * share
    return result


def parameters(cell):
    return statistics.parameters_of(cell.workload_parameters)


def others(cell, *but):
    """What a trial was beside these parameters; how many rounds it took does not matter."""
    return compare.load.canonical({key: found for key, found in parameters(cell).items() if key not in but and not key.endswith(compare.MEASURING)})


def one_page(part):
    """The cells of the plainest workload: a page, one buffer, one thread, no wait."""
    return [cell for cell in part.cells if all(parameters(cell).get(key, usual) == usual for key, usual in {PAGES: 1, THREADS: 1, "held_buffers": 1, "hold_us": 0, "skew_pages": 0}.items())]


def split_cells(part):
    return longest_run(compare.usual_parameters(one_page(part)))


def longest_run(cells):
    """One cell of each configuration and workload: the one of most rounds."""
    best = {}
    for cell in cells:
        key = cell.configuration, others(cell)
        if key not in best or parameters(cell).get("rounds", 0) > parameters(best[key]).get("rounds", 0):
            best[key] = cell
    return list(best.values())


def labels_of(part, curves_):
    """Names that tell apart what these curves show, not what else the section has."""
    return compare.Labels(compare.Section(part.environment, part.device, [cell for by in curves_ for points in by.values() for _, cell in points]))


def split_table(part, unit):
    cells = split_cells(part)
    known = [name for name in PARTS if any(name in split(cell) for cell in cells)]
    calls = BESIDE if any(beside(cell) for cell in cells) else {}
    labels = compare.Labels(part)
    with_model = part.environment in modelled.KINDS
    table = Table(
        f"{part.stamp}; {unit}, one page; p50, means over boots, without reading the clock; beside them the pair of Linux in the kernel as 1: linux-lazy's for deferred, else linux-strict's"
        + (f"; modelled: with {CYCLES:,} cycles an invalidation" if with_model else ""),
        ["placement", "strategy", "boots", "map", "unmap", "pair", ": Linux", *(PARTS[name][0] for name in known), OWN[0], *calls.values(), *(["pair, modelled"] if with_model else [])],
        [],
    )
    for cell in cells:
        parts, pair, per_pair = split(cell), took(cell, "pair"), invalidations(cell)
        table.rows.append(
            [cell.placement, labels.strategy(cell.configuration), str(cell.metric("pair_ticks_p50").n), *(count(took(cell, what)) for what in ("map", "unmap", "pair")), against(cell, cells)]
            + [count(parts.get(name)) for name in (*known, "own")]
            + [count(beside(cell).get(name)) for name in calls]
            + ([("not known" if per_pair is None else count(pair + per_pair * CYCLES))] if with_model else [])
        )
    return table


def count(number):
    return tables.ABSENT if number is None else f"{number:,.0f}"


def point_table(part, unit):
    """Every workload; the ratio is to Linux's mapping of the same."""
    labels = compare.Labels(part)
    table = Table(
        f"{part.stamp}; {unit}, p50, means over boots, without reading the clock; per pair what the driver did, and instructions of the whole run with the measuring itself",
        ["workload", "placement", "strategy", "map", "unmap", "pair", ": Linux", "maps", "invalidations", "instructions per pair"],
        [],
        left=3,
    )
    for cell in sorted(part.cells, key=lambda each: (others(each, PAGES), parameters(each).get(PAGES, 0), statistics.order(each)[4:])):
        table.rows.append(
            [labels.load(cell), cell.placement, labels.strategy(cell.configuration), *(count(took(cell, what)) for what in ("map", "unmap", "pair")),
             against(cell, [each for each in part.cells if each.load == cell.load]),
             *(tables.operations_text(name, cell.metric(f"{name}_per_pair")) for name in ("maps", "invalidations")), count(value(cell, "instructions_per_pair"))]
        )
    return table


def percentile_table(part, unit):
    cells, labels = split_cells(part), compare.Labels(part)
    table = Table(
        f"{part.stamp}; {unit}, one page, with reading the clock; each boot's, means over boots. What came in between, a timer's interrupt for one, is in the highest",
        ["placement", "strategy", "what", "timed", "mean", *(name.replace("_", ".") for name in PERCENTILES)],
        [],
        left=3,
    )
    for cell in cells:
        for what in ("map", "unmap"):
            timed = cell.metric(f"{what}_ticks_n")
            if timed is None:
                continue
            table.rows.append([cell.placement, labels.strategy(cell.configuration), what, f"{sum(timed.values.values()):,.0f}",
                               *(count(value(cell, f"{what}_ticks_{name}")) for name in ("mean", *PERCENTILES))])
    return table


def draw_split(part, unit):
    cells, labels = split_cells(part), compare.Labels(part)
    texts = [f"{cell.placement}, {labels.strategy(cell.configuration)}" for cell in cells]
    margin, width, height = 0.083 * max(map(len, texts)) + 0.25, 11.0, 0.3 * len(cells) + 2.3
    placements = [placement for placement in dict.fromkeys(cell.placement for cell in cells)]
    # A system call costs several times what all of the kernel's parts do: an axis for each placement.
    heights = [sum(cell.placement == placement for cell in cells) for placement in placements]
    figure, axes = figures.pyplot.subplots(len(placements), 1, figsize=(width, height + 0.45 * len(placements)), squeeze=False, gridspec_kw={"height_ratios": heights})
    full = figure.get_figheight()
    figure.subplots_adjust(left=margin / width, right=0.985, top=1 - 1.25 / full, bottom=0.8 / full, hspace=1.2 * len(placements) / max(sum(heights), 1) + 0.12)
    used = {}
    for axis, placement in zip(axes.flat, placements):
        own = [cell for cell in cells if cell.placement == placement]
        longest = 1.0
        for position, cell in enumerate(own):
            parts = [(*(PARTS[name] if name in PARTS else OWN), size) for name, size in split(cell).items()] or [(*WHOLE[what], took(cell, what)) for what in WHOLE]
            left = 0.0
            for name, colour, size in parts:
                used.setdefault(name, colour)
                axis.barh(position, max(size, 0), left=left, height=0.74, color=colour, edgecolor="white", linewidth=0.5)
                left += max(size, 0)
            end, text = left, f"{left:,.0f}"
            added = (invalidations(cell) or 0) * CYCLES if part.environment in modelled.KINDS else 0
            if added >= 1:
                axis.barh(position, added, left=left, height=0.74, color=PARTS["invalidation"][1], alpha=0.35, hatch="////", edgecolor="white", linewidth=0)
                end, text = left + added, f"{left:,.0f} → {left + added:,.0f}"
            axis.annotate(text, (end, position), xytext=(4, 0), textcoords="offset points", va="center", fontsize=8)
            longest = max(longest, end)
        axis.set_xlim(0, longest * 1.18)
        axis.set_ylim(len(own) - 0.4, -0.6)
        axis.set_yticks(range(len(own)), [f"{placement}, {labels.strategy(cell.configuration)}" for cell in own])
        lines.thousands(axis.xaxis)
        lines.plain(axis)
        axis.grid(False)
        axis.tick_params(axis="y", length=0)
    axes.flat[-1].set_xlabel(f"{unit} of a map and an unmap")
    order = [name for name, _ in (*PARTS.values(), OWN, *WHOLE.values())]
    handles = [patches.Patch(color=used[name], label=name) for name in order if name in used]
    if part.environment in modelled.KINDS:
        handles.append(patches.Patch(facecolor=PARTS["invalidation"][1], alpha=0.35, hatch="////", edgecolor="white", label=f"modelled: {CYCLES:,} cycles an invalidation"))
    figure.text(0.01, 1 - 0.10 / full, "What a map and an unmap consist of", fontsize=12, fontweight="bold", va="top")
    figure.legend(handles=handles, loc="upper left", bbox_to_anchor=(0.0, 1 - 0.36 / full), ncol=5, frameon=False, fontsize=8, columnspacing=1.2)
    figure.text(0.01, 0.10 / full, f"{part.stamp} · {figures.boots_text([cell.metric('pair_ticks_p50') for cell in cells])} · p50 of each, one page", fontsize=8.5, va="bottom")
    return figure


def curves(cells, axis):
    """{(workload less the axis, placement): {configuration: [(value, cell)]}} of what was measured at several of its values."""
    found = {}
    for cell in longest_run(cells):
        at = parameters(cell).get(axis)
        if compare.is_number(at) and at > 0:
            found.setdefault((others(cell, axis), cell.placement), {}).setdefault(cell.configuration, []).append((at, cell))
    result = {}
    for key, by in found.items():
        long = {configuration: sorted(points, key=lambda point: point[0]) for configuration, points in by.items() if len({at for at, _ in points}) > 1}
        if long:
            result[key] = long
    return result


def plainest(cells, axis):
    """{placement: {configuration: [(value, cell)]}} of the workload that most strategies were run with by this axis."""
    found = curves(compare.usual_parameters(cells), axis)
    plain = max((name for name, _ in found), key=lambda name: sum(len(by) for key, by in found.items() if key[0] == name), default=None)
    return {placement: by for (name, placement), by in found.items() if name == plain}


def page_curves(part):
    return plainest(part.cells, PAGES)


def thread_curves(whole):
    return plainest(whole.cells, THREADS)


def thread_table(whole, unit):
    labels = labels_of(whole, thread_curves(whole).values())
    table = Table(
        f"{whole.stamp}; {unit} of a pair, means over boots, without reading the clock: p50, beside it against one thread; and the mean, which holds what ran in between",
        ["placement", "strategy", "threads", "p50", ": one thread", "mean"],
        [],
    )
    for placement, by in thread_curves(whole).items():
        for configuration, points in by.items():
            alone = next((cell for threads, cell in points if threads == 1), None)
            for threads, cell in points:
                table.rows.append([placement, labels.strategy(configuration), f"{threads:g}", count(took(cell, "pair")), ratio(cell, alone),
                                   count(took(cell, "pair", "mean"))])
    return table


def draw_pages(part, unit):
    found = page_curves(part)
    panels = [(placement, what) for placement in found for what in ("map", "unmap")]
    return draw_lines(part, f"{unit[0].upper()}{unit[1:]} of a map and an unmap, by pages", unit, "pages of a buffer", [(f"{what}, {placement}", found[placement], what) for placement, what in panels], True)


def draw_threads(whole, unit):
    return draw_lines(whole, f"{unit[0].upper()}{unit[1:]} of a pair, by threads", unit, "threads", [(placement, by, "pair") for placement, by in thread_curves(whole).items()], False)


def draw_lines(part, title, unit, label, panels, in_proportion):
    """A panel each: (title, {configuration: [(x, cell)]}, what was timed)."""
    labels = labels_of(part, [by for _, by, _ in panels])
    names = list(dict.fromkeys(labels.strategy(configuration) for _, by, _ in panels for configuration in by))
    summaries = [cell.metric(f"{what}_ticks_p50") for _, by, what in panels for points in by.values() for _, cell in points]
    figure, axes = lines.panels(len(panels), title, f"{part.stamp} · {figures.boots_text(summaries, each=' a point')} · p50", columns=2, height=4.0, left=1.05)
    lines.room_for_names(figure, axes)
    for axis, (name, by, what) in zip(axes, panels):
        ends, sizes, lowest = [], sorted({at for points in by.values() for at, _ in points}), None
        for configuration, points in by.items():
            drawn = [(at, size) for at, cell in points if (size := took(cell, what))]
            if not drawn:
                continue
            index = names.index(labels.strategy(configuration))
            style = {"color": lines.COLOURS[index % len(lines.COLOURS)], "marker": lines.marker(index), "linewidth": 1.3, "markersize": 3.5}
            axis.plot([at for at, _ in drawn], [size for _, size in drawn], **style)
            ends.append((*drawn[-1], labels.strategy(configuration), style["color"]))
            lowest = min(lowest or drawn[0][1], drawn[0][1])
        axis.set_xscale("log", base=2)
        axis.set_xticks(sizes, [f"{at:,g}" for at in sizes])
        axis.set_yscale("log" if in_proportion else "linear")
        if in_proportion and lowest:
            axis.plot(sizes, [lowest * at / sizes[0] for at in sizes], color="#bbbbbb", linewidth=3, zorder=0)
        elif not in_proportion:
            axis.set_ylim(bottom=0)
        lines.thousands(axis.yaxis)
        axis.set_title(name, fontsize=9, loc="left")
        axis.set_xlabel(label)
        axis.set_ylabel(unit)
        lines.plain(axis)
        lines.name_ends(axis, ends)
    return figure
