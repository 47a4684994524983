// SPDX-License-Identifier: BSD-2-Clause
//
// Writes the archive format that Linux takes as initramfs (newc).
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <string_view>

namespace dmatoll::harness::lab {

/// An archive in memory. Its bytes depend on nothing but the files added and their order: all belong to root
/// and were modified at the epoch.
class CpioArchive {
  public:
    /// Adds an executable file, and the directories above it that were not added before.
    void add(std::string_view path, std::string_view contents);

    /// Ends the archive and returns it.
    std::string finish() &&;

  private:
    void add_entry(std::string_view path, std::uint32_t mode, std::string_view contents);

    std::string bytes_;
    std::set<std::string> directories_;
    std::uint32_t next_inode_ = 1;
};

}  // namespace dmatoll::harness::lab
