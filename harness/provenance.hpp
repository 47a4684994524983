// SPDX-License-Identifier: BSD-2-Clause
// Where a number comes from: the machine, the kernel, the program.
#pragma once

#include <nlohmann/json.hpp>

#include <string>

namespace dmatoll::harness {

inline constexpr const char* program_version = DMATOLL_VERSION;

// git, dirty, compiler, flags: of this program. `git` is "unknown" outside of a work tree.
nlohmann::json program_provenance();

// kernel, cmdline, cpu_model, iommu{driver, cap, ecap, address_width}: of the machine that this runs on.
nlohmann::json machine_provenance();

// "QEMU emulator version 7.2.22 ..."; empty if it is not installed.
std::string emulator_version();

// Bits of an I/O virtual address that an Intel IOMMU translates, from its capability register [VT-d 4.1
// §11.4.2, MGAW].
unsigned vtd_address_width(std::uint64_t capability);

}  // namespace dmatoll::harness
