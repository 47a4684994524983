# SPDX-License-Identifier: BSD-2-Clause
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import synthetic  # noqa: E402


@pytest.fixture
def run(tmp_path):
    """A run directory: 3 seeds, 10 combinations, 4 workloads."""
    return synthetic.write_run(tmp_path / "synthetic-run", synthetic.records())


@pytest.fixture
def report():
    """Runs report.py the way a user does: as a script, from elsewhere."""

    def call(*arguments, **options):
        return subprocess.run(
            [sys.executable, str(ROOT / "analysis" / "report.py"), *map(str, arguments)],
            stdout=options.pop("stdout", subprocess.PIPE),
            stderr=subprocess.PIPE,
            text=True,
            timeout=120,
            cwd="/",
            **options,
        )

    return call
