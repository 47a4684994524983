# SPDX-License-Identifier: BSD-2-Clause
"""Where the instructions of a packet or an I/O go: the profiles that `dmatoll profile` left in RUN/profiles, kernel and user side by side."""

import functools
import json

from matplotlib import patches, pyplot, ticker

from analysis import compare, figures, function_groups, load, point, statistics
from analysis.blocks import Block, Drawing, Table

# Told apart side by side; the order is that of the groups.
COLOURS = (
    "#0072B2", "#56B4E9", "#9ad1c3", "#009E73", "#D55E00", "#E69F00", "#CC79A7", "#7b4fa3", "#F0E442", "#8a8a8a", "#b79f7a", "#444444", "#8c2d04",
    "#a6d854", "#f4a6b5", "#1b3a6b", "#5c6b2f", "#d0d0d0",
)
DEAREST = 15


def read(run):
    """[(record's point, profile)]; what cannot be read or says what cannot be is named in the run's warnings."""
    records = {str(record["trial"]): record for record in run.records if record["status"] == "ok"}
    result = []
    for path in sorted((run.directory / "profiles").glob("*.json")):
        try:
            profile = json.loads(path.read_bytes(), parse_constant=load.refuse_constant)
            check(profile)
        except (OSError, ValueError, RecursionError) as error:
            warn(run, f"profiles/{path.name} is left out: {error}")
            continue
        record = records.get(profile["trial"])
        if record is None:
            warn(run, f"profiles/{path.name} is left out: the run has no finished trial {profile['trial']}")
            continue
        result.append((point.point(record), profile))
    return result


def warn(run, warning):
    """Once, however often the page and the terminal ask."""
    if warning not in run.warnings:
        run.warnings.append(warning)


def check(profile):
    if not isinstance(profile, dict) or not isinstance(profile.get("trial"), str):
        raise ValueError("expected an object with the trial that it is of")
    groups, functions = profile.get("groups"), profile.get("functions")
    if not isinstance(groups, dict) or not isinstance(functions, list):
        raise ValueError("expected groups and functions")
    if profile.get("unit") not in load.UNIT_NAMES:
        raise ValueError(f"unit: expected {' or '.join(load.UNIT_NAMES)}, got {profile.get('unit')!r}")
    for name, value in [("count", profile.get("count")), ("total", profile.get("total")), *groups.items()]:
        if value is None:
            raise ValueError(f"{name}: missing")
        load.check_number(name, value)
    if profile["count"] <= 0:
        raise ValueError("count: expected a positive number")
    if sum(groups.values()) != profile["total"]:
        raise ValueError(f"groups: expected a sum of {profile['total']}, got {sum(groups.values())}")
    for function in functions:
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise ValueError("functions: expected objects with a name")
        load.check_number(f"functions.{function['name']}", function.get("instructions", 0))


def blocks(profiles, section):
    own = [(keys, profile) for keys, profile in profiles if (keys["environment"], keys["device"]) == (section.environment, section.device)]
    if not own:
        return []
    own.sort(key=lambda pair: (pair[0]["workload"], pair[0]["workload_parameters"], statistics.PLACEMENT_ORDER.get(pair[0]["placement"], 9),
                               statistics.STRATEGY_ORDER.get(pair[0]["strategy"], 9)))
    labels = Names(own)
    unit = unit_of(own)
    groups = [name for name in order(own) if any(profile["groups"].get(name) for _, profile in own)]
    by_group = Table(
        f"{section.stamp}; instructions per {unit} by what they are for, one boot each",
        ["workload", "placement", "strategy", *groups, "total"],
        [
            [*labels.row(keys), *(per_unit(profile, profile["groups"].get(name, 0)) for name in groups), per_unit(profile, profile["total"])]
            for keys, profile in own
        ],
        left=3,
    )
    make = functools.partial(draw, section, own, labels, groups)
    drawing = Drawing("profile", title(unit), make)
    texts = [(f"The dearest functions: {', '.join(labels.row(keys))}", dearest(profile)) for keys, profile in own]
    return [
        Block(
            "Where the instructions go",
            [
                "Every instruction of the device-under-test CPU in the window, by the function that it belongs to and what that is for. In our own "
                "objects that is the innermost inlined function, by its source; in the kernel's it is the function that others were inlined into. "
                "One trial each: no interval.",
            ],
            [drawing],
            [by_group],
            texts,
        )
    ]


