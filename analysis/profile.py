#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""From the meter's profile to functions and groups: `profile.py RUN/profiles/run-TIME`.

Writes RUN/profiles/TRIAL.json for every trial of the profiled run:
  {"trial", "unit", "count", "total", "groups": {group: instructions}, "functions": [{"name", "object", "group", "instructions"}]}
`unit` is what was carried, "packet", "io" or "copy", and `count` how many of it there were in the window.
Every instruction counts for the function that it belongs to, in our own objects for the innermost inlined one.
and prints instructions per packet, I/O or copy by group. `total` is what the device under test's CPU executed in the window, to the last instruction.
"""

import argparse
import json
import sys
from collections import Counter, defaultdict
from pathlib import Path

if __package__ in (None, ""):  # run as a script
    # In place of this directory, where our statistics would hide the standard library's.
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from analysis.function_groups import GROUPS, group_of, source_group
from analysis.inlining import ObjectLines, ProgramLines
from analysis.load import UNIT_NAMES, UNITS, LoadError, load_run
from analysis.symbols import Processes, SymbolError, kernel_table, shorten

KERNEL_HALF = 1 << 63
# Our modules, and the objects in them that were C++: beside each lies NAME.debug.o, with lines and inlined functions.
MODULES = {"dmatoll_net": ("nic", "strategies"), "dmatoll_blk": ("hba", "blk_strategies"), "dmatoll_dma": ("engine", "engine_strategies")}


def find_file(path):
    """The file in the guest's image came from this machine: from the build, or from where it is in the guest."""
    name = Path(path).name
    tree = Path(__file__).resolve().parent.parent
    folders = ("*", "*/*", "*/*/*")
    for candidate in (*(found for folder in folders for found in tree.glob(f"build/release/{folder}/{name}")), Path(path)):
        if candidate.is_file():
            return candidate
    return None


def read_windows(path):
    """{window: {address: instructions}} of one boot."""
    windows = {}
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        try:
            entry = json.loads(line)
            counts = windows[int(entry["window"])] = Counter()
            for address, count in entry["instructions"]:
                counts[int(address, 16)] += int(count)
        except (ValueError, KeyError, TypeError) as error:
            raise SymbolError(f"{path}:{number}: not the meter's profile: {error}") from error
    return windows


def module_frames(addresses, kernel):
    """{address: frames} of the C++ half of our modules."""
    places = {name: {} for name in MODULES}
    for address in addresses:
        place = kernel.find(address) if address >= KERNEL_HALF else None
        if place and place[0] in MODULES:
            places[place[0]][address] = (place[1], address - kernel.start(address))
    result = {}
    for module, inside in places.items():
        if not inside:
            continue
        loaded = {name: start for (place, name), start in kernel.items() if place == module}
        for name in MODULES[module]:
            lines = find_file(f"{name}.debug.o")  # of the lab's module
            if lines is not None:
                result.update(ObjectLines(lines, loaded).frames(inside))
    return result


def program_frames(addresses, processes):
    """{address: frames} of the programs whose debug information is beside them."""
    inside = defaultdict(dict)
    for address in addresses:
        place = processes.place(address) if address < KERNEL_HALF else None
        if place and place[0].startswith("/"):
            inside[place[0]].setdefault(place[1], []).append(address)
    result = {}
    for file, places in inside.items():
        here = processes.find_file(file)
        for at, frames in (ProgramLines(here).frames(list(places)) if here else {}).items():
            result.update(dict.fromkeys(places.get(at, ()), frames))
    return result


def split(counts, kernel, processes):
    """{(object, function, group): instructions}"""
    frames = {**module_frames(counts, kernel), **program_frames(counts, processes)}
    functions = Counter()
    for address, count in counts.items():
        place, name = (kernel.find(address) if address >= KERNEL_HALF else processes.find(address)) or ("unknown", f"{address:#x}")
        group = group_of(place, name)
        if found := source_group(frames.get(address, ())):
            group, name = found[0], shorten(found[1])
        functions[place, name, group] += count
    return functions


