// SPDX-License-Identifier: BSD-2-Clause
// The device as the unprivileged process sees it: registers, configuration space, one interrupt.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "descriptor.hpp"

namespace dmatoll::user {

class VfioDevice {
  public:
    // Takes over the descriptor, resets the function if it can be reset, and maps `bar`, which must be memory
    // of `fewest` bytes at least, and of which no more than `most` are mapped. Throws Failure.
    VfioDevice(Descriptor device, std::string name, unsigned bar, std::size_t fewest, std::size_t most);
    ~VfioDevice();
    VfioDevice(const VfioDevice&) = delete;
    VfioDevice& operator=(const VfioDevice&) = delete;

    [[nodiscard]] volatile std::uint32_t* registers() const { return registers_; }
    [[nodiscard]] std::size_t register_bytes() const { return mapped_bytes_; }
    [[nodiscard]] const std::string& name() const { return name_; }

    // Lets the device read and write memory, or forbids it. Throws Failure if the bit does not take.
    void set_bus_mastering(bool on);

    // Has VFIO signal an event counter at each interrupt: at a message (MSI) if they are `wanted` and can be
    // had, otherwise at the line (INTx). The line is level-triggered: VFIO masks it before it signals, and a
    // second counter, which the driver writes, opens it again. Throws Failure.
    void enable_interrupt(bool messages_wanted);
    void disable_interrupt();
    // 0, or an error number. `index`: of VFIO's kinds of interrupt; the first of that kind does `action` with the event
    // counter.
    [[nodiscard]] int connect(std::uint32_t index, std::uint32_t action, int fd) const;
    [[nodiscard]] int interrupt_fd() const { return interrupt_.get(); }
    [[nodiscard]] bool sends_messages() const { return sends_messages_; }

    // Opens the line for the next interrupt. One write(2): the handler behind the counter runs inside of it,
    // and saves the copying and checking of the ioctl that does the same.
    void unmask_interrupt() const {
        const std::uint64_t one = 1;
        // The counter cannot overflow, as the kernel takes it down at each write: there is nothing to handle.
        [[maybe_unused]] const auto written = ::write(unmask_.get(), &one, sizeof(one));
    }

  private:
    [[nodiscard]] bool has_interrupt(std::uint32_t index) const;

    Descriptor device_;
    std::string name_;
    volatile std::uint32_t* registers_ = nullptr;
    std::size_t mapped_bytes_ = 0;
    Descriptor interrupt_;
    Descriptor unmask_;  // of the line only
    bool sends_messages_ = false;
};

}  // namespace dmatoll::user
