# SPDX-License-Identifier: BSD-2-Clause
"""What strategies protect, tried in a guest as a user would try it."""

import pytest

import program

USER = ["strict", "shared", "deferred", "optimistic", "contiguous", "copy", "hybrid-copy", "on-demand", "persistent"]
KERNEL = [*USER, "passthrough", "linux-strict", "linux-lazy", "linux-identity"]
COPIED = ("copy", "hybrid-copy")  # what is as short as these buffers
POINTS = [("kernel", strategy) for strategy in KERNEL] + [("user", strategy) for strategy in USER]
# Those that give up a buffer some time later, and when.
USUAL = {"deferred": 10, "optimistic": 10, "contiguous": 10}
ROUNDS = 4
ANYWHERE = ("passthrough", "linux-identity")  # under which the device reaches all memory


def probed(dmatoll, tmp_path_factory, device):
    """The ended program, and {(placement, strategy, window in ms or None): record}."""
    place = tmp_path_factory.mktemp("probe") / "run"
    # One after the other takes longer than the usual limit on a busy machine.
    ended = program.run(dmatoll, "probe", "--filter", f"workload=probe,device={device}", "--output", place, "--jobs", "1", limit=580)
    return ended, {(each["placement"], each["strategy"]["name"], window_of(each)): each for each in program.records(place)}


@pytest.fixture(scope="module")
def run(dmatoll, tmp_path_factory):
    return probed(dmatoll, tmp_path_factory, "82540EM")


@pytest.fixture(scope="module")
def attacked(dmatoll, tmp_path_factory):
    place = tmp_path_factory.mktemp("attacked") / "run"
    ended = program.run(dmatoll, "probe", "--filter", "workload=probe-driver", "--output", place, "--jobs", "1", limit=580)
    return ended, {(each["device"]["model"], each["strategy"]["name"]): each for each in program.records(place)}


def window_of(record):
    """In ms; None if the strategy has no such parameter."""
    return next((value for name, value in record["strategy"]["parameters"].items() if name.endswith("_milliseconds")), None)


def cells_of(run, point):
    record = run[1][point if len(point) == 3 else (*point, USUAL.get(point[1]))]
    assert record["status"] == "ok", record.get("reason")
    return {(cell["attacker"], cell["asset"], cell["access"]): cell for cell in record["probe"]["cells"]}


def test_no_strategy_protects_less_than_it_promises(run):
    ended, records = run
    assert {point[:2] for point in records} == set(POINTS)
    broken = [(point, cell) for point in records for cell in cells_of(run, point).values() if cell["verdict"] == "less than promised"]
    assert broken == []
    assert ended.returncode == 0, ended.stdout[-4000:] + ended.stderr[-4000:]
    assert "What each strategy protects, tried" in ended.stdout
    assert all(record["metrics"]["less_than_promised"] == 0 for record in records.values())


@pytest.mark.parametrize("point", POINTS)
def test_memory_that_was_never_given_away_is_out_of_reach(run, point):
    cells = cells_of(run, point)
    for attacker in ("device", "driver"):
        for access in ("foreign_write", "foreign_read"):
            cell = cells[attacker, "kernel", access]
            if (point[0] == "kernel" and attacker == "driver") or (access == "foreign_write" and point[1] in ANYWHERE):
                assert cell["verdict"] == "not tried" and cell["accesses"] == 0 and cell["promised"] == "nothing", cell
            else:
                assert cell["accesses"] == ROUNDS
                assert cell["reached"] == (ROUNDS if point[1] in ANYWHERE else 0), cell


@pytest.mark.parametrize("point", POINTS)
def test_what_is_mapped_for_another_device_only_is_out_of_reach(run, point):
    cells = cells_of(run, point)
    for attacker in ("device", "driver"):
        for access in ("other_domain_write", "other_domain_read"):
            cell = cells[attacker, "kernel", access]
            assert "reason" not in cell, cell
            if (point[0] == "kernel" and attacker == "driver") or point[1] in ANYWHERE:
                assert cell["verdict"] == "not tried" and cell["accesses"] == 0 and cell["promised"] == "nothing", cell
            else:
                assert cell["accesses"] == ROUNDS and cell["reached"] == 0 and cell["promised"] == "refused", cell


def test_faults_in_the_log_are_a_lower_bound(run):
    # The kernel does not print each, and after many none for a while.
    assert sum(record["probe"]["faults_logged"] for record in run[1].values()) > 0


def test_of_a_device_that_ends_each_access_no_restart_is_counted(run):
    # The emulated card reports what was refused as done.
    for record in run[1].values():
        assert {cell["device_restarts"] for cell in record["probe"]["cells"] if cell["verdict"] != "not tried"} == {0}


@pytest.mark.parametrize("point", POINTS)
def test_a_page_is_what_the_iommu_knows(run, point):
    cells = cells_of(run, point)
    for access in ("neighbour_write", "neighbour_read"):
        cell = cells["device", "driver", access]
        assert cell["reached"] == (0 if point[1] in COPIED else cell["accesses"]), cell
    cell = cells["device", "driver", "backward_write"]
    assert cell["reached"] == (cell["accesses"] if point[1] in ANYWHERE else 0), cell
    # What may be written may be read.
    cell = cells["device", "driver", "backward_read"]
    assert cell["reached"] == (0 if point[1] in COPIED else cell["accesses"]), cell


