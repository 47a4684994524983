# SPDX-License-Identifier: BSD-2-Clause
"""UDP echo at an offered load: the tables in the manner of ipbench, and user against kernel at equal load."""

from analysis import compare, echo_figures, histogram, statistics, tables
from analysis.blocks import Block, Table

CPU = tables.METRIC["cpu_utilisation"]
WORK = tables.METRIC["instructions_per_packet"]
MATCHED = "persistent"

HELD = (
    "Held equal: the IP stack, the echo server, the peer, the packets and when each is meant to be sent; rings, moderation, MTU "
    "and offloads unless a row names them. Not held equal: how a frame reaches the IP stack (TAP and a process at user level), "
    "the compiler's code generation unless it is named, and how the device interrupts."
)


def blocks(section):
    part = section.part("echo")
    if not part.cells:
        return []
    labels = compare.Labels(part)
    block = Block(
        "UDP echo: CPU and throughput against the applied load",
        [
            "The figure of 2005: a server echoes what an open-loop generator sends. The load is in bits of payload a second; achieved are "
            "the replies that came back in the window. A packet is an echo: one frame received and one sent.",
            HELD,
        ],
        echo_figures.drawings(part, labels),
    )
    for size in sizes(part.cells):
        block.tables.append(point_table(part, labels, size))
    compared = [
        ratio_table(part, labels, "user", "kernel", MATCHED, compare.PLACEMENT_BOUND),
        ratio_table(part, labels, "kernel", *compare.BASELINE, compare.DRIVER_BOUND),
    ]
    block.tables += [table for table in compared if table.rows]
    if any(table.rows for table in compared):
        block.paragraphs.append(
            "Ratios: under one strategy, boots paired by their seed. CPU utilisation is compared only where both achieved the same load "
            "within 2 %."
        )
    return [block]


def payload(cell):
    value = statistics.parameters_of(cell.workload_parameters).get("payload_bytes")
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else 0


def offered(cell):
    """In bit/s; what was asked for, exactly as the plan has it."""
    requested = cell.metric("load_requested_bps")
    return requested.mean if requested is not None else 0.0


def sizes(cells):
    return sorted({payload(cell) for cell in cells})


def flagged(cell):
    missed = statistics.load_missed(cell)
    return "load-missed" in cell.flags or (missed is not None and abs(missed) > statistics.LOAD_MISSED)


def not_offered(cell):
    """The generator's own interface was behind: less was applied than the point stands for."""
    return "load-not-offered" in cell.flags


def saturated(cell):
    """It no longer carries what is offered, or the CPU has nothing left."""
    missed, cpu = statistics.load_missed(cell), cell.metric("cpu_utilisation")
    return (missed is not None and missed < -statistics.EQUAL_LOAD_TOLERANCE) or (cpu is not None and cpu.mean >= 0.99)


def megabits(summary):
    return tables.ABSENT if summary is None else f"{summary.mean / 1e6:,.1f}"


def microseconds(summary):
    return tables.ABSENT if summary is None else f"{summary.mean / 1e3:,.1f}"


def percentile(cell, share):
    """Of all boots' samples; too few of them have none."""
    if not histogram.resolved(cell.histogram, share):
        return tables.ABSENT
    return f"{histogram.percentile(cell.histogram, share) / 1e3:,.1f}"


def point_table(part, labels, size):
    cells = sorted((cell for cell in part.cells if payload(cell) == size), key=lambda c: (offered(c), statistics.order(c)[4:]))
    table = Table(
        f"{part.stamp}; payload of {size} bytes; means over boots, CPU with its 95 % interval; Mb/s of payload; round trip from the intended "
        "time of sending, in µs, percentiles of all boots' samples" + stamps(cells),
        ["placement", "strategy", "requested", "sent", "achieved", "CPU %", "95 % CI", "instructions per packet", "RTT mean", "p50", "p99", "p99.99", "flags"],
        [],
    )
    for cell in cells:
        marks = ["saturated"] if saturated(cell) else []
        if not_offered(cell):
            marks.append("load not offered")
        if flagged(cell):
            marks.append("load missed")
            table.flagged.add(len(table.rows))
        table.rows.append(
            [
                cell.placement,
                labels.strategy(cell.configuration),
                *(megabits(cell.metric(f"load_{name}_bps")) for name in ("requested", "sent", "achieved")),
                tables.mean_text(cell.metric(CPU.name), CPU),
                tables.interval_text(cell.metric(CPU.name), CPU),
                tables.mean_text(cell.metric(WORK.name), WORK),
                microseconds(cell.metric("latency_ns_mean")),
                *(percentile(cell, share) for share in (0.5, 0.99, 0.9999)),
                ", ".join(marks),
            ]
        )
    return table


def stamps(cells):
    found = list(dict.fromkeys(stamp for cell in cells for stamp in cell.stamps))
    return f" ({'; '.join(found)})" if found else ""


def pairs(cells, one, other, strategy):
    """[(cell of the one placement, of the other)] under that strategy, at the same load and settings."""
    return [
        (top, bottom)
        for top in statistics.find(cells, one, strategy)
        for bottom in statistics.find(cells, other, strategy, load=top.load)
        if compare.same_settings(top, bottom)
    ]


def verdict(ratio, bound):
    return tables.ABSENT if ratio is None else statistics.verdict(ratio, bound)


def ratio_table(part, labels, one, other, strategy, bound):
    table = Table(
        f"{part.stamp}; {one} : {other}, both {strategy}; 95 % confidence by t over the logarithms of the ratios; bound {bound:.2f}",
        ["payload", "load Mb/s", "pair", "CPU ratio", "95 % CI", "bound", "instructions ratio", "95 % CI", "bound", "from"],
        [],
        left=3,
    )
    for top, bottom in sorted(pairs(part.cells, one, other, strategy), key=lambda pair: (payload(pair[0]), offered(pair[0]))):
        work = tables.relative(top, bottom, WORK.name)
        cpu = tables.relative(top, bottom, CPU.name)
        equal = statistics.equal_load(top, bottom) is True
        held = cpu if equal else None
        if work is None and cpu is None:
            continue
        table.rows.append(
            [
                f"{payload(top)}",
                f"{offered(top) / 1e6:,.1f}",
                f"{labels.strategy(top.configuration)} : {labels.strategy(bottom.configuration)}",
                tables.ratio_text(cpu) if equal else "loads differ",
                tables.ratio_interval_text(held),
                verdict(held if bound > 1 else None, bound),
                tables.ratio_text(work),
                tables.ratio_interval_text(work),
                verdict(work, bound),
                tables.pairing_text(held or work or cpu),
            ]
        )
    return table
