# SPDX-License-Identifier: BSD-2-Clause
"""What is held against what: sections, labels, the claims with their bounds, and the references of the table."""

from dataclasses import dataclass

from analysis import load, statistics

BASELINE = ("stock", "linux-lazy")
PASSTHROUGH = "linux-identity"

# Our own driver in the kernel against the distribution's, both on Linux's default domain: what we measure is a fair stand-in
# for a production driver only if it costs no more.
DRIVER_BOUND = 1.00
# The claim of 2005: a driver at user level costs less than 10 % more CPU than the same driver in the kernel.
PLACEMENT_BOUND = 1.10


@dataclass
class Section:
    """Cells that may be compared with each other: one kind of environment, one device."""

    environment: str
    device: str
    cells: list

    @property
    def stamp(self):
        """Where the numbers come from."""
        return load.ENVIRONMENTS[self.environment]

    @property
    def loads(self):
        """Closed loops first, then offered loads."""
        paced = {cell.load for cell in self.cells if statistics.open_loop(cell)}
        return sorted(dict.fromkeys(cell.load for cell in self.cells), key=lambda load_: load_ in paced)

    @property
    def configurations(self):
        """In the order of cells(), which does not depend on the workload."""
        found = {}
        for cell in self.cells:
            found.setdefault(cell.configuration, cell)
        return [cell.configuration for cell in sorted(found.values(), key=lambda cell: statistics.order(cell)[4:])]

    def part(self, family):
        """The cells of one family of workloads, at the usual settings of each placement; what deviates is in the parts of axes.py."""
        cells = [cell for cell in self.cells if family_of(cell) == family]
        usual = usual_settings(cells)
        return Section(self.environment, self.device, [cell for cell in cells if settings_of(cell) == usual[cell.placement]])

    def cell(self, configuration, load_):
        for cell in self.cells:
            if cell.configuration == configuration and cell.load == load_:
                return cell
        return None


def sections(cells):
    grouped = {}
    for cell in cells:
        grouped.setdefault((cell.environment, cell.device), []).append(cell)
    return [Section(*key, cells=part) for key, part in grouped.items()]


def family_of(cell):
    """stream, echo, raw-frames, dma-copy, map-unmap, probe, crash, sync-read, fio or fio-verify: workloads whose figures are of one kind."""
    if cell.workload == "udp-echo":
        return "echo"
    if cell.workload == "fio-verify":
        return cell.workload
    for family in ("raw-frames", "dma-copy", "map-unmap", "probe", "crash", "sync-read", "fio"):
        if cell.workload.startswith(family):
            return family
    return "stream"


# Where an axis is swept, the other sweeps hold it at this value; otherwise at its most frequent.
USUAL = {
    "completion": "interrupt",
    "code_generation": "native",
    "mtu": 1500,
    "offloads": True,
    "interrupts_per_second": 8000,
    "receive_descriptors": 256,
    "transmit_descriptors": 256,
    "copybreak": 256,
    "queue_depth": 32,
}


def settings_of(cell):
    """All that a cell was set to beside placement, strategy and workload."""
    found = {"completion": cell.completion, "code_generation": cell.code_generation, **statistics.parameters_of(cell.settings)}
    return {key: value for key, value in found.items() if value is not None}


def usual_settings(cells):
    """{placement: settings}. By placement, since one may have what another lacks: a code generation, a kind of interrupt."""
    result = {}
    for placement in dict.fromkeys(cell.placement for cell in cells):
        own = [settings_of(cell) for cell in cells if cell.placement == placement]
        # Chosen one key after the other among what is left, so that the outcome is a combination that was run.
        usual = {}
        for key in sorted({key for settings in own for key in settings}):
            texts = [load.canonical(settings.get(key)) for settings in own]
            preferred = load.canonical(USUAL.get(key))
            chosen = preferred if key in USUAL and preferred in texts else max(dict.fromkeys(texts), key=texts.count)
            own = [settings for settings, text in zip(own, texts) if text == chosen]
            if own[0].get(key) is not None:
                usual[key] = own[0][key]
        result[placement] = usual
    return result


ALLOCATOR = "iova_allocator"  # the strategy's parameter; absent: the usual one, as where Linux allocates
USUAL_ALLOCATOR = "size-classes"


