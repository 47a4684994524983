// SPDX-License-Identifier: BSD-2-Clause
// dmatoll-metronome: wakes up at a fixed beat and does nothing.
//
// On the lab's virtual clock the time jumps to the next timer whenever all CPUs are idle, and a disk answers on
// the host's time: a wait for it would last as long as the jump happens to be. With a beat on the CPU that is
// not measured no jump is longer than it.
#include <cstdio>
#include <cstdlib>

#include "clock.hpp"
#include "stop_request.hpp"

int main(int argc, char** argv) {
    using namespace dmatoll::workloads;
    char* end = nullptr;
    const unsigned long period_us = argc == 2 ? std::strtoul(argv[1], &end, 10) : 0;
    if (period_us < 1 || period_us > 1'000'000 || *end != '\0') {
        std::fprintf(stderr, "usage: dmatoll-metronome MICROSECONDS (1 to 1000000 from beat to beat)\n");
        return 1;
    }
    be_punctual();
    handle_stop_requests();
    for (std::uint64_t beat = now_ns(); !stop_requested();) {
        // Beats that were missed are left out: a CPU that is late anyway needs none.
        beat = std::max(beat + period_us * 1000, now_ns());
        sleep_until(beat);
    }
    return 0;
}
