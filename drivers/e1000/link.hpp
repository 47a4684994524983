// SPDX-License-Identifier: BSD-2-Clause
// The link: what state it is in, and whether the MAC follows the PHY's negotiation or its loopback.
//
// [8254x] Intel 317453.
#pragma once

#include <cstdint>

#include "../core/platform.hpp"
#include "../core/register.hpp"
#include "../core/result.hpp"
#include "phy.hpp"
#include "registers.hpp"

namespace dmatoll::e1000 {

struct LinkState {
    bool up = false;
    std::uint32_t megabits = 0;
    bool full_duplex = false;
};

template <Platform P>
LinkState read_link_state(P& platform) {
    const DeviceStatus status = read_register<DeviceStatus>(platform);
    if (status.raw == all_ones || !status.test(DeviceStatus::link_up)) return {};
    const std::uint32_t speed = status.get(DeviceStatus::speed);
    return LinkState{.up = true,
                     .megabits = speed == 0   ? 10u
                                 : speed == 1 ? 100u
                                              : 1000u,
                     .full_duplex = status.test(DeviceStatus::full_duplex)};
}

// [8254x §14.3]: the MAC follows what the PHY negotiated, or is held at what the PHY's loopback runs at.
// No flow control, in either placement: pause frames would make one end's load the other end's.
template <Platform P>
void write_link_control(P& platform, bool forced) {
    DeviceControl control = read_register<DeviceControl>(platform);
    control.clear(DeviceControl::link_reset)
        .clear(DeviceControl::invert_loss_of_signal)
        .clear(DeviceControl::phy_reset)
        .clear(DeviceControl::receive_flow_control)
        .clear(DeviceControl::transmit_flow_control)
        .clear(DeviceControl::vlan_mode)
        .set(DeviceControl::set_link_up)
        .set(DeviceControl::auto_speed_detection, forced ? 0 : 1)
        .set(DeviceControl::force_speed, forced ? 1 : 0)
        .set(DeviceControl::force_duplex, forced ? 1 : 0);
    if (forced) control.set(DeviceControl::speed, DeviceControl::speed_1000).set(DeviceControl::full_duplex);
    write_register(platform, control);
}

// Has the link negotiated; does not wait for it. Errors: those of the PHY.
template <Platform P>
Status bring_up_link(P& platform) {
    write_link_control(platform, false);
    return phy::bring_up(platform);
}

// Sends frames back at the PHY; off: negotiates again. Errors: those of the PHY.
template <Platform P>
Status set_link_loopback(P& platform, bool on) {
    if (const Status set = phy::set_loopback(platform, on); !set.ok()) return set;
    write_link_control(platform, on);
    return {};
}

}  // namespace dmatoll::e1000
