# SPDX-License-Identifier: BSD-2-Clause
"""Drivers that were made to fail under traffic: what it took to recover, and what the kernel made of it."""

import statistics as standard

from analysis import compare
from analysis.blocks import Block, Table

WAYS = {"crash-kill": "SIGKILL", "crash-null": "null dereference", "crash-loop": "endless loop"}
OOPS_LINES = 12


def blocks(run, section):
    part_cells = [cell for cell in section.cells if compare.family_of(cell) == "crash"]
    texts = oopses(run, section)
    if not part_cells and not texts:
        return []
    labels = compare.Labels(compare.Section(section.environment, section.device, part_cells)) if part_cells else None
    table = Table(
        f"{section.stamp}; outages of all trials together, in ms of the guest's clock; sums over trials",
        ["way", "placement", "strategy", "trials", "kills", "recoveries", "outage median", "worst", "packets lost", "of sent", "kernel messages"],
        [],
        left=3,
    )
    for cell in part_cells:
        kills, recoveries = cell.totals.get("kills"), cell.totals.get("recoveries")
        messages = cell.totals.get("kernel_messages")
        if (kills is not None and recoveries is not None and recoveries < kills) or messages:
            table.flagged.add(len(table.rows))
        table.rows.append(
            [
                WAYS.get(cell.workload, cell.workload),
                cell.placement,
                labels.strategy(cell.configuration),
                str(cell.trials),
                count(kills),
                count(recoveries),
                *outage_texts(cell),
                count(cell.totals.get("packets_lost")),
                count(cell.totals.get("packets_sent")),
                count(messages),
            ]
        )
    return [
        Block(
            "A driver that fails",
            [
                "The driver is made to fail under traffic: killed, made to dereference a null pointer, or to loop until the watchdog ends it. "
                "An outage lasts until traffic flows again. At user level the supervisor starts the driver anew; in the kernel the same null "
                "dereference is an oops, and the record is its text."
            ],
            tables=[table] if table.rows else [],
            texts=texts,
        )
    ]


def count(value):
    return "–" if value is None else f"{value:,.0f}"


def outage_texts(cell):
    """Median and worst: of all outages where the records list them; otherwise the worst, and the medians' mean, said to be one."""
    if cell.outages:
        return [f"{standard.median(cell.outages) / 1e6:,.2f}", f"{max(cell.outages) / 1e6:,.2f}"]
    median, worst = cell.metric("outage_ns_median"), cell.metric("outage_ns_worst")
    return [
        "–" if median is None else f"mean of medians {median.mean / 1e6:,.2f}",
        "–" if worst is None else f"{worst.maximum / 1e6:,.2f}",
    ]


def oopses(run, section):
    """[(summary, text in short)] of the kernel's last words; the same for trials that the guest did not survive."""
    result = []
    for record, (_, row) in zip(run.records, run.frame.iterrows()):
        oops = (record.get("crash") or {}).get("oops")
        if not isinstance(oops, str) or not oops.strip() or (row["environment"], row["device"]) != (section.environment, section.device):
            continue
        lines = oops.strip().splitlines()
        rest = len(lines) - OOPS_LINES
        text = "\n".join(lines[:OOPS_LINES]) + (f"\n… {rest} more lines in the record" if rest > 0 else "")
        result.append((f"{row['trial']}: {next((line for line in lines if 'BUG:' in line), lines[0])}", text))
    return result
