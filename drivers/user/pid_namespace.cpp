// SPDX-License-Identifier: BSD-2-Clause
#include "pid_namespace.hpp"

#include <fcntl.h>
#include <linux/close_range.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <string>

#include "failure.hpp"

namespace dmatoll::user {
namespace {

// Not SIGTERM: who ends a process group by that gives its supervisor as long as it takes.
constexpr int orphaned = SIGUSR1;

// Behind fork: only what is safe there. `ready`: the writing end of a pipe. Nothing else of this process's stays open:
// it may be a device, which lives as long as somebody has it.
[[noreturn]] void keep(int ready) {
    sigset_t waited;
    ::sigemptyset(&waited);
    ::sigaddset(&waited, orphaned);
    ::sigprocmask(SIG_BLOCK, &waited, nullptr);
    ::prctl(PR_SET_PDEATHSIG, orphaned, 0, 0, 0);
    // Who loses his parent in there is this one's child: none is left to be waited for.
    ::signal(SIGCHLD, SIG_IGN);
    if (::dup2(ready, 0) != 0) {
        ::_exit(126);
    }
    ::syscall(SYS_close_range, 1U, ~0U, 0U);
    // Without a reader the parent died before it could be told of.
    const char ok = 0;
    if (::write(0, &ok, sizeof(ok)) != sizeof(ok)) {
        ::_exit(126);
    }
    ::close(0);
    while (::sigwaitinfo(&waited, nullptr) != orphaned) {
    }
    for (unsigned waited_ms = 0; waited_ms < PidNamespace::patience_ms && ::kill(-1, 0) == 0; waited_ms += 10) {
        ::usleep(10'000);
    }
    ::_exit(0);
}

Failure no_namespace(int error) {
    const char* const need = error == EPERM    ? "it takes CAP_SYS_ADMIN"
                             : error == ENOSPC ? "sysctl user.max_pid_namespaces allows no more"
                             : error == ESRCH  ? "its keeper has ended"
                                               : "the kernel needs CONFIG_PID_NS, and to be Linux 5.9 or later";
    return system_failure(std::string{"cannot have a PID namespace for the driver process ("} + need + ")", error);
}

Descriptor open_process(pid_t process) { return Descriptor{static_cast<int>(::syscall(SYS_pidfd_open, process, 0U))}; }

// This process's further children begin in that process's namespace. Throws Failure.
void begin_children_beside(const Descriptor& process) {
    if (::setns(process.get(), CLONE_NEWPID) != 0) {
        throw no_namespace(errno);
    }
}

void end(pid_t process) {
    ::kill(process, SIGKILL);
    ::waitpid(process, nullptr, 0);
}

// Behind the fork of `child`, if there is one: this process's further children begin where it is itself. Throws Failure
// when they do not, without leaving a child that nobody knows of.
void come_back(const Descriptor& outside, pid_t child) {
    try {
        begin_children_beside(outside);
    } catch (const Failure&) {
        if (child > 0) {
            end(child);
        }
        throw;
    }
}

}  // namespace

PidNamespace::PidNamespace() : outside_{open_process(::getpid())} {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) {
        throw system_failure("cannot make a pipe to a process", errno);
    }
    const Descriptor ready{ends[0]};
    Descriptor ready_end{ends[1]};
    if (!outside_.valid() || ::unshare(CLONE_NEWPID) != 0) {
        throw no_namespace(errno);
    }
    keeper_ = ::fork();
    const int error = errno;
    if (keeper_ == 0) {
        keep(ready_end.get());
    }
    come_back(outside_, keeper_);
    if (keeper_ < 0) {
        throw no_namespace(error);
    }
    ready_end.reset();
    inside_ = open_process(keeper_);
    char ok = 0;
    if (!inside_.valid() || ::read(ready.get(), &ok, sizeof(ok)) != sizeof(ok)) {
        end(keeper_);
        throw Failure{"the keeper of the driver process's PID namespace does not start"};
    }
}

PidNamespace::~PidNamespace() { end(keeper_); }

pid_t PidNamespace::fork() const {
    begin_children_beside(inside_);
    const pid_t child = ::fork();
    if (child != 0) {
        const int error = errno;
        come_back(outside_, child);
        errno = error;
    }
    return child;
}

}  // namespace dmatoll::user
