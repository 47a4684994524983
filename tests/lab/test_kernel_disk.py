# SPDX-License-Identifier: BSD-2-Clause
"""The kernel's disks under every strategy: data, file systems, and an end under load; with vCPUs in turn and at the same time."""

import concurrent.futures

import pytest

import program

OWN = ["strict", "deferred", "copy", "persistent", "passthrough"]
ALLOCATORS = ["tree", "tree-linear", "eiovar", "magazines", "contiguous", "linux"]
LINUX = ["linux-strict", "linux-lazy", "linux-identity"]


@pytest.fixture(scope="module")
def both(dmatoll, guest_image):
    cpus = program.host_cpus()
    with concurrent.futures.ThreadPoolExecutor() as pool:
        guests = {clock: pool.submit(program.steps, dmatoll, guest_image, "kernel_disk.sh", "--disks", "--clock", clock,
                                     "--limit", "560", arguments=[clock], cpu=cpus[0] if clock == "virtual" else None, limit=580)
                  for clock in ("virtual", "wall")}
        return {clock: guest.result() for clock, guest in guests.items()}


@pytest.fixture(scope="module", params=["virtual", "wall"])
def steps(both, request):
    return both[request.param]


def test_the_module_comes_and_goes(steps):
    steps["load"].done()
    steps["unload"].done()


def test_the_kernel_has_nothing_to_say(steps):
    assert steps["trouble-so-far"].status == 0, steps["trouble-so-far"].text
    assert steps["trouble"].status == 0, steps["trouble"].text


@pytest.mark.parametrize("strategy", [*OWN, *LINUX, "polled"])
def test_what_was_written_is_read(steps, strategy):
    assert steps[f"{strategy}-strategy"].text.strip() == ("strict" if strategy == "polled" else strategy)
    assert steps[f"{strategy}-disks"].text.splitlines() == ["0 dmatoll0", "1 dmatoll1"]
    for what in ("odd", "files", "discarded"):
        assert steps[f"{strategy}-{what}"].status == 0, steps[f"{strategy}-{what}"].text


@pytest.mark.parametrize("strategy", [*OWN, *LINUX, "polled"])
def test_an_end_under_load_ends_all_of_it(steps, strategy):
    assert steps[f"{strategy}-end"].status == 0, steps[f"{strategy}-end"].text


@pytest.mark.parametrize("strategy", ["strict", "linux-strict"])
def test_the_disk_survives_the_sleep_of_the_system(steps, strategy):
    assert steps[f"{strategy}-sleep"].status == 0, steps[f"{strategy}-sleep"].text


@pytest.mark.parametrize("strategy", [*OWN, *LINUX, "polled"])
def test_statistics_count_requests_and_mapping_work(steps, strategy):
    counts = {name: int(value) for name, value in (line.split() for line in steps[f"{strategy}-statistics"].text.splitlines() if line)}
    for name in ("read_requests", "write_requests", "flush_requests", "trim_requests"):
        assert counts[name] > 0, name
    assert (counts["interrupts"] == 0) == (strategy == "polled")
    trouble = {name: counts[name] for name in ("request_errors", "recoveries", "lost_interrupts")}
    assert not any(trouble.values()), trouble
    transfers = counts["read_requests"] + counts["write_requests"]
    if strategy in ("strict", "deferred", "polled", *LINUX):
        # One range a request, and under our own strategies one for what a port needs for itself.
        assert transfers <= counts["maps"] <= transfers + 2
    else:
        assert counts["unmaps"] == 0
    if strategy in ("strict", "polled"):
        assert counts["invalidations"] == counts["unmaps"]
    if strategy == "deferred":
        # How many share one, on the wall clock the speed of this machine decides.
        assert 0 < counts["invalidations"] < counts["unmaps"]
    if strategy in LINUX:
        assert counts["unmaps"] == transfers and "invalidations" not in counts


@pytest.mark.parametrize("allocator", ALLOCATORS)
def test_every_allocator_gives_a_request_its_range(steps, allocator):
    assert steps[f"{allocator}-allocator"].text.strip() == allocator
    assert steps[f"{allocator}-odd"].status == 0, steps[f"{allocator}-odd"].text


def test_an_allocator_that_cannot_be_is_refused_by_name(steps):
    for expected in ("identity", "strict", "a disk's request is one range", "parameters/iova_allocator"):
        assert expected in steps["identity-refused"].text, expected
    for expected in ("bitmap", "size-classes tree tree-linear eiovar magazines contiguous identity linux"):
        assert expected in steps["bitmap-refused"].text, expected
