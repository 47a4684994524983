// SPDX-License-Identifier: BSD-2-Clause
// What gives the addresses of a profile their names, as this machine knows it at that moment.
#pragma once

#include <string>

namespace dmatoll::harness {

// The executable mappings of every process: its /proc/PID/maps, each behind a line "process PID NAME".
std::string process_maps();

// The functions of the kernel and its modules: lines "address name [module]" as in /proc/kallsyms, compressed
// with gzip and in base64, since they have to go out of the guest by a serial port. Throws Failure if the
// addresses are hidden (root sees them) or gzip is missing.
std::string kernel_symbols();

}  // namespace dmatoll::harness
