# SPDX-License-Identifier: BSD-2-Clause
"""The report's tables as plain rows of text, shared by the page, the terminal and the tests."""

from analysis import compare, figures, load, point, provenance, statistics

ABSENT = "–"

METRIC = {metric.name: metric for metric in (*figures.METRICS, *figures.DISK_METRICS, *figures.COPY_METRICS)}


def mean_text(summary, metric):
    return ABSENT if summary is None else metric.format(summary.mean)


def interval_text(summary, metric):
    """The 95 % interval, or why there is none."""
    if summary is None:
        return ABSENT
    if summary.low is None:
        return "one boot"
    if summary.identical:
        return "identical"
    return f"{metric.format(summary.low)} … {metric.format(summary.high)}"


def spread_text(summary):
    if summary is None or summary.spread is None:
        return ABSENT
    return "0 (identical)" if summary.identical else figures.percent(summary.spread)


def ratio_text(result):
    return ABSENT if result is None else f"{result.value:.3f}"


def ratio_interval_text(result):
    if result is None:
        return ABSENT
    if result.low is None:
        return "one boot"
    if result.identical:
        return "identical in every boot"
    return f"{result.low:.3f} … {result.high:.3f}"


def pairing_text(result):
    boots = f"{result.n} {'boot' if result.n == 1 else 'boots'}"
    text = f"{boots}, {'paired' if result.paired else 'not paired'}"
    return text + (f", {result.unpaired_boots} left out" if result.unpaired_boots else "")


def relative(cell, reference, name):
    if reference is None:
        return None
    return statistics.ratio(cell.metric(name), reference.metric(name))


def work_metric(section):
    """What stands for work per packet, I/O or copy in this section: instructions where they were metered, otherwise cycles."""
    units = load.UNITS.values()
    names = (*(f"instructions_per_{unit}" for unit in units), *(f"cycles_per_{unit}" for unit in units))
    for name in names:
        if any(cell.metric(name) is not None for cell in section.cells):
            return METRIC[name]
    return METRIC[names[0]]


def main_table(section):
    """[(load label, open loop, rows)]: every configuration against the baseline and against passthrough."""
    labels = compare.Labels(section)
    work, cpu, throughput = work_metric(section), METRIC["cpu_utilisation"], METRIC["throughput_bps"]
    result = []
    for load_ in section.loads:
        reference = compare.baseline(section, load_)
        rows = []
        for configuration in section.configurations:
            cell = section.cell(configuration, load_)
            if cell is None:
                rows.append({"placement": configuration[1], "strategy": labels.strategy(configuration), "cell": None})
                continue
            passthrough = compare.passthrough(section, cell)
            summary = cell.metric(work.name)
            open_loop = statistics.open_loop(cell)
            utilisation = cell.metric(cpu.name) if open_loop else None
            comparable = reference is not None and statistics.equal_load(cell, reference) is True
            rows.append(
                {
                    "placement": cell.placement,
                    "strategy": labels.strategy(configuration),
                    "cell": cell,
                    "baseline": cell is reference,
                    "boots": len(next(iter(cell.metrics.values())).values) if cell.metrics else 0,
                    "work": mean_text(summary, work),
                    "interval": interval_text(summary, work),
                    "spread": spread_text(summary),
                    "work_baseline": ratio_text(relative(cell, reference, work.name)),
                    "work_passthrough": ratio_text(relative(cell, passthrough, work.name)),
                    "cpu": mean_text(utilisation, cpu),
                    "cpu_spread": spread_text(utilisation),
                    "cpu_baseline": cpu_ratio(cell, reference, open_loop, comparable),
                    "throughput": mean_text(cell.metric(throughput.name), throughput),
                    "throughput_baseline": ratio_text(relative(cell, reference, throughput.name)),
                }
            )
        result.append({"load": labels.load(load_), "open_loop": any_open_loop(rows), "rows": rows})
    return result


def any_open_loop(rows):
    return any(row["cell"] is not None and statistics.open_loop(row["cell"]) for row in rows)


