# SPDX-License-Identifier: BSD-2-Clause
"""Axes beside placement and strategy: what a trial asks for is what is in force, and the record says so."""

import json

import pytest

import program

SUITE = """
[suite]
name = "axes"
summary = "made by a test"

[axes]
device = ["82540EM"]
placement = ["kernel", "user", "stock"]
strategy = ["persistent", "linux-lazy"]

[[part]]
name = "settings"
[part.driver]
mtu = 9000
offloads = false
receive_descriptors = 128
interrupts_per_second = 1000
[[part.workload]]
name = "udp-echo"
load_bps = 10_000_000
payload_bytes = 4000
warm_up_ms = 100
window_ms = 100

[[part]]
name = "pages"
[part.axes]
device = ["82545EM"]
placement = ["kernel"]
strategy = ["persistent", "copy"]
[part.driver]
page_size = [4096, 2_097_152]
[[part.workload]]
name = "iperf3-tcp-tx"
load_bps = 50_000_000
payload_bytes = 16384
warm_up_ms = 100
window_ms = 100

[[part]]
name = "allocators"
[part.axes]
device = ["82545EM"]
placement = ["kernel", "user"]
strategy = ["strict"]
[part.driver]
iova_allocator = ["size-classes", "tree", "tree-linear", "eiovar", "magazines", "contiguous", "identity", "linux"]
[[part.workload]]
name = "iperf3-tcp-rx"
load_bps = 50_000_000
payload_bytes = 16384
warm_up_ms = 50
window_ms = 50

[[part]]
name = "code"
[part.axes]
device = ["82545EM"]
placement = ["user"]
strategy = ["persistent"]
code_generation = ["native", "kernel-like"]
[[part.workload]]
name = "raw-frames-tx"
frame_bytes = 64
warm_up_ms = 50
window_ms = 50

[[part]]
name = "shape"
[part.axes]
device = ["82574L"]
placement = ["stock", "kernel", "user"]
strategy = ["persistent", "linux-lazy"]
[part.guest]
vcpus = 1
memory_mib = 512
address_bits = 48
[[part.workload]]
name = "iperf3-tcp-tx"
load_bps = 50_000_000
payload_bytes = 16384
warm_up_ms = 100
window_ms = 100
"""


def seed_with_stock_first(dmatoll, suite):
    """Linux's own driver leaves the 82574L in a state that no reset of QEMU's ends: both of ours are to come after it."""
    for seed in range(1, 1000):
        plan = json.loads(program.run(dmatoll, "plan", suite, "--json", "--seed", seed).stdout)
        order = [trial["placement"] for trial in plan["trials"] if trial["device"] == "82574L"]
        if {"kernel", "user"} <= set(order[order.index("stock"):]):
            return seed
    raise AssertionError("no seed has such an order")


@pytest.fixture(scope="module")
def records(dmatoll, tmp_path_factory):
    place = tmp_path_factory.mktemp("axes")
    suite = place / "axes.toml"
    suite.write_text(SUITE)
    ended = program.run(dmatoll, "run", suite, "--output", place / "run", "--no-report", "--jobs", "1",
                        "--seed", seed_with_stock_first(dmatoll, suite))
    assert ended.returncode == 0, ended
    return program.records(place / "run")


def test_settings_are_in_force_at_both_ends(records):
    chosen = [each for each in records if each["device"]["model"] == "82540EM"]
    assert {each["placement"] for each in chosen} == {"kernel", "user", "stock"}
    for each in chosen:
        assert each["device"]["interrupt"] == "INTx"
        assert each["requested"]["mtu"] == each["effective"]["mtu"] == each["effective"]["peer_mtu"] == 9000
        assert each["requested"]["offloads"] is False
        assert not each["effective"]["offloads"]["segmentation"], each["trial"]
        assert each["metrics"]["packets"] > 0
        # By what ethtool reads back; a TAP has no rings.
        if each["placement"] != "user":
            assert each["effective"]["rings"]["receive_descriptors"] == 128


