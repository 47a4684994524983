# SPDX-License-Identifier: BSD-2-Clause
"""Reads a run directory: trials.jsonl, one record a line, and manifest.json beside it.

Records are checked here once, so that everything after this may rely on them. What was not measured stays absent (NaN in
the table), never zero. Records of trials that failed or were skipped are kept and counted.
"""

import json
import math
from dataclasses import dataclass, field
from pathlib import Path

import pandas

from analysis import histogram, modelled, point
from analysis.point import canonical

SCHEMA_MAJOR = 1
PLACEMENTS = ("stock", "kernel", "user")
STATUSES = ("ok", "error", "skipped")
ENVIRONMENTS = {
    "lab-virtual": "emulated, virtual clock",
    "lab-wall": "emulated, wall clock",
    "hardware": "hardware",
}

METRICS = (
    "throughput_bps",
    "load_requested_bps",
    "load_achieved_bps",
    "load_sent_bps",
    "packets",
    "ios",
    "iops",
    "copies",
    "copied_bytes",
    "copies_per_second",
    "bytes_written",
    "bytes_verified",
    "bytes_verified_at_end",
    "cpu_utilisation",
    "instructions_per_packet",
    "instructions_per_io",
    "instructions_per_copy",
    "cycles_per_packet",
    "cycles_per_io",
    "cycles_per_copy",
    "latency_ns",
    "iommu",
    "polls",
    "idle_polls",
    "kills",
    "recoveries",
    "packets_lost",
    "packets_sent",
    "kernel_messages",
    "outage_ns",
    "pairs",
    "threads_together",
    "instructions_per_pair",
    "ticks_per_ns",
    "map_ticks",
    "unmap_ticks",
    "pair_ticks",
    "clock_ticks",
    "put_off_ticks",
    "put_off_ticks_per_pair",
    "parts_ticks",
)
# Metrics that are objects of numbers; a number's name in the table is `iommu_maps`.
NESTED = ("latency_ns", "iommu", "outage_ns", "map_ticks", "unmap_ticks", "pair_ticks", "clock_ticks", "put_off_ticks")
# Of these, what is no number: where a latency counts from, the full histogram, each outage.
NOT_NUMBERS = {"latency_ns": ("from", "histogram"), "outage_ns": ("all",)}
# Objects of such objects; a number's name in the table is `parts_ticks_iova_free_p50`.
NESTED_TWICE = ("parts_ticks",)


class LoadError(Exception):
    """A run that cannot be read. The message names the file, and the line where there is one."""


class NoSuchRun(LoadError):
    """The directory or its records are not there."""


class BadRecord(LoadError):
    """A line that is no record, or a record that breaks the schema."""


@dataclass
class Run:
    directory: Path
    manifest: dict
    records: list  # every record kept, as read, in the order of the file
    frame: pandas.DataFrame  # one row a record; see row() for the columns
    warnings: list = field(default_factory=list)

    def finished(self):
        """The rows of trials that ran to their end."""
        return self.frame[self.frame["status"] == "ok"]

    def unfinished(self):
        """The rows of trials that failed or were skipped."""
        return self.frame[self.frame["status"] != "ok"]


def load_run(directory):
    """Reads the run in `directory`. Raises NoSuchRun or BadRecord; what can be lived with is put into `warnings`."""
    directory = Path(directory)
    path = directory / "trials.jsonl"
    if not directory.is_dir():
        raise NoSuchRun(f"{directory}: no such run directory; `dmatoll run SUITE` makes one below results/runs")
    if not path.is_file():
        raise NoSuchRun(f"{directory}: not a run: it has no trials.jsonl")
    warnings = []
    manifest = read_manifest(directory / "manifest.json", warnings)
    records = keep_last(read_records(path, warnings), warnings)
    # Columns are named even where there is no row, so that an empty run has the same shape.
    frame = pandas.DataFrame([row(record) for record in records])
    for column in ("status", *METRICS):
        if column not in frame and column not in (*NESTED, *NESTED_TWICE):
            frame[column] = None if column == "status" else float("nan")
    return Run(directory, manifest, records, frame, warnings)


