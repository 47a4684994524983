# SPDX-License-Identifier: BSD-2-Clause
"""What strategies protect from a disk controller, tried in a guest as a user would try it."""

import pytest

import program
from test_probe import ANYWHERE, COPIED, POINTS, ROUNDS, USUAL, window_of


@pytest.fixture(scope="module")
def run(dmatoll, tmp_path_factory):
    place = tmp_path_factory.mktemp("probe") / "run"
    ended = program.run(dmatoll, "probe", "--filter", "workload=probe,device=ICH9-AHCI", "--output", place, "--jobs", "1", limit=580)
    return ended, {(each["placement"], each["strategy"]["name"]): each for each in program.records(place)}


def cells_of(run, point):
    record = run[1][point]
    assert record["status"] == "ok", record.get("reason")
    assert window_of(record) == USUAL.get(point[1])
    return {(cell["attacker"], cell["asset"], cell["access"]): cell for cell in record["probe"]["cells"]}


def test_no_strategy_protects_less_than_it_promises(run):
    ended, records = run
    assert set(records) == set(POINTS)
    broken = [(point, cell) for point in records for cell in cells_of(run, point).values() if cell["verdict"] == "less than promised"]
    assert broken == []
    assert ended.returncode == 0, ended.stdout[-4000:] + ended.stderr[-4000:]
    assert "What each strategy protects, tried" in ended.stdout
    # The kernel does not print each, and after many none for a while.
    assert sum(record["probe"]["faults_logged"] for record in records.values()) > 0


@pytest.mark.parametrize("point", POINTS)
def test_memory_of_others_is_out_of_reach(run, point):
    cells = cells_of(run, point)
    for attacker in ("device", "driver"):
        for access in ("foreign_write", "foreign_read"):
            cell = cells[attacker, "kernel", access]
            if (point[0] == "kernel" and attacker == "driver") or (access == "foreign_write" and point[1] in ANYWHERE):
                assert cell["verdict"] == "not tried" and cell["promised"] == "nothing", cell
            else:
                assert cell["accesses"] == ROUNDS
                assert cell["reached"] == (ROUNDS if point[1] in ANYWHERE else 0), cell
        for access in ("other_domain_write", "other_domain_read"):
            cell = cells[attacker, "kernel", access]
            assert "reason" not in cell, cell
            if (point[0] == "kernel" and attacker == "driver") or point[1] in ANYWHERE:
                assert cell["verdict"] == "not tried" and cell["promised"] == "nothing", cell
            else:
                assert cell["accesses"] == ROUNDS and cell["reached"] == 0 and cell["promised"] == "refused", cell


@pytest.mark.parametrize("point", POINTS)
def test_a_page_is_what_the_iommu_knows(run, point):
    cells = cells_of(run, point)
    for access in ("neighbour_write", "neighbour_read"):
        cell = cells["device", "driver", access]
        assert cell["reached"] == (0 if point[1] in COPIED else cell["accesses"]), cell
    cell = cells["device", "driver", "backward_write"]
    assert cell["reached"] == (cell["accesses"] if point[1] in ANYWHERE else 0), cell


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
