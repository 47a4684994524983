# SPDX-License-Identifier: BSD-2-Clause
"""The modelled series: what a trial would have cost if each invalidation had made the CPU wait for so many cycles.

The emulator invalidates at once; hardware makes the CPU wait for the IOMMU: 2,127 to 2,135 cycles on a Xeon of 2013 [rIOMMU, table 1].
On the lab's virtual clock the core executes an instruction a nanosecond, so a cycle is an instruction and a nanosecond.
These series stand beside the raw ones, never in their place, and only where the record knows its invalidations.
"""

import math

COSTS = (0, 1000, 2100)  # cycles an invalidation; 0 is the raw figure
# What counts the work, how long it was counted, and the metric of the work of one.
WORKS = (
    ("packets", "packets_ns", "instructions_per_packet"),
    ("ios", "ios_ns", "instructions_per_io"),
    ("copies", "copies_ns", "instructions_per_copy"),
)
KINDS = ("lab-virtual",)  # where a cycle is an instruction


def name(metric, cost):
    return f"modelled_{cost}_{metric}"


def columns(row):
    """{column: value} of one record's row; {} where the invalidations are not known, as under Linux's DMA API."""
    invalidations = row.get("iommu_invalidations", math.nan)
    if row["environment"] not in KINDS or math.isnan(invalidations):
        return {}
    result = {}
    for cost in COSTS:
        # What was counted was watched for different times: a rate for a rate.
        for counted, watched_ns, work in WORKS:
            if row.get(counted, 0) > 0 and work in row:
                added = cost * invalidations / row["counted_ns"] * row[watched_ns] / row[counted]
                result[name(work, cost)] = row[work] + added
        if "invalidations_per_pair" in row:
            for work in ("pair_ticks_p50", "instructions_per_pair"):
                if work in row:
                    result[name(work, cost)] = row[work] + cost * row["invalidations_per_pair"]
        if row["window_ns"] > 0 and "cpu_utilisation" in row:
            result[name("cpu_utilisation", cost)] = row["cpu_utilisation"] + cost * invalidations / row["counted_ns"]
    return result
