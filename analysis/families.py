# SPDX-License-Identifier: BSD-2-Clause
"""The parts of the report that appear only where a run has trials of their kind, in their order."""

from analysis import allocators, axes, crash, crossover, dma_copy, echo, fio, latency, map_unmap, modelled_report, probe, profiles, protection_cost, quota, raw_frames, sync_read


def blocks(run, section, profiles_):
    return [
        *echo.blocks(section),
        *latency.blocks(section),
        *raw_frames.blocks(section),
        *dma_copy.blocks(section),
        *sync_read.blocks(section),
        *fio.blocks(run, section),
        *crossover.blocks(section),
        *map_unmap.blocks(section),
        *allocators.blocks(section),
        *quota.blocks(section),
        *modelled_report.blocks(section),
        *axes.blocks(section),
        *profiles.blocks(profiles_, section),
        *crash.blocks(run, section),
        *probe.blocks(run, section),
        *protection_cost.blocks(run, section),
    ]
