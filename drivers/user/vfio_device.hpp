// SPDX-License-Identifier: BSD-2-Clause
// The device as the unprivileged process sees it: registers, configuration space, one interrupt line.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "descriptor.hpp"

namespace dmatoll::user {

class VfioDevice {
  public:
    // Takes over the descriptor, resets the function if it can be reset, and maps BAR 0, which must be memory
    // of at least `register_bytes`. Throws Failure.
    VfioDevice(Descriptor device, std::string name, std::size_t register_bytes);
    ~VfioDevice();
    VfioDevice(const VfioDevice&) = delete;
    VfioDevice& operator=(const VfioDevice&) = delete;

    [[nodiscard]] volatile std::uint32_t* registers() const { return registers_; }
    [[nodiscard]] const std::string& name() const { return name_; }

    // Lets the device read and write memory, or forbids it. Throws Failure if the bit does not take.
    void set_bus_mastering(bool on);

    // Connects the INTx line to two event counters: one that VFIO signals at each interrupt, one that the
    // driver writes to open the line again. Level-triggered: VFIO masks the line before it signals. Throws
    // Failure.
    void enable_interrupt();
    void disable_interrupt();
    [[nodiscard]] int interrupt_fd() const { return interrupt_.get(); }

    // Opens the line for the next interrupt. One write(2): the handler behind the counter runs inside of it,
    // and saves the copying and checking of the ioctl that does the same.
    void unmask_interrupt() const {
        const std::uint64_t one = 1;
        // The counter cannot overflow, as the kernel takes it down at each write: there is nothing to handle.
        [[maybe_unused]] const auto written = ::write(unmask_.get(), &one, sizeof(one));
    }

  private:
    void connect(std::uint32_t action, int fd);

    Descriptor device_;
    std::string name_;
    volatile std::uint32_t* registers_ = nullptr;
    std::size_t mapped_bytes_ = 0;
    Descriptor interrupt_;
    Descriptor unmask_;
};

}  // namespace dmatoll::user
