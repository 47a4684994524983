# SPDX-License-Identifier: BSD-2-Clause
"""From instructions to functions and groups."""

import base64
import gzip
import json
import re

import pytest

from analysis import profile as profile_program, profiles
from analysis.function_groups import GROUPS, group_of
from analysis.symbols import Processes, SymbolError, Table, kernel_table, shorten

KERNEL_SYMBOLS = """ffffffff81000000 _stext
ffffffff81001000 tcp_sendmsg
ffffffff81002000 __schedule
ffffffffc0001000 dmatoll_poll [dmatoll_net]
ffffffffc0002000 dmatoll_queue_rq [dmatoll_blk]
"""
MAPS = """process 7 iperf3
555500000000-555500002000 r-xp 00001000 00:02 11 /usr/bin/iperf3
process 9 dmatoll-net-use
7f0000000000-7f0000001000 r-xp 00000000 00:00 0 [vdso]
"""


@pytest.fixture(autouse=True)
def nothing_was_built(monkeypatch):
    """The build tree holds another module than the symbols here speak of."""
    monkeypatch.setattr(profile_program, "find_file", lambda path: None)


def write_kernel_symbols(path, text=KERNEL_SYMBOLS):
    path.write_bytes(base64.encodebytes(gzip.compress(text.encode())))


def test_a_function_reaches_up_to_the_next_one():
    table = Table([(20, "second"), (10, "first")])
    assert [table.find(address) for address in (9, 10, 19, 20, 10**6)] == [None, "first", "first", "second", "second"]


def test_kernel_symbols_know_their_module(tmp_path):
    write_kernel_symbols(tmp_path / "symbols")
    table = kernel_table(tmp_path / "symbols")
    assert table.find(0xFFFFFFFF81001FFF) == ("kernel", "tcp_sendmsg")
    assert table.find(0xFFFFFFFFC0001004) == ("dmatoll_net", "dmatoll_poll")


@pytest.mark.parametrize("content", [b"", b"not base64!", base64.b64encode(b"not gzip")])
def test_broken_kernel_symbols_are_refused(tmp_path, content):
    (tmp_path / "symbols").write_bytes(content)
    with pytest.raises(SymbolError, match="symbols"):
        kernel_table(tmp_path / "symbols")


def test_hidden_kernel_addresses_are_refused(tmp_path):
    write_kernel_symbols(tmp_path / "symbols", "0000000000000000 tcp_sendmsg\n")
    with pytest.raises(SymbolError, match="hidden"):
        kernel_table(tmp_path / "symbols")


def test_an_address_belongs_to_the_mapping_around_it():
    processes = Processes(MAPS, lambda path: None)
    assert processes.find(0x555500001FFF) == ("iperf3", "iperf3")
    assert processes.find(0x7F0000000010) == ("[vdso]", "[vdso]")
    assert processes.find(0x555500002000) is None
    assert processes.find(0) is None


@pytest.mark.parametrize(
    ("long", "short"),
    [
        ("dmatoll::Strict<dmatoll::Domain<A, B> >::map(dmatoll::Memory, unsigned int)", "dmatoll::Strict::map"),
        ("void dmatoll::(anonymous namespace)::drive<int>(int)", "dmatoll::{anonymous}::drive"),
        ("main", "main"),
    ],
)
def test_a_name_loses_its_parameters(long, short):
    assert shorten(long) == short


@pytest.mark.parametrize(
    ("place", "name", "group"),
    [
        ("kernel", "tcp_sendmsg_locked", "ip stack"),
        ("kernel", "rep_movs_alternative", "copy"),
        ("kernel", "dequeue_task_fair", "scheduler"),
        ("kernel", "qi_submit_sync", "invalidation"),
        ("kernel", "alloc_iova_fast", "iova"),
        ("kernel", "__domain_mapping", "page table"),
        ("kernel", "dma_map_page_attrs", "mapping"),
        ("kernel", "do_syscall_64", "tap and system calls"),
        ("kernel", "handle_softirqs", "interrupt"),
        ("kernel", "kmem_cache_free.part.0", "memory"),
        ("kernel", "fq_codel_enqueue", "ip stack"),
        ("kernel", "nobody_knows_it", "other"),
        ("kernel", "try_grab_folio_fast", "memory"),
        ("kernel", "_raw_spin_lock_bh", "locks and lists"),
        ("kernel", "raw_spin_rq_unlock", "scheduler"),
        ("kernel", "fget", "tap and system calls"),
        ("kernel", "tasklet_action_common", "interrupt"),
        ("kernel", "blk_mq_submit_bio", "block layer"),
        ("ublk_drv", "ublk_copy_user_pages", "ublk"),
        ("dmatoll-disk-user", "dmatoll::user::ublk::serve", "driver"),
        ("dmatoll_net", "dmatoll_poll", "driver"),
        ("dmatoll_net", "dmatoll_domain_unmap", "page table"),
        ("dmatoll_net", "dmatoll_domain_invalidate", "invalidation"),
        ("dmatoll-net-user", "dmatoll::user::EventLoop::run", "driver"),
        ("e1000", "e1000_xmit_frame", "driver"),
        ("tun", "tun_do_read", "tap and system calls"),
        ("libc.so.6", "malloc", "workload"),
        ("unknown", "0x10", "workload"),
    ],
)
def test_groups(place, name, group):
    assert group_of(place, name) == group
    assert group in GROUPS


