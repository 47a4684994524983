// SPDX-License-Identifier: BSD-2-Clause
#include "interface_watch.hpp"

#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstddef>

#include "failure.hpp"

namespace dmatoll::user {

InterfaceWatch::InterfaceWatch()
    : changes_{::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE)} {
    sockaddr_nl groups{};
    groups.nl_family = AF_NETLINK;
    groups.nl_groups = RTMGRP_LINK;
    if (!changes_.valid() ||
        ::bind(changes_.get(), reinterpret_cast<const sockaddr*>(&groups), sizeof(groups)) != 0) {
        throw system_failure("cannot learn of changes of network interfaces from the kernel", errno);
    }
}

// What they say is not looked at: some may have been lost, and the interface itself tells how it is.
void InterfaceWatch::take() const {
    std::array<std::byte, 1> discarded{};
    ssize_t got = 0;
    do {
        got = ::recv(changes_.get(), discarded.data(), discarded.size(), MSG_TRUNC);
    } while (got >= 0 || errno == ENOBUFS || errno == EINTR);
}

}  // namespace dmatoll::user
