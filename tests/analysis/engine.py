# SPDX-License-Identifier: BSD-2-Clause
"""Synthetic records of the card that copies memory and strays; none was ever measured."""

import network

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


def probe(placement, strategy, changed=(), **changes):
    """As strict would be, but for the cells `changed`: (attacker, asset, access) -> values."""
    cells = [cell(attacker, "kernel", access) for attacker in ("device", "driver") for access in ("foreign_write", "foreign_read")]
    cells += [cell("device", "driver", access, "nothing" if access.startswith("neighbour") else "refused", 8 if access.startswith("neighbour") else 0) for access in OWN]
    for each in cells:
        each.update(dict(changed).get((each["attacker"], each["asset"], each["access"]), {}))
    return network.base(1, placement, strategy, f"probe/{placement}/{strategy}", {"accesses": 80, "cells": 10, "less_than_promised": 0},
                        {"name": "probe", "parameters": {"rounds": 8, "patience_ms": 50}}, probe={"cells": cells, "slack_ns": 8_000_000, "faults_logged": 3}, **changes)
