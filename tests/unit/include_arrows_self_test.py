#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Plants wrong includes in a copy of the tree, one at a time, and sees each of them reported.

Usage: include_arrows_self_test.py TREE
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

# What is planted, and what the report must name.
PLANTED = [
    ("drivers/core/planted.hpp",
     '#include "../mapping/backend.hpp"\n',
     "drivers/core must not include drivers/mapping/backend.hpp"),
    ("drivers/core/planted.hpp",
     '#include "e1000/registers.hpp"\n',
     "drivers/core must not include drivers/e1000/registers.hpp"),
    ("drivers/mapping/planted.hpp",
     '#include "../e1000/registers.hpp"\n',
     "drivers/mapping must not include"),
    ("drivers/e1000/planted.hpp",
     '#include "../mapping/strict.hpp"\n',
     "drivers/e1000 must not include"),
    ("drivers/e1000/planted.hpp",
     "#include <linux/pci.h>\n", "linux/pci.h is no freestanding header"),
    ("drivers/core/planted.hpp",
     "#include <vector>\n", "vector is no freestanding header"),
    ("drivers/mapping/planted.hpp",
     "#ifdef __KERNEL__\n#endif\n", "a conditional in the matched part"),
    ("drivers/e1000/planted.hpp",
     "#if defined(__STDC_HOSTED__)\n#endif\n", "a conditional in the matched part"),
    ("drivers/model/planted.hpp",
     '#include "../user/planted_too.hpp"\n',
     "drivers/model must not include"),
    ("drivers/user/planted.hpp",
     '#include "model/software_iommu.hpp"\n',
     "drivers/user must not include"),
    ("drivers/kernel/planted.cpp",
     '#include "../model/checksum.hpp"\n',
     "drivers/kernel must not include"),
    ("drivers/garage/planted.cpp", "int x;\n", "a room that include_arrows.py does not know"),
    ("harness/planted.cpp",
     '#include "../drivers/e1000/registers.hpp"\n', "only core may be included"),
    ("harness/planted.cpp",
     '#include "mapping/strict.hpp"\n', "only core may be included"),
    ("analysis/planted.py", "import harness.plan\n", "imports harness.plan"),
    ("analysis/planted.py", "from ..drivers import core\n", "an import from outside of analysis/"),
]
# What looks wrong and is not.
HARMLESS = [
    ("drivers/core/planted.hpp", '// #include "../mapping/backend.hpp"\n/* #ifdef X\n*/\n#include <cstdint>\n'),
    ("drivers/mapping/planted.hpp",
     '#include "core/result.hpp"\n#include "backend.hpp"\n'),
    ("drivers/model/planted.cpp",
     '#include <vector>\n#include "mapping/strict.hpp"\n#ifdef X\n#endif\n'),
    ("harness/planted.cpp",
     '#include "core/strategy.hpp"\n#include <string>\n'),
    ("analysis/planted.py", "import json\nimport numpy\n"),
]


def run(tree):
    script = Path(__file__).with_name("include_arrows.py")
    return subprocess.run([sys.executable, str(script), str(tree)], capture_output=True, text=True)


def main():
    source = Path(sys.argv[1]).resolve()
    failures = []
    with tempfile.TemporaryDirectory() as temporary:
        tree = Path(temporary)
        for room in ("drivers", "harness", "analysis", "workloads"):
            for path in (source / room).rglob("*"):
                if path.is_file() and path.suffix in {".hpp", ".cpp", ".h", ".c", ".py"}:
                    copy = tree / path.relative_to(source)
                    copy.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy(path, copy)
        before = run(tree)
        if before.returncode != 0:
            failures.append(f"the unchanged tree is refused already:\n{before.stdout}{before.stderr}")
        companion = tree / "drivers/user/planted_too.hpp"
        for name, text, expected in PLANTED + [(name, text, None) for name, text in HARMLESS]:
            path = tree / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            companion.parent.mkdir(parents=True, exist_ok=True)
            companion.write_text("int companion;\n")
            result = run(tree)
            if expected is None and result.returncode != 0:
                failures.append(f"refused though harmless: {name}: {text!r}\n{result.stdout}{result.stderr}")
            if expected is not None and (result.returncode != 1 or expected not in result.stdout):
                failures.append(f"not caught: {name}: {text!r}\n{result.stdout}{result.stderr}")
            path.unlink()
            if name.startswith("drivers/garage/"):
                path.parent.rmdir()
    print("\n".join(failures) if failures else f"{len(PLANTED)} planted includes were caught")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
