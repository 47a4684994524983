// SPDX-License-Identifier: BSD-2-Clause
// What only the PCI Express part needs.
//
// [82574] Intel, 82574 GbE Controller Family Datasheet, 317694. Its registers are in chapter 10. Only its
// first pages were at hand. Which bits must be set or clear, and the erratum, are therefore what two drivers
// agree on that were written apart, Intel's for the 82571 family and NetBSD's wm(4), whose comment at GCR cites
// the document; the times and the packet buffer's default are those of wm(4) alone. Tried on QEMU's part only,
// which takes any of it.
#pragma once

#include <cstdint>

#include "../core/platform.hpp"
#include "../core/register.hpp"
#include "../core/result.hpp"
#include "../core/wait.hpp"
#include "registers.hpp"

namespace dmatoll::e1000 {

// Requests that are under way end within this, or something on the bus holds them.
inline constexpr std::uint32_t master_timeout_us = 80'000;

// The PHY's configuration is loaded only after what EECD announces. Until it is through, neither PHY nor NVM
// is to be asked.
inline constexpr std::uint32_t phy_configuration_ms = 25;

// A reset in the midst of a request would leave the bus waiting for its end: no new ones, then wait for the
// old ones. Error: timed_out.
template <Platform P>
Status disable_master(P& platform) {
    write_register(platform, read_register<DeviceControl>(platform).set(DeviceControl::master_disable));
    return wait_until(platform, master_timeout_us, 100, [&] {
        return !read_register<DeviceStatus>(platform).test(DeviceStatus::master_enabled);
    });
}

// Bits that software has to set after every reset, which descriptors and queues are in use, and how
// interrupts are acknowledged.
template <Platform P>
void prepare_pci_express(P& platform) {
    // The descriptors of the whole family, and one queue: what a reset leaves. QEMU's leaves what an earlier
    // driver wrote. Linux's e1000e has the extended form written back, where the length stands in the place
    // of our status: most frames would never be seen.
    write_register(platform, ReceiveFilterControl{});
    write_register(platform, MultipleReceiveQueues{});
    write_register(platform, read_register<PciExpressControl>(platform).set(PciExpressControl::must_be_set));
    // Without it some completions are lost, above all with ASPM, and transmission stops.
    write_register(platform,
                   read_register<PciExpressControl2>(platform).set(PciExpressControl2::completion_erratum));
    write_register(platform, read_register<DeviceControl>(platform).clear(DeviceControl::must_be_clear));
    write_register(platform, read_register<TransmitArbitration>(platform)
                                 .clear(TransmitArbitration::must_be_clear)
                                 .set(TransmitArbitration::must_be_set));
    // Reading ICR clears it while an interrupt is asserted only if reading masks, too. It masks what stands
    // in IAM: nothing.
    write_register(platform, InterruptAcknowledgeMask{});
    write_register(platform, read_register<ExtendedDeviceControl>(platform)
                                 .clear(ExtendedDeviceControl::must_be_clear)
                                 .set(ExtendedDeviceControl::must_be_set)
                                 .set(ExtendedDeviceControl::acknowledge_by_reading));
}

}  // namespace dmatoll::e1000
