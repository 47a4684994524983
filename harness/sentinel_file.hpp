// SPDX-License-Identifier: BSD-2-Clause
// A page in a file that everybody may read and nobody but this process may write.
#pragma once

#include <cstdint>

#include "file.hpp"

namespace dmatoll::harness {

class SentinelFile {
  public:
    // Where it is while there is one.
    static fs::path path();

    // Throws Failure if it cannot be made.
    SentinelFile();
    ~SentinelFile();
    SentinelFile(const SentinelFile&) = delete;
    SentinelFile& operator=(const SentinelFile&) = delete;

    // Its first eight bytes. Throw Failure.
    [[nodiscard]] std::uint64_t word() const;
    void set_word(std::uint64_t word) const;

  private:
    Descriptor file_;
};

}  // namespace dmatoll::harness
