// SPDX-License-Identifier: BSD-2-Clause
// The network interface: what the device receives comes out of it, what is sent through it goes to the
// device.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "core/mac_address.hpp"
#include "descriptor.hpp"

namespace dmatoll::user {

// Lives as long as its descriptor or a duplicate of it is open.
class Tap {
  public:
    // Makes interface `name`, down, without carrier, with virtio headers and the offloads that are used
    // (checksum, TSO for IPv4; none without `offloads`), and without a queue in front of it. Throws Failure
    // if it exists already, or without the privilege.
    Tap(const std::string& name, std::uint32_t mtu, bool offloads);

    [[nodiscard]] int fd() const { return tap_.get(); }

    // Whether it cuts a frame of several UDP datagrams up again, or loses it.
    [[nodiscard]] bool takes_joined_datagrams() const { return takes_joined_datagrams_; }

    // Whether the interface still exists: anybody with the privilege can delete it.
    [[nodiscard]] bool exists() const;

    // Whether somebody wants to see what is meant for others, too: by the interface's own flag, or through a
    // packet socket. Nothing if it has moved to where it cannot be asked.
    [[nodiscard]] std::optional<bool> promiscuous() const;

    // Gives it the device's address and brings it up. Throws Failure.
    void bring_up(const MacAddress& mac);

  private:
    std::string name_;
    Descriptor tap_;
    bool takes_joined_datagrams_ = false;
};

// Tells the stack whether there is a link. Needs no privilege.
void set_carrier(int tap, bool up);

}  // namespace dmatoll::user
