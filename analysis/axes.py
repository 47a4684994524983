# SPDX-License-Identifier: BSD-2-Clause
"""One axis at a time: cells that differ in one setting and are equal in everything else, a table for each axis."""

from analysis import compare, load, statistics, tables
from analysis.blocks import Block, Table

TITLES = {
    "completion": "Completion: interrupt against poll",
    "code_generation": "Code generation of the user build",
    "mtu": "MTU",
    "offloads": "Offloads: checksum and segmentation",
    "interrupts_per_second": "Interrupt moderation (interrupts per second)",
    "receive_descriptors": "Receive ring (descriptors)",
    "transmit_descriptors": "Transmit ring (descriptors)",
    "queue_depth": "Queue depth of the disk's driver (requests)",
    "copybreak": "Copybreak of the distribution's driver (bytes)",
}
UNMEASURED = ("crash", "fio-verify", "probe", "map-unmap")  # families whose result is no cost of a packet or an I/O
CODE = (
    "The same sources, the data path compiled for the process as the compiler likes it (native), or as the kernel's own flags force it "
    "(kernel-like): no SSE, thunks for returns and indirect calls, no jump tables. The difference belongs to the compiler's flags, not to "
    "the placement."
)


def blocks(section):
    cells = [cell for cell in section.cells if compare.family_of(cell) not in UNMEASURED]
    axes = {}
    for cell in cells:
        for key in compare.settings_of(cell):
            axes.setdefault(key, None)
    known = [axis for axis in TITLES if axis in axes]
    found = [(axis, axis_table(section, cells, axis)) for axis in known + sorted(set(axes) - set(TITLES) - {"interrupt"})]
    tables_ = [(axis, table) for axis, table in found if table is not None]
    if (rest := unpaired_table(section, cells)).rows:
        tables_.append((None, rest))
    if not tables_:
        return []
    block = Block(
        "One axis at a time",
        [
            "Each table varies one setting; placement, strategy, workload and every other setting are equal within a row. Two settings that "
            "differ are never averaged. The other parts of this report show the usual settings: "
            + usual_text(cells)
            + "."
        ],
        tables=[table for _, table in tables_],
    )
    if any(axis == "code_generation" for axis, _ in tables_):
        block.paragraphs.append(CODE)
    return [block]


def usual_text(cells):
    """The usual settings that are the same in all placements and workloads."""
    families = {}
    for cell in cells:
        families.setdefault(compare.family_of(cell), []).append(cell)
    found = [settings for part in families.values() for settings in compare.usual_settings(part).values()]
    common = {key: value for key, value in found[0].items() if all(other.get(key, value) == value for other in found)}
    return ", ".join(f"{key.replace('_', ' ')} {shown(load.canonical(value))}" for key, value in sorted(common.items()) if key in TITLES)


def unpaired_table(section, cells):
    """What deviates from the usual settings in more than one axis and has no neighbour: it would stand nowhere else."""
    usual = {id(cell) for family in {compare.family_of(cell) for cell in cells} for cell in section.part(family).cells}
    keys = {}
    for cell in cells:
        for axis in compare.settings_of(cell):
            keys.setdefault((axis, without(cell, axis)[0]), []).append(cell)
    paired = {id(cell) for found in keys.values() if len(found) > 1 for cell in found}
    left = [cell for cell in cells if id(cell) not in usual | paired]
    work = tables.work_metric(compare.Section(section.environment, section.device, left))
    labels = compare.Labels(section)
    return Table(
        f"{section.stamp}; other settings: {work.unit}; for an offered load CPU in %, otherwise throughput in Mb/s, in brackets; means over boots",
        ["workload", "placement", "strategy and settings", work.unit],
        [[labels.load(cell), cell.placement, labels.strategy(cell.configuration), point_text(cell, work)] for cell in left],
        left=3,
    )


def without(cell, axis):
    """Everything that is held equal along the axis."""
    settings = compare.settings_of(cell)
    value = settings.pop(axis, None)
    key = (cell.device, cell.placement, cell.strategy, cell.strategy_parameters, cell.load, load.canonical(settings))
    return key, value


def axis_table(section, cells, axis):
    groups = {}
    for cell in cells:
        key, value = without(cell, axis)
        if value is not None:
            groups.setdefault(key, {})[load.canonical(value)] = cell
    groups = {key: found for key, found in groups.items() if len(found) > 1}
    if not groups:
        return None
    members = [cell for found in groups.values() for cell in found.values()]
    values = sorted({value for found in groups.values() for value in found}, key=value_order)
    work = tables.work_metric(compare.Section(section.environment, section.device, members))
    labels = Names(members, axis)
    table = Table(
        f"{section.stamp}; {TITLES.get(axis, axis)}: {work.unit}; for an offered load CPU in %, otherwise throughput in Mb/s, in brackets; means over boots",
        ["workload", "placement", "strategy", *(shown(value) for value in values)],
        [],
        left=3,
    )
    if axis == "code_generation":
        table.header.append("kernel-like : native")
    for found in groups.values():
        row = [*labels.row(next(iter(found.values()))), *(point_text(found.get(value), work) for value in values)]
        if axis == "code_generation":
            like, native = found.get('"kernel-like"'), found.get('"native"')
            row.append(tables.ratio_text(tables.relative(like, native, work.name)) if like and native else tables.ABSENT)
        table.rows.append(row)
    return table


class Names:
    """Workload, placement and strategy of a row, with what differs between the rows of this table; not the axis, it has columns."""

    def __init__(self, cells, axis):
        self.axis = axis
        self.labels = compare.Labels(compare.Section(cells[0].environment, cells[0].device, cells))
        self.settings = compare.suffixes([self.others(cell) for cell in cells])

    def others(self, cell):
        settings = compare.settings_of(cell)
        return load.canonical({key: value for key, value in settings.items() if key not in (self.axis, "interrupt", "code_generation")})

    def row(self, cell):
        parameters = compare.suffixes(
            [c[5] for c in self.labels.configurations if (c[1], c[4]) == (cell.placement, cell.strategy)]
        )[cell.strategy_parameters]
        return [self.labels.load(cell), cell.placement, cell.strategy + parameters + self.settings[self.others(cell)]]


def value_order(text):
    try:
        return (0, float(text), text)
    except ValueError:
        return (1, 0.0, text)


def shown(text):
    return {"true": "on", "false": "off"}.get(text, text.strip('"'))


def point_text(cell, work):
    if cell is None:
        return tables.ABSENT
    name = "cpu_utilisation" if statistics.open_loop(cell) else "throughput_bps"
    beside = tables.METRIC[name]
    extra = cell.metric(name)
    text = tables.mean_text(cell.metric(work.name), work)
    return text if extra is None else f"{text} ({beside.format(extra.mean)})"