def unit_of(own):
    """What a device carries: packets, I/Os or copies."""
    return " or ".join(dict.fromkeys(load.UNIT_NAMES[profile["unit"]] for _, profile in own))


def title(unit):
    return f"Where the instructions of {'an' if unit[0] in 'AEIOU' else 'a'} {unit} go"


class Names:
    def __init__(self, own):
        self.loads = {}
        for name in {keys["workload"] for keys, _ in own}:
            variants = [keys["workload_parameters"] for keys, _ in own if keys["workload"] == name]
            for parameters, suffix in compare.suffixes(variants, compare.ALWAYS_NAMED).items():
                self.loads[(name, parameters)] = name + compare.load_suffix(parameters) + suffix
        self.others = compare.suffixes([self.varying(keys) for keys, _ in own])

    @staticmethod
    def varying(keys):
        settings = statistics.parameters_of(keys["settings"])
        settings.pop("interrupt", None)
        code = keys["code_generation"]
        return load.canonical({**settings, "completion": keys["completion"], **({"code": code} if code == "kernel-like" else {})})

    def row(self, keys):
        return [self.loads[(keys["workload"], keys["workload_parameters"])], keys["placement"], keys["strategy"] + self.others[self.varying(keys)]]


def order(own):
    found = dict.fromkeys(name for _, profile in own for name in profile["groups"])
    return [name for name in function_groups.GROUPS if name in found] + [name for name in found if name not in function_groups.GROUPS]


def colour_of(group):
    """The same in every drawing; what a later dmatoll may know is grey."""
    return dict(zip(function_groups.GROUPS, COLOURS)).get(group, COLOURS[-1])


def per_unit(profile, instructions):
    return f"{instructions / profile['count']:,.0f}"


def dearest(profile):
    functions = sorted(profile["functions"], key=lambda function: -function.get("instructions", 0))[:DEAREST]
    return "\n".join(
        f"{function.get('instructions', 0) / profile['count']:10,.1f}  {str(function.get('group', '')):21} {str(function.get('object', ''))}: {function['name'][:100]}"
        for function in functions
    )


def draw(section, own, labels, groups):
    """A bar a trial, workloads apart."""
    positions, texts, row, last = [], [], 0.0, None
    for keys, _ in own:
        load_ = labels.row(keys)[0]
        row += 0 if last is None else 1.0 if load_ == last else 1.9
        positions.append(row)
        texts.append(", ".join(labels.row(keys)[1:]))
        last = load_
    margin, width = 0.083 * max(map(len, texts)) + 0.25, 11.0
    height = 0.32 * (row + 1) + 2.1
    figure, axis = pyplot.subplots(figsize=(width, height))
    figure.subplots_adjust(left=margin / width, right=0.985, top=1 - 1.2 / height, bottom=0.75 / height)
    longest = max(profile["total"] / profile["count"] for _, profile in own)
    for position, (keys, profile) in zip(positions, own):
        left = 0.0
        for name in groups:
            share = profile["groups"].get(name, 0) / profile["count"]
            axis.barh(position, share, left=left, height=0.78, color=colour_of(name), edgecolor="white", linewidth=0.4)
            left += share
        axis.annotate(per_unit(profile, profile["total"]), (left, position), xytext=(4, 0), textcoords="offset points", va="center", fontsize=8)
    previous = None
    for position, (keys, _) in zip(positions, own):
        load_ = labels.row(keys)[0]
        if load_ != previous:
            axis.annotate(load_, (0, position - 0.47), xytext=(2, 1), textcoords="offset points", va="bottom", fontweight="bold", fontsize=8.5)
        previous = load_
    axis.set_xlim(0, longest * 1.1)
    axis.set_ylim(row + 0.6, -1.2)
    axis.set_yticks(positions, texts)
    axis.tick_params(axis="y", length=0)
    axis.set_xlabel(f"instructions per {unit_of(own)}")
    axis.xaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:,.10g}"))
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
    handles = [patches.Patch(color=colour_of(name), label=name) for name in groups]
    figure.text(0.01, 1 - 0.10 / height, title(unit_of(own)), fontsize=12, fontweight="bold", va="top")
    figure.legend(handles=handles, loc="upper left", bbox_to_anchor=(0.0, 1 - 0.36 / height), ncol=7, frameon=False, fontsize=8, columnspacing=1.2)
    figure.text(0.01, 0.10 / height, f"{section.stamp} · one trial a bar", fontsize=8.5, va="bottom")
    return figure
