// SPDX-License-Identifier: BSD-2-Clause
#include "tap.hpp"

#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>

#include "failure.hpp"
#include "queueing_discipline.hpp"

namespace dmatoll::user {
namespace {

ifreq request_for(const std::string& name) {
    ifreq request{};
    std::copy(name.begin(), name.end(), request.ifr_name);
    return request;
}

}  // namespace

Tap::Tap(const std::string& name, std::uint32_t mtu, bool offloads) : name_{name} {
    if (name.empty() || name.size() >= IFNAMSIZ) {
        throw Failure{"`" + name + "` cannot name a network interface: 1 to " + std::to_string(IFNAMSIZ - 1) +
                      " characters"};
    }
    tap_ = Descriptor{::open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC)};
    if (!tap_.valid()) {
        const int error = errno;
        if (error == ENOENT || error == ENODEV) {
            throw Failure{"/dev/net/tun is not there: `modprobe tun` loads it."};
        }
        throw system_failure("cannot open /dev/net/tun", error);
    }
    ifreq request = request_for(name);
    // Exclusive: somebody else's interface of that name is not taken over.
    request.ifr_flags = static_cast<short>(IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | IFF_TUN_EXCL);
    if (::ioctl(tap_.get(), TUNSETIFF, &request) != 0) {
        const int error = errno;
        if (error == EBUSY || error == EEXIST) {
            throw Failure{"an interface " + name +
                          " exists already. Choose another with --tap, or remove it: `ip link delete " +
                          name + "`."};
        }
        throw system_failure("cannot make the TAP interface " + name, error);
    }
    // No TUN_F_TSO6: QEMU's 82540EM writes a payload length into segments of IPv6 that is 40 bytes too long,
    // so that their receiver drops them, and Linux's own e1000 does not offer it either.
    const unsigned long wanted = offloads ? TUN_F_CSUM | TUN_F_TSO4 : 0;
    // Since Linux 6.2, which learnt in both directions at once what a frame of many UDP datagrams is. Before,
    // it refuses to be given one.
    constexpr unsigned long udp_segmentation = 0x20 | 0x40;  // TUN_F_USO4, TUN_F_USO6
    takes_joined_datagrams_ =
        offloads && ::ioctl(tap_.get(), TUNSETOFFLOAD, TUN_F_CSUM | udp_segmentation) == 0;
    if (::ioctl(tap_.get(), TUNSETOFFLOAD, wanted) != 0) {
        throw system_failure("cannot set the offloads of the TAP interface " + name, errno);
    }
    const Descriptor control{::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
    request = request_for(name);
    request.ifr_mtu = static_cast<int>(mtu);
    if (::ioctl(control.get(), SIOCSIFMTU, &request) != 0) {
        throw system_failure("cannot set the MTU of the TAP interface " + name + " to " + std::to_string(mtu),
                             errno);
    }
    // A TAP takes every frame at once into a ring of its own, and drops it when that is full: nothing ever
    // waits in a queue in front of it, which costs a lock and a pass through the scheduler of packets with
    // each frame.
    try {
        remove_queueing_discipline(name);
    } catch (const Failure& failure) {
        // It works all the same, and costs more.
        std::fprintf(stderr, "dmatoll-net-user: %s\n", failure.what());
    }
    set_carrier(tap_.get(), false);
}

bool Tap::exists() const {
    ifreq request{};
    return ::ioctl(tap_.get(), TUNGETIFF, &request) == 0;
}

std::optional<bool> Tap::promiscuous() const {
    // It may have been renamed. SIOCGIFFLAGS would leave out what packet sockets ask for.
    ifreq request{};
    if (::ioctl(tap_.get(), TUNGETIFF, &request) != 0) {
        return std::nullopt;
    }
    std::ifstream file{std::string{"/sys/class/net/"} + request.ifr_name + "/flags"};
    unsigned flags = 0;
    if (!(file >> std::hex >> flags)) {
        return std::nullopt;
    }
    return (flags & IFF_PROMISC) != 0;
}

void Tap::bring_up(const MacAddress& mac) {
    const Descriptor control{::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
    ifreq request = request_for(name_);
    request.ifr_hwaddr.sa_family = ARPHRD_ETHER;
    std::copy(mac.begin(), mac.end(), request.ifr_hwaddr.sa_data);
    if (::ioctl(control.get(), SIOCSIFHWADDR, &request) != 0) {
        throw system_failure("cannot set the hardware address of " + name_, errno);
    }
    request = request_for(name_);
    if (::ioctl(control.get(), SIOCGIFFLAGS, &request) != 0) {
        throw system_failure("cannot read the state of " + name_, errno);
    }
    request.ifr_flags = static_cast<short>(request.ifr_flags | IFF_UP);
    if (::ioctl(control.get(), SIOCSIFFLAGS, &request) != 0) {
        throw system_failure("cannot bring " + name_ + " up", errno);
    }
}

void set_carrier(int tap, bool up) {
    int carrier = up ? 1 : 0;
    // Older kernels than 5.0 refuse: the interface then counts as connected all the time.
    ::ioctl(tap, TUNSETCARRIER, &carrier);
}

}  // namespace dmatoll::user
