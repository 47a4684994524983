# SPDX-License-Identifier: BSD-2-Clause
"""Against numbers computed by hand; t(0.975) is 12.7062 for 1 degree of freedom, 4.30265 for 2 (any table)."""

import pandas
import pytest
import synthetic
from pytest import approx

from analysis import load, statistics


def summary(*values):
    return statistics.summarise({str(index): value for index, value in enumerate(values)})


def test_summary_of_three_boots():
    result = summary(10, 12, 14)
    assert (result.n, result.mean, result.sd, result.minimum, result.maximum) == (3, 12, 2, 10, 14)
    # 12 +- 4.30265 * 2 / sqrt(3)
    assert (result.low, result.high) == (approx(7.03172, abs=1e-5), approx(16.96828, abs=1e-5))
    assert result.spread == approx(4 / 12)
    assert not result.identical


def test_one_boot_has_no_spread_and_no_interval():
    result = summary(5)
    assert (result.n, result.mean) == (1, 5)
    assert result.sd is None and result.low is None and result.high is None
    assert result.spread is None and not result.identical


def test_identical_boots_have_spread_zero_exactly():
    result = summary(0.1, 0.1, 0.1)  # three times 0.1 does not add up to 0.3
    assert result.identical and result.mean == 0.1
    assert result.sd == 0 and result.spread == 0
    assert (result.low, result.high) == (0.1, 0.1)


def test_what_was_not_measured_is_left_out():
    assert summary(float("nan"), None) is None
    assert summary(4, float("nan"), 6).n == 2
    assert summary(4, float("nan"), 6).mean == 5


def test_ratio_is_paired_by_seed():
    # Boots differ by a factor of three, the ratio of the two cells hardly: pairing sees that.
    top = statistics.summarise({"1": 100.0, "2": 242.0})
    bottom = statistics.summarise({"2": 200.0, "1": 100.0})
    result = statistics.ratio(top, bottom)
    assert result.paired and result.n == 2 and result.unpaired_boots == 0
    # Pairs 1.00 and 1.21: geometric mean 1.1; logs 0 and 0.190620, sd 0.134789, half 12.7062 * 0.134789 / sqrt(2) = 1.211031
    assert result.value == approx(1.1)
    assert (result.low, result.high) == (approx(0.327679, abs=2e-6), approx(3.692637, abs=2e-5))
    assert (result.minimum, result.maximum) == (1.0, approx(1.21))


def test_paired_ratio_leaves_out_seeds_that_one_cell_lacks():
    top = statistics.summarise({"1": 10.0, "2": 10.0, "3": 99.0})
    bottom = statistics.summarise({"1": 5.0, "2": 5.0, "4": 1.0})
    result = statistics.ratio(top, bottom)
    assert (result.value, result.n, result.unpaired_boots) == (2, 2, 2)
    assert result.identical and (result.low, result.high) == (2, 2)


def test_ratio_without_common_seeds_uses_welch():
    top = statistics.summarise({"1": 10.0, "2": 14.0})
    bottom = statistics.summarise({"3": 5.0, "4": 7.0})
    result = statistics.ratio(top, bottom)
    assert not result.paired
    # Relative sd 0.235702 in both: variance of the log 2 * 0.235702^2 / 2 = 0.0555556, 2 degrees of freedom,
    # half 4.30265 * 0.235702 = 1.014145
    assert result.value == 2
    assert (result.low, result.high) == (approx(0.725424, abs=2e-5), approx(5.514016, abs=2e-4))


def test_ratio_of_single_boots_has_no_interval():
    same = statistics.ratio(statistics.summarise({"1": 3.0}), statistics.summarise({"1": 2.0}))
    assert (same.value, same.low, same.high, same.paired) == (1.5, None, None, True)
    other = statistics.ratio(statistics.summarise({"1": 3.0}), statistics.summarise({"2": 2.0, "3": 2.0}))
    assert (other.value, other.low, other.paired) == (1.5, None, False)


