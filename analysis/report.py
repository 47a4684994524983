#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Turns a run directory into a self-contained report.html, a summary for the terminal, or JSON.

Exit codes: 0 done; 2 wrong use; 3 no such run; 4 no trial finished; 5 a line that is no record; 6 the report could not be
written; 7 a Python package is missing.
"""

import argparse
import datetime
import json
import os
import sys
from pathlib import Path

if __package__ in (None, ""):
    # As a script, Python puts this directory first in the path, where our statistics would hide the standard library's.
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

try:
    import jinja2
    import markupsafe

    from analysis import compare, disk, families, figures, load, pairs, profiles, provenance, statistics, tables, text
except ModuleNotFoundError as error:
    print(
        f"report: the Python package {error.name} is missing for {sys.executable}; install python3-numpy python3-pandas "
        "python3-scipy python3-matplotlib python3-jinja2, and run this with /usr/bin/python3",
        file=sys.stderr,
    )
    sys.exit(7)

HONESTY = {
    "lab-virtual": (
        "The clock counts guest instructions, one nanosecond each: instructions of the device-under-test vCPU and operation "
        "counts mean something; device-side timing does not, and closed-loop throughput only tells how many instructions "
        "both ends needed."
    ),
    "lab-wall": (
        "An emulator on the host's clock: operation counts mean something; times and throughput tell about the emulator."
    ),
    "hardware": "Times, throughput and CPU utilisation are those of the machine named under Provenance.",
}


def analyse(run):
    return compare.sections(pairs.priced(statistics.cells(run.finished())))


def page(run, sections):
    """The report as one HTML document that loads nothing from anywhere."""
    profiles_ = profiles.read(run)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).resolve().parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.j2").render(
        run=run,
        name=run.directory.resolve().name,
        written=datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        sections=[section_view(run, section, index, profiles_) for index, section in enumerate(sections)],
        finished=len(run.finished()),
        planned=provenance.planned(run),
        failures=tables.failure_rows(run),
        seeds=provenance.seeds(run),
        environment=provenance.environment(run),
        manifest=provenance.manifest(run),
        missing_meters=provenance.missing_meters(run),
        command=provenance.command(run),
        directory=str(run.directory),
    )


def section_view(run, section, index, profiles_):
    return {
        "device": section.device or "device not recorded",
        "stamp": section.stamp,
        "honesty": HONESTY[section.environment],
        "streams": streams_view(run, streams, index) if (streams := section.part("stream")).cells else None,
        "blocks": [block_view(block, index) for block in families.blocks(run, section, profiles_)],
    }


def block_view(block, index):
    return {
        "block": block,
        "drawings": [
            {"drawing": drawing, "svg": markupsafe.Markup(figures.draw_drawing(drawing, f"s{index}-{drawing.name}"))}
            for drawing in block.drawings
        ],
    }


def streams_view(run, section, index):
    """The comparison of the streams with the baseline and with passthrough."""
    labels = compare.Labels(section)
    columns, per_packet = tables.operations_table(section)
    pairs, loads, protection = tables.protection_table(run, section)
    return {
        "stamp": section.stamp,
        "placements": list(dict.fromkeys(configuration[1] for configuration in section.configurations)),
        "strategies": list(dict.fromkeys(configuration[4] for configuration in section.configurations)),
        "workloads": [labels.load(load_) for load_ in section.loads],
        "claims": [
            {
                "claim": claim,
                "rows": (rows := tables.claim_rows(section, claim)),
                "modes": any(row["modes"] for row in rows),
                "gaps": tables.gap_rows(section, claim),
                "missing": [(labels.load(load_), reason) for load_, reason in claim.missing],
            }
            for claim in compare.claims(section)
        ],
        "figures": [
            {"metric": metric, "svg": markupsafe.Markup(svg)}
            for metric in figures.METRICS
            if (svg := figures.draw(section, metric, f"s{index}-{metric.name}")) is not None
        ],
        "work": tables.work_metric(section),
        "boots": figures.boots_text(
            [cell.metric("packets") or next(iter(cell.metrics.values())) for cell in section.cells if cell.metrics],
            each="",
        )
        if any(cell.metrics for cell in section.cells)
        else "nothing measured",
        "main": tables.main_table(section),
        "per_packet_columns": columns,
        "per_packet": per_packet,
        "pairs": pairs,
        "protection_loads": loads,
        "protection": protection,
        "loads": tables.load_table(section),
    }


def summary_json(summary):
    return {
        "n": summary.n,
        "mean": summary.mean,
        "sd": summary.sd,
        "min": summary.minimum,
        "max": summary.maximum,
        "ci95": None if summary.low is None else [summary.low, summary.high],
        "identical": summary.identical,
        "boots": summary.values,
    }


def aggregated(run, sections):
    """The aggregated table and the claims as plain data."""
    return {
        "run": run.directory.resolve().name,
        "finished": len(run.finished()),
        "unfinished": tables.failure_rows(run),
        "planned": provenance.planned(run),
        "seeds": provenance.seeds(run),
        "warnings": run.warnings,
        "command": provenance.command(run),
        "sections": [
            {
                "environment": section.environment,
                "stamp": section.stamp,
                "device": section.device,
                "cells": [
                    {
                        **{key: getattr(cell, key) for key in statistics.CELL_KEYS[2:]},
                        "strategy_parameters": json.loads(cell.strategy_parameters),
                        "settings": json.loads(cell.settings),
                        "workload_parameters": json.loads(cell.workload_parameters),
                        "trials": cell.trials,
                        "metrics": {name: summary_json(summary) for name, summary in cell.metrics.items()},
                    }
                    for cell in section.cells
                ],
                "claims": [
                    {
                        "title": claim.title,
                        "bound": claim.bound,
                        "comparisons": [comparison_json(comparison) for comparison in claim.comparisons],
                        "missing": [{"workload": load_[0], "reason": reason} for load_, reason in claim.missing],
                    }
                    for claim in all_claims(section)
                ],
            }
            for section in sections
        ],
    }


def all_claims(section):
    """Of the streams, and of a disk's workloads where there are any."""
    found = compare.claims(section.part("stream"))
    for family in disk.FAMILIES:
        part = disk.part(section, family)
        found += disk.claims(part) if part.cells else []
    return found


