// SPDX-License-Identifier: BSD-2-Clause
#include "driver_process.hpp"

#include <fcntl.h>
#include <linux/close_range.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>

#include "failure.hpp"

namespace dmatoll::user {
namespace {

// Thirty-two disks described fill less than half of it.
constexpr std::size_t longest_report = 32768;

// Between fork and exec: only what is safe there, and nothing that returns.
[[noreturn]] void become_driver(const char* program, const char* options,
                                const std::array<int, inherited_end - inherited_container>& given,
                                const rlimit& locked, const cpu_set_t* cpus) {
    // Out of the way of the final numbers first, one could be in the place of another.
    std::array<int, inherited_end - inherited_container> aside{};
    for (std::size_t i = 0; i < given.size(); ++i) {
        aside[i] = given[i] < 0 ? -1 : ::fcntl(given[i], F_DUPFD_CLOEXEC, static_cast<int>(inherited_end));
    }
    for (std::size_t i = 0; i < given.size(); ++i) {
        const int place = inherited_container + static_cast<int>(i);
        if (given[i] < 0) {
            // Whatever of the supervisor's has that number: it goes no further.
            ::close(place);
        } else if (::dup2(aside[i], place) < 0) {
            ::_exit(126);
        }
    }
    ::syscall(SYS_close_range, static_cast<unsigned>(inherited_end), ~0U, 0U);
    // A driver that is not trusted types into nobody's terminal. Not by a session of its own: the scheduler would make that a
    // group of its own, which costs at each switch.
    if (const int terminal = ::open("/dev/tty", O_RDWR | O_NOCTTY); terminal >= 0) {
        ::ioctl(terminal, TIOCNOTTY);
        ::close(terminal);
    }
    const int nothing = ::open("/dev/null", O_RDONLY);
    if (nothing < 0 || ::dup2(nothing, STDIN_FILENO) < 0) {
        ::_exit(126);
    }
    if (nothing != STDIN_FILENO) {
        ::close(nothing);
    }
    // Events on standard output are the supervisor's word.
    ::dup2(STDERR_FILENO, STDOUT_FILENO);
    // With its parent's limit it might hold all memory there is.
    if (::setrlimit(RLIMIT_MEMLOCK, &locked) != 0) {
        ::_exit(126);
    }
    if (cpus != nullptr && ::sched_setaffinity(0, sizeof(*cpus), cpus) != 0) {
        ::_exit(126);
    }
    // Work for the driver does not interrupt the one who makes it: that one goes on until it waits or its
    // time is up, and then the driver finds a batch.
    const sched_param no_priority{};
    ::sched_setscheduler(0, SCHED_BATCH, &no_priority);
    sigset_t none;
    ::sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
    const char* const arguments[] = {program, "--driver-process", options, nullptr};
    ::execv("/proc/self/exe", const_cast<char* const*>(arguments));
    ::_exit(127);
}

}  // namespace

DriverProcess::DriverProcess(const char* program, std::optional<unsigned> cpu, ProcessStart start) {
    std::array<int, 2> pipe{};
    if (::pipe2(pipe.data(), O_CLOEXEC) != 0) {
        throw system_failure("cannot make a pipe to the driver process", errno);
    }
    report_ = Descriptor{pipe[0]};
    const Descriptor report_end{pipe[1]};
    ::fcntl(report_.get(), F_SETFL, O_NONBLOCK);

    const rlimit locked{start.locked_bytes, start.locked_bytes};
    cpu_set_t cpus;
    CPU_ZERO(&cpus);
    if (cpu) {
        CPU_SET(*cpu, &cpus);
    }
    // In the order of InheritedDescriptor.
    const std::array given{start.vfio.container.get(),
                           start.vfio.device.get(),
                           start.counters,
                           start.bell,
                           report_end.get(),
                           start.own};
    pid_ = namespace_.fork();
    if (pid_ < 0) {
        throw system_failure("cannot start the driver process", errno);
    }
    if (pid_ == 0) {
        become_driver(program, start.options.c_str(), given, locked, cpu ? &cpus : nullptr);
    }
    // `start` goes out of scope here, and with it this process's hold on the device.
}

DriverProcess::~DriverProcess() { stop(); }

bool DriverProcess::stop() {
    // Once it has been waited for, its number may be another's.
    if (take_end()) {
        return true;
    }
    ::kill(pid_, SIGTERM);
    for (int waited_ms = 0; waited_ms < stop_patience_ms; waited_ms += 10) {
        if (take_end()) {
            return true;
        }
        ::usleep(10'000);
    }
    ::kill(pid_, SIGKILL);
    int status = 0;
    ::waitpid(pid_, &status, 0);
    end_ = status;
    return false;
}

std::optional<int> DriverProcess::take_end() {
    int status = 0;
    if (!end_ && ::waitpid(pid_, &status, WNOHANG) == pid_) {
        end_ = status;
    }
    return end_;
}

std::optional<std::string> DriverProcess::take_report() {
    if (!report_.valid()) {
        return std::nullopt;
    }
    std::array<char, 512> bytes{};
    ssize_t got = 0;
    while (text_.size() <= longest_report && (got = ::read(report_.get(), bytes.data(), bytes.size())) > 0) {
        text_.append(bytes.data(), static_cast<std::size_t>(got));
    }
    const std::size_t end = text_.find('\n');
    if (end == std::string::npos) {
        if (got == 0 || text_.size() > longest_report) {
            report_.reset();
        }
        return std::nullopt;
    }
    std::string line = text_.substr(0, end);
    text_.erase(0, end + 1);
    return line;
}

void send_report(const std::string& line) {
    const std::string text = line + "\n";
    // Longer than a pipe takes at once it cannot be; without a reader there is nobody to tell.
    [[maybe_unused]] const auto written = ::write(inherited_report, text.data(), text.size());
}

}  // namespace dmatoll::user
