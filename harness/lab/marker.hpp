// SPDX-License-Identifier: BSD-2-Clause
//
// The instructions by which a program inside the lab's guest opens and closes a window of the instruction
// meter.
#pragma once

namespace dmatoll::harness::lab {

// NOPs whose displacement nothing else uses: on hardware, or without the meter, they do nothing. Windows do
// not nest: one that is opened twice begins at the second opening. The "memory" clobber keeps the compiler
// from moving work into or out of the window.

/// Starts counting the instructions of all vCPUs.
inline void open_window() {
    asm volatile(".byte 0x0f, 0x1f, 0x84, 0x00, 0x01, 0x41, 0x4d, 0x44" ::: "memory");
}

/// Stops counting; the meter writes the window's line on the host. Windows are numbered from 0 since the
/// boot.
inline void close_window() {
    asm volatile(".byte 0x0f, 0x1f, 0x84, 0x00, 0x02, 0x41, 0x4d, 0x44" ::: "memory");
}

}  // namespace dmatoll::harness::lab
