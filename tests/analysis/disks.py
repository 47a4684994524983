# SPDX-License-Identifier: BSD-2-Clause
"""Synthetic records of disk trials: fio and the synchronous read of 2005; none was ever measured."""

import json

import synthetic

GIPS = 1e9
SEED_LINKS = [("stock", "linux-lazy"), ("kernel", "linux-lazy"), ("kernel", "persistent"), ("user", "persistent")]
BLOCKS = tuple(1024 << shift for shift in range(11))  # 1 KiB to 1 MiB
REQUESTED = {"queue_depth": 32, "completion": "interrupt"}
BASE = {"stock": 16_000, "kernel": 14_000, "user": 22_000}  # instructions an I/O, beside half of one a byte at the most


def work_of(placement, strategy, block, seed):
    """A permille dearer a seed."""
    mapping = {"linux-lazy": 1500, "linux-strict": 2500, "strict": 2000}.get(strategy, 0)
    return (BASE[placement] + mapping + block / 4) * (1 + seed / 1000)


def base(seed, placement, strategy, trial, metrics, workload, **changes):
    defaults = {
        "metrics": metrics,
        "workload": workload,
        "requested": REQUESTED,
        "meters": {},
        "device": {"name": "ahci", "model": "ICH9-AHCI", "bdf": "0000:00:05.0", "interrupt": "MSI"},
    }
    known = strategy if strategy in synthetic.MAPPING else "strict"
    made = synthetic.record(seed, placement, known, "iperf3-udp-tx", trial=trial, **{**defaults, **changes})
    made["strategy"]["name"] = strategy
    return made


def sync_read(seed, placement, strategy, block, load_bps=0, work=None, achieved=None, **changes):
    """With a load, at that load if a 1 GIPS core can; without, as fast as it can while the disk has half of the time."""
    work = work or work_of(placement, strategy, block, seed)
    most = GIPS / work
    iops = min(load_bps / 8 / block, most) if load_bps else most / 2
    iops = achieved / 8 / block if achieved else iops
    ios = iops / 10  # of a window of 100 ms
    metrics = {
        "ios": ios,
        "iops": iops,
        "throughput_bps": iops * block * 8,
        "cpu_utilisation": work * iops / GIPS,
        "instructions_per_io": work,
        "latency_ns": {"n": round(ios), "min": 50_000, "mean": 100_000.0, "p50": 100_000 * seed, "p90": 120_000, "p99": 150_000, "p99_9": 200_000, "max": 300_000},
    }
    if load_bps:
        metrics.update(load_requested_bps=load_bps, load_achieved_bps=iops * block * 8)
    workload = {"name": "sync-read", "parameters": {"block_bytes": block, "load_bps": load_bps, "region_bytes": 64 << 20}}
    trial = f"sync-read/{placement}/{strategy}/{block}/{load_bps}/{seed}/{json.dumps(changes, sort_keys=True)}"
    return base(seed, placement, strategy, trial, metrics, workload, **{"window_ns": 100_000_000, **changes})


def sync_reads(seeds=(1, 2, 3), links=SEED_LINKS, sizes=BLOCKS, **options):
    return [sync_read(seed, placement, strategy, size, **options) for seed in seeds for placement, strategy in links for size in sizes]


FIO_LINKS = [("stock", "linux-lazy"), ("stock", "linux-identity"), ("kernel", "linux-lazy"), ("kernel", "linux-identity"), ("kernel", "strict"),
             ("kernel", "persistent"), ("user", "strict"), ("user", "persistent")]


def fio(seed, placement, strategy, pattern="randread", block=4096, depth=1, work=None, load_bps=0, **changes):
    work = work or work_of(placement, strategy, block, seed)
    ios = round((load_bps / 8 / block if load_bps else GIPS / work) / 10)
    metrics = {
        "ios": ios,
        "iops": ios * 10,
        "throughput_bps": ios * 10 * block * 8,
        "cpu_utilisation": work * ios * 10 / GIPS,
        "instructions_per_io": work,
        "latency_ns": {"n": ios, "min": 20_000 + seed, "mean": 50_000.0, "p50": 48_000, "p90": 60_000, "p99": 90_000, "p99_9": 120_000, "max": 150_000 + seed},
        "polls": 0,
    }
    if load_bps:
        metrics.update(load_requested_bps=load_bps, load_achieved_bps=ios * 10 * block * 8)
    if placement != "stock" and not strategy.startswith("linux"):
        metrics["iommu"] = {"maps": ios, "unmaps": ios, "invalidations": ios, "faults": 0} if strategy == "strict" else {"maps": 3, "unmaps": 0, "invalidations": 0, "faults": 0}
    user = 0.3 if placement == "user" else 0.1
    meters = {"lab_instructions": {"available": True, "vcpus": [{"user": user * work * ios, "kernel": (1 - user) * work * ios}]}}
    if placement == "user":
        meters["driver_counters"] = {"available": True, "counts": {"process_system_calls": 2 * ios}, "interval_ns": 100_000_000}
    workload = {"name": f"fio-{pattern}", "parameters": {"block_bytes": block, "io_depth": depth, "load_bps": load_bps}}
    trial = f"fio/{placement}/{strategy}/{pattern}/{block}/{depth}/{load_bps}/{seed}/{json.dumps(changes, sort_keys=True)}"
    return base(seed, placement, strategy, trial, metrics, workload, **{"window_ns": 100_000_000, "meters": meters, **changes})


def fios(seeds=(1, 2, 3), links=FIO_LINKS, points=(("randread", 4096, 1), ("randread", 4096, 32), ("randread", 131072, 32), ("write", 131072, 32)), **options):
    return [fio(seed, placement, strategy, *point, **options) for seed in seeds for placement, strategy in links for point in points]