def cpu_ratio(cell, reference, open_loop, comparable):
    result = relative(cell, reference, "cpu_utilisation") if open_loop else None
    if result is None:
        return ABSENT
    return ratio_text(result) if comparable else "loads differ"


def claim_rows(section, claim):
    labels = compare.Labels(section)
    rows = []
    for comparison in claim.comparisons:
        result = comparison.ratio
        top, bottom = comparison.numerator, comparison.denominator
        metric = METRIC[comparison.metric]
        rows.append(
            {
                "load": labels.load(top),
                "pair": f"{labels.cell(top)} : {labels.cell(bottom)}",
                "metric": "CPU utilisation" if metric.name == "cpu_utilisation" else metric.unit,
                "modes": modes_text(comparison.metric, top, bottom),
                "values": f"{mean_text(top.metric(metric.name), metric)} : {mean_text(bottom.metric(metric.name), metric)}",
                "ratio": f"{result.value:.3f}",
                "interval": ratio_interval_text(result),
                "boots": pairing_text(result),
                "bound": ABSENT if comparison.bound is None else f"{comparison.bound:.2f}",
                "verdict": comparison.verdict,
                "state": state(comparison),
            }
        )
    return rows


def modes_text(metric, *cells):
    """Kernel-mode + user-mode instructions per packet or I/O of each cell; empty unless all were metered."""
    parts = []
    for cell in cells:
        modes = [cell.metric(f"{mode}_{metric}") for mode in ("kernel", "user")]
        if None in modes:
            return ""
        parts.append(" + ".join(f"{mode.mean:,.0f}" for mode in modes))
    return " : ".join(parts)


def gap_rows(section, claim, unit="packet"):
    """Where the instructions go that a driver at user level needs beyond the one in the kernel; differences of means."""
    labels = compare.Labels(section)
    rows = []
    for comparison in claim.comparisons:
        top, bottom = comparison.numerator, comparison.denominator
        if comparison.metric != f"instructions_per_{unit}" or (top.placement, bottom.placement) != ("user", "kernel"):
            continue
        names = [f"{mode}instructions_per_{unit}" for mode in ("", "kernel_", "user_")]
        if None in [cell.metric(name) for cell in (top, bottom) for name in names]:
            continue
        calls = top.metric(f"system_calls_per_{unit}")
        rows.append(
            {
                "load": labels.load(top),
                "values": [f"{top.metric(name).mean - bottom.metric(name).mean:+,.0f}" for name in names]
                + [operations_text("system_calls", calls)],
            }
        )
    return rows


def state(comparison):
    """holds, open or exceeds: for the colour of the verdict, which the words carry, too."""
    if not comparison.comparable:
        return "open"
    if comparison.verdict in (statistics.HOLDS, statistics.EXCEEDS):
        return comparison.verdict
    return "open"


OPERATIONS = (
    ("maps", "maps"),
    ("unmaps", "unmaps"),
    ("invalidations", "invalidations"),
    ("polls", "polls"),
    ("system_calls", "driver's system calls"),
    ("kernel_instructions", "kernel-mode instructions"),
    ("user_instructions", "user-mode instructions"),
)


def operations_table(section, unit="packet"):
    """(columns, [(load, rows)]): mapping work a packet or an I/O, and in which mode the instructions were executed."""
    columns = [(name, title) for name, title in OPERATIONS if any(cell.metric(f"{name}_per_{unit}") for cell in section.cells)]
    labels = compare.Labels(section)
    groups = []
    for load_ in section.loads:
        rows = []
        for configuration in section.configurations:
            cell = section.cell(configuration, load_)
            if cell is None:
                continue
            values = [
                ABSENT  # a driver in the kernel makes none: there is nothing to measure
                if name == "system_calls" and cell.placement != "user"
                else operations_text(name, cell.metric(f"{name}_per_{unit}"))
                for name, _ in columns
            ]
            faults = cell.metric("iommu_faults")
            rows.append(
                {
                    "placement": cell.placement,
                    "strategy": labels.strategy(configuration),
                    "values": values,
                    "faults": "not measured" if faults is None else f"{faults.maximum:,.0f}",
                }
            )
        groups.append({"load": labels.load(load_), "rows": rows})
    return [title for _, title in columns], groups