def read_manifest(path, warnings):
    """The manifest, or {} with a warning: the records stand without it."""
    try:
        manifest = json.loads(path.read_bytes())
    except FileNotFoundError:
        warnings.append("manifest.json is missing: the plan and the command of this run are not known")
        return {}
    except (OSError, ValueError) as error:
        warnings.append(f"manifest.json cannot be read ({error}): the plan and the command of this run are not known")
        return {}
    if not isinstance(manifest, dict):
        warnings.append("manifest.json holds no JSON object: the plan and the command of this run are not known")
        return {}
    return manifest


def read_records(path, warnings):
    """All records of the file. A last line that the writer did not finish (no newline, no JSON) is dropped with a warning."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise NoSuchRun(f"{path}: cannot be read: {error.strerror}") from error
    lines = content.split(b"\n")
    records = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line, parse_constant=refuse_constant)
        except (ValueError, RecursionError) as error:
            if number == len(lines):  # split() leaves what follows the last newline here
                warnings.append(
                    f"trials.jsonl:{number}: the last line is cut off ({len(line)} bytes): "
                    "the run was interrupted there; this trial is not counted"
                )
                continue
            raise BadRecord(f"{path}:{number}: not a JSON record: {error}") from error
        try:
            validate(record)
        except ValueError as error:
            raise BadRecord(f"{path}:{number}: {error}") from error
        records.append(record)
    return records


def refuse_constant(name):
    raise ValueError(f"{name} is not a number that a record may hold")


def validate(record):
    """Raises ValueError, saying what was expected and what came, if the record breaks the schema."""
    if not isinstance(record, dict):
        raise ValueError(f"expected a JSON object, got {type(record).__name__}")
    check_schema(record.get("schema"))
    status = record.get("status")
    if status not in STATUSES:
        raise ValueError(f"status: expected one of {', '.join(STATUSES)}, got {status!r}")
    if "trial" not in record:
        raise ValueError("trial: missing")
    for key in ("strategy", "workload", "environment", "device", "repetition", "metrics", "meters", "domain", "requested", "crash", "probe"):
        if record.get(key) is not None and not isinstance(record[key], dict):
            raise ValueError(f"{key}: expected an object, got {type(record[key]).__name__}")
    if record.get("placement") is not None and record["placement"] not in PLACEMENTS:
        raise ValueError(f"placement: expected one of {', '.join(PLACEMENTS)}, got {record['placement']!r}")
    kind = (record.get("environment") or {}).get("kind")
    if kind is not None and kind not in ENVIRONMENTS:
        raise ValueError(f"environment.kind: expected one of {', '.join(ENVIRONMENTS)}, got {kind!r}")
    check_metrics(record.get("metrics") or {})
    check_probe(record.get("probe") or {})
    if status == "ok":
        check_finished(record)


def check_schema(schema):
    # A number, or a name that ends in one: 1, "1", "1.2", "dmatoll/1".
    text = str(schema).rsplit("/", 1)[-1].lstrip("v")
    if isinstance(schema, bool) or not isinstance(schema, (int, float, str)) or text.split(".")[0] != str(SCHEMA_MAJOR):
        raise ValueError(f"schema: expected version {SCHEMA_MAJOR}, got {schema!r}; read it with the dmatoll that wrote it")


def check_finished(record):
    for key in ("placement", "metrics"):
        if record.get(key) is None:
            raise ValueError(f"{key}: missing, in a trial with status ok")
    for key, inner in (("strategy", "name"), ("workload", "name"), ("environment", "kind")):
        if not isinstance((record.get(key) or {}).get(inner), str):
            raise ValueError(f"{key}.{inner}: missing, in a trial with status ok")


def check_metrics(metrics):
    for name in METRICS:
        value = metrics.get(name)
        if value is None:
            continue
        if name in NESTED_TWICE:
            for inner, numbers in checked_object(f"metrics.{name}", value).items():
                check_numbers(f"metrics.{name}.{inner}", numbers)
        elif name in NESTED:
            check_numbers(f"metrics.{name}", value, NOT_NUMBERS.get(name, ()))
        else:
            check_number(f"metrics.{name}", value)
    latency, outage = metrics.get("latency_ns") or {}, metrics.get("outage_ns") or {}
    if latency.get("histogram") is not None:
        histogram.check("metrics.latency_ns.histogram", latency["histogram"], latency.get("n"))
    if outage.get("all") is not None:
        if not isinstance(outage["all"], list):
            raise ValueError(f"metrics.outage_ns.all: expected a list, got {type(outage['all']).__name__}")
        for position, number in enumerate(outage["all"]):
            check_number(f"metrics.outage_ns.all[{position}]", number)


def checked_object(name, value):
    if not isinstance(value, dict):
        raise ValueError(f"{name}: expected an object, got {type(value).__name__}")
    return value


def check_numbers(name, value, but=()):
    for inner, number_ in checked_object(name, value).items():
        if inner not in but:
            check_number(f"{name}.{inner}", number_)


CELL_TEXTS = ("attacker", "asset", "access", "promised", "verdict")
CELL_NUMBERS = ("accesses", "reached", "promised_ns", "longest_ns", "refused_ns", "open")
CELL_MORE = ("device_restarts", "work_ns", "undisturbed_work_ns", "undisturbed_interrupts")


def check_probe(probe):
    for key in ("slack_ns", "faults_logged"):
        check_number(f"probe.{key}", probe.get(key))
    cells = probe.get("cells")
    if cells is None:
        return
    if not isinstance(cells, list):
        raise ValueError(f"probe.cells: expected a list, got {type(cells).__name__}")
    for position, cell in enumerate(cells):
        name = f"probe.cells[{position}]"
        if not isinstance(cell, dict):
            raise ValueError(f"{name}: expected an object, got {type(cell).__name__}")
        for key in CELL_TEXTS:
            if not isinstance(cell.get(key), str):
                raise ValueError(f"{name}.{key}: expected text, got {cell.get(key)!r}")
        needed = [*CELL_NUMBERS[:2], *(["promised_ns"] if cell["promised"] == "refused after" else []), *(CELL_NUMBERS[3:] if cell["access"].startswith("stale") else [])]
        for key in needed:
            if cell.get(key) is None:
                raise ValueError(f"{name}.{key}: missing")
        more = [key for key in CELL_MORE if key in cell]
        for key in (*more, *(CELL_MORE[1:] if "undisturbed_work_ns" in more else ())):
            if cell.get(key) is None:
                raise ValueError(f"{name}.{key}: missing")
        for key in (*CELL_NUMBERS, *CELL_MORE):
            check_number(f"{name}.{key}", cell.get(key))
        for key in ("answer", "reason"):
            if not isinstance(cell.get(key, ""), str):
                raise ValueError(f"{name}.{key}: expected text, got {cell[key]!r}")


def check_number(name, value):
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"{name}: expected a number, got {value!r}")
    # abs() of a huge integer is exact, math.isfinite() would overflow on it.
    if (isinstance(value, float) and not math.isfinite(value)) or abs(value) > 1e300:
        raise ValueError(f"{name}: expected a finite number, got {value!r}")
    if value < 0:
        raise ValueError(f"{name}: expected no negative number, got {value!r}")


def identity(record):
    """What makes two records the same trial: a resumed run may try a failed one again."""
    repetition = record.get("repetition") or {}
    return json.dumps([record["trial"], repetition.get("index"), repetition.get("boot")], sort_keys=True)


def keep_last(records, warnings):
    """Of records of one trial the last, in its place; a trial that finished is not superseded by one that did not."""
    kept = {}
    for record in records:
        key = identity(record)
        if key in kept and kept[key]["status"] == "ok" and record["status"] != "ok":
            continue
        kept.pop(key, None)
        kept[key] = record
    if len(kept) < len(records):
        warnings.append(f"{len(records) - len(kept)} records are of trials that were tried again: what finished counts, otherwise the last")
    return list(kept.values())


def row(record):
    """One record as one flat row. Nested metrics become `iommu_maps`, `latency_ns_p50`."""
    metrics = record.get("metrics") or {}
    result = {
        "trial": record["trial"] if isinstance(record["trial"], (str, int)) else canonical(record["trial"]),
        "status": record["status"],
        "reason": text(record.get("reason")),
        "replicate": replicate(record),
        **point.point(record),
        "window_ns": number(record.get("window_ns")),
        **{f"{counted}_ns": watched_ns(record, counted) for counted in UNITS},
        "counted_ns": counted_ns(record),
        "histogram": (metrics.get("latency_ns") or {}).get("histogram"),
        "outages": (metrics.get("outage_ns") or {}).get("all"),
        "stamp": text(record.get("latency_stamp") or metrics.get("latency_stamp")),
        "flags": record.get("flags") or metrics.get("flags"),
    }
    for name, value in metrics.items():
        if name in NESTED_TWICE:
            result.update({f"{name}_{part}_{inner}": number(found) for part, numbers in (value or {}).items() for inner, found in numbers.items()})
        elif name in NESTED:
            for inner, inner_value in (value or {}).items():
                if inner not in NOT_NUMBERS.get(name, ()):
                    result[f"{name}_{inner}"] = number(inner_value)
        elif name in METRICS:
            result[name] = number(value)
    result.update(instruction_split(record))
    result.update(system_calls(record))
    result.update(pair_operations(metrics))
    result.update(modelled.columns(result))
    return result


def counted_ns(record):
    """How long the driver's counters were watched: a little longer than the window, and than an echo's packets."""
    meter = (record.get("meters") or {}).get("driver_counters")
    interval = meter.get("interval_ns") if isinstance(meter, dict) else None
    return number(record.get("window_ns") if interval is None else interval)


def watched_ns(record, counted):
    """How long packets or I/Os were counted: a little longer than the window, too."""
    return number(record.get(f"{counted}_interval_ns", record.get("window_ns")))


# What work is counted by: the metric that counts it, and the name of one in other metrics.
UNITS = {"packets": "packet", "ios": "io", "copies": "copy"}
# As they are written out.
UNIT_NAMES = {"packet": "packet", "io": "I/O", "copy": "copy"}


def system_calls(record):
    """System calls per packet or I/O of the driver's own process; a driver in the kernel has none to count."""
    meter = (record.get("meters") or {}).get("driver_counters")
    if not isinstance(meter, dict) or not meter.get("available"):
        return {}
    counts = meter.get("counts")
    if not isinstance(counts, dict) or "process_system_calls" not in counts:
        return {}
    metrics = record.get("metrics") or {}
    calls, counted_for = number(counts["process_system_calls"]), counted_ns(record)
    if not counted_for > 0:
        return {}
    # What was counted was watched for different times: a rate for a rate.
    return {
        f"system_calls_per_{unit}": calls / metrics[counted] * (watched_ns(record, counted) / counted_for)
        for counted, unit in UNITS.items()
        if metrics.get(counted)
    }


