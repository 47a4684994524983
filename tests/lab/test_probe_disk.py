# SPDX-License-Identifier: BSD-2-Clause
"""What strategies protect from a disk controller, tried in a guest as a user would try it: what is held against a card is held against it."""

import pytest

from test_probe import (  # noqa: F401, collected here with this file's run
    POINTS,
    probed,
    test_a_buffer_that_was_taken_back_stays_within_reach_as_long_as_the_strategy_says,
    test_a_page_is_what_the_iommu_knows,
    test_faults_in_the_log_are_a_lower_bound,
    test_memory_that_was_never_given_away_is_out_of_reach,
    test_no_strategy_protects_less_than_it_promises,
    test_what_is_mapped_for_another_device_only_is_out_of_reach,
)


@pytest.fixture(scope="module")
def run(dmatoll, tmp_path_factory):
    return probed(dmatoll, tmp_path_factory, "ICH9-AHCI")


def test_each_strategy_is_tried_once_with_its_usual_window(run):
    assert len(run[1]) == len(POINTS)
