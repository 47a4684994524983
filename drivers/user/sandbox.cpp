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

// A driver that works takes SIGTERM as ever, and leaves a quiet device for the next one: what a killed one
// leaves starts again on its old rings as soon as another driver lets it master the bus. One that hangs never
// looks at SIGTERM, and must not keep the device for ever: the alarm kills it.
constexpr unsigned patience_s = 2;
void end_soon(int) {
    ::alarm(patience_s);
    ::kill(::getpid(), SIGTERM);
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

void drop_privileges(const Identity& identity, pid_t parent) {
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
    // Changing identity clears this, so it comes last; a parent that died before it is told apart by its
    // number.
    struct sigaction orphaned {};
    orphaned.sa_handler = end_soon;
    ::sigaction(SIGUSR1, &orphaned, nullptr);
    ::prctl(PR_SET_PDEATHSIG, SIGUSR1, 0, 0, 0);
    if (::getppid() != parent) {
        throw Failure{"the supervisor is gone"};
    }
}

}  // namespace dmatoll::user
