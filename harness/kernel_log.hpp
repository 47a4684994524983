// SPDX-License-Identifier: BSD-2-Clause
// What the kernel says while somebody listens.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "file.hpp"

namespace dmatoll::harness {

// Among complaints: there were messages that nobody knows.
inline constexpr const char* overwritten = "(messages were overwritten before they were read)";

// Messages of /dev/kmsg from the construction on.
class KernelLog {
  public:
    // Throws Failure if it cannot be read.
    KernelLog();
    // Warnings and worse since the last call, without their prefix.
    std::vector<std::string> complaints();

  private:
    Descriptor file_;
};

// The text of one record of /dev/kmsg if it is a warning or worse; empty otherwise.
std::string complaint_of(std::string_view record);

// How many of them tell of an access that an IOMMU refused, as VT-d and AMD-Vi are told of. A lower bound: an IOMMU need not
// report each, and the kernel does not print each.
std::uint64_t faults_among(const std::vector<std::string>& complaints);

}  // namespace dmatoll::harness
