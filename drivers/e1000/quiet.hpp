// SPDX-License-Identifier: BSD-2-Clause
// Brings the device into a state in which it does no DMA, whatever it did before.
//
// [8254x] Intel 317453. [82574] Intel 317694.
#pragma once

#include <cstdint>

#include "../core/platform.hpp"
#include "../core/register.hpp"
#include "../core/result.hpp"
#include "../core/wait.hpp"
#include "interrupts.hpp"
#include "part.hpp"
#include "pci_express.hpp"
#include "registers.hpp"

namespace dmatoll::e1000 {

// A transaction that is under way when a unit is switched off may still end; it moves one frame at most, and
// takes thousands of times less than this.
inline constexpr std::uint32_t settle_ms = 10;
inline constexpr std::uint32_t reset_timeout_us = 100'000;

// Masks interrupts, switches both units off, waits for what is under way, resets, and clears what a reset
// should clear. The order matters: first nothing new begins, then nothing old is left, then the rings go.
// Errors: device_gone, timed_out (the reset), device_misbehaves (registers that do not take).
template <Platform P>
Status quiet(P& platform, const Part& part) {
    mask_interrupts(platform);
    // Written only if they hold something: QEMU's receiver sleeps for a second of guest time after every
    // write of RCTL.
    const ReceiveControl receive_control = read_register<ReceiveControl>(platform);
    if (receive_control.raw == all_ones) return Error::device_gone;
    const bool active = receive_control.test(ReceiveControl::enable) ||
                        read_register<TransmitControl>(platform).test(TransmitControl::enable);
    if (receive_control.raw != 0) write_register(platform, ReceiveControl{});
    write_register(platform, TransmitControl{});
    // Reading pushes the writes out of the bridges on the way.
    static_cast<void>(read_register<DeviceStatus>(platform));
    if (active) wait_ms(platform, settle_ms);
    // The reset follows in any case: there is no other way out.
    if (part.pci_express && !disable_master(platform).ok()) {
        platform.log(LogLevel::warning, "requests to memory did not end within 80 ms; reset all the same");
    }

    // [8254x §13.4 CTRL]: a reset ends bus transactions in order and takes the receive and transmit units
    // back to their defaults. The bit clears itself.
    write_register(platform, read_register<DeviceControl>(platform).set(DeviceControl::reset));
    // The device does not answer reliably for a microsecond, and loads its EEPROM for some milliseconds.
    wait_ms(platform, 2);
    bool gone = false;
    const Status reset = wait_until(platform, reset_timeout_us, 100, [&] {
        const DeviceControl control = read_register<DeviceControl>(platform);
        gone = control.raw == all_ones;
        if (gone || control.test(DeviceControl::reset)) return false;
        return !part.pci_express ||
               read_register<EepromControl>(platform).test(EepromControl::automatic_read_done);
    });
    if (!reset.ok()) {
        platform.log(LogLevel::error,
                     gone ? "the device does not answer after its reset" : "reset did not end within 100 ms");
        return gone ? Error::device_gone : reset.error();
    }
    if (part.pci_express) wait_ms(platform, phy_configuration_ms);
    mask_interrupts(platform);
    forget_interrupt_causes(platform);

    // QEMU's reset leaves all of these as they were. Linux's driver writes no moderation if it is to have
    // none.
    write_register(platform, InterruptThrottling{});
    write_register(platform, ReceiveHead{});
    write_register(platform, ReceiveTail{});
    write_register(platform, ReceiveLength{});
    write_register(platform, ReceiveBaseLow{});
    write_register(platform, ReceiveBaseHigh{});
    write_register(platform, TransmitHead{});
    write_register(platform, TransmitTail{});
    write_register(platform, TransmitLength{});
    write_register(platform, TransmitBaseLow{});
    write_register(platform, TransmitBaseHigh{});
    if (read_register<ReceiveControl>(platform).test(ReceiveControl::enable) ||
        read_register<TransmitControl>(platform).test(TransmitControl::enable) ||
        read_register<ReceiveHead>(platform).raw != 0 || read_register<TransmitHead>(platform).raw != 0) {
        platform.log(LogLevel::error, "receiver, transmitter or ring heads did not clear after the reset");
        return Error::device_misbehaves;
    }
    return {};
}

}  // namespace dmatoll::e1000
