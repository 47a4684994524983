# SPDX-License-Identifier: BSD-2-Clause
"""Runs dmatoll as a user would, and looks at what it leaves behind."""

import json
import os
import pathlib
import re
import signal
import subprocess
import time

HERE = pathlib.Path(__file__).parent
WORKLOADS = HERE.parent.parent / "workloads"
# Of this machine, for anything at all: another load may share its CPUs. Never a measure, only an end to waiting.
LIMIT = 300

SUITE = """
[suite]
name = "{name}"
summary = "made by a test"
boots = {boots}

[axes]
device = ["82540EM"]
placement = {placements}
strategy = {strategies}
"""
WORKLOAD = """
[[workload]]
name = "{name}"
warm_up_ms = 100
window_ms = {window_ms}
"""


def host_cpus():
    return sorted(os.sched_getaffinity(0))


def suite(name, placements, strategies, workloads, boots=1):
    """The text of a suite with short windows; `workloads` are (name, window in ms, more parameters)."""
    text = SUITE.format(name=name, boots=boots, placements=json.dumps(placements), strategies=json.dumps(strategies))
    for workload, window_ms, parameters in workloads:
        text += WORKLOAD.format(name=workload, window_ms=window_ms)
        text += "".join(f"{key} = {value}\n" for key, value in parameters.items())
    return text


def command(program, arguments, cpu=None):
    pinned = ["taskset", "-c", str(cpu)] if cpu is not None else []
    return [*pinned, str(program), *map(str, arguments)]


def environment(lab=None):
    return {**os.environ, **({"DMATOLL_LAB": str(lab)} if lab else {})}


def run(program, *arguments, lab=None, cpu=None, cwd=None, limit=LIMIT):
    """To its end; the result has returncode, stdout, stderr."""
    return subprocess.run(command(program, arguments, cpu), env=environment(lab), cwd=cwd, timeout=limit,
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace")


class Started:
    """A dmatoll that goes on while the test does something else; ended with the test, whatever happens."""

    def __init__(self, program, *arguments, lab=None, cpu=None, cwd=None):
        self.process = subprocess.Popen(command(program, arguments, cpu), env=environment(lab), cwd=cwd,
                                        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                        text=True, errors="replace")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()

    def finish(self, limit=LIMIT):
        output, error = self.process.communicate(timeout=limit)
        return subprocess.CompletedProcess(self.process.args, self.process.returncode, output, error)

    def emulators(self):
        """QEMUs that it has started, by process number."""
        found = []
        for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
            try:
                name, rest = stat.read_text().rsplit(")", 1)
            except (FileNotFoundError, ProcessLookupError):
                continue
            if "qemu" in name and int(rest.split()[1]) == self.process.pid:
                found.append(int(stat.parent.name))
        return found

    def signal(self, number):
        self.process.send_signal(number)


class Busy:
    """Keeps a CPU of this machine busy; for a bounded time, whatever happens."""

    def __init__(self, cpu, seconds=LIMIT):
        self.arguments = ["taskset", "-c", str(cpu), "timeout", str(seconds), "sh", "-c", "while :; do :; done"]

    def __enter__(self):
        self.process = subprocess.Popen(self.arguments, start_new_session=True)

    def __exit__(self, *_):
        # The loop and its timeout are a session of their own.
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def lives(process):
    """Not gone, and not a zombie."""
    try:
        return pathlib.Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_for(what, condition, limit=LIMIT):
    end = time.monotonic() + limit
    while time.monotonic() < end:
        if result := condition():
            return result
        time.sleep(0.02)
    raise AssertionError(f"{what} did not come within {limit} s")


def whole_lines(path):
    """The complete lines of a file that grows."""
    try:
        text = path.read_text()
    except FileNotFoundError:
        return []
    return text[: text.rfind("\n") + 1].splitlines()


def records(run_directory):
    """All of them; each line must be whole."""
    text = (run_directory / "trials.jsonl").read_text()
    assert text.endswith("\n")
    return [json.loads(line) for line in text.splitlines()]


def guest_files():
    """Guest path -> contents, which the lab's image does not need: the scripts in guest/, the workloads, a program."""
    files = {f"dmatoll/test/{script.name}": script.read_bytes() for script in (HERE / "guest").iterdir()}
    for workload in WORKLOADS.glob("*/workload.toml"):
        files[f"usr/share/dmatoll/workloads/{workload.parent.name}/workload.toml"] = workload.read_bytes()
    files["usr/bin/ask"] = pathlib.Path(os.environ["DMATOLL_TEST_ASK"]).read_bytes()
    return files


def image_with(place, files):
    """A lab directory that is the built one, but for more files in the guest, all of them executable."""
    built = pathlib.Path(os.environ["DMATOLL_TEST_LAB"])
    root = place / "root"
    root.mkdir()
    for name, contents in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(contents)
        (root / name).chmod(0o755)
    names = "".join(f"{path.relative_to(root)}\n" for path in sorted(root.rglob("*")))
    archive = subprocess.run(["cpio", "--quiet", "--create", "--format=newc", "--owner=0:0"], cwd=root,
                             input=names.encode(), capture_output=True, check=True).stdout
    lab = place / "lab"
    lab.mkdir()
    for name in ("vmlinuz", "kernel-release", "libdmatoll_meter.so", "disk.cpio"):
        (lab / name).symlink_to(built / name)
    # The kernel unpacks one archive after the other.
    (lab / "initramfs.cpio").write_bytes((built / "initramfs.cpio").read_bytes() + archive)
    return lab


class Steps(dict):
    """What guest/steps.sh printed: name -> Step."""

    def __init__(self, output):
        super().__init__()
        self.output = output
        for name, text, status in re.findall(r"^=== step (\S+)\n(.*?)^=== status (\d+)$", output, re.M | re.S):
            assert name not in self, f"the step {name} is there twice"
            self[name] = Step(int(status), text.strip("\n"))

    def __missing__(self, name):
        raise AssertionError(f"the guest did not get to the step {name}; it said:\n{self.output[-4000:]}")


class Step:
    def __init__(self, status, text):
        self.status = status
        self.text = text

    def __repr__(self):
        return f"status {self.status}, output:\n{self.text}"

    def refused(self, *words):
        """Ended with an error that has these words in it, and not by a signal or a missing program."""
        assert 0 < self.status < 126, self
        for word in words:
            assert word in self.text, f"{word!r} is missing: {self}"

    def done(self, *words):
        assert self.status == 0, self
        for word in words:
            assert word in self.text, f"{word!r} is missing: {self}"


def steps(dmatoll, lab, script, *options, arguments=(), cpu=None, limit=LIMIT):
    """Boots a guest, runs the script from guest/ in it, and returns its steps."""
    command = ("lab", "run", *options, "--", "sh", f"/dmatoll/test/{script}", *arguments)
    result = run(dmatoll, *command, lab=lab, cpu=cpu, limit=limit)
    assert result.returncode == 0, result.stdout[-4000:] + result.stderr[-4000:]
    return Steps(result.stdout)
