# SPDX-License-Identifier: BSD-2-Clause
"""Where records are, which run fits a claim, and how the missing ones are run."""

import json
import os
import shlex
import shutil
import subprocess
import zlib
from dataclasses import dataclass
from pathlib import Path

from analysis import load, report
from paper import needs, verdicts

ROOT = Path(__file__).resolve().parent.parent
RUNS = ROOT / "results" / "runs"
REFERENCE = ROOT / "results" / "reference"


class RunError(Exception):
    """The dmatoll program cannot be used, or said no. The message is for the user."""


@dataclass
class Results:
    """A run directory, loaded; `error` says why it is not."""

    directory: Path
    suite: str | None
    filter: str
    sections: list
    run: load.Run | None
    error: str = ""

    @property
    def trials(self):
        """Those of its plan; [] where the manifest has none."""
        plan = self.run.manifest.get("plan") if self.run else None
        trials = plan.get("trials") if isinstance(plan, dict) else None
        return trials if isinstance(trials, list) else []


@dataclass(frozen=True)
class Job:
    """One call of `dmatoll run`, for every claim that wants the same of the same suite."""

    suite: str
    filter: str


@dataclass(frozen=True)
class Plan:
    """What `dmatoll plan` says of a job."""

    job: Job
    trials: int
    seconds: float  # of this machine
    digest: int  # of its trials

    @property
    def directory(self):
        """The same for the same trials, so that a run that was interrupted is found again, and one of another plan is not gone on with."""
        return RUNS / f"reproduce-{self.job.suite}-{self.digest:08x}"

    @property
    def begun(self):
        return (self.directory / "manifest.json").exists()

    def arguments(self):
        """Of `dmatoll`: a new run, or what is left of one that was begun."""
        if self.begun:
            return ["run", self.job.suite, "--resume", str(self.directory), "--no-report"]
        return ["run", self.job.suite, "--filter", self.job.filter, "--output", str(self.directory), "--no-report"]


def directories(given):
    """Run directories, those given first, then ours, then the user's, then those that are committed; newest first of each."""
    found = []
    for place in given:
        if not place.is_dir():
            raise RunError(f"{place}: no such directory; --results takes a run directory, or one that holds some")
        inside = [place] if (place / "trials.jsonl").exists() else runs_below(place)
        if not inside:
            raise RunError(f"{place}: neither a run (no trials.jsonl) nor a directory of runs")
        found += inside
    below = runs_below(RUNS)
    found += [path for path in below if path.name.startswith("reproduce-")] + [path for path in below if not path.name.startswith("reproduce-")]
    found += runs_below(REFERENCE)
    return list(dict.fromkeys(path.resolve() for path in found))


def runs_below(place):
    if not place.is_dir():
        return []
    inside = [path for path in place.iterdir() if (path / "trials.jsonl").is_file()]
    return sorted(inside, key=lambda path: (path / "trials.jsonl").stat().st_mtime, reverse=True)


def read(directory):
    try:
        run = load.load_run(directory)
        plan = run.manifest.get("plan")
        plan = plan if isinstance(plan, dict) else {}
        suite, filter_ = plan.get("suite"), plan.get("filter", "")
        sections = report.analyse(run)
    except load.LoadError as error:
        return Results(directory, None, "", [], None, str(error))
    return Results(directory, suite if isinstance(suite, str) else None, filter_ if isinstance(filter_, str) else "", sections, run)


def fits(results, claim, amount):
    """Whether a run is of the claim's suite; where lacking() cannot tell, it has to be of all of it, or of what the claim filters."""
    if results.suite != claim.suite:
        return False
    can_tell = results.trials and needs.needs_of(claim, amount)
    return bool(can_tell) or results.filter in ("", claim.full.filter, amount.filter)


def lacking(results, claim, amount):
    """What the claim needs and the run's plan does not have, as text; "" if it has all. A plan without trials says nothing."""
    wanted = needs.needs_of(claim, amount)
    if not wanted or not results.trials:
        return ""
    missing = needs.missing(wanted, results.trials)
    if not missing:
        return ""
    whole = "of another revision of the suite" if results.filter in ("", amount.filter) else "for less"
    return f"its plan is {whole}, without {needs.as_text(missing)}"


def best(claim, amount, known):
    """(Results, Judgement) of the first run that has enough; (None, Judgement) with the reason if there is none."""
    if claim.suite is None:
        return None, verdicts.judge(claim, amount, [])
    short = []
    for results in known:
        if not fits(results, claim, amount):
            continue
        if absent := lacking(results, claim, amount):
            short.append(f"{shown(results.directory)}: {absent}")
            continue
        judgement = verdicts.judge(claim, amount, results.sections)
        if judgement.verdict != verdicts.NOT_RUN:
            return results, judgement
        short.append(f"{shown(results.directory)}: {judgement.reason}")
    if claim.because is not None:
        return None, verdicts.Judgement(verdicts.NOT_TESTABLE, claim.because)  # what is run from here is run on an emulator
    return None, verdicts.Judgement(verdicts.NOT_RUN, "; ".join(short) or f"no run of the suite {claim.suite}")


def shown(path):
    """Below the source tree as it is written there."""
    path = Path(path)
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


def find_program(given):
    if given is not None:
        if not os.access(given, os.X_OK) or Path(given).is_dir():
            raise RunError(f"{given}: no program; --program takes the path of dmatoll")
        return Path(given).resolve()
    built = ROOT / "build" / "release" / "harness" / "dmatoll"
    if os.access(built, os.X_OK):
        return built
    found = shutil.which("dmatoll")
    if found:
        return Path(found)
    raise RunError(
        f"dmatoll is neither {shown(built)} nor in PATH; build it (cmake --preset release && cmake --build --preset release), name it with "
        "--program, or judge what is there with --no-run"
    )


def planned(program, job):
    """The Plan of a job, from `dmatoll plan`."""
    command = [str(program), "plan", job.suite, "--filter", job.filter, "--json"]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RunError(f"{program}: {error}") from error
    if done.returncode != 0:
        raise RunError((done.stderr.strip() or f"dmatoll plan ended with status {done.returncode}").splitlines()[-1])
    try:
        plan = json.loads(done.stdout)
        digest = zlib.crc32(json.dumps([job.filter, plan["trials"]], sort_keys=True).encode())
        return Plan(job, len(plan["trials"]), float(plan["estimate"]["total_seconds"]), digest)
    except (ValueError, KeyError, TypeError) as error:
        raise RunError(f"{shlex.join(command)}: its answer is no plan: {error}") from error


def execute(program, plan):
    """Runs a plan to its end; True if it was interrupted. Raises RunError if it broke off."""
    arguments = plan.arguments()
    try:
        process = subprocess.Popen([str(program), *arguments], cwd=ROOT, stdout=2)
    except OSError as error:
        raise RunError(f"{program}: {error.strerror}") from error
    interrupted = False
    while True:
        try:
            status = process.wait()
            break
        except KeyboardInterrupt:
            # The terminal told dmatoll, too: it gives every device back, and is waited for.
            interrupted = True
    if interrupted or status == 130:
        return True
    if status not in (0, 3):  # 3: some trials are errors, which their records say
        raise RunError(f"dmatoll {shlex.join(arguments)} ended with status {status}")
    return False


def unfinished(plan):
    """[(trial, status, reason)] of what a run did not finish; [] where it cannot be read: that is said elsewhere."""
    try:
        rows = load.load_run(plan.directory).unfinished()
    except load.LoadError:
        return []
    return [(str(row["trial"]), row["status"], row["reason"]) for _, row in rows.iterrows()]
