// SPDX-License-Identifier: BSD-2-Clause
// Runs trials in guests of the emulated lab.
#pragma once

#include "lab/guest.hpp"
#include "progress.hpp"
#include "run_directory.hpp"

namespace dmatoll::harness {

struct LabSettings {
    bool virtual_clock = true;
    unsigned jobs = 2;  // guests at a time, each on a host CPU of its own
    bool profile = false;  // by address: raw/boot-N/profile.jsonl, and what names the addresses
    // Of this machine: a guest that shows nothing new for that long in a trial has hung. Generous by default,
    // since another load may share the CPU with the guest.
    unsigned deadline_seconds = 120;
};

// What all guests of trials have in common.
lab::GuestOptions lab_guest_options();

// Host CPUs that this process may use.
std::vector<unsigned> allowed_cpus();

// One boot for each repetition; a guest that panics or hangs costs the trial under way an error record with
// the console's last lines, and the boot's other trials go on in a fresh guest. Throws Failure if no guest
// can be started, or a record cannot be stored; Interrupted.
void run_lab(RunDirectory& run, const std::vector<Trial>& trials, const LabSettings& settings,
             Progress& progress);

}  // namespace dmatoll::harness
