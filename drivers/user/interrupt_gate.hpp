// SPDX-License-Identifier: BSD-2-Clause
// Closed while the device is polled, open while the process sleeps, by whichever way the device interrupts.
//
// The line (INTx) is closed by VFIO at each interrupt; to open it is a system call. A message (MSI) closes
// nothing. Left open, the device would send one after the other while it is being polled, up to its moderated
// rate, each of which costs the kernel an interrupt. So the device masks them, as under NAPI: two writes of
// its registers for an interrupt, which nobody waits for, and no system call.
#pragma once

namespace dmatoll::user {

// Driver: e1000::Driver. Device: VfioDevice, whose interrupt is connected.
template <class Driver, class Device>
class InterruptGate {
  public:
    // Closed. Both outlive it.
    InterruptGate(Driver& driver, const Device& device) : driver_{driver}, device_{device} {}
    InterruptGate(const InterruptGate&) = delete;
    InterruptGate& operator=(const InterruptGate&) = delete;

    // Once, before anything else; it stays closed. `transmit`: sent frames are to raise the interrupt, too.
    void start(bool transmit) {
        transmit_ = transmit;
        if (!device_.sends_messages()) {
            driver_.enable_interrupts(transmit_);
        }
    }

    // An interrupt was reported. May be called when closed.
    void close() {
        if (device_.sends_messages()) {
            driver_.disable_interrupts();
        }
        open_ = false;
    }

    // What came up since the causes were last taken raises the interrupt now. Returns how many system calls
    // it took.
    unsigned open() {
        open_ = true;
        if (device_.sends_messages()) {
            driver_.enable_interrupts(transmit_);
            return 0;
        }
        device_.unmask_interrupt();
        return 1;
    }

    // Whether sent frames raise the interrupt, too. What was sent before is pending, and raises it.
    void set_transmit(bool wanted) {
        transmit_ = wanted;
        if (device_.sends_messages() && !open_) {
            return;
        }
        driver_.disable_interrupts();
        driver_.enable_interrupts(transmit_);
    }

  private:
    Driver& driver_;
    const Device& device_;
    bool transmit_ = true;
    bool open_ = false;
};

}  // namespace dmatoll::user
