# SPDX-License-Identifier: BSD-2-Clause
"""What all trials of a disk have in common: their block sizes, their order, and what is held against what."""

import dataclasses

from analysis import compare, figures, statistics, tables

FAMILIES = ("sync-read", "fio")
WORK = tables.METRIC["instructions_per_io"]
CPU = tables.METRIC["cpu_utilisation"]
IOPS = tables.METRIC["iops"]
# The network's throughput is in bits, a disk's in bytes.
MEGABYTES = figures.Metric("throughput_bps", "Throughput", "MB/s", 1 / 8e6, 1, may_cut=False)

EMULATED = "On an emulator throughput is 1 / (work of driver, block layer and program), unless a load is given: not the speed of a disk."

# From here on the claim of 2005 is held against a bound; below, only its worst case is known.
REALISTIC_BLOCK_BYTES = 64 << 10
SEED_WORST = 1.17  # of 2005, system time, at the smallest block


def part(section, family):
    """The family's cells in the order of block size and queue depth, which the text of their parameters is not."""
    found = section.part(family)
    return compare.Section(found.environment, found.device, sorted(found.cells, key=order))


def order(cell):
    return (cell.workload, block(cell), parameter(cell, compare.DEPTH), statistics.order(cell)[3:])


def parameter(cell, name):
    value = statistics.parameters_of(cell.workload_parameters).get(name)
    return value if compare.is_number(value) else 0


def series(cell, but=()):
    """As text what else than its block size makes a workload what it is; how long it is measured does not. `but`: left out, too."""
    found = statistics.parameters_of(cell.workload_parameters)
    return compare.load.canonical({key: value for key, value in found.items() if key not in (compare.BLOCK, *but) and not key.endswith("_ms")})


def block(cell):
    """In bytes; 0 where the record does not say."""
    return parameter(cell, compare.BLOCK)


def bound(cell):
    """What CPU at user level is held against at this block size; None: nothing."""
    return compare.PLACEMENT_BOUND if block(cell) >= REALISTIC_BLOCK_BYTES else None


def claims(part_):
    """As compare.claims(): our driver against the distribution's, and user level against the kernel under each strategy of both."""
    metrics = (WORK.name, "cycles_per_io")
    result = [
        compare.claim(
            part_,
            "Our driver in the kernel against the distribution's, both under linux-lazy",
            "Same kernel, same block layer, same DMA API. The distribution's goes through SCSI and libata, ours through neither.",
            ("kernel", "linux-lazy"),
            compare.BASELINE,
            metrics,
            compare.DRIVER_BOUND,
        )
    ]
    for strategy in strategies(part_.cells):
        claim = compare.claim(
            part_,
            f"The same driver at user level against the kernel, both {strategy}",
            "Held against 1.10 from 64 KiB on. Below, no bound: in 2005 it was 1.17 of system time at worst, at the smallest block.",
            ("user", strategy),
            ("kernel", strategy),
            (*metrics, CPU.name),
            compare.PLACEMENT_BOUND,
        )
        claim.comparisons = [dataclasses.replace(found, bound=bound(found.numerator)) for found in claim.comparisons]
        result.append(claim)
    return result


def strategies(cells):
    """Of both the kernel and the user placement."""
    kernel = {cell.strategy for cell in cells if cell.placement == "kernel"}
    return [name for name in dict.fromkeys(cell.strategy for cell in cells if cell.placement == "user") if name in kernel]


def carried_alike(one, other):
    """Whether two cells did the same work in the same time: utilisation is compared only then."""
    if statistics.open_loop(one) and statistics.open_loop(other):
        return statistics.equal_load(one, other) is True
    carried = [cell.metric("throughput_bps") for cell in (one, other)]
    if None in carried or carried[1].mean == 0:
        return False
    return abs(carried[0].mean / carried[1].mean - 1) <= statistics.EQUAL_LOAD_TOLERANCE


def ratio_text(result, interval=True):
    """1.234 (1.200 … 1.270)."""
    if result is None:
        return tables.ABSENT
    return f"{tables.ratio_text(result)} ({tables.ratio_interval_text(result)})" if interval else tables.ratio_text(result)
