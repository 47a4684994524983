// SPDX-License-Identifier: BSD-2-Clause
// The host bus adapter as a whole: taken over from the firmware, and reset.
//
// [AHCI] Serial ATA AHCI 1.3.1.
#pragma once

#include <bit>
#include <concepts>
#include <cstdint>

#include "../core/platform.hpp"
#include "../core/register.hpp"
#include "../core/result.hpp"
#include "../core/wait.hpp"
#include "registers.hpp"

namespace dmatoll::ahci {

// What the driver asks beside: an adapter that does not obey must not reach memory that is given back.
template <class P>
concept AdapterPlatform = LockingPlatform<P> && requires(P platform) {
    // The device reads and writes no memory after the return: its bus mastering is off, until the surroundings
    // switch it on again. In a context that may sleep.
    { platform.forbid_dma() } -> std::same_as<void>;
};

inline constexpr std::uint32_t adapter_reset_timeout_us = 1'000'000;  // [AHCI §10.4.3]

// Of an IOVA that the adapter can be told.
constexpr std::uint32_t address_bits(Capabilities capabilities) {
    return capabilities.test(Capabilities::addresses_of_64_bits) ? 64 : 32;
}

// [AHCI §10.6.3]. A firmware that does not let go is overruled: nothing else would ever get the device.
template <Platform P>
void take_over_from_firmware(P& platform) {
    if (!read_register<CapabilitiesExtended>(platform).test(CapabilitiesExtended::firmware_handoff)) return;
    FirmwareHandoff handoff = read_register<FirmwareHandoff>(platform);
    if (!handoff.test(FirmwareHandoff::owned_by_firmware)) return;
    write_register(platform, handoff.set(FirmwareHandoff::owned_by_system));
    const auto released = [&] {
        handoff = read_register<FirmwareHandoff>(platform);
        return !handoff.test(FirmwareHandoff::owned_by_firmware);
    };
    // It has 25 ms to let go or to say that it is busy, and two seconds more then.
    if (wait_until(platform, 25'000, 1000, released).ok()) return;
    if (handoff.test(FirmwareHandoff::firmware_busy) && wait_until(platform, 2'000'000, 1000, released).ok())
        return;
    platform.log(LogLevel::warning, "the firmware does not give up the disks: taken all the same");
}

// Stops all of the adapter, whatever it does: no DMA and no interrupt comes from it afterwards.
// reachable: a bit for each port whose registers are there to be read. [AHCI §10.4.3]. Errors: device_gone,
// timed_out, device_misbehaves (ports that run after a reset).
template <Platform P>
Status reset_adapter(P& platform, std::uint32_t reachable) {
    // Registers other than this one need not answer before AHCI is enabled.
    const GlobalControl enabled = GlobalControl{}.set(GlobalControl::ahci_enable);
    write_register(platform, enabled);
    write_register(platform, GlobalControl{enabled}.set(GlobalControl::hba_reset));
    bool gone = false;
    const Status reset = wait_until(platform, adapter_reset_timeout_us, 100, [&] {
        const GlobalControl control = read_register<GlobalControl>(platform);
        gone = control.raw == all_ones;
        return !gone && !control.test(GlobalControl::hba_reset);
    });
    if (!reset.ok()) {
        platform.log(LogLevel::error, gone ? "the adapter does not answer after its reset"
                                           : "the adapter's reset did not end within a second");
        return gone ? Error::device_gone : reset.error();
    }
    write_register(platform, enabled);
    for (std::uint32_t left = read_register<PortsImplemented>(platform).raw & reachable; left != 0;
         left &= left - 1) {
        const PortOffset port = offset_of_port(static_cast<std::uint32_t>(std::countr_zero(left)));
        const PortCommand command = read_register<PortCommand>(platform, port);
        if (command.raw == all_ones) return Error::device_gone;
        if ((command.raw &
             (PortCommand::start.mask | PortCommand::fis_receive_enable.mask |
              PortCommand::command_list_running.mask | PortCommand::fis_receive_running.mask)) != 0) {
            platform.log(LogLevel::error, "a port still runs after the adapter's reset");
            return Error::device_misbehaves;
        }
    }
    return {};
}

}  // namespace dmatoll::ahci
