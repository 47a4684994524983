// SPDX-License-Identifier: BSD-2-Clause
// A second device with an IOMMU domain of its own, in which a page of this process is mapped: what another
// device must not reach by naming the address that it has there. The device itself is left quiet.
#pragma once

#include <cstdint>
#include <string>

#include "../file.hpp"
#include "../sentinel_page.hpp"

namespace dmatoll::harness {

class Witness {
  public:
    // Takes the device, which the caller owns (ownership.hpp), from its driver. Throws Unavailable, with the
    // reason, if it cannot have a domain of its own here.
    explicit Witness(std::string bdf);
    // The device has the driver again that it had.
    ~Witness();
    Witness(const Witness&) = delete;
    Witness& operator=(const Witness&) = delete;

    [[nodiscard]] const std::string& bdf() const { return bdf_; }
    [[nodiscard]] SentinelPage& page() { return page_; }
    // The page is at that address in the device's domain from now on, or not any more. Throw Failure.
    void map(std::uint64_t iova);
    void unmap(std::uint64_t iova);

  private:
    void open_domain(const std::string& group);
    void give_back();

    std::string bdf_;
    std::string driver_;  // before
    std::string driver_override_;
    SentinelPage page_;
    Descriptor container_;
    Descriptor group_;
};

}  // namespace dmatoll::harness
