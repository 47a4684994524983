// SPDX-License-Identifier: BSD-2-Clause
#include "driver_process.hpp"

#include <fcntl.h>
#include <linux/close_range.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <nlohmann/json.hpp>

#include "arena.hpp"
#include "failure.hpp"

namespace dmatoll::user {
namespace {

constexpr std::size_t longest_report = 4096;

// Between fork and exec: only what is safe there, and nothing that returns.
[[noreturn]] void become_driver(const char* options,
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
    // Events on standard output are the supervisor's word.
    ::dup2(STDERR_FILENO, STDOUT_FILENO);
    ::setrlimit(RLIMIT_MEMLOCK, &locked);
    if (cpus != nullptr && ::sched_setaffinity(0, sizeof(*cpus), cpus) != 0) {
        ::_exit(126);
    }
    // A frame in the TAP does not interrupt the one who sends: that one goes on until it waits or its time is
    // up, and then the driver finds a batch.
    const sched_param no_priority{};
    ::sched_setscheduler(0, SCHED_BATCH, &no_priority);
    sigset_t none;
    ::sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
    const char* const arguments[] = {"dmatoll-net-user", "--driver-process", options, nullptr};
    ::execv("/proc/self/exe", const_cast<char* const*>(arguments));
    ::_exit(127);
}

// The arena counts twice, as it is locked by the process and pinned by VFIO, and what waits in the queue of
// deferred unmappings once more; the rest is for rings and for the program itself.
rlimit lock_limit(const DriverOptions& driver) {
    const std::size_t arena = arena_layout(driver.receive_descriptors, driver.transmit_descriptors).bytes();
    const std::size_t deferred = driver.deferred_entries * ArenaLayout::transmit_slot_bytes;
    const rlim_t limit = 2 * arena + deferred + (rlim_t{16} << 20);
    return {limit, limit};
}

}  // namespace

std::string to_text(const Report& report) {
    return nlohmann::json{{"ready", report.ready},
                          {"mac", report.mac},
                          {"arena", report.arena},
                          {"note", report.note},
                          {"failure", report.failure}}
               .dump(-1, ' ', true, nlohmann::json::error_handler_t::replace) +
           "\n";
}

std::optional<Report> parse_report(const std::string& text) {
    try {
        const auto json = nlohmann::json::parse(text);
        Report report;
        json.at("ready").get_to(report.ready);
        json.at("mac").get_to(report.mac);
        json.at("arena").get_to(report.arena);
        json.at("note").get_to(report.note);
        json.at("failure").get_to(report.failure);
        if (report.ready && !is_station(report.mac)) {
            return std::nullopt;
        }
        return report;
    } catch (const nlohmann::json::exception&) {
        return std::nullopt;
    }
}

DriverProcess::DriverProcess(const ChildOptions& options, std::optional<unsigned> cpu, VfioDescriptors vfio,
                             int tap, int counters, int bell) {
    std::array<int, 2> pipe{};
    if (::pipe2(pipe.data(), O_CLOEXEC) != 0) {
        throw system_failure("cannot make a pipe to the driver process", errno);
    }
    report_ = Descriptor{pipe[0]};
    const Descriptor report_end{pipe[1]};
    ::fcntl(report_.get(), F_SETFL, O_NONBLOCK);

    const std::string text = to_text(options);
    const rlimit locked = lock_limit(options.driver);
    cpu_set_t cpus;
    CPU_ZERO(&cpus);
    if (cpu) {
        CPU_SET(*cpu, &cpus);
    }
    const std::array given{vfio.container.get(), vfio.device.get(), tap, counters, bell, report_end.get()};
    pid_ = ::fork();
    if (pid_ < 0) {
        throw system_failure("cannot start the driver process", errno);
    }
    if (pid_ == 0) {
        become_driver(text.c_str(), given, locked, cpu ? &cpus : nullptr);
    }
    // `vfio` goes out of scope here, and with it this process's hold on the device.
}

std::optional<Report> DriverProcess::take_report() {
    if (!report_.valid()) {
        return std::nullopt;
    }
    std::array<char, 512> bytes{};
    ssize_t got = 0;
    while ((got = ::read(report_.get(), bytes.data(), bytes.size())) > 0) {
        text_.append(bytes.data(), static_cast<std::size_t>(got));
        if (text_.size() > longest_report) {
            break;
        }
    }
    const std::size_t end = text_.find('\n');
    if (end == std::string::npos) {
        if (got == 0 || text_.size() > longest_report) {
            report_.reset();
        }
        return std::nullopt;
    }
    report_.reset();
    return parse_report(text_.substr(0, end));
}

}  // namespace dmatoll::user
