// SPDX-License-Identifier: BSD-2-Clause
#include "signals.hpp"

#include <unistd.h>

#include <cerrno>
#include <csignal>

#include "failure.hpp"

namespace dmatoll::user {

Descriptor take_signals(std::initializer_list<int> signals) {
    sigset_t set;
    ::sigemptyset(&set);
    for (const int signal : signals) {
        ::sigaddset(&set, signal);
    }
    ::sigprocmask(SIG_BLOCK, &set, nullptr);
    Descriptor descriptor{::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK)};
    if (!descriptor.valid()) {
        throw system_failure("cannot wait for signals", errno);
    }
    return descriptor;
}

Signals::Signals() : fd_{take_signals({SIGTERM, SIGINT, SIGCHLD})} {}

bool Signals::take() const {
    bool end = false;
    signalfd_siginfo info{};
    while (::read(fd_.get(), &info, sizeof(info)) == sizeof(info)) {
        end |= info.ssi_signo != SIGCHLD;
    }
    return end;
}

}  // namespace dmatoll::user
