# SPDX-License-Identifier: BSD-2-Clause
"""The report for the terminal."""

import unicodedata

from analysis import compare, families, profiles, tables


def printable(value):
    """Records are not trusted: no control character of theirs reaches the terminal; a line stays one line."""
    return "".join(
        " " if character in "\n\r\t" else "\ufffd" if unicodedata.category(character).startswith("C") else character
        for character in str(value)
    )


def columns(header, rows, left=2):
    """Aligned columns; the first `left` to the left, numbers to the right."""
    lines = [[printable(cell) for cell in row] for row in [header, *rows]]
    widths = [max(len(line[index]) for line in lines) for index in range(len(header))]
    return [
        "  ".join(
            cell.ljust(width) if index < left else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(line, widths))
        ).rstrip()
        for line in lines
    ]


def summary(run, sections):
    """The main table, the claims and what failed, as text."""
    profiles_ = profiles.read(run)
    out = [f"Run {printable(run.directory.name)}: {len(run.finished())} trials finished, {len(run.unfinished())} not"]
    out += [f"warning: {printable(warning)}" for warning in run.warnings]
    for whole in sections:
        section = whole.part("stream")
        work = tables.work_metric(section)
        out += ["", f"{printable(section.device) or 'device not recorded'} [{section.stamp}]"]
        for group in tables.main_table(section):
            header = ["placement", "strategy", "boots", work.unit, "spread", "x baseline", "x passthrough"]
            keys = ["placement", "strategy", "boots", "work", "spread", "work_baseline", "work_passthrough"]
            if group["open_loop"]:
                header += ["CPU %", "x baseline"]
                keys += ["cpu", "cpu_baseline"]
            header += ["Mb/s"]
            keys += ["throughput"]
            rows = []
            for row in group["rows"]:
                if row["cell"] is None:
                    rows.append([row["placement"], row["strategy"], "0", "no finished trial", *["–"] * (len(keys) - 4)])
                else:
                    rows.append([row[key] for key in keys])
            out += ["", printable(group["load"]), *("  " + line for line in columns(header, rows))]
        if section.cells:
            out += claims(section)
        flagged = [row for row in tables.load_table(section) if row["flagged"]]
        for row in flagged:
            out.append(
                printable(
                    f"load missed by more than 20 %: {row['load']} {row['placement']}/{row['strategy']}: "
                    f"requested {row['requested']} Mb/s, achieved {row['achieved']} Mb/s"
                )
            )
        for block in families.blocks(run, whole, profiles_):
            out += block_lines(block)
    failures = tables.failure_rows(run)
    if failures:
        out += ["", "Not finished:"]
        rows = [[row["status"], row["trial"], row["what"], row["boot"], row["reason"]] for row in failures]
        out += ["  " + line for line in columns(["status", "trial", "what", "boot", "reason"], rows, left=5)]
    out += ["", "x baseline: against stock/linux-lazy. x passthrough: against the same driver under linux-identity."]
    return "\n".join(out) + "\n"


def block_lines(block):
    """The tables of a block; what is said about them, and its figures, are in the page."""
    out = ["", block.title]
    for table in block.tables:
        out += [f"  [{printable(table.caption)}]", *("  " + line for line in columns(table.header, table.rows, table.left)), ""]
    return out[:-1] if block.tables else out


def claims(section):
    out = []
    labels = compare.Labels(section)
    for claim in compare.claims(section):
        out += ["", f"{claim.title} (at most {claim.bound:.2f})"]
        rows = [
            [row["load"], row["metric"], row["ratio"], row["interval"], row["verdict"]]
            for row in tables.claim_rows(section, claim)
        ]
        if rows:
            out += ["  " + line for line in columns(["workload", "metric", "ratio", "95 % CI", "verdict"], rows)]
        out += [f"  {printable(labels.load(load_))}: {reason}" for load_, reason in claim.missing]
    return out
