// SPDX-License-Identifier: BSD-2-Clause
// The beat that bounds how far the lab's virtual clock jumps while all CPUs wait for a disk, which answers on the
// host's time. Without it times of a disk mean nothing, so that nothing is measured without it.
#pragma once

#include "process.hpp"

namespace dmatoll::harness {

class Metronome {
  public:
    // Between beats. Without them a disk in a file was seen to answer after 16 s of that clock, with them mostly within
    // 0.4 ms, and on a busy host after 25 ms at most.
    static constexpr unsigned beat_us = 50;

    // On that CPU, from now to the destructor. Throws Unavailable if its program is not there.
    explicit Metronome(int cpu);
    // For tests: any program.
    explicit Metronome(const Command& command) : child_{command} {}

    // Throws Failure, with what it said, if it has ended. To be asked on both sides of a window: it is never started
    // again by itself.
    void require_beating();

  private:
    Child child_;
};

}  // namespace dmatoll::harness
