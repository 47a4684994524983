// SPDX-License-Identifier: BSD-2-Clause
// A page of this process, which no driver was given: what a device must not reach, at an address that a driver
// can be told.
#pragma once

#include <cstdint>

namespace dmatoll::harness {

class SentinelPage {
  public:
    // Throws Failure if there is no memory, or its place is not told (that takes CAP_SYS_ADMIN).
    SentinelPage();
    ~SentinelPage();
    SentinelPage(const SentinelPage&) = delete;
    SentinelPage& operator=(const SentinelPage&) = delete;

    // Where it lies in physical memory. The kernel may move a page: who judges an access by it asks again
    // afterwards. Throws Failure.
    [[nodiscard]] std::uint64_t physical_address() const;
    // Where this process has it.
    [[nodiscard]] std::uint64_t address() const;

    // Its first eight bytes.
    [[nodiscard]] std::uint64_t word() const;
    void set_word(std::uint64_t word);

  private:
    volatile std::uint64_t* page_;
};

}  // namespace dmatoll::harness
