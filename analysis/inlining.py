# SPDX-License-Identifier: BSD-2-Clause
"""Which source an instruction comes from, through what the compiler inlined, by the debug information beside our own objects."""

import re
import shutil
import subprocess
from collections import defaultdict

from analysis.symbols import SymbolError


def tool(name, *arguments, text=""):
    found = shutil.which(name)
    if found is None:
        raise SymbolError(f"{name} is missing: install the package binutils")
    ended = subprocess.run([found, *arguments], input=text, capture_output=True, text=True, check=False)
    if ended.returncode != 0:
        raise SymbolError(f"{name} {' '.join(arguments)}: {ended.stderr.strip()}")
    return ended.stdout


def build_id(path):
    found = re.search(r"Build ID: ([0-9a-f]+)", tool("readelf", "--notes", "--wide", str(path)))
    return found[1] if found else None


def frames_at(path, addresses, section=None):
    """{address: [(function, file)]}, the innermost inlined function first; empty where nothing is known."""
    options = ["--exe", str(path), "--addresses", "--inlines", "--functions", "--demangle"]
    if section is not None:
        options += ["--section", section]
    text = tool("addr2line", *options, text="".join(f"{address:#x}\n" for address in addresses))
    return parse_frames(text)


def parse_frames(text):
    """Of addr2line: an address, then for each frame a line with its function and one with FILE:LINE."""
    result, frames, function = {}, [], None
    for line in text.splitlines():
        if function is None and re.fullmatch(r"0x[0-9a-f]+", line):
            frames = result.setdefault(int(line, 16), [])
        elif function is None:
            function = line
        else:
            file = line.rsplit(":", 1)[0]
            if file != "??":
                frames.append((function, file))
            function = None
    return result


class ProgramLines:
    """Of a program whose debug information was split off into FILE.debug; it knows nothing if there is none."""

    def __init__(self, program):
        self.debug = program.with_name(program.name + ".debug")
        if not self.debug.is_file():
            self.debug = None
        elif build_id(self.debug) != build_id(program):
            raise SymbolError(f"{self.debug}: not of the same build as {program}: build both again")

    def frames(self, addresses):
        return frames_at(self.debug, addresses) if self.debug and addresses else {}


class ObjectLines:
    """Of an object that was linked into a module, by the addresses that the module's symbols had when it ran."""

    def __init__(self, path, loaded):
        """`loaded`: {symbol: address}. Every symbol of a section has to be as far from it as in the object."""
        self.path = path
        self.symbols = {}
        bases = defaultdict(set)
        for line in tool("objdump", "--syms", "--wide", str(path)).splitlines():
            match = re.match(r"([0-9a-f]+) .{6}F (\.text\S*)\s+([0-9a-f]+) (?:\.hidden )?(\S+)$", line)
            if match and match[4] in loaded:
                self.symbols[match[4]] = (match[2], int(match[1], 16), int(match[3], 16))
                bases[match[2]].add(loaded[match[4]] - int(match[1], 16))
        if any(len(found) != 1 for found in bases.values()) or not bases:
            raise SymbolError(f"{path}: not of the module that ran: build again, and run the profile again")

    def frames(self, places):
        """`places`: {address: (symbol, offset into it)}."""
        sections = defaultdict(dict)
        for address, (symbol, offset) in places.items():
            if symbol not in self.symbols:
                continue
            section, start, size = self.symbols[symbol]
            if offset < size:
                sections[section][start + offset] = address
        result = {}
        for section, wanted in sections.items():
            found = frames_at(self.path, list(wanted), section)
            result.update({wanted[at]: frames for at, frames in found.items() if at in wanted})
        return result
