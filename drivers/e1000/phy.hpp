// SPDX-License-Identifier: BSD-2-Clause
// The PHY behind the MDI control register.
//
// [8254x] Intel 317453. [802.3] IEEE 802.3, clause 22.
#pragma once

#include <cstdint>

#include "../core/platform.hpp"
#include "../core/result.hpp"
#include "../core/wait.hpp"
#include "registers.hpp"

namespace dmatoll::e1000::phy {

// The internal PHY answers at this address only [8254x §13.4 MDIC].
inline constexpr std::uint32_t address = 1;

// Control register (BMCR) [802.3 §22.2.4.1]
inline constexpr std::uint32_t control = 0;
inline constexpr std::uint16_t control_speed_1000 = 1 << 6;
inline constexpr std::uint16_t control_full_duplex = 1 << 8;
inline constexpr std::uint16_t control_restart_negotiation = 1 << 9;
inline constexpr std::uint16_t control_isolate = 1 << 10;
inline constexpr std::uint16_t control_power_down = 1 << 11;
inline constexpr std::uint16_t control_negotiate = 1 << 12;
inline constexpr std::uint16_t control_loopback = 1 << 14;

// A transaction is 64 bits at about 2.5 MHz, some 30 us: 10 ms is a device that does not answer.
inline constexpr std::uint32_t timeout_us = 10'000;

template <Platform P>
Result<std::uint16_t> transact(P& platform, std::uint32_t operation, std::uint32_t phy_register,
                               std::uint16_t data) {
    MdiControl request{};
    request.set(MdiControl::data, data)
        .set(MdiControl::register_address, phy_register)
        .set(MdiControl::phy_address, address)
        .set(MdiControl::operation, operation);
    write_register(platform, request);
    MdiControl answer{};
    const Status waited = wait_until(platform, timeout_us, 10, [&] {
        answer = read_register<MdiControl>(platform);
        return answer.raw == all_ones || answer.test(MdiControl::ready);
    });
    if (!waited.ok()) return waited.error();
    if (answer.raw == all_ones) return Error::device_gone;
    if (answer.test(MdiControl::error)) return Error::device_misbehaves;
    return static_cast<std::uint16_t>(answer.get(MdiControl::data));
}

// Errors: timed_out, device_gone, device_misbehaves (the PHY does not have that register).
template <Platform P>
Result<std::uint16_t> read(P& platform, std::uint32_t phy_register) {
    return transact(platform, MdiControl::operation_read, phy_register, 0);
}

template <Platform P>
Status write(P& platform, std::uint32_t phy_register, std::uint16_t value) {
    return transact(platform, MdiControl::operation_write, phy_register, value).error();
}

// Sends what the MAC transmits back to its receiver, inside the PHY, at 1000 Mb/s full duplex;
// or goes back to negotiating with the partner on the wire.
template <Platform P>
Status set_loopback(P& platform, bool on) {
    const std::uint16_t value =
        on ? control_loopback | control_full_duplex | control_speed_1000
           : control_negotiate | control_restart_negotiation | control_full_duplex | control_speed_1000;
    return write(platform, control, value);
}

// Sees to it that the PHY is awake and negotiates. It is left alone if it does already: restarting takes the
// link down for seconds.
template <Platform P>
Status bring_up(P& platform) {
    const Result<std::uint16_t> current = read(platform, control);
    if (!current.ok()) return current.error();
    const bool asleep = (current.value() & (control_loopback | control_power_down | control_isolate)) != 0;
    const bool negotiates = (current.value() & control_negotiate) != 0;
    if (!asleep && negotiates) return {};
    return set_loopback(platform, false);
}

}  // namespace dmatoll::e1000::phy
