// SPDX-License-Identifier: BSD-2-Clause
#include "sandbox.hpp"

#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstdint>
#include <cstdio>

#include "failure.hpp"

namespace dmatoll::user {
namespace {

void clear_capabilities() {
    __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
    std::array<__user_cap_data_struct, _LINUX_CAPABILITY_U32S_3> none{};
    if (::syscall(SYS_capset, &header, none.data()) != 0) {
        throw system_failure("cannot give up capabilities", errno);
    }
}

}  // namespace

Identity find_user(const std::string& name) {
    uid_t number = 0;
    const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), number);
    const bool is_number = error == std::errc{} && end == name.data() + name.size();
    const passwd* const entry = is_number ? ::getpwuid(number) : ::getpwnam(name.c_str());
    if (entry == nullptr && !is_number) {
        throw Failure{"there is no user `" + name +
                      "`. --user takes the name or number of the one that the driver is to run as."};
    }
    // A number needs no entry: any that nobody else uses will do.
    const Identity identity =
        entry != nullptr ? Identity{entry->pw_uid, entry->pw_gid} : Identity{number, number};
    if (identity.user == 0 || identity.group == 0) {
        throw Failure{
            "the driver is to run without privileges: --user must not be root, nor of root's group"};
    }
    return identity;
}

// Above what distributions, containers and directory services number users by (SSSD: up to 2,000,200,000), and below what is
// negative to some programs. systemd has the numbers from 0x7ffe'0000 for trees of other machines.
Identity user_of_device(const std::string& bdf) {
    constexpr std::uint32_t first = 0x7800'0000;
    constexpr unsigned most_domains = 0x7fe;
    unsigned domain = 0;
    unsigned bus = 0;
    unsigned slot = 0;
    unsigned function = 0;
    if (std::sscanf(bdf.c_str(), "%x:%x:%x.%x", &domain, &bus, &slot, &function) != 4) {
        throw Failure{"`" + bdf + "` is no PCI address (0000:00:03.0) to number a user by"};
    }
    if (domain >= most_domains || bus > 0xff || slot > 0x1f || function > 7) {
        throw Failure{"there is no number of a user for each device's driver beyond PCI domain 07fd, and this one is `" + bdf +
                      "`. --user takes the user that its driver is to run as."};
    }
    const std::uint32_t number = first | domain << 16 | bus << 8 | slot << 3 | function;
    if (const passwd* const entry = ::getpwuid(number); entry != nullptr) {
        throw Failure{"the driver of " + bdf + " is to run as user " + std::to_string(number) + ", and that is " + entry->pw_name +
                      ". --user takes another one."};
    }
    return {number, number};
}

void drop_privileges(const Identity& identity) {
    // The bounding set first: changing it takes a capability.
    for (int capability = 0; ::prctl(PR_CAPBSET_READ, capability, 0, 0, 0) >= 0; ++capability) {
        if (::prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) != 0) {
            throw system_failure("cannot drop capability " + std::to_string(capability), errno);
        }
    }
    ::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    if (::setgroups(0, nullptr) != 0 || ::setresgid(identity.group, identity.group, identity.group) != 0 ||
        ::setresuid(identity.user, identity.user, identity.user) != 0) {
        throw system_failure("cannot become user " + std::to_string(identity.user), errno);
    }
    clear_capabilities();
    if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) {
        throw system_failure("cannot forbid new privileges", errno);
    }
    if (::setresuid(0, 0, 0) == 0) {
        throw Failure{"root's identity came back after it was given up"};
    }
    // Changing identity clears this, so it comes last. A driver that works takes SIGTERM as ever, and leaves a quiet
    // device for the next one: what a killed one leaves starts again on its old rings as soon as another driver
    // lets it master the bus. One that hangs, or whose parent has died before this, is killed with its PID
    // namespace.
    ::prctl(PR_SET_PDEATHSIG, SIGTERM, 0, 0, 0);
}

}  // namespace dmatoll::user