def allocator(cell):
    return statistics.parameters_of(cell.strategy_parameters).get(ALLOCATOR, USUAL_ALLOCATOR)


def usual_parameters(cells, allocator_=USUAL_ALLOCATOR):
    """The cells with that allocator whose strategy has the parameters that most of these have of it and their placement: where one is swept, it has a curve of its own."""
    cells = [cell for cell in cells if allocator(cell) == allocator_]
    texts = {}
    for cell in cells:
        texts.setdefault((cell.placement, cell.strategy), []).append(cell.strategy_parameters)
    usual = {key: max(dict.fromkeys(found), key=found.count) for key, found in texts.items()}
    return [cell for cell in cells if cell.strategy_parameters == usual[cell.placement, cell.strategy]]


def same_settings(one, other):
    """Whether two cells were set alike in all that both were asked for. How a placement is interrupted is the placement's."""
    first_, second = settings_of(one), settings_of(other)
    held = (first_.keys() & second.keys()) - {"code_generation", "interrupt"}
    return all(first_[key] == second[key] for key in held)


def differing(values):
    """Of a list of dicts the keys whose value is not the same in all of them."""
    keys = dict.fromkeys(key for value in values for key in value)
    return [key for key in keys if any(value.get(key) != values[0].get(key) for value in values)]


class Labels:
    """Names no longer than they have to be: a setting is named only where it tells two cells of the section apart."""

    def __init__(self, section):
        self.loads = {}
        for name in {name for name, _ in section.loads}:
            variants = [parameters for other, parameters in section.loads if other == name]
            for parameters, suffix in suffixes(variants, ALWAYS_NAMED).items():
                self.loads[(name, parameters)] = name + load_suffix(parameters) + suffix
        self.configurations = {}
        axes = {}
        for configuration in section.configurations:
            axes.setdefault((configuration[1], configuration[4]), []).append(configuration)
        settings = suffixes([configuration[6] for configuration in section.configurations])
        for (_, strategy), group in axes.items():
            parameter_suffixes = suffixes([configuration[5] for configuration in group])
            for configuration in group:
                _, _, code, completion, _, parameters, setting = configuration
                parts = [strategy + parameter_suffixes[parameters]]
                if len({other[2] for other in group}) > 1:
                    parts.append(str(code))
                if len({other[3] for other in group}) > 1:
                    parts.append(str(completion))
                self.configurations[configuration] = " ".join(parts) + settings[setting]

    def load(self, cell_or_load):
        return self.loads[cell_or_load if isinstance(cell_or_load, tuple) else cell_or_load.load]

    def strategy(self, configuration):
        return self.configurations[configuration]

    def cell(self, cell):
        return f"{cell.placement}/{self.configurations[cell.configuration]}"


LOAD = "load_bps"  # the workloads' parameter of the offered load; 0: as much as there is
BLOCK, DEPTH = "block_bytes", "io_depth"  # of a disk's workload
ALWAYS_NAMED = (LOAD, BLOCK, DEPTH)


def load_suffix(parameters):
    """What a workload always goes by: block size and queue depth of a disk's, and the load."""
    values = statistics.parameters_of(parameters)
    block, depth, load_bps = (values.get(key) if is_number(values.get(key)) else None for key in (BLOCK, DEPTH, LOAD))
    text = f" {size(block)}" if block else ""
    text += f" QD{depth:g}" if depth else ""
    if load_bps is None or (block and not load_bps):
        return text
    return text + (f" at {load_bps / 1e6:,.10g} Mb/s" if load_bps > 0 else " unpaced")


