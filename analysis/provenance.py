# SPDX-License-Identifier: BSD-2-Clause
"""Where a run comes from: what the records and the manifest say about machine, software and plan."""

import shlex

from analysis import load

# Of the manifest: kept out of the report's list, since they are long or shown elsewhere.
LONG = ("plan", "trials", "boots", "progress")


def seeds(run):
    """The replicates, as the records name them, in the order in which they ran."""
    if run.frame.empty:
        return []
    return list(dict.fromkeys(run.frame["replicate"]))


def environment(run):
    """[(name, [(value, trials)])]: several values where trials differ, which the report then says."""
    found = {}
    for record in run.records:
        described = dict(flatten(record.get("environment") or {}))
        if record.get("device"):
            described.update(flatten({"device": record["device"]}))
        for name, value in described.items():
            values = found.setdefault(name, {})
            values[value] = values.get(value, 0) + 1
    return [(name, list(values.items())) for name, values in found.items()]


def manifest(run):
    return list(flatten({key: value for key, value in run.manifest.items() if key not in LONG}))


def flatten(value, prefix=""):
    """(dotted name, value as text) of a nested object."""
    for key, inner in value.items():
        name = f"{prefix}{key}"
        if isinstance(inner, dict) and inner:
            yield from flatten(inner, name + ".")
        elif inner is not None:
            yield name, inner if isinstance(inner, str) else load.canonical(inner)


def command(run):
    """The command that makes this run again, as the manifest recorded it or from the suite and the seed; None if unknown."""
    recorded = run.manifest.get("command")
    if isinstance(recorded, list) and recorded:
        return shlex.join(str(part) for part in recorded)
    if isinstance(recorded, str) and recorded:
        return recorded
    plan = run.manifest.get("plan")
    known = {**(plan if isinstance(plan, dict) else {}), **run.manifest}
    suite = known.get("suite")
    if isinstance(suite, dict):
        suite = suite.get("name")
    if not isinstance(suite, str):
        return None
    parts = ["dmatoll", "run", suite]
    for key in ("target", "clock", "seed", "filter"):
        if isinstance(known.get(key), (str, int)) and known[key] != "":
            parts += [f"--{key}", str(known[key])]
    return shlex.join(parts)


def planned(run):
    """How many trials the plan has, or None if the manifest does not say."""
    for key in ("trials", "planned", "plan"):
        value = run.manifest.get(key)
        if isinstance(value, dict):
            value = value.get("trials")
        if isinstance(value, bool):
            continue
        if isinstance(value, int):
            return value
        if isinstance(value, list):
            return len(value)
    return None


def missing_meters(run):
    """[(meter, reason, trials)]: meters that a machine lacks; their metrics are absent from this report, not zero."""
    found = {}
    for record in run.records:
        for name, meter in (record.get("meters") or {}).items():
            if isinstance(meter, dict) and meter.get("available") is False:
                key = (name, load.text(meter.get("reason")) or "no reason given")
                found[key] = found.get(key, 0) + 1
    return [(*key, count) for key, count in found.items()]


PAIRS = ("kernel_from_device", "kernel_from_driver", "driver_from_device")


def protection(record):
    """{pair: text} of what the record's strategy states; one pair `stated` where it does not tell pairs apart."""
    stated = (record.get("strategy") or {}).get("protection")
    if not isinstance(stated, dict) or not stated:
        return {}
    pairs = {pair: protection_text(value) for pair, value in stated.items() if isinstance(value, dict) and pair != "window"}
    return pairs or {"stated": protection_text(stated)}


def protection_text(value):
    """Of {granularity, window}: `page, window at most 10 ms`. The window is a word, a number of ns, or {kind, bound_ns}."""
    if not isinstance(value, dict):
        return load.text(value)
    granularity = value.get("granularity")
    if granularity == "none":
        return "none"
    window, bound = value.get("window"), value.get("window_ns", value.get("bound_ns"))
    if isinstance(window, dict):
        window, bound = window.get("kind"), window.get("bound_ns")
    if is_number(window):
        window, bound = "bounded", window
    parts = [load.text(granularity)] if granularity is not None else []
    if is_number(bound) and window in (None, "bounded"):
        parts.append(f"window at most {duration(bound)}" if bound else "window zero")
    elif window is not None:
        parts.append(f"window {load.text(window)}")
    return ", ".join(parts) or "not stated"


def is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def duration(nanoseconds):
    for unit, size in (("s", 1e9), ("ms", 1e6), ("us", 1e3)):
        if nanoseconds >= size:
            return f"{nanoseconds / size:g} {unit}"
    return f"{nanoseconds:g} ns"
