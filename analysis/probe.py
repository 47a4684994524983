# SPDX-License-Identifier: BSD-2-Clause
"""What each strategy protects, tried: accesses that must fail against what was promised about them."""

from analysis import compare, load, point, tables
from analysis.blocks import Block, Table

# In the order in which they are shown: (attacker, asset) and their accesses.
PAIRS = {
    ("device", "kernel"): ("foreign_write", "foreign_read", "other_domain_write", "other_domain_read"),
    ("driver", "kernel"): ("foreign_write", "foreign_read", "other_domain_write", "other_domain_read"),
    ("device", "driver"): ("neighbour_write", "neighbour_read", "backward_write", "backward_read", "stale_write", "stale_read"),
}
# What a driver process tried itself: a row for each, under who it was against.
ASSETS = {
    "process": "another process's memory",
    "kernel": "the kernel's memory",
    "devices": "other devices, and where its own is on the bus",
    "machine": "the machine: its memory, its time, its interrupt lines",
}
ACTS = {
    "map_kernel_write": "maps an address of the kernel for DMA; its device writes there",
    "map_kernel_read": "… reads there",
    "map_foreign_write": "maps the address of a page of another process; its device writes there",
    "map_foreign_read": "… reads there",
    "map_read_only": "maps a file that it may only read for writing; its device writes there",
    "map_readable": "maps that file for reading; its device writes there",
    "process_read": "reads another process: process_vm_readv",
    "process_write": "writes another process: process_vm_writev",
    "process_file_read": "reads another process: /proc/PID/mem",
    "process_file_write": "writes another process: /proc/PID/mem",
    "trace_read": "reads another process: ptrace",
    "trace_write": "writes another process: ptrace",
    "machine_read": "reads another process's page: /dev/mem",
    "machine_write": "writes another process's page: /dev/mem",
    "signal": "kills another process of its own user",
    "exhaust_memory": "maps more memory than it may lock",
    "exhaust_mappings": "makes more mappings than a container has",
    "outlive": "leaves a child that holds its device; the process was killed, and the device taken back and used",
    "write_bars": "moves its registers onto another device's",
    "write_rom": "moves its expansion ROM there",
    "write_command": "sets all bits of the command register",
    "write_messages": "chooses where its interrupt messages go",
    "power_down": "puts its device to sleep",
    "reach_beyond": "reads and writes behind the end of configuration space and registers",
    "message_table": "writes its table of messages (MSI-X): they go to another process's page",
    "message_interrupt": "has its messages ask for an interrupt of another's",
    "dma_interrupt": "has its device write to where interrupts are asked for (0xfee00000)",
    "flood": "floods interrupts: other work on that CPU ends",
    "flood_line": "… no interrupt line was given up",
    "flood_kill": "… the process was killed, and the device taken back and used",
}
LESS = "less than promised"
NOT_TRIED = "not tried"


def blocks(run, section):
    probed, broken_off = records_of(run, section), unfinished(run, section)
    if not probed and not broken_off.rows:
        return []
    part = compare.Section(section.environment, section.device, [cell for cell in section.cells if compare.family_of(cell) == "probe"])
    labels = compare.Labels(part)
    probed.sort(key=lambda each: part.configurations.index(each[0]))
    return [
        Block(
            "What each strategy protects, tried",
            [
                "The device is made to stray: it reads and writes memory that it was never given (foreign), an address that is mapped for a second device only (other "
                "domain), behind the end of a buffer on its page (neighbour), the "
                "way that a buffer was not mapped for (backward), and a buffer that was unmapped, again and again until that fails (stale). What it reached is "
                "judged by words in memory, not by faults: the IOMMU need not report each.",
                "An asset is protected from an attacker: the kernel from a device that strays by itself, and from a driver that tells it to; the driver from its "
                "device. “no” says that it was not reached, “reached” that it was, “–” that it was not tried: a driver in the kernel needs no device "
                "to reach the kernel's memory, and where all memory is within reach only reads are made. Behind it stands what the strategy promises, if it "
                "promises anything. A row that stands out protects less than it promises. “restarts” are those of the device: some hang on what the IOMMU refuses, and their "
                "driver starts them again.",
                *(ATTACK_TEXT if any(attacked(record) for _, record in probed) else []),
            ],
            tables=[
                table
                for table in (*(matrix(section, probed, labels, pair) for pair in PAIRS), windows(section, probed, labels), acts(section, probed, labels), broken_off)
                if table.rows
            ],
        )
    ]


ATTACK_TEXT = [
    "A driver process attacks by itself as well, with its VFIO container, its device and a process's system calls. Whether it reached anything is looked for where that "
    "would be: in a page and a file of another process, in the configuration of every PCI function as sysfs shows it, in the kernel's log, and in work that must go on. "
    "How many mappings it made, and what it moved behind its regions, is by its own account. "
    "Behind it stands what the attempt itself was answered; “done” is no breach where what was done stayed with its own. That it programs its device with addresses that "
    "it was never given are the foreign accesses of the driver. That it asks for interrupts that are not its device's is for the remapping of interrupts to stop; QEMU's "
    "lets a request through that names no entry of it, so there nothing is promised of those."
]


