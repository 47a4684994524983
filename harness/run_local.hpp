// SPDX-License-Identifier: BSD-2-Clause
// Runs trials on this machine: as the target `local`, and as the job of the lab's guest.
#pragma once

#include <string>

#include "progress.hpp"
#include "run_directory.hpp"

namespace dmatoll::harness {

struct LocalSettings {
    std::string device;  // PCI addresses
    std::string peer;  // empty for a controller of disks
    bool force = false;
};

// Throws Failure, Interrupted; devices are given back either way.
void run_local(RunDirectory& run, const std::vector<Trial>& trials, const LocalSettings& settings,
               Progress& progress);

// The lab's guest: reads trials and settings from `job`, writes events as JSON lines to `records`:
// {"event":"start","trial"}, {"event":"raw","trial","name","content"}, {"event":"record","trial","record"}.
void run_guest_job(const std::string& job, const std::string& records);

}  // namespace dmatoll::harness