def test_another_part_and_another_guest(records):
    chosen = [each for each in records if each["device"]["model"] == "82574L"]
    order = [each["placement"] for each in chosen]
    assert {"kernel", "user"} <= set(order[order.index("stock"):])
    for each in chosen:
        assert each["device"]["interrupt"] == ("MSI-X" if each["placement"] == "stock" else "MSI")
        assert each["environment"]["guest"] == {"vcpus": 1, "memory_mib": 512, "address_bits": 48}
        assert each["environment"]["iommu"]["address_width"] == 48
        assert len(each["meters"]["lab_instructions"]["vcpus"]) == 1
        assert each["status"] == "ok", each.get("reason")


EVERYWHERE = {"size-classes", "tree", "tree-linear", "eiovar", "magazines", "contiguous"}


@pytest.mark.parametrize("placement, possible", [("kernel", EVERYWHERE | {"identity", "linux"}), ("user", EVERYWHERE)])
def test_every_iova_allocator(records, placement, possible):
    chosen = {each["effective"]["iova_allocator"]: each for each in records
              if (each["device"]["model"], each["placement"], each["strategy"]["name"]) == ("82545EM", placement, "strict")}
    assert set(chosen) == possible
    for allocator, each in chosen.items():
        assert each["status"] == "ok", each.get("reason")
        assert each["strategy"]["parameters"].get("iova_allocator", "size-classes") == allocator
        assert each["metrics"]["packets"] > 0, allocator
        iommu = each["metrics"]["iommu"]
        assert iommu["faults"] == 0, allocator
        # A frame with its headers is one mapping or several; each is ended, and invalidated unless another shares its page.
        assert iommu["maps"] > 0 and iommu["unmaps"] > 0, allocator
        if allocator == "identity":
            # Which pages are shared is the stack's choice.
            assert 0 < iommu["invalidations"] <= iommu["unmaps"]
        else:
            assert iommu["invalidations"] == iommu["unmaps"], allocator


def test_large_pages_in_the_kernel(records):
    chosen = [each for each in records
              if (each["device"]["model"], each["placement"]) == ("82545EM", "kernel") and each["strategy"]["name"] != "strict"]
    for each in chosen:
        assert each["status"] == "ok", each.get("reason")
        assert each["strategy"]["parameters"]["page_size"] == each["strategy"]["page_size"]
        assert each["metrics"]["packets"] > 0
        assert each["metrics"]["iommu"]["faults"] == 0
    for strategy in ("persistent", "copy"):
        assert {each["strategy"]["page_size"] for each in chosen if each["strategy"]["name"] == strategy} == {4096, 2097152}
    # Copied to a large page or to a small one, it is the bytes that count.
    for each in chosen:
        if each["strategy"]["name"] == "copy":
            assert each["strategy"]["protection"]["kernel_from_device"] == {"granularity": "byte", "window": "zero"}
            assert "kernel_from_device byte zero" in each["effective"]["protection"]
    by_size = {each["strategy"]["page_size"]: each for each in chosen if each["strategy"]["name"] == "persistent"}
    small, large = (by_size[size]["effective"] for size in (4096, 2097152))
    assert small["cached_pages"]["4096"] > 0 and small["cached_pages"]["2097152"] == 0
    # What is not memory throughout may be among it, by small pages.
    assert large["cached_pages"]["2097152"] > 0
    assert sum(large["cached_pages"].values()) < small["cached_pages"]["4096"]
    # What the module states and what the record states are the same.
    for each, granularity in ((by_size[4096], "page"), (by_size[2097152], "2MiB-page")):
        assert each["strategy"]["protection"]["kernel_from_device"] == {"granularity": granularity, "window": "unbounded"}
        assert f"kernel_from_device {granularity} unbounded" in each["effective"]["protection"]


def test_each_code_generation_is_a_program_of_its_own(records):
    chosen = {each["code_generation"]: each for each in records
              if (each["device"]["model"], each["placement"]) == ("82545EM", "user")}
    assert chosen.keys() == {"native", "kernel-like"}
    assert chosen["native"]["effective"]["program"] == "dmatoll-net-user"
    assert chosen["kernel-like"]["effective"]["program"] == "dmatoll-net-user-kernel-like"
    for name, each in chosen.items():
        assert each["effective"]["code_generation"] == name, "said by the code itself"
        assert each["metrics"]["packets"] > 0


def test_what_the_kernel_does_about_its_cpu_is_recorded(records):
    for each in records:
        assert each["environment"]["vulnerabilities"]["spectre_v2"]