@pytest.mark.parametrize("point", POINTS)
def test_a_buffer_that_was_taken_back_stays_within_reach_as_long_as_the_strategy_says(run, point):
    cells = cells_of(run, point)
    for access in ("stale_write", "stale_read"):
        cell = cells["device", "driver", access]
        if point[1] in ("strict", "shared", "linux-strict", *COPIED):
            assert cell["reached"] == 0 and cell["accesses"] == ROUNDS, cell
        elif point[1] in ("persistent", "on-demand", *ANYWHERE):
            assert cell["open"] == ROUNDS and cell["promised"] == "nothing", cell
        else:
            # The window is there, and it ends.
            assert cell["reached"] > 0 and cell["open"] == 0 and cell["longest_ns"] < cell["refused_ns"], cell


@pytest.mark.parametrize("strategy", USUAL)
@pytest.mark.parametrize("placement", ["kernel", "user"])
def test_the_window_is_the_parameters(run, placement, strategy):
    for access in ("stale_write", "stale_read"):
        short, usual, long = (cells_of(run, (placement, strategy, window))["device", "driver", access] for window in (1, 10, 30))
        assert short["longest_ns"] < usual["longest_ns"] < long["longest_ns"]
        assert [cell["promised_ns"] for cell in (short, usual, long)] == [1_000_000, 10_000_000, 30_000_000]


ATTACKERS = [(device, strategy) for device in ("82540EM", "82574L") for strategy in ("strict", "persistent")]
# What an attempt is answered where something is in its way at once: the process has no such memory, no such right, or has had its share.
ANSWERS = {
    "map_kernel_write": "EFAULT", "map_kernel_read": "EFAULT", "map_foreign_write": "EFAULT", "map_foreign_read": "EFAULT", "map_read_only": "EFAULT",
    "process_read": "ESRCH", "process_write": "ESRCH", "trace_read": "ESRCH", "trace_write": "ESRCH", "signal": "ESRCH",
    "process_file_read": "EACCES", "process_file_write": "EACCES", "machine_read": "EACCES", "machine_write": "EACCES",
    "exhaust_memory": "ENOMEM", "exhaust_mappings": "ENOSPC",
}  # fmt: skip
# What is done all the same, and stays with the process's own.
DONE = ("map_readable", "outlive", "write_bars", "write_command")
NOT_IN_AN_82540EM = ("write_messages", "power_down", "message_table", "message_interrupt")
# Of which nothing is promised where QEMU emulates the remapping: its own lets through what asks for an interrupt as if there were none.
INTERRUPTS = ("message_interrupt", "dma_interrupt")
# What shows nothing in the lab: its parts have no ROM, and Linux gives a line up after 99,900 interrupts that nobody served, of which a flood there has some thousands.
NOT_IN_THE_LAB = {"write_rom": "no expansion ROM", "flood_line": "interrupts: Linux gives a line up"}


def test_a_driver_process_that_attacks_is_held(attacked):
    ended, records = attacked
    assert ended.returncode == 0, ended.stdout[-4000:] + ended.stderr[-4000:]
    assert set(records) == set(ATTACKERS)
    assert all(record["status"] == "ok" for record in records.values()), [record.get("reason") for record in records.values()]
    assert "attacker: the driver process itself" in ended.stdout


@pytest.mark.parametrize("attacker", ATTACKERS)
def test_what_a_driver_process_tries_reaches_nothing(attacked, attacker):
    cells = {cell["access"]: cell for cell in attacked[1][attacker]["probe"]["cells"]}
    assert {cell["asset"] for cell in cells.values()} == {"kernel", "process", "devices", "machine"}
    for access, cell in cells.items():
        absent = access in NOT_IN_THE_LAB or (attacker[0] == "82540EM" and access in NOT_IN_AN_82540EM)
        if access in INTERRUPTS:
            assert cell["promised"] == "nothing" and absent == bool(cell.get("reason")), cell
            if not absent:
                assert cell["accesses"] == 1 and cell["answer"] == "done; interrupt remapping is on, emulated by QEMU", cell
                # That it is counted at all is seen where it is let through.
                assert cell["reached"] > 0 or " 7." not in attacked[1][attacker]["environment"]["qemu"], cell
            continue
        assert cell["attacker"] == "driver" and cell["promised"] == "refused" and cell["reached"] == 0, cell
        assert cell["verdict"] == ("not tried" if absent else "as promised"), cell
        assert absent == bool(cell.get("reason")) and (absent or cell["accesses"] > 0), cell
    for access, answer in ANSWERS.items():
        assert cells[access]["answer"] == answer, cells[access]
    for access in (*DONE, *(() if attacker[0] == "82540EM" else set(NOT_IN_AN_82540EM) - set(INTERRUPTS))):
        assert cells[access]["answer"] == "done", cells[access]
    # A flood, and what it did not do.
    assert cells["flood"]["accesses"] == cells["flood_kill"]["accesses"] >= 100 + cells["flood"]["undisturbed_interrupts"]
    assert cells["flood"]["work_ns"] > 0 and cells["flood"]["undisturbed_work_ns"] > 0
    for access, reason in NOT_IN_THE_LAB.items():
        assert reason in cells[access]["reason"], cells[access]