def operations_text(name, summary):
    if summary is None:
        return "not measured"
    if "instructions" in name:
        return f"{summary.mean:,.0f}"
    return "0" if summary.mean == 0 else f"{summary.mean:.3g}"


DEFAULT_DOMAINS = ("not recorded", "DMA", "DMA-FQ", "identity", "blocked")


def protection_table(run, section):
    """(pairs, loads, rows): what each configuration protects, beside the work a packet costs under each load."""
    labels = compare.Labels(section)
    work = work_metric(section)
    stated, domains = {}, {}
    for record in run.records:
        if record["status"] != "ok":
            continue
        row = load.row(record)
        if (row["environment"], row["device"]) != (section.environment, section.device):
            continue
        configuration = tuple(row[key] for key in point.CONFIGURATION)
        stated.setdefault(configuration, provenance.protection(record))
        attached = load.text((record.get("domain") or {}).get("attached")) or "not recorded"
        requested = load.text((record.get("domain") or {}).get("requested"))
        # A domain of the driver's own has no name of Linux's: anything but a default domain is what was asked for.
        as_requested = requested in ("", attached) or (requested == "own" and attached not in DEFAULT_DOMAINS)
        text = attached if as_requested else f"{attached} (requested {requested})"
        domains.setdefault(configuration, dict.fromkeys([])).setdefault(text)
    known = {pair for pairs in stated.values() for pair in pairs}
    pairs = [pair for pair in provenance.PAIRS if pair in known]
    pairs += sorted(known - set(pairs))
    rows = []
    for configuration in section.configurations:
        costs = []
        for load_ in section.loads:
            cell = section.cell(configuration, load_)
            costs.append(ABSENT if cell is None else mean_text(cell.metric(work.name), work))
        rows.append(
            {
                "placement": configuration[1],
                "strategy": labels.strategy(configuration),
                "domain": ", ".join(domains.get(configuration, {})) or "not recorded",
                "protection": [stated.get(configuration, {}).get(pair, "not stated") for pair in pairs],
                "costs": costs,
            }
        )
    return [pair.replace("_", " ") for pair in pairs], [labels.load(load_) for load_ in section.loads], rows


def load_table(section):
    """Requested against achieved load of the open-loop cells, the misses flagged."""
    labels = compare.Labels(section)
    rows = []
    for cell in section.cells:
        if not statistics.open_loop(cell):
            continue
        missed = statistics.load_missed(cell)
        requested, achieved = cell.metric("load_requested_bps"), cell.metric("load_achieved_bps")
        rows.append(
            {
                "load": labels.load(cell),
                "placement": cell.placement,
                "strategy": labels.strategy(cell.configuration),
                "requested": f"{requested.mean / 1e6:,.1f}",
                "achieved": "not measured" if achieved is None else f"{achieved.mean / 1e6:,.1f}",
                "missed": ABSENT if missed is None else f"{missed * 100:+.1f} %",
                "flagged": missed is not None and abs(missed) > statistics.LOAD_MISSED,
            }
        )
    return rows


def reason_parts(reason):
    """The first line of a reason, which says what happened, and what a console or a program said below it."""
    first, _, rest = reason.strip().partition("\n")
    return {"reason": first or "no reason recorded", "details": rest}


def failure_rows(run):
    rows = []
    for _, row in run.unfinished().iterrows():
        what = [row.get(key) for key in ("placement", "strategy", "workload")]
        rows.append(
            {
                "trial": load.text(row["trial"]),
                "what": " ".join(str(part) for part in what if isinstance(part, str)) or "not recorded",
                "boot": row["replicate"],
                "status": row["status"],
                **reason_parts(row["reason"]),
            }
        )
    return rows
