# SPDX-License-Identifier: BSD-2-Clause
"""What the verdicts look like: as a page, as a PDF, on the terminal, as JSON; and the README's table of the claims."""

import datetime
import os
import shlex
from dataclasses import dataclass
from pathlib import Path

import jinja2
import markupsafe

from analysis import disk, echo, figures, load, provenance, sync_read, tables, text
from analysis.report import HONESTY
from paper import pdf, runs, verdicts

# The two figures of 2005: the suite, the name that the drawing's begins with, and what it is.
SEED_FIGURES = (
    ("seed-gbe", "echo-", "UDP echo over the applied load: gigabit Ethernet"),
    ("seed-ide", "seed-ide", "Synchronous read by block size: disk"),
)
HOW = (
    "A claim is about a ratio at one or more points. The boot is the unit of replication: trials of one boot are averaged, boots are paired by their seed, and "
    "the ratio has a 95 % interval by t over the logarithms of the pairs. At a point the claim holds if the whole interval is where the claim says, fails if "
    "the whole interval is outside, and is open otherwise. Contradicted: it fails at some point. Reproduced: it holds at every point that can be "
    "compared, and these are as many as the claim needs. Not decided: neither. CPU utilisation is compared only where both carried the same load within 2 %, and is "
    "open where only the first missed it; points whose load was not offered are left out."
)


@dataclass
class Figure:
    title: str
    suite: str
    drawing: object  # blocks.Drawing, or None where there is no run
    stamp: str = ""
    source: str = ""
    command: str = ""


def seed_figures(judged, known, quick_commands):
    """The seed figures of the run that a verdict rests on, otherwise of the first that has them."""
    found = []
    by_verdict = [results for _, results, _ in judged if results is not None]
    for suite, name, title in SEED_FIGURES:
        figure = Figure(title, suite, None, command=quick_commands.get(suite, f"dmatoll run {suite}"))
        for results in (*by_verdict, *known):
            if results.suite != suite:
                continue
            for section in results.sections:
                drawings = [drawing for block in (*echo.blocks(section), *sync_read.blocks(section)) for drawing in block.drawings]
                drawing = next((d for d in drawings if d.name.startswith(name) and d.name not in ("echo-sizes", "echo-latency")), None)
                if drawing is not None and figure.drawing is None:
                    figure.drawing, figure.stamp, figure.source = drawing, section.stamp, runs.shown(results.directory)
        found.append(figure)
    return found


def command(claim, quick):
    """What runs this claim's trials."""
    return "" if claim.suite is None else shlex.join(["dmatoll", "run", claim.suite, "--filter", claim.amount(quick).filter])


def source_text(claim):
    remembered = "; from memory, nothing of it is checked" if claim.label.startswith("RECALLED") else ""
    return f"{claim.source} [{claim.label}{remembered}]"


def point_rows(claim, judgement):
    """[name, both means, ratio, interval, boots, state] of each point."""
    metric = metric_of(claim)
    rows = []
    for point in judgement.points:
        ratio = point.ratio
        rows.append(
            [
                point.name,
                f"{metric.format(point.numerator)} : {metric.format(point.denominator)}",
                tables.ratio_text(ratio),
                tables.ratio_interval_text(ratio),
                "–" if ratio is None else tables.pairing_text(ratio),
                f"{point.state}: {point.reason}" if point.reason else point.state,
            ]
        )
    return rows


POINT_HEADER = ["point", "means", "ratio", "95 % interval", "from", ""]


def metric_of(claim):
    if claim.metric in ("throughput_bps", "load_achieved_bps"):
        return figures.Metric(claim.metric, "", "Mb/s", 1e-6, 1)
    return tables.METRIC.get(claim.metric) or figures.Metric(claim.metric, "", claim.metric, 1, 2)


def views(judged, quick):
    """All that a document says about each claim, as text."""
    result = []
    for claim, results, judgement in judged:
        view = {
            "id": claim.id,
            "statement": claim.statement,
            "source": source_text(claim),
            "published": claim.published,
            "note": claim.note,
            "expected": claim.expected,
            "verdict": judgement.verdict,
            "reason": judgement.reason,
            "finding": f"Expected: {claim.expected}. Found: {judgement.reason}." if claim.metric else f"Why: {judgement.reason}.",
            "state": judgement.verdict.replace(" ", "-"),
            "stamp": judgement.stamp,
            "from": runs.shown(results.directory) if results is not None else "",
            "unit": metric_of(claim).unit if claim.metric else "",
            "points": point_rows(claim, judgement),
            "command": command(claim, quick),
            "minutes": f"{claim.amount(quick).minutes:g}" if claim.suite else "–",
        }
        result.append(view)
    return result


