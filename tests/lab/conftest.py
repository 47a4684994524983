# SPDX-License-Identifier: BSD-2-Clause
"""What the tests of the program share: the program itself, images with faults built in, processes that are watched."""

import fcntl
import os
import pathlib
import tempfile
import time

import pytest

import program


@pytest.fixture(scope="session", autouse=True)
def own_cpu():
    """Where files of tests run side by side ($DMATOLL_TEST_CPUS, a directory for their locks), one CPU for this one."""
    directory = os.environ.get("DMATOLL_TEST_CPUS")
    if directory is None:
        yield
        return
    cpus = program.host_cpus()
    deadline = time.monotonic() + program.LIMIT
    while time.monotonic() < deadline:
        for cpu in cpus:
            with open(pathlib.Path(directory) / f"cpu{cpu}.lock", "w") as lock:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    continue
                os.sched_setaffinity(0, {cpu})
                yield
                return
        time.sleep(1)
    pytest.exit(f"no CPU of {cpus} is free for these tests: at most as many files at a time as there are CPUs (ctest --parallel)", returncode=1)


@pytest.fixture(scope="session")
def dmatoll():
    return pathlib.Path(os.environ["DMATOLL_PROGRAM"])


@pytest.fixture
def place():
    """A directory that is short-lived, and readable in messages."""
    with tempfile.TemporaryDirectory(prefix="dmatoll-test-") as name:
        yield pathlib.Path(name)


@pytest.fixture(scope="session")
def guest_image():
    """The lab with this directory's guest/ in its image, as $DMATOLL_LAB wants it."""
    with tempfile.TemporaryDirectory(prefix="dmatoll-test-lab-") as name:
        yield program.image_with(pathlib.Path(name), program.guest_files())
