# SPDX-License-Identifier: BSD-2-Clause
"""What the tests of the program share: the program itself, images with faults built in, processes that are watched."""

import os
import pathlib
import tempfile

import pytest

import program


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