def attacked(record):
    """Whether the driver process itself was the attacker."""
    return any(cell["access"] in ACTS for cell in record["probe"]["cells"])


def acts(section, probed, labels):
    """A row for each of the acts that a driver process tried, and a column for each that tried them."""
    attackers = [(configuration, {cell["access"]: cell for cell in record["probe"]["cells"]}) for configuration, record in probed if attacked(record)]
    table = Table(
        f"{section.stamp}; attacker: the driver process itself",
        ["asset", "what it tries", *(labels.strategy(configuration) for configuration, _ in attackers)],
        [],
    )
    for access, tried in ACTS.items():
        cells = [cells.get(access) for _, cells in attackers]
        known = [cell for cell in cells if cell is not None]
        if not known:
            continue
        if any(cell["verdict"] == LESS for cell in known):
            table.flagged.add(len(table.rows))
        table.rows.append([ASSETS.get(known[0]["asset"], known[0]["asset"]), tried, *(answered(cell) for cell in cells)])
    return table


def answered(cell):
    """As outcome(), what the attempt was answered, and how long work took beside it and without it."""
    if cell is None or not cell.get("answer"):
        return outcome(cell)
    text = f"{outcome(cell)}: {cell['answer']}"
    if "undisturbed_work_ns" in cell:
        text += (
            f"; work took {milliseconds(cell['work_ns'])} ms, before it {milliseconds(cell['undisturbed_work_ns'])} ms with {cell['undisturbed_interrupts']} interrupts"
        )
    return text


def records_of(run, section):
    """[(configuration, record)] of the section's trials that were probed."""
    found = []
    for record, (_, row) in zip(run.records, run.frame.iterrows()):
        if (row["environment"], row["device"]) != (section.environment, section.device) or record["status"] != "ok":
            continue
        if isinstance((record.get("probe") or {}).get("cells"), list):
            found.append((tuple(row[key] for key in point.CONFIGURATION), record))
    return found


def unfinished(run, section):
    """A row for each of the section's probes that failed, were refused or took too long. What one had found by then is told, too: a broken promise is one whatever came later."""
    table = Table(
        f"{section.stamp}; probes that did not end, or were not begun: nothing above is known of them",
        ["placement", "strategy", "workload", "status", "reason", "cells until then", "of them less than promised"],
        [],
        left=5,
    )
    for record, (_, row) in zip(run.records, run.frame.iterrows()):
        if (row["environment"], row["device"]) != (section.environment, section.device) or record["status"] == "ok":
            continue
        placement, strategy, workload = (row[key] if isinstance(row[key], str) else "not recorded" for key in ("placement", "strategy", "workload"))
        if not workload.startswith("probe"):
            continue
        cells = (record.get("probe") or {}).get("cells") or []
        less = [cell["access"].replace("_", " ") for cell in cells if cell["verdict"] == LESS]
        if less or record["status"] == "error":
            table.flagged.add(len(table.rows))
        reason = tables.reason_parts(load.text(record.get("reason")))["reason"]
        table.rows.append([placement, strategy, workload, record["status"], reason, str(len(cells)), ", ".join(less) or "none"])
    return table


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
        cells = {access: cell for access, cell in cells_of(record, pair).items() if access in PAIRS[pair]}
        if not cells:
            continue
        if any(cell["verdict"] == LESS for cell in cells.values()):
            table.flagged.add(len(table.rows))
        table.rows.append([record["placement"], labels.strategy(configuration), *(outcome(cells.get(access)) for access in PAIRS[pair])])
    return table


def outcome(cell):
    """What was seen, and what was promised if anything was; or why nothing could be seen."""
    if cell is None or cell["verdict"] == NOT_TRIED:
        return f"– ({cell['reason']})" if cell is not None and cell.get("reason") else "–"
    seen = "no" if not cell["reached"] else "reached"
    if cell.get("device_restarts"):
        seen += f", {cell['device_restarts']} restarts"
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
        ["placement", "strategy", "promised", "write reached", "write refused", "read reached", "read refused", "still open", "faults logged", "device restarts"],
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
            + [str(write["open"] + read["open"]), str(record["probe"].get("faults_logged", "–")), str(restarts_of(record))]
        )
    return table


def restarts_of(record):
    """How often the driver had to start its device again, in all cells; "–" in a record of before they were counted."""
    counted = [cell["device_restarts"] for cell in record["probe"]["cells"] if "device_restarts" in cell]
    return sum(counted) if counted else "–"


def last(cell):
    return milliseconds(cell["longest_ns"]) if cell["reached"] else "never"


def milliseconds(nanoseconds):
    return f"{nanoseconds / 1e6:,.3f}".rstrip("0").rstrip(".")
