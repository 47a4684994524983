# SPDX-License-Identifier: BSD-2-Clause
"""The parts of the report that appear only where a run has trials of their kind, in their order."""

from analysis import axes, crash, echo, latency, modelled_report, profiles, raw_frames


def blocks(run, section, profiles_):
    return [
        *echo.blocks(section),
        *latency.blocks(section),
        *raw_frames.blocks(section),
        *modelled_report.blocks(section),
        *axes.blocks(section),
        *profiles.blocks(profiles_, section),
        *crash.blocks(run, section),
    ]