def is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def size(count):
    """A number of bytes as 512 B, 1514 B, 4 KiB or 1 MiB."""
    for unit, factor in (("MiB", 1 << 20), ("KiB", 1 << 10)):
        if count >= factor and count % (factor // 4) == 0:
            return f"{count / factor:g} {unit}"
    return f"{count:g} B"


MEASURING = ("_ms", "rounds")  # ends of the parameters that say how long is measured, not what


def suffixes(variants, named=(LOAD,)):
    """{parameters as text: ' key=value ...' for the keys that differ, less those that are named anyway}."""
    variants = list(dict.fromkeys(variants))
    parsed = [statistics.parameters_of(variant) for variant in variants]
    if len({load.canonical([value.get(key) for key in named]) for value in parsed}) == len(parsed):
        return dict.fromkeys(variants, "")
    parsed = [{key: value for key, value in parameters.items() if key not in named} for parameters in parsed]
    keys = differing(parsed) if len(parsed) > 1 else []
    # How long a workload is measured names it only where nothing else does.
    telling = [key for key in keys if not key.endswith(MEASURING)]
    whole = [statistics.parameters_of(variant) for variant in variants]
    if len({load.canonical([value.get(key) for key in (*named, *telling)]) for value in whole}) == len(whole):
        keys = telling
    return {
        variant: "".join(f" {key}={short(value[key])}" for key in keys if key in value)
        for variant, value in zip(variants, parsed)
    }


def short(value):
    return load.canonical(value) if isinstance(value, (dict, list)) else str(value)


@dataclass(frozen=True)
class Comparison:
    numerator: statistics.Cell
    denominator: statistics.Cell
    metric: str
    ratio: statistics.Ratio
    bound: float | None  # None: nothing is held against it
    equal_load: bool | None  # None: closed loop, or not known

    @property
    def comparable(self):
        """CPU utilisation says nothing where the loads differ; work per packet does."""
        return self.metric != "cpu_utilisation" or self.equal_load is True

    @property
    def verdict(self):
        if not self.comparable:
            return "not comparable: achieved loads differ by more than 2 %"
        if self.bound is None:
            return "no bound here"
        return statistics.verdict(self.ratio, self.bound)


@dataclass
class Claim:
    title: str
    explanation: str
    bound: float
    comparisons: list
    missing: list  # (load, reason)


def claims(section):
    return [
        claim(
            section,
            "Our driver in the kernel against the distribution's, both under linux-lazy",
            "Tells whether our driver is a fair stand-in: same kernel, same DMA API, same domain type.",
            ("kernel", "linux-lazy"),
            BASELINE,
            ("instructions_per_packet", "cycles_per_packet"),
            DRIVER_BOUND,
        ),
        claim(
            section,
            "The same driver at user level against the kernel, both persistent",
            "The claim of 2005 is at most 1.10 in CPU. CPU utilisation is compared at equal offered load only.",
            ("user", "persistent"),
            ("kernel", "persistent"),
            ("instructions_per_packet", "cycles_per_packet", "cpu_utilisation"),
            PLACEMENT_BOUND,
        ),
    ]


def claim(section, title, explanation, numerator, denominator, metrics, bound):
    comparisons, missing = [], []
    for load_ in section.loads:
        before = len(comparisons)
        tops = statistics.find(section.cells, *numerator, load=load_)
        bottoms = statistics.find(section.cells, *denominator, load=load_)
        for metric in metrics:
            for top in tops:
                for bottom in bottoms:
                    if not same_settings(top, bottom):
                        continue
                    if metric == "cpu_utilisation" and not (statistics.open_loop(top) and statistics.open_loop(bottom)):
                        continue
                    result = statistics.ratio(top.metric(metric), bottom.metric(metric))
                    if result is not None:
                        equal = statistics.equal_load(top, bottom) if statistics.open_loop(top) else None
                        comparisons.append(Comparison(top, bottom, metric, result, bound, equal))
        if len(comparisons) == before:
            absent = [f"{'/'.join(key)}" for key, found in ((numerator, tops), (denominator, bottoms)) if not found]
            reason = f"no finished trial of {' and of '.join(absent)}" if absent else "not measured in both"
            missing.append((load_, reason))
    return Claim(title, explanation, bound, comparisons, missing)


def baseline(section, load_):
    """The cell that the table is relative to: the distribution's driver as Linux runs it by default."""
    return first(statistics.find(section.cells, *BASELINE, load=load_))


def passthrough(section, cell):
    """The same driver without translation; for a user-level driver, the one in the kernel."""
    placement = "stock" if cell.placement == "stock" else "kernel"
    for choice in (placement, "stock"):
        found = first(statistics.find(section.cells, choice, PASSTHROUGH, load=cell.load))
        if found is not None:
            return found
    return None


def first(found):
    return found[0] if found else None
