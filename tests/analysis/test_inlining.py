# SPDX-License-Identifier: BSD-2-Clause
"""Instructions of our own objects count for the innermost inlined function, by its source."""

import re
import shutil
import subprocess

import pytest
from test_profile import profiled_run, write_kernel_symbols

from analysis import profile as profile_program
from analysis.function_groups import source_group
from analysis.inlining import ObjectLines, ProgramLines, build_id, parse_frames
from analysis.symbols import SymbolError, Table

# A strategy, a copy routine and an allocator that are inlined into a driver's function; a ring's arithmetic in the strategy.
SOURCES = {
    "drivers/core/ring.hpp": "inline int after(int index) { return (index + 3) ^ 0x55; }\n",
    "drivers/core/copy.hpp": "extern volatile int bytes;\ninline void copy_bytes() { bytes = bytes + 1; bytes = bytes + 2; }\n",
    "drivers/mapping/iova/size_classes.hpp": "extern volatile int ranges;\ninline void allocate() { ranges = ranges + 1; }\n",
    "drivers/mapping/strict.hpp": '#include "../core/ring.hpp"\n#include "iova/size_classes.hpp"\nextern volatile int table;\n'
    "inline void map() { allocate(); table = after(table); }\n",
    "drivers/e1000/driver.cpp": '#include "../core/copy.hpp"\n#include "../mapping/strict.hpp"\nvolatile int bytes, ranges, table, doorbell;\n'
    'extern "C" __attribute__((noinline)) void transmit() { doorbell = 1; map(); copy_bytes(); doorbell = 2; }\n'
    'extern "C" __attribute__((noinline)) void receive() { doorbell = 3; }\nint main() { transmit(); receive(); }\n',
}
LOADED_AT = 0xFFFFFFFFC0002000


