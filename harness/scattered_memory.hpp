// SPDX-License-Identifier: BSD-2-Clause
// Memory for another program's buffers, whose pages are scattered the same way at every start.
#pragma once

#include <cstddef>
#include <string>

#include "file.hpp"

namespace dmatoll::harness {

class ScatteredMemory {
  public:
    // At least that many bytes, in pages of 4 KiB. Failure: there is not so much memory.
    explicit ScatteredMemory(std::size_t bytes);

    // A file that a program of the same user can map, shared, while this lives.
    [[nodiscard]] std::string path() const;

  private:
    Descriptor memory_;
};

}  // namespace dmatoll::harness