def comparison_json(comparison):
    result = comparison.ratio
    return {
        "workload": comparison.numerator.workload,
        "workload_parameters": json.loads(comparison.numerator.workload_parameters),
        "numerator": {key: getattr(comparison.numerator, key) for key in ("placement", "strategy", "code_generation")},
        "denominator": {key: getattr(comparison.denominator, key) for key in ("placement", "strategy", "code_generation")},
        "metric": comparison.metric,
        "ratio": result.value,
        "ci95": None if result.low is None else [result.low, result.high],
        "n": result.n,
        "paired": result.paired,
        "equal_load": comparison.equal_load,
        "bound": comparison.bound,
        "verdict": comparison.verdict,
    }


def write(path, content):
    """Whole or not at all: a full disk leaves no half report behind."""
    if path.exists() and not path.is_file():
        path.write_text(content, encoding="utf-8")  # a pipe or a device is written to, never replaced
        return
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(content, encoding="utf-8")
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def write_figures(directory, run, sections):
    """One SVG file a figure; with several sections, their number is part of the name."""
    directory.mkdir(parents=True, exist_ok=True)
    profiles_ = profiles.read(run)
    for index, section in enumerate(sections):
        suffix = "" if len(sections) == 1 else f"-{index + 1}"
        for metric in figures.METRICS:
            svg = figures.draw(section.part("stream"), metric, metric.name)
            if svg is not None:
                write(directory / f"{metric.name}{suffix}.svg", svg)
        for block in families.blocks(run, section, profiles_):
            for drawing in block.drawings:
                write(directory / f"{drawing.name}{suffix}.svg", figures.draw_drawing(drawing, drawing.name))


def fail(code, message):
    print(f"report: {message}", file=sys.stderr)
    return code


def arguments(argv):
    parser = argparse.ArgumentParser(
        prog="report.py",
        description="Writes RUNDIR/report.html and prints a summary. With --text or --json only prints, unless --output is given.",
        epilog="exit codes: 0 done, 2 wrong use, 3 no such run, 4 no trial finished, 5 unreadable record, 6 report not "
        "written, 7 Python package missing",
    )
    parser.add_argument("rundir", metavar="RUNDIR", type=Path, help="a run directory, for example results/runs/quick-...")
    parser.add_argument("--output", metavar="FILE", type=Path, help="where to write the report (default: RUNDIR/report.html)")
    parser.add_argument("--figures", metavar="DIR", type=Path, help="write the figures as SVG files there, too")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--text", action="store_true", help="print the summary only")
    what.add_argument("--json", action="store_true", help="print the aggregated table as JSON only")
    return parser.parse_args(argv)


def main(argv=None):
    options = arguments(argv)
    # A terminal that cannot show a character gets a replacement, not a traceback.
    sys.stdout.reconfigure(errors="replace")
    sys.stderr.reconfigure(errors="replace")
    try:
        run = load.load_run(options.rundir)
    except load.NoSuchRun as error:
        return fail(3, text.printable(error))
    except load.BadRecord as error:
        return fail(5, text.printable(error))
    for warning in run.warnings:
        print(f"report: warning: {text.printable(warning)}", file=sys.stderr)
    if run.finished().empty:
        for row in tables.failure_rows(run):
            line = f"{row['status']}: trial {row['trial']} ({row['what']}): {row['reason']}"
            print(f"report: {text.printable(line)}", file=sys.stderr)
        return fail(4, f"{options.rundir}: no trial finished ({len(run.records)} recorded): there is nothing to report")
    sections = analyse(run)
    if options.figures is not None:
        try:
            write_figures(options.figures, run, sections)
        except OSError as error:
            return fail(6, f"{options.figures}: the figures cannot be written: {error.strerror}")
    output = options.output or (None if options.text or options.json else options.rundir / "report.html")
    if output is not None:
        try:
            write(output, page(run, sections))
        except OSError as error:
            return fail(6, f"{output}: cannot be written: {error.strerror}")
    try:
        if options.json:
            json.dump(aggregated(run, sections), sys.stdout, indent=1, allow_nan=False)
            print()
        else:
            print(text.summary(run, sections), end="")
            if output is not None:
                print(f"report: {output}")
        sys.stdout.flush()
    except OSError as error:
        # What is still buffered would fail once more when the interpreter closes its output.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):  # a reader that has seen enough is no failure
            return fail(6, f"standard output: cannot be written: {error.strerror}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
