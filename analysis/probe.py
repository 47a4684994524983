# SPDX-License-Identifier: BSD-2-Clause
"""What each strategy protects, tried: accesses that must fail against what was promised about them."""

from analysis import compare, point
from analysis.blocks import Block, Table

# In the order in which they are shown: (attacker, asset) and their accesses.
PAIRS = {
    ("device", "kernel"): ("foreign_write", "foreign_read"),
    ("driver", "kernel"): ("foreign_write", "foreign_read"),
    ("device", "driver"): ("neighbour_write", "neighbour_read", "backward_write", "backward_read", "stale_write", "stale_read"),
}
LESS = "less than promised"
NOT_TRIED = "not tried"


def blocks(run, section):
    probed = records_of(run, section)
    if not probed:
        return []
    part = compare.Section(section.environment, section.device, [cell for cell in section.cells if compare.family_of(cell) == "probe"])
    labels = compare.Labels(part)
    probed.sort(key=lambda each: part.configurations.index(each[0]))
    return [
        Block(
            "What each strategy protects, tried",
            [
                "The device is made to stray: it reads and writes memory that it was never given (foreign), behind the end of a buffer on its page (neighbour), the "
                "way that a buffer was not mapped for (backward), and a buffer that was unmapped, again and again until that fails (stale). What it reached is "
                "judged by words in memory, not by faults: the IOMMU need not report each.",
                "An asset is protected from an attacker: the kernel from a device that strays by itself, and from a driver that tells it to; the driver from its "
                "device. “no” says that it was not reached, “reached” that it was, “–” that it was not tried: a driver in the kernel needs no device "
                "to reach the kernel's memory, and where all memory is within reach only reads are made. Behind it stands what the strategy promises, if it "
                "promises anything. A row that stands out protects less than it promises.",
            ],
            tables=[*(matrix(section, probed, labels, pair) for pair in PAIRS), windows(section, probed, labels)],
        )
    ]


def records_of(run, section):
    """[(configuration, record)] of the section's trials that were probed."""
    found = []
    for record, (_, row) in zip(run.records, run.frame.iterrows()):
        if (row["environment"], row["device"]) != (section.environment, section.device) or record["status"] != "ok":
            continue
        if isinstance((record.get("probe") or {}).get("cells"), list):
            found.append((tuple(row[key] for key in point.CONFIGURATION), record))
    return found


def cells_of(record, pair):
    return {cell["access"]: cell for cell in record["probe"]["cells"] if (cell["attacker"], cell["asset"]) == pair}


def matrix(section, probed, labels, pair):
    attacker, asset = pair
    table = Table(
        f"{section.stamp}; attacker: the {attacker}, asset: the {asset}'s memory",
        ["placement", "strategy", *(access.replace("_", " ") for access in PAIRS[pair])],
        [],
    )
    for configuration, record in probed:
        cells = cells_of(record, pair)
        if any(cell["verdict"] == LESS for cell in cells.values()):
            table.flagged.add(len(table.rows))
        table.rows.append([record["placement"], labels.strategy(configuration), *(outcome(cells.get(access)) for access in PAIRS[pair])])
    return table


def outcome(cell):
    """What was seen, and what was promised if anything was."""
    if cell is None or cell["verdict"] == NOT_TRIED:
        return "–"
    seen = "no" if not cell["reached"] else "reached"
    if cell["promised"] == "nothing":
        return seen
    promised = "promised" if cell["promised"] == "refused" else f"promised after {milliseconds(cell['promised_ns'])} ms"
    if cell["verdict"] == LESS:
        promised = f"against the promise: {cell['promised']}"
    return f"{seen} ({promised})"


def windows(section, probed, labels):
    """How long a buffer stayed within reach after it was unmapped."""
    table = Table(
        f"{section.stamp}; since a buffer was unmapped, in ms: the last access that reached it, and the first that did not, the worst of all rounds; in brackets by how much the timer may be late",
        ["placement", "strategy", "promised", "write reached", "write refused", "read reached", "read refused", "still open", "faults logged"],
        [],
    )
    for configuration, record in probed:
        cells = cells_of(record, ("device", "driver"))
        write, read = (cells.get(access) for access in ("stale_write", "stale_read"))
        if write is None or read is None:
            continue
        if LESS in (write["verdict"], read["verdict"]):
            table.flagged.add(len(table.rows))
        promised = {"refused": "0", "nothing": "no end"}.get(write["promised"])
        if promised is None:
            promised = f"{milliseconds(write['promised_ns'])} (+{milliseconds(record['probe'].get('slack_ns') or 0)})"
        table.rows.append(
            [record["placement"], labels.strategy(configuration), promised]
            + [text for cell in (write, read) for text in (last(cell), milliseconds(cell["refused_ns"]) if cell["refused_ns"] else "–")]
            + [str(write["open"] + read["open"]), str(record["probe"].get("faults_logged", "–"))]
        )
    return table


def last(cell):
    return milliseconds(cell["longest_ns"]) if cell["reached"] else "never"


def milliseconds(nanoseconds):
    return f"{nanoseconds / 1e6:,.3f}".rstrip("0").rstrip(".")
