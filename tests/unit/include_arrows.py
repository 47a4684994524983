#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Keeps the arrows between the rooms pointing the right way.

Usage: include_arrows.py TREE. Prints every include that points the wrong way, and exits with 1 if there is one.

The rules: core includes nothing of ours but core; a device's, the mapping and the dma room include core and themselves;
kernel, user and model include those, never each other; the harness includes core of the drivers only. The
matched part asks for no operating system: no header beyond the freestanding ones, and no conditional that
could tell the placements apart. The analysis reads records and imports nothing from the rest of the tree.
"""

import ast
import re
import sys
from pathlib import Path

SOURCES = {".c", ".cc", ".cpp", ".h", ".hh", ".hpp"}
# Rooms of drivers/, each with the rooms that it may include besides itself.
MATCHED = {"core", "mapping", "dma", "e1000", "ahci"}
MAY_INCLUDE = {
    "core": set(),
    "mapping": {"core"},
    "dma": {"core"},
    "e1000": {"core"},
    "ahci": {"core"},
    "kernel": MATCHED,
    "user": MATCHED,
    "model": MATCHED,
}
# Freestanding headers of C++20 that the matched part may use.
FREESTANDING = {
    "array", "atomic", "bit", "climits", "compare", "concepts", "cstddef", "cstdint", "limits", "span",
    "type_traits", "version",
}  # fmt: skip
HARNESS_MAY_INCLUDE = {"core"}

INCLUDE = re.compile(r'^\s*#\s*include\s*(?:"([^"]+)"|<([^>]+)>)')
CONDITIONAL = re.compile(r"^\s*#\s*(if|ifdef|ifndef|elif|else)\b")


def without_comments(text):
    """Blanks comments, keeping line numbers, so that an include in a comment is none."""

    def blank(match):
        kept = match.group(0)
        return kept if kept.startswith('"') else re.sub(r"[^\n]", " ", kept)

    return re.sub(r'"(?:\\.|[^"\\\n])*"|//[^\n]*|/\*.*?\*/', blank, text, flags=re.DOTALL)


def sources_below(folder):
    return sorted(path for path in folder.rglob("*") if path.suffix in SOURCES and path.is_file())


def room_of(path, tree):
    """The room that a file lies in: ("drivers", "core"), ("harness", ""), or None outside of the tree."""
    try:
        parts = path.resolve().relative_to(tree).parts
    except ValueError:
        return None
    if parts[0] == "drivers":
        return ("drivers", parts[1] if len(parts) > 2 else "")
    return (parts[0], "")


def resolve(name, includer, tree):
    """Where an include leads: beside the file, or below a folder that the build searches. None: not ours."""
    for base in (includer.parent, tree / "drivers", tree / "harness", tree):
        candidate = base / name
        if candidate.is_file():
            return candidate
    return None


def check_drivers(tree):
    problems = []
    for path in sources_below(tree / "drivers"):
        _, room = room_of(path, tree)
        where = path.relative_to(tree)
        if room not in MAY_INCLUDE:
            problems.append(f"{where}: drivers/{room} is a room that include_arrows.py does not know")
            continue
        for number, line in enumerate(without_comments(path.read_text()).splitlines(), 1):
            if room in MATCHED and CONDITIONAL.match(line):
                problems.append(f"{where}:{number}: a conditional in the matched part: {line.strip()}")
            include = INCLUDE.match(line)
            if not include:
                continue
            name = include.group(1) or include.group(2)
            target = resolve(name, path, tree)
            if target is None:
                if room in MATCHED and (include.group(1) or name not in FREESTANDING):
                    problems.append(f"{where}:{number}: {name} is no freestanding header")
                continue
            top, target_room = room_of(target, tree) or ("outside", "")
            if top != "drivers" or (target_room != room and target_room not in MAY_INCLUDE[room]):
                name = target.resolve().relative_to(tree)
                problems.append(f"{where}:{number}: drivers/{room} must not include {name}")
    return problems


def check_harness(tree):
    problems = []
    for path in sources_below(tree / "harness") + sources_below(tree / "workloads"):
        for number, line in enumerate(without_comments(path.read_text()).splitlines(), 1):
            include = INCLUDE.match(line)
            target = include and resolve(include.group(1) or include.group(2), path, tree)
            if not target:
                continue
            top, room = room_of(target, tree)
            if top == "drivers" and room not in HARNESS_MAY_INCLUDE:
                where = f"{path.relative_to(tree)}:{number}"
                name = target.resolve().relative_to(tree)
                problems.append(f"{where}: outside of drivers/ only core may be included, not {name}")
    return problems


def check_analysis(tree):
    """Python below analysis/ and paper/ imports installed packages and its own modules."""
    problems = []
    others = {folder.name for folder in tree.iterdir() if folder.is_dir()} - {"analysis"}
    for folder in ("analysis", "paper"):
        for path in sorted((tree / folder).rglob("*.py")):
            where = path.relative_to(tree)
            for node in ast.walk(ast.parse(path.read_text(), str(path))):
                names = []
                if isinstance(node, ast.Import):
                    names = [alias.name for alias in node.names]
                elif isinstance(node, ast.ImportFrom) and node.level == 0:
                    names = [node.module or ""]
                elif isinstance(node, ast.ImportFrom):
                    base = path.parent
                    for _ in range(node.level - 1):
                        base = base.parent
                    if not base.is_relative_to(tree / folder):
                        problems.append(f"{where}:{node.lineno}: an import from outside of {folder}/")
                problems += [
                    f"{where}:{node.lineno}: imports {name} of the tree"
                    for name in names
                    if name.split(".")[0] in others - {folder}
                ]
    return problems


def main():
    tree = Path(sys.argv[1]).resolve()
    if not (tree / "drivers" / "core").is_dir():
        sys.exit(f"include_arrows.py: {tree} is not the tree: there is no drivers/core")
    problems = check_drivers(tree) + check_harness(tree) + check_analysis(tree)
    for problem in problems:
        print(problem)
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