def test_no_ratio_of_what_is_absent_or_zero():
    assert statistics.ratio(None, summary(1)) is None
    assert statistics.ratio(summary(1), summary(0)) is None
    assert statistics.ratio(summary(0), summary(1)) is None


@pytest.mark.parametrize(
    ("value", "low", "high", "expected"),
    [
        (1.02, 1.01, 1.03, statistics.HOLDS),
        (1.05, 1.05, 1.05, statistics.HOLDS),
        (1.04, 1.02, 1.06, statistics.HOLDS_MEAN),
        (1.02, None, None, statistics.HOLDS_ONE),
        (1.06, 1.04, 1.08, statistics.EXCEEDS_MEAN),
        (1.08, 1.06, 1.10, statistics.EXCEEDS),
        (1.08, None, None, statistics.EXCEEDS_ONE),
    ],
)
def test_verdict(value, low, high, expected):
    assert statistics.verdict(statistics.Ratio(value, low, high, True, 3, None, None), 1.05) == expected


def frame(records):
    return pandas.DataFrame([load.row(record) for record in records])


def with_metric(record, **metrics):
    record["metrics"].update(metrics)
    return record


def test_the_boot_is_the_unit_of_replication():
    records = []
    for boot, values in (("1", [10, 20, 30]), ("2", [40])):
        for index, value in enumerate(values):
            record = synthetic.record(int(boot), "kernel", "strict", "iperf3-tcp-tx", trial=f"{boot}-{index}")
            records.append(with_metric(record, instructions_per_packet=value))
    (cell,) = statistics.cells(frame(records))
    result = cell.metric("instructions_per_packet")
    assert result.n == 2 and cell.trials == 4
    assert result.values == {"1": 20, "2": 40}
    assert result.mean == 30  # of boots; the mean of trials would be 25


def test_cells_keep_apart_what_is_not_the_same():
    records = [
        synthetic.record(1, "user", "strict", "iperf3-tcp-tx", trial="a"),
        synthetic.record(1, "user", "strict", "iperf3-tcp-tx", trial="b", code_generation="kernel-like"),
        synthetic.record(1, "user", "strict", "iperf3-tcp-tx", trial="c", kind="lab-wall"),
        synthetic.record(1, "user", "strict", "iperf3-tcp-rx", trial="d"),
        synthetic.record(
            1, "user", "strict", "iperf3-tcp-rx", trial="e", workload={"name": "iperf3-tcp-rx", "parameters": {"mss": 536}}
        ),
    ]
    assert len(statistics.cells(frame(records))) == 5


def test_per_packet_counts_are_absent_where_they_were_not_measured():
    cells = statistics.cells(
        frame(
            [
                synthetic.record(1, "kernel", "strict", "iperf3-tcp-tx"),
                synthetic.record(1, "stock", "linux-lazy", "iperf3-tcp-tx"),
            ]
        )
    )
    strict = next(cell for cell in cells if cell.strategy == "strict")
    stock = next(cell for cell in cells if cell.placement == "stock")
    assert strict.metric("invalidations_per_packet").mean == 1
    assert stock.metric("invalidations_per_packet") is None


def test_equal_load_and_load_missed():
    def cell(requested, achieved):
        record = synthetic.record(1, "kernel", "strict", "iperf3-udp-tx")
        record = with_metric(record, load_requested_bps=requested, load_achieved_bps=achieved)
        return statistics.cells(frame([record]))[0]

    assert statistics.equal_load(cell(100, 100), cell(100, 99)) is True
    assert statistics.equal_load(cell(100, 100), cell(100, 97)) is False
    assert statistics.load_missed(cell(100, 75)) == approx(-0.25)
    closed = statistics.cells(frame([synthetic.record(1, "kernel", "strict", "iperf3-tcp-tx")]))[0]
    assert statistics.equal_load(closed, closed) is None
    assert statistics.load_missed(closed) is None
