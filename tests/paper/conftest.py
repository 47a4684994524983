# SPDX-License-Identifier: BSD-2-Clause
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# The synthetic records are those of the analysis's tests.
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "analysis")]
