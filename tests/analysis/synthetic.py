# SPDX-License-Identifier: BSD-2-Clause
"""Records that were never measured. They have the shape of real ones, so that the analysis can be tested without a lab.

Every record carries `synthetic: true`, a git of `synthetic` and a kernel of that name: none of it can pass for a result.
"""

import json
import random

COMBINATIONS = [
    ("stock", "linux-strict"),
    ("stock", "linux-lazy"),
    ("stock", "linux-identity"),
    ("kernel", "linux-strict"),
    ("kernel", "linux-lazy"),
    ("kernel", "linux-identity"),
    ("kernel", "strict"),
    ("kernel", "persistent"),
    ("user", "strict"),
    ("user", "persistent"),
]
WORKLOADS = {
    "iperf3-tcp-tx": (850, 0),
    "iperf3-tcp-rx": (3000, 0),
    "iperf3-udp-tx": (10300, 300_000_000),
    "iperf3-udp-rx": (10400, 300_000_000),
}
MAPPING = {"linux-strict": 900, "linux-lazy": 700, "linux-identity": 0, "strict": 650, "persistent": 25}
# Beside the closed loop the same workload at an offered load, as the quick suite has it.
PACED = {**WORKLOADS, "iperf3-tcp-tx@300": (900, 300_000_000), "iperf3-tcp-rx@300": (3300, 300_000_000)}
FROM_DEVICE = {
    "linux-strict": {"granularity": "page", "window": "zero"},
    "linux-lazy": {"granularity": "page", "window": "bounded", "window_ns": 10_000_000},
    "linux-identity": {"granularity": "none", "window": "none"},
    "strict": {"granularity": "page", "window": "zero"},
    "persistent": {"granularity": "page", "window": "unbounded"},
}
NONE = {"granularity": "none", "window": "none"}
DOMAIN = {"granularity": "domain", "window": "zero"}
FRAME_BYTES = 1514


def record(seed, placement, strategy, workload, /, trial=None, spread=0.003, kind="lab-virtual", **changes):
    """One record. `changes` replace top-level keys; those that are None are left out."""
    noise = random.Random(f"{seed}{placement}{strategy}{workload}")
    base, load = PACED[workload]
    instructions = base + MAPPING[strategy]
    if placement == "kernel":
        instructions *= 1.02
    if placement == "user":
        instructions = instructions * 1.15 + (9000 if strategy == "strict" else 0)
    instructions *= 1 + spread * noise.uniform(-1, 1)
    window_ns = 1_000_000_000
    packets = round(load / 8 / FRAME_BYTES) if load else round(0.6 * window_ns / instructions)
    used = round(instructions * packets)
    metrics = {
        "throughput_bps": packets * FRAME_BYTES * 8,
        "packets": packets,
        "cpu_utilisation": used / window_ns,
        "instructions_per_packet": used / packets,
        "polls": packets // 8,
        "idle_polls": 3,
    }
    if load:
        metrics.update(load_requested_bps=load, load_achieved_bps=packets * FRAME_BYTES * 8)
    if placement != "stock" and not strategy.startswith("linux"):
        operations = packets if strategy == "strict" else packets // 500
        metrics["iommu"] = {
            "maps": operations,
            "unmaps": operations if strategy == "strict" else 0,
            "invalidations": operations if strategy == "strict" else 0,
            "faults": 0,
        }
    user = used // 3 if placement == "user" else used // 50
    result = {
        "schema": 1,
        "synthetic": True,
        "run": "synthetic",
        "trial": trial or f"{placement}/{strategy}/{workload}/{seed}",
        "repetition": {"index": seed - 1, "of": 3, "boot": seed - 1, "seed": seed},
        "started_utc": "2000-01-01T00:00:00Z",
        "environment": {
            "kind": kind,
            "kernel": "synthetic",
            "cmdline": "intel_iommu=on",
            "cpu_model": "synthetic",
            "qemu": "synthetic",
            "iommu": {"driver": "intel-iommu", "cap": "0x0", "ecap": "0x0", "address_width": 39},
            "git": "synthetic",
            "dirty": False,
            "compiler": "synthetic",
        },
        "device": {"name": "e1000", "model": "82540EM", "bdf": "0000:00:03.0", "interrupt": "INTx"},
        "placement": placement,
        "code_generation": "native" if placement == "user" else "kernel",
        "strategy": {
            "name": strategy,
            "parameters": {},
            "page_size": 4096,
            "protection": {
                **FROM_DEVICE[strategy],
                "kernel_from_device": DOMAIN if placement == "user" else FROM_DEVICE[strategy],
                "kernel_from_driver": DOMAIN if placement == "user" else NONE,
                "driver_from_device": FROM_DEVICE[strategy],
            },
        },
        "completion": "interrupt",
        "domain": {"requested": "own", "attached": "own"},
        "workload": {
            "name": workload.split("@")[0],
            "parameters": {"load_bps": load, "payload_bytes": 1472, "warm_up_ms": 300, "window_ms": 1000},
        },
        "window_ns": window_ns,
        "metrics": metrics,
        "meters": {
            "lab_instructions": {"available": True, "window": 0, "vcpus": [{"user": user, "kernel": used - user}]},
            "proc_stat": {"available": False, "reason": "samples alias with timers on the virtual clock"},
        },
        "status": "ok",
    }
    result.update(changes)
    return {key: value for key, value in result.items() if value is not None}


def failed(seed, placement, strategy, workload, reason, status="error"):
    return record(seed, placement, strategy, workload, metrics=None, meters=None, status=status, reason=reason)


def records(seeds=(1, 2, 3), combinations=COMBINATIONS, workloads=WORKLOADS, **options):
    return [
        record(seed, placement, strategy, workload, **options)
        for seed in seeds
        for placement, strategy in combinations
        for workload in workloads
    ]


def write_run(directory, lines, manifest=None, end="\n"):
    """Writes a run directory; `lines` are records, or text that stands as it is."""
    directory.mkdir(parents=True, exist_ok=True)
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    (directory / "trials.jsonl").write_text("\n".join(texts) + end, encoding="utf-8")
    if manifest is None:
        manifest = {"suite": "quick", "target": "lab", "seed": 1, "synthetic": True}
    (directory / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return directory
