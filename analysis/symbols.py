# SPDX-License-Identifier: BSD-2-Clause
"""Names for addresses: of the guest's kernel, and of the programs and libraries in its processes."""

import base64
import bisect
import gzip
import re
import shutil
import subprocess
import zlib
from pathlib import Path


class SymbolError(Exception):
    """Symbols that cannot be read. The message names the file or the program."""


class Table:
    """Functions by where they begin; a function reaches up to the next one."""

    def __init__(self, functions):
        functions = sorted(functions)
        self.starts = [start for start, _ in functions]
        self.names = [name for _, name in functions]

    def find(self, address):
        at = bisect.bisect_right(self.starts, address) - 1
        return self.names[at] if at >= 0 else None

    def start(self, address):
        """Where the function begins that find() names."""
        at = bisect.bisect_right(self.starts, address) - 1
        return self.starts[at] if at >= 0 else None

    def items(self):
        return zip(self.names, self.starts)


def kernel_table(path):
    """Reads what the guest saved: gzip in base64, lines `address name [module]`. Names are (object, function)."""
    try:
        text = gzip.decompress(base64.b64decode(path.read_bytes())).decode(errors="replace")
    except (OSError, ValueError, EOFError, zlib.error) as error:
        raise SymbolError(f"{path}: no kernel symbols: {error}") from error
    functions = []
    for line in text.splitlines():
        words = line.split()
        if len(words) not in (2, 3) or not re.fullmatch(r"[0-9a-f]{1,16}", words[0]):
            continue
        start = int(words[0], 16)
        functions.append((start, (words[2].strip("[]") if len(words) == 3 else "kernel", words[1])))
    if not functions or not any(start for start, _ in functions):
        raise SymbolError(f"{path}: the kernel's addresses are hidden or missing")
    return Table(functions)


def program_table(program):
    """The functions of an ELF file, by their offset in it; empty if it has no symbols."""
    nm = shutil.which("nm")
    if nm is None:
        raise SymbolError("nm is missing: install the package binutils")
    functions = []
    for dynamic in ([], ["--dynamic"]):
        ended = subprocess.run([nm, "--demangle", "--defined-only", *dynamic, str(program)], capture_output=True, text=True, check=False)
        for line in ended.stdout.splitlines():
            match = re.match(r"([0-9a-f]+) [tTwWiu] (.+)", line)
            if match:
                functions.append((int(match[1], 16), shorten(match[2].split("@")[0])))
    return Table(functions)


def shorten(name):
    """A C++ function without its parameters and template arguments: they make lines of a thousand characters."""
    depth = 0
    kept = []
    for character in name.replace("(anonymous namespace)", "{anonymous}").replace("operator()", "operator{}"):
        if character == "<":
            depth += 1
        elif character == ">":
            depth -= 1
        elif character == "(" and depth == 0:
            break
        elif depth == 0:
            kept.append(character)
    words = "".join(kept).split(" ")
    return words[-1] or name


class Processes:
    """Executable mappings of the guest's processes, and the files behind them on this machine."""

    def __init__(self, maps, find_file):
        """`maps`: the text that the guest saved; find_file(path in the guest) -> Path here, or None."""
        self.ranges = []
        self.find_file = find_file
        self.tables = {}
        for line in maps.splitlines():
            match = re.match(r"([0-9a-f]+)-([0-9a-f]+) r-xp ([0-9a-f]+) \S+ \d+\s*(.*)", line)
            if match:
                self.ranges.append((int(match[1], 16), int(match[2], 16), int(match[3], 16), match[4].strip()))
        self.ranges.sort()
        self.starts = [entry[0] for entry in self.ranges]

    def place(self, address):
        """(file in the guest, address in the file). None: in no mapping."""
        at = bisect.bisect_right(self.starts, address) - 1
        if at < 0 or address >= self.ranges[at][1]:
            return None
        start, _, offset, file = self.ranges[at]
        # Position-independent code: a file's offset is its address, but for a whole number of pages between segments.
        return file, address - start + offset

    def find(self, address):
        """(object, function); the function is the object itself where it has no symbols. None: in no mapping."""
        place = self.place(address)
        if place is None:
            return None
        file, inside = place
        name = Path(file).name or "anonymous"
        if file not in self.tables:
            here = self.find_file(file) if file.startswith("/") else None
            self.tables[file] = program_table(here) if here else Table([])
        return name, self.tables[file].find(inside) or name