def test_every_group_has_a_colour_of_its_own():
    colours = [profiles.colour_of(group) for group in GROUPS]
    assert len(set(colours)) == len(GROUPS)


def profiled_run(directory, counts, counted):
    """A run of one trial: `counts` in the meter's profile, `counted` instructions in its window."""
    raw = directory / "raw" / "0-trial"
    raw.mkdir(parents=True)
    write_kernel_symbols(raw / "kernel-symbols")
    (raw / "maps.txt").write_text(MAPS)
    boot = directory / "raw" / "boot-0"
    boot.mkdir()
    (boot / "profile.jsonl").write_text(json.dumps({"window": 3, "instructions": counts}) + "\n")
    return {
        "trial": "0-trial",
        "repetition": {"boot": 0, "guest": 1},
        "window_ns": 1000, "metrics": {"packets": 10},
        "meters": {"lab_instructions": {"window": 3, "vcpus": [{"user": counted, "kernel": 0}, {"user": 5, "kernel": 5}]}},
    }


# One address more than once: blocks of instructions overlap.
COUNTS = [["ffffffff81001004", 500], ["ffffffff81001004", 100], ["ffffffff81001100", 100], ["ffffffffc0001000", 250], ["555500000000", 50]]


def test_instructions_are_summed_up_by_function_and_group(tmp_path):
    record = profiled_run(tmp_path, COUNTS, 1000)
    result = profile_program.profile_of(record, tmp_path)
    assert result["total"] == 1000
    assert {group: count for group, count in result["groups"].items() if count} == {"ip stack": 700, "driver": 250, "workload": 50}
    assert result["functions"][0] == {"name": "tcp_sendmsg", "object": "kernel", "group": "ip stack", "instructions": 700}
    assert (result["unit"], result["count"]) == ("packet", 10)
    text = profile_program.table([result], 1)
    assert "instructions per packet" in text
    assert "ip stack" in text and "70" in text and "kernel: tcp_sendmsg" in text


def test_a_profile_that_disagrees_with_the_meter_is_refused(tmp_path):
    record = profiled_run(tmp_path, COUNTS, 1001)
    with pytest.raises(SymbolError, match="the meter counted 1001"):
        profile_program.profile_of(record, tmp_path)


def test_a_window_without_a_profile_is_an_error(tmp_path):
    record = profiled_run(tmp_path, COUNTS, 1000)
    record["meters"]["lab_instructions"]["window"] = 4
    with pytest.raises(SymbolError, match="no profile of window 4"):
        profile_program.profile_of(record, tmp_path)


def test_a_disk_is_profiled_by_io(tmp_path):
    """Of 40 I/Os that were counted for 2000 ns, 20 were in the window of 1000 ns."""
    record = profiled_run(tmp_path, [["ffffffff81002000", 400], ["ffffffffc0002010", 600]], 1000)
    record |= {"metrics": {"ios": 40}, "ios_interval_ns": 2000}
    result = profile_program.profile_of(record, tmp_path)
    assert (result["unit"], result["count"]) == ("io", 20)
    assert {group: count for group, count in result["groups"].items() if count} == {"scheduler": 400, "driver": 600}
    text = profile_program.table([result], 1)
    assert "instructions per I/O" in text and "packet" not in text
    assert re.search(r"^total +50$", text, re.MULTILINE) and "dmatoll_blk: dmatoll_queue_rq" in text


@pytest.mark.parametrize("metrics", [{}, {"packets": 0}, {"ios": 0}])
def test_a_trial_that_carried_nothing_is_refused(tmp_path, metrics):
    record = profiled_run(tmp_path, COUNTS, 1000) | {"metrics": metrics}
    with pytest.raises(SymbolError, match="neither packets nor I/Os"):
        profile_program.profile_of(record, tmp_path)