def pair_operations(metrics):
    """What the driver did for a map and an unmap of a micro-benchmark, which counts both over the same run."""
    count, done = metrics.get("pairs"), metrics.get("iommu") or {}
    return {f"{name}_per_pair": number(done[name]) / count for name in ("maps", "unmaps", "invalidations") if count and done.get(name) is not None}


def instruction_split(record):
    """User-mode and kernel-mode instructions per packet or I/O of the device-under-test vCPU, which is vCPU 0, if it was metered."""
    meter = (record.get("meters") or {}).get("lab_instructions")
    if not isinstance(meter, dict) or not meter.get("available"):
        return {}
    vcpus = meter.get("vcpus")
    if not isinstance(vcpus, list) or not vcpus or not isinstance(vcpus[0], dict):
        return {}
    executed = {mode: number(vcpus[0].get(mode)) for mode in ("user", "kernel")}
    if not sum(executed.values()) > 0:
        return {}
    metrics = record.get("metrics") or {}
    works = [f"instructions_per_{unit}" for unit in UNITS.values() if metrics.get(f"instructions_per_{unit}") is not None]
    return {f"{mode}_{work}": number(metrics[work]) * count / sum(executed.values()) for work in works for mode, count in executed.items()}


def replicate(record):
    """The boot that a record belongs to: the seed where it is given, otherwise the boot, otherwise the repetition."""
    repetition = record.get("repetition") or {}
    environment = record.get("environment") or {}
    for value in (repetition.get("seed"), environment.get("seed"), repetition.get("boot"), repetition.get("index")):
        if value is not None:
            return str(value)
    return str(record["trial"])


def number(value):
    if value is None or isinstance(value, bool) or not isinstance(value, (int, float)):
        return float("nan")
    return float(value)


def text(value):
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value)