def carried(record):
    """(unit, count): what the window carried, and how many of it: it was counted for a little longer."""
    metrics = record["metrics"]
    for counted, unit in UNITS.items():
        if metrics.get(counted):
            return unit, metrics[counted] * record["window_ns"] / record.get(f"{counted}_interval_ns", record["window_ns"])
    raise SymbolError(f"{record['trial']}: it carried neither packets nor I/Os: there is nothing to divide by")


def profile_of(record, run_directory):
    """The profile of one record, as it is written."""
    meter = record["meters"]["lab_instructions"]
    repetition = record["repetition"]
    again = repetition.get("guest", 1) - 1
    boot = f"boot-{repetition['boot']}" + (f"-again-{again}" if again else "")
    counts = read_windows(run_directory / "raw" / boot / "profile.jsonl").get(meter["window"])
    if counts is None:
        raise SymbolError(f"{run_directory}: no profile of window {meter['window']} in {boot}")
    if len(meter["vcpus"]) == 1:
        raise SymbolError(f"{record['trial']}: the only vCPU runs both ends, and nobody can tell their instructions apart")
    executed = meter["vcpus"][0]["user"] + meter["vcpus"][0]["kernel"]
    if sum(counts.values()) != executed:
        raise SymbolError(f"{record['trial']}: the profile holds {sum(counts.values())} instructions, the meter counted {executed}")
    raw = run_directory / "raw" / record["trial"]
    kernel = kernel_table(raw / "kernel-symbols")
    processes = Processes((raw / "maps.txt").read_text(), find_file)
    functions = [
        {"name": name, "object": place, "group": group, "instructions": count}
        for (place, name, group), count in split(counts, kernel, processes).most_common()
    ]
    unit, count = carried(record)
    groups = dict.fromkeys(GROUPS, 0)
    for function in functions:
        groups[function["group"]] += function["instructions"]
    return {
        "trial": record["trial"],
        "unit": unit,
        "count": count,
        "total": sum(counts.values()),
        "groups": groups,
        "functions": functions,
    }


def table(profiles, most_functions):
    """Instructions per packet, I/O or copy by group, a column a trial, and the dearest functions of each trial."""
    lines = []
    width = max(len(group) for group in GROUPS) + 2
    for number, profile in enumerate(profiles, start=1):
        lines.append(f"[{number}] {profile['trial']}")
    lines.append("")
    unit = " or ".join(dict.fromkeys(UNIT_NAMES[profile["unit"]] for profile in profiles))
    lines.append(f"instructions per {unit}".ljust(width + 4) + "".join(f"[{number}]".rjust(10) for number in range(1, len(profiles) + 1)))
    for group in GROUPS:
        if any(profile["groups"][group] for profile in profiles):
            lines.append(group.ljust(width + 4) + "".join(f"{profile['groups'][group] / profile['count']:10.0f}" for profile in profiles))
    lines.append("total".ljust(width + 4) + "".join(f"{profile['total'] / profile['count']:10.0f}" for profile in profiles))
    for number, profile in enumerate(profiles, start=1):
        lines += ["", f"[{number}] the dearest functions, instructions per {UNIT_NAMES[profile['unit']]}"]
        for function in profile["functions"][:most_functions]:
            lines.append(
                f"  {function['instructions'] / profile['count']:8.1f}  {function['group']:21} {function['object']}: {function['name'][:90]}"
            )
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("run", type=Path, help="the run inside RUN/profiles that `dmatoll profile` made")
    parser.add_argument("--functions", type=int, default=12, help="how many functions to print for each trial")
    arguments = parser.parse_args()
    try:
        run = load_run(arguments.run)
        profiles = []
        for record in run.records:
            if record["status"] != "ok":
                print(f"{record['trial']}: {record['status']}: {record.get('reason', '')}", file=sys.stderr)
                continue
            profile = profile_of(record, arguments.run)
            (arguments.run.parent / f"{profile['trial']}.json").write_text(json.dumps(profile, indent=1) + "\n")
            profiles.append(profile)
    except (LoadError, SymbolError, OSError, KeyError) as error:
        print(f"profile: {error}", file=sys.stderr)
        return 1
    if profiles:
        print(table(profiles, arguments.functions), end="")
    return 0 if profiles else 1


if __name__ == "__main__":
    sys.exit(main())
