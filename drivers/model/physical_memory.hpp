// SPDX-License-Identifier: BSD-2-Clause
// The memory of the modelled machine: a flat arena. `Memory` is an offset into it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "core/address.hpp"

namespace dmatoll::model {

// Pages that are not allocated are poisoned where the address sanitizer is on, and every allocation is
// followed by a page that never is: an access of the CPU beside what it owns ends the test. Not thread-safe.
class PhysicalMemory {
  public:
    // `bytes` is rounded up to whole pages.
    explicit PhysicalMemory(std::uint64_t bytes);
    ~PhysicalMemory();
    PhysicalMemory(const PhysicalMemory&) = delete;
    PhysicalMemory& operator=(const PhysicalMemory&) = delete;

    // Zeroed pages in a row, the lowest that fit, from a multiple of `alignment` pages on. Throws std::bad_alloc if there
    // is no such gap.
    Memory allocate_pages(std::uint64_t pages, std::uint64_t alignment = 1);
    // Throws std::logic_error if that range was not handed out.
    void free_pages(Memory start, std::uint64_t pages);

    // Throws std::out_of_range for what the machine does not have.
    std::byte* at(Memory start, std::uint64_t bytes = 1) const;
    std::span<std::byte> view(Memory start, std::uint64_t bytes) const { return {at(start, bytes), bytes}; }

    [[nodiscard]] std::uint64_t bytes() const { return used_.size() * page_bytes; }
    [[nodiscard]] std::uint64_t pages_in_use() const { return pages_in_use_; }

  private:
    // Offset 0 is no memory: it would hide a Memory that somebody forgot to fill in.
    static constexpr std::uint64_t first_page = 1;

    struct Release {
        void operator()(std::byte* memory) const;
    };

    std::unique_ptr<std::byte, Release> arena_;
    std::vector<bool> used_;
    std::uint64_t pages_in_use_ = 0;
    std::uint64_t lowest_free_ = first_page;  // no page below it is free
};

}  // namespace dmatoll::model
