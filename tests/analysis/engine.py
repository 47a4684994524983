# SPDX-License-Identifier: BSD-2-Clause
"""Synthetic records of the card that copies memory and strays; none was ever measured."""

import network

from analysis import probe as analysed

BASE = {"kernel": 200, "user": 150}
PAIR = {"strict": 1900, "persistent": 30, "linux-strict": 2400}  # instructions of a map and an unmap


def copy(seed, placement, strategy, lifetime=1, size=1514, pair=None, mapped=None, settings=None, **changes):
    """Two instructions dearer a seed, and so is a pair by one if there is one. `pair`: what it costs; `mapped`: the part of the pairs that map; `settings`: the strategy's."""
    pairs = 2 / lifetime if lifetime else 0
    work = BASE[placement] + pairs * ((PAIR[strategy] if pair is None else pair) + seed) + 10 * seed
    copies = 1000
    metrics = {"copies": copies, "copied_bytes": copies * size, "instructions_per_copy": work, "cpu_utilisation": 1.0}
    if not strategy.startswith("linux"):
        metrics["iommu"] = dict.fromkeys(("maps", "unmaps", "invalidations"), copies * pairs * (1 if mapped is None else mapped))
    parameters = {"copy_bytes": size, "working_set_pairs": 64, "batch_copies": 16, "lifetime_copies": lifetime, "warm_up_ms": 10, "window_ms": 100}
    made = network.base(seed, placement, strategy, f"copy/{placement}/{strategy}/{settings}/{lifetime}/{size}/{seed}", metrics,
                        {"name": "dma-copy", "parameters": parameters}, **changes)
    made["strategy"]["parameters"] = settings or {}
    return made


OWN = ("neighbour_write", "neighbour_read", "backward_write", "backward_read", "stale_write", "stale_read")


def cell(attacker, asset, access, promised="refused", reached=0, verdict="as promised", **more):
    made = {"attacker": attacker, "asset": asset, "access": access, "promised": promised, "accesses": 8, "reached": reached, "verdict": verdict}
    if access.startswith("stale"):
        made.update(longest_ns=0, refused_ns=5_000, open=0)
    return {**made, **more}


def attack(strategy, changed=(), **changes):
    """A driver process that reached nothing, but for the cells `changed`: access -> values."""
    assets = {"map_kernel": "kernel", "exhaust": "machine", "outlive": "machine", "message_interrupt": "machine", "dma_interrupt": "machine", "flood": "machine", "write": "devices", "power": "devices", "reach": "devices"}
    cells = [cell("driver", next((asset for begin, asset in assets.items() if access.startswith(begin)), "process"), access, answer="EPERM") for access in analysed.ACTS]
    for each in cells:
        each.update(dict(changed).get(each["access"], {}))
    return network.base(1, "user", strategy, f"attack/{strategy}", {"accesses": len(cells), "cells": len(cells), "less_than_promised": 0},
                        {"name": "probe-driver", "parameters": {"flood_ms": 200}}, **{"probe": {"cells": cells, "slack_ns": 0, "faults_logged": 3}, **changes})


def probe(placement, strategy, changed=(), **changes):
    """As strict would be, but for the cells `changed`: (attacker, asset, access) -> values."""
    cells = [cell(attacker, "kernel", access) for attacker in ("device", "driver") for access in ("foreign_write", "foreign_read", "other_domain_write", "other_domain_read")]
    cells += [cell("device", "driver", access, "nothing" if access.startswith("neighbour") else "refused", 8 if access.startswith("neighbour") else 0) for access in OWN]
    for each in cells:
        each.update(dict(changed).get((each["attacker"], each["asset"], each["access"]), {}))
    return network.base(1, placement, strategy, f"probe/{placement}/{strategy}", {"accesses": 80, "cells": 10, "less_than_promised": 0},
                        {"name": "probe", "parameters": {"rounds": 8, "patience_ms": 50}}, **{"probe": {"cells": cells, "slack_ns": 8_000_000, "faults_logged": 3}, **changes})


def spread(p50, n=2000):
    return {"n": n, "mean": p50 * 1.05, "min": p50 - 2, "p50": p50, "p90": p50 + 5, "p99": p50 + 60, "p99_9": p50 + 900, "max": p50 + 5000}


CLOCK = 20
PARTS = {"iova_allocation": 60, "page_table_map": 300, "page_table_unmap": 250, "invalidation": 400, "domain_invalidation": 320, "iova_free": 50}
CALLS = {"iova_allocation": 60, "map_call": 4000, "unmap_call": 3500, "system_call": 200, "pin_call": 1400, "iova_free": 50}


def timed(seed, placement, strategy, map_=500, unmap=900, parts=None, invalidations=1.0, settings=None, pages=1, threads=1, kind="lab-virtual", **changes):
    """A map and an unmap, each by itself; the parts that are given, each with a reading of the clock as all of them. A seed dearer by one."""
    rounds = 100 if pages > 128 else 2000
    times = {"map": spread(map_ + CLOCK + seed, rounds), "unmap": spread(unmap + CLOCK, rounds), "clock": spread(CLOCK, rounds)}
    metrics = {f"{what}_ticks": found for what, found in times.items()}
    metrics["pair_ticks"] = {name: times["map"][name] + times["unmap"][name] for name in ("mean", "p50")}
    metrics |= {"pairs": rounds * threads, "threads_together": threads, "put_off_ticks_per_pair": 0, "instructions_per_pair": map_ + unmap + 90, "ticks_per_ns": 1.0, "tick_unit": "instructions",
                "iommu": {"maps": rounds * threads, "unmaps": rounds * threads}}
    if invalidations is not None:
        metrics["iommu"]["invalidations"] = rounds * threads * invalidations
    if parts is None:
        metrics["parts_absent"] = "measured with strict and deferred only"
    else:
        metrics["parts_ticks"] = {name: spread(took + CLOCK, rounds) for name, took in parts.items()}
    parameters = {"buffer_pages": pages, "skew_pages": 0, "held_buffers": 1, "hold_us": 0, "rounds": rounds, "warm_up_rounds": 64, "threads": threads}
    made = network.base(seed, placement, strategy, f"timed/{placement}/{strategy}/{settings}/{pages}/{threads}/{seed}", metrics,
                        {"name": "map-unmap", "parameters": parameters}, window_ns=None, **changes)
    made["strategy"]["parameters"] = settings or {}
    made["environment"]["kind"] = kind
    return made
