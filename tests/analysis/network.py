# SPDX-License-Identifier: BSD-2-Clause
"""Synthetic records of the network bench: UDP echo, raw frames, crashes, settings and profiles; none was ever measured."""

import json

import synthetic

GIPS = 1e9
LINKS = [("stock", "linux-lazy"), ("kernel", "linux-lazy"), ("kernel", "persistent"), ("user", "persistent")]
WORK = {"stock": 21000, "kernel": 20000, "user": 22000}  # instructions an echo
REQUESTED = {
    "receive_descriptors": 256,
    "transmit_descriptors": 256,
    "interrupts_per_second": 8000,
    "mtu": 1500,
    "offloads": True,
    "completion": "interrupt",
}
STAMP = "turn-ordered, virtual clock"


def echo(seed, placement, strategy, load_bps, payload=1472, work=None, histogram=None, **changes):
    """Carries what it is offered as long as a 1 GIPS core can; beyond that what the core can. A percent dearer a seed."""
    work = work or (WORK[placement] + (0 if strategy == "persistent" else 1000)) * (1 + seed / 100)
    packets = min(round(load_bps / 8 / payload), int(GIPS / work))
    achieved = packets * 8 * payload
    histogram = histogram if histogram is not None else [[100_000 * seed, packets - 1], [900_000, 1]]
    metrics = {
        "load_requested_bps": load_bps,
        "load_sent_bps": load_bps,
        "load_achieved_bps": achieved,
        "throughput_bps": achieved,
        "packets": packets,
        "cpu_utilisation": work * packets / GIPS,
        "instructions_per_packet": work,
        "latency_ns": {"n": sum(count for _, count in histogram), "min": 90_000, "mean": 100_000.0 * seed, "stdev": 5.0, "p50": 100_000 * seed,
                       "p90": 100_000 * seed, "p99": 100_000 * seed, "p99_9": 900_000, "p99_99": 900_000, "max": 900_000, "from": "intended",
                       "histogram": histogram},
    }
    workload = {"name": "udp-echo", "parameters": {"load_bps": load_bps, "payload_bytes": payload, "warm_up_ms": 100, "window_ms": 1000, "cool_down_ms": 50}}
    flags = ["load-missed"] if abs(achieved - load_bps) > 0.2 * load_bps else None
    trial = f"echo/{placement}/{strategy}/{load_bps}/{payload}/{seed}/{json.dumps(changes, sort_keys=True)}"
    return base(seed, placement, strategy, trial, metrics, workload, **{"latency_stamp": STAMP, "flags": flags, **changes})


def base(seed, placement, strategy, trial, metrics, workload, **changes):
    defaults = {"metrics": metrics, "workload": workload, "requested": REQUESTED, "meters": {}}
    known = strategy if strategy in synthetic.MAPPING else "strict"
    made = synthetic.record(seed, placement, known, "iperf3-udp-tx", trial=trial, **{**defaults, **changes})
    made["strategy"]["name"] = strategy
    return made


def echoes(loads=(10e6, 50e6, 100e6, 200e6, 300e6, 400e6, 500e6, 700e6), seeds=(1, 2, 3), payloads=(1472,)):
    return [echo(s, p, st, int(load), payload) for s in seeds for p, st in LINKS for load in loads for payload in payloads]


def raw(seed, placement, strategy, frame, direction="tx", work=None, **changes):
    work = work or {"stock": 3000, "kernel": 2500, "user": 95}[placement] + frame // 10 + seed
    packets = int(GIPS / work)
    metrics = {"packets": packets, "instructions_per_packet": work, "cpu_utilisation": 1.0, "throughput_bps": packets * frame * 8}
    workload = {"name": f"raw-frames-{direction}", "parameters": {"frame_bytes": frame, "warm_up_ms": 10, "window_ms": 100}}
    return base(seed, placement, strategy, f"raw/{placement}/{strategy}/{frame}/{direction}/{seed}", metrics, workload, **changes)


def stream(seed, placement, strategy, workload="iperf3-tcp-tx@300", requested=None, **changes):
    made = synthetic.record(seed, placement, strategy, workload, requested={**REQUESTED, **(requested or {})}, **changes)
    made["trial"] += json.dumps([requested, changes], sort_keys=True)
    return made


def crash(seed, how="kill", outages=(1_000_000, 3_000_000, 2_000_000), kills=3, recoveries=3, **changes):
    metrics = {"kills": kills, "recoveries": recoveries, "packets_lost": 7 * seed, "packets_sent": 1000, "kernel_messages": 0,
               "outage_ns": {"n": len(outages), "median": sorted(outages)[len(outages) // 2], "worst": max(outages), "all": list(outages)}}
    workload = {"name": f"crash-{how}", "parameters": {}}
    return base(seed, "user", "persistent", f"crash/{how}/{seed}", metrics, workload, crash={"how": how}, **changes)


def oops(lines=40):
    text = "BUG: kernel NULL pointer dereference, address: 0000000000000000\n" + "\n".join(f"line {i}" for i in range(lines))
    workload = {"name": "crash-null", "parameters": {}}
    return base(1, "kernel", "persistent", "crash/oops", {"kills": 1, "recoveries": 0}, workload, crash={"how": "null", "oops": text})


def profile(trial, count, unit="packet", **groups):
    groups = {name.replace("_", " "): count for name, count in groups.items()}
    functions = [{"name": f"do_{name}", "object": "kernel", "group": name, "instructions": count} for name, count in groups.items()]
    return {"trial": trial, "unit": unit, "count": count, "total": sum(groups.values()), "groups": groups, "functions": functions}


def write_profiles(directory, *profiles):
    (directory / "profiles").mkdir(exist_ok=True)
    for number, found in enumerate(profiles):
        text = found if isinstance(found, str) else json.dumps(found)
        (directory / "profiles" / f"{number}.json").write_text(text, encoding="utf-8")