def sources(judged):
    """[(run, git, kernel, machine, seeds)] of the runs that verdicts rest on."""
    used = {results.directory: results for _, results, _ in judged if results is not None}
    rows = []
    for directory, results in used.items():
        environment = dict(provenance.environment(results.run))
        values = [", ".join(str(value) for value, _ in environment.get(key, [])) or "not recorded" for key in ("git", "kernel", "qemu", "cpu_model")]
        dirty = any(value not in ("false", "False") for value, _ in environment.get("dirty", []))
        values[0] = values[0][:12] + (" and changes" if dirty else "")
        rows.append([runs.shown(directory), ", ".join(dict.fromkeys(section.stamp for section in results.sections)), *values, ", ".join(provenance.seeds(results.run))])
    return rows


SOURCES_HEADER = ["run", "", "git", "kernel", "emulator", "CPU", "boots (seeds)"]


def honesty(judged):
    kinds = dict.fromkeys(section.environment for _, results, _ in judged if results is not None for section in results.sections)
    return [f"{load.ENVIRONMENTS[kind].capitalize()}: {HONESTY[kind][0].lower()}{HONESTY[kind][1:]}" for kind in kinds]


def counts(judged):
    found = {verdict: sum(judgement.verdict == verdict for _, _, judgement in judged) for verdict in verdicts.VERDICTS}
    return ", ".join(f"{count} {verdict}" for verdict, count in found.items() if count)


def content(judged, quick, known):
    by_suite = {claim.suite: command(claim, quick) for claim, _, _ in reversed(judged) if claim.suite}
    return {
        "written": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "quick": quick,
        "counts": counts(judged),
        "how": HOW,
        "honesty": honesty(judged),
        "claims": views(judged, quick),
        "point_header": POINT_HEADER,
        "sources_header": SOURCES_HEADER,
        "sources": sources(judged),
        "figures": seed_figures(judged, known, by_suite),
    }


def write(directory, judged, quick, known):
    """reproduction.html and reproduction.pdf, each whole or not at all."""
    made = content(judged, quick, known)
    whole(directory / "reproduction.html", lambda path: path.write_text(page(made), encoding="utf-8"))
    whole(directory / "reproduction.pdf", lambda path: pdf.write(path, made))


def whole(path, writer):
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        writer(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def page(made):
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).resolve().parent), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    drawn = [
        markupsafe.Markup(figures.draw_drawing(figure.drawing, f"f{index}")) if figure.drawing is not None else None
        for index, figure in enumerate(made["figures"])
    ]
    return environment.get_template("reproduction.html.j2").render(**made, drawn=drawn)


def as_text(judged, quick):
    """The verdict table, and what to do for what is missing."""
    found = views(judged, quick)
    rows = [[view["id"], view["verdict"], view["reason"], view["stamp"]] for view in found]
    lines = text.columns(["claim", "verdict", "why", ""], rows, left=4)
    for view in found:
        if view["verdict"] == verdicts.NOT_RUN:
            lines += ["", f"{view['id']} is not run. What runs it, in about {view['minutes']} min:", f"  {text.printable(view['command'])}"]
    return "\n".join([*lines, "", counts(judged)]) + "\n"


def as_json(judged, quick):
    return {
        "quick": quick,
        "claims": [
            {
                "id": claim.id,
                "statement": claim.statement,
                "source": claim.source,
                "label": claim.label,
                "expected": claim.expected,
                "verdict": judgement.verdict,
                "reason": judgement.reason,
                "stamp": judgement.stamp or None,
                "run": runs.shown(results.directory) if results is not None else None,
                "boots": judgement.boots or None,
                "command": command(claim, quick) or None,
                "points": [point_json(point) for point in judgement.points],
            }
            for claim, results, judgement in judged
        ],
    }


def point_json(point):
    ratio = point.ratio
    return {
        "point": point.name,
        "state": point.state,
        "reason": point.reason or None,
        "numerator": point.numerator,
        "denominator": point.denominator,
        "ratio": None if ratio is None else ratio.value,
        "ci95": None if ratio is None or ratio.low is None else [ratio.low, ratio.high],
        "n": None if ratio is None else ratio.n,
    }


def readme_table(known):
    """The README's table of the claims, in Markdown."""
    lines = ["| claim | command | expected | minutes |", "|---|---|---|---|"]
    for claim in known:
        run = f"`paper/reproduce --claim {claim.id}`" if claim.suite else "–"
        expected = claim.expected if claim.because is None else f"not testable on an emulator: {claim.because}"
        minutes = f"{claim.full.minutes:g} ({claim.quick.minutes:g} with `--quick`)" if claim.suite else "–"
        cells = [f"{claim.statement} ({claim.source}; {claim.label})", run, expected, minutes]
        lines.append("| " + " | ".join(cell if cell.startswith("`") else cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"
