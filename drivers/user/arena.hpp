// SPDX-License-Identifier: BSD-2-Clause
// Memory that the device may see. One memfd, of 2 MiB pages if the machine has them reserved, of 4 KiB pages
// otherwise; locked, so that no page fault hits the data path.
#pragma once

#include <cstddef>
#include <string>

#include "core/address.hpp"

namespace dmatoll::user {

inline constexpr std::size_t huge_page_bytes = std::size_t{2} << 20;

class Arena {
  public:
    // page_size: huge_page_bytes or page_bytes, or 0 for the former if they are to be had. `bytes`: whole
    // pages of the larger kind. Throws Failure when there is no such memory, or it cannot be locked.
    Arena(std::size_t bytes, std::size_t page_size);
    ~Arena();
    Arena(const Arena&) = delete;
    Arena& operator=(const Arena&) = delete;

    [[nodiscard]] bool hugepages() const { return hugepages_; }
    // Why there are no hugepages although they were welcome; empty if there are.
    [[nodiscard]] const std::string& fallback_reason() const { return fallback_reason_; }

    [[nodiscard]] std::byte* start() const { return start_; }
    [[nodiscard]] std::size_t bytes() const { return bytes_; }

  private:
    std::size_t bytes_;
    std::byte* start_ = nullptr;
    bool hugepages_ = false;
    std::string fallback_reason_;
};

// Memory by the name that the VFIO backend knows it by: the address in this process.
inline Memory memory_at(const std::byte* address) {
    return Memory{reinterpret_cast<std::uintptr_t>(address)};
}

}  // namespace dmatoll::user
