# SPDX-License-Identifier: BSD-2-Clause
"""Full histograms of latencies: [[upper bound in ns, count], ...] as the load generator writes them, checked, merged, read.

Buckets have the same bounds in every boot, so that histograms merge exactly: counts are added.
"""

import math

# The shares that are reported; the names are those of the record.
PERCENTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99_9": 0.999, "p99_99": 0.9999}


def check(name, value, n):
    """Raises ValueError unless `value` is a histogram with rising bounds, whose counts add up to `n` where that is given."""
    if not isinstance(value, list):
        raise ValueError(f"{name}: expected a list of [upper bound, count], got {type(value).__name__}")
    last = -1
    for position, bucket in enumerate(value):
        if not isinstance(bucket, list) or len(bucket) != 2 or not all(map(is_count, bucket)):
            raise ValueError(f"{name}[{position}]: expected [upper bound, count] of whole numbers, got {bucket!r}")
        if bucket[0] <= last:
            raise ValueError(f"{name}[{position}]: expected a bound above {last}, got {bucket[0]}")
        last = bucket[0]
    total = sum(count for _, count in value)
    if n is not None and total != n:
        raise ValueError(f"{name}: expected counts that add up to n = {n}, got {total}")


def is_count(value):
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**64


def merge(histograms):
    """One [(bound, count)] of several, by rising bound; empty buckets left out."""
    counts = {}
    for histogram in histograms:
        for bound, count in histogram:
            counts[bound] = counts.get(bound, 0) + count
    return sorted((bound, count) for bound, count in counts.items() if count)


def percentile(histogram, share):
    """The least upper bound that at least that share of all values do not exceed; None of no values."""
    total = sum(count for _, count in histogram)
    wanted = max(math.ceil(share * total - 1e-9 * total), 1)
    seen = 0
    for bound, count in histogram:
        seen += count
        if seen >= wanted:
            return bound
    return None


def resolved(histogram, share):
    """Whether there are enough values that the percentile is more than the largest of them."""
    return sum(count for _, count in histogram) * (1 - share) >= 1 - 1e-9
