// SPDX-License-Identifier: BSD-2-Clause
//
// How the emulator is asked for the lab's machine.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "guest.hpp"

namespace dmatoll::harness::lab {

enum class Console : std::uint8_t { file, terminal };

/// QEMU's path. Throws std::runtime_error if it is not installed.
std::filesystem::path find_emulator();

/// The lab's artefacts exist, or std::runtime_error says which one does not and how to build it.
void check_artefacts(const GuestOptions& options);

/// argv of the emulator for these options, booting from `initramfs`. `disk`: what the second disk's data is
/// kept in; not used without disks.
std::vector<std::string> emulator_arguments(const GuestOptions& options,
                                            const std::filesystem::path& emulator,
                                            const std::filesystem::path& initramfs,
                                            const std::filesystem::path& disk, Console console);

}  // namespace dmatoll::harness::lab