def run(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    if shutil.which("g++") is None:
        pytest.skip("there is no g++")
    place = tmp_path_factory.mktemp("inlining")
    for name, text in SOURCES.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(text)
    source = str(place / "drivers/e1000/driver.cpp")
    run("g++", "-std=c++20", "-O2", "-g1", "-c", source, "-o", str(place / "nic.debug.o"))
    run("g++", "-std=c++20", "-O2", "-g1", "-fPIE", "-pie", "-Wl,--build-id", source, "-o", str(place / "program"))
    return place


def symbols(path):
    """{name: address}"""
    return {words[2]: int(words[0], 16) for words in map(str.split, run("nm", "--defined-only", str(path)).splitlines()) if words[1] in "Tt"}


def instructions(path, function):
    """Addresses of a function's instructions."""
    text = run("objdump", "--disassemble=" + function, "--section=.text", "--no-show-raw-insn", str(path))
    return [int(match[1], 16) for match in re.finditer(r"^ *([0-9a-f]+):\t", text, re.MULTILINE)]


def test_a_module_is_split_by_what_was_inlined(built, tmp_path, monkeypatch):
    lines = built / "nic.debug.o"
    monkeypatch.setattr(profile_program, "find_file", lambda path: lines if path == "nic.debug.o" else None)
    inside = symbols(lines)
    at = instructions(lines, "transmit") + instructions(lines, "receive")
    record = profiled_run(tmp_path, [[f"{LOADED_AT + address:x}", 10] for address in at], 10 * len(at))
    write_kernel_symbols(
        tmp_path / "raw/0-trial/kernel-symbols",
        "ffffffff81000000 _stext\n" + "".join(f"{LOADED_AT + inside[name]:x} {name} [dmatoll_net]\n" for name in ("transmit", "receive")),
    )
    result = profile_program.profile_of(record, tmp_path)
    assert sum(result["groups"].values()) == result["total"] == 10 * len(at)
    # By the outer function all of it would be the driver's.
    for group in ("driver", "mapping", "iova", "copy"):
        assert result["groups"][group] > 0, group
    by_name = {function["name"]: function for function in result["functions"]}
    assert by_name["copy_bytes"]["group"] == "copy"
    assert by_name["allocate"]["group"] == "iova"
    # A ring's arithmetic is for what the strategy is for.
    assert by_name["map"]["group"] == "mapping" and "after" not in by_name
    assert by_name["receive"]["group"] == "driver"


@pytest.mark.parametrize(("module", "object_"), [("dmatoll_net", "strategies"), ("dmatoll_blk", "hba"), ("dmatoll_blk", "blk_strategies")])
def test_each_object_of_each_module_is_looked_into(built, tmp_path, monkeypatch, module, object_):
    lines = built / "nic.debug.o"
    monkeypatch.setattr(profile_program, "find_file", lambda path: lines if path == f"{object_}.debug.o" else None)
    loaded = Table([(LOADED_AT + symbols(lines)[name], (module, name)) for name in ("transmit", "receive")])
    frames = profile_program.module_frames([LOADED_AT + at for at in instructions(lines, "transmit")], loaded)
    groups = {found[0] for found in map(source_group, frames.values()) if found}
    assert {"driver", "mapping", "iova", "copy"} <= groups


def test_a_module_that_is_not_the_one_that_ran_is_refused(built):
    inside = symbols(built / "nic.debug.o")
    loaded = {"transmit": LOADED_AT + inside["transmit"], "receive": LOADED_AT + inside["receive"] + 16}
    with pytest.raises(SymbolError, match="not of the module that ran"):
        ObjectLines(built / "nic.debug.o", loaded)
    with pytest.raises(SymbolError, match="not of the module that ran"):
        ObjectLines(built / "nic.debug.o", {"stranger": 1})


def test_a_program_is_read_from_the_file_beside_it(built, tmp_path):
    program = tmp_path / "program"
    shutil.copy(built / "program", program)
    assert not ProgramLines(program).frames([symbols(program)["transmit"]]), "there is no file beside it"
    run("objcopy", "--only-keep-debug", str(program), str(program) + ".debug")
    run("strip", "--strip-debug", str(program))
    assert build_id(program)
    frames = ProgramLines(program).frames(instructions(program, "transmit"))
    groups = {found[0] for found in map(source_group, frames.values()) if found}
    assert {"driver", "mapping", "iova", "copy"} <= groups


def test_another_builds_file_is_refused(built, tmp_path):
    program = tmp_path / "program"
    shutil.copy(built / "program", program)
    other = built / "drivers/e1000/driver.cpp"
    run("g++", "-std=c++20", "-O1", "-g1", "-pie", "-fPIE", "-Wl,--build-id", str(other), "-o", str(program) + ".debug")
    with pytest.raises(SymbolError, match="not of the same build"):
        ProgramLines(program)


def test_frames_are_read_from_the_innermost_outwards():
    text = "0x10\na::map(int)\n/x/drivers/mapping/strict.hpp:7\nouter\n/x/drivers/e1000/driver.hpp:8 (discriminator 2)\n0x20\n??\n??:0\n"
    assert parse_frames(text) == {
        0x10: [("a::map(int)", "/x/drivers/mapping/strict.hpp"), ("outer", "/x/drivers/e1000/driver.hpp")],
        0x20: [],
    }


@pytest.mark.parametrize(
    ("files", "group"),
    [
        (["drivers/mapping/deferred.hpp", "drivers/e1000/driver.hpp"], "mapping"),
        (["/a/drivers/mapping/iova/size_classes.hpp", "/a/drivers/mapping/domain.hpp"], "iova"),
        (["/a/drivers/mapping/../core/copy.hpp", "/a/drivers/mapping/copy.hpp"], "copy"),
        (["/a/drivers/core/ring.hpp", "/a/drivers/e1000/transmit_side.hpp"], "driver"),
        (["/usr/include/c++/12/span", "/a/drivers/mapping/strict.hpp"], "mapping"),
        (["/a/build/release/drivers/kernel/module/kernel_backend.hpp", "/a/drivers/mapping/domain.hpp"], "page table"),
        (["/a/drivers/user/tap.cpp"], "tap and system calls"),
        (["/usr/include/c++/12/span"], None),
        ([], None),
    ],
)
def test_a_file_decides_unless_it_helps_everybody(files, group):
    found = source_group([("f", file) for file in files])
    assert (found and found[0]) == group
