// SPDX-License-Identifier: BSD-2-Clause
#include "supervisor.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <utility>

#include "failure.hpp"

namespace dmatoll::user {
namespace {

using nlohmann::json;

constexpr int exit_patience_ms = 500;
// From a process's start to its report: seconds with much memory to pin.
constexpr std::uint64_t start_patience_ms = 60'000;

std::uint64_t now_ms() {
    return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(
                                          std::chrono::steady_clock::now().time_since_epoch())
                                          .count());
}

std::string how_it_ended(int status) {
    if (WIFSIGNALED(status)) {
        return std::string{"killed by signal "} + std::to_string(WTERMSIG(status)) + " (" +
               ::strsignal(WTERMSIG(status)) + ")";
    }
    return "exited with status " + std::to_string(WEXITSTATUS(status));
}

// Throws Failure if the driver process cannot be pinned there: one that ran elsewhere would measure something
// else. Tried on this process, since the other one has nobody to tell yet when it is pinned.
void check_cpu(unsigned cpu) {
    cpu_set_t own;
    cpu_set_t wanted;
    CPU_ZERO(&wanted);
    // Beyond the set's end CPU_SET does nothing, and an empty set is refused as well.
    CPU_SET(cpu, &wanted);
    if (::sched_getaffinity(0, sizeof(own), &own) != 0 ||
        ::sched_setaffinity(0, sizeof(wanted), &wanted) != 0) {
        throw system_failure("the driver process cannot be pinned to CPU " + std::to_string(cpu) +
                                 " (/sys/devices/system/cpu/online lists them)",
                             errno);
    }
    ::sched_setaffinity(0, sizeof(own), &own);
}

}  // namespace

Supervisor::Supervisor(const char* program, const CommonOptions& options, const PciDevice& device,
                       SharedState& state)
    : program_{program},
      options_{options},
      device_{device},
      state_{state},
      identity_{options.user.empty() ? user_of_device(device.bdf) : find_user(options.user)},
      control_{options.control, [this](const std::string& question) { return answer(question); }},
      policy_{options.restarts} {
    if (options.cpu) {
        check_cpu(*options.cpu);
    }
    std::array<int, 2> bell{};
    if (::pipe2(bell.data(), O_CLOEXEC | O_NONBLOCK) != 0) {
        throw system_failure("cannot make a pipe to wake the driver process by", errno);
    }
    bell_end_ = Descriptor{bell[0]};
    bell_ = Descriptor{bell[1]};
}

Supervisor::~Supervisor() = default;

int Supervisor::run() {
    start(0);
    while (true) {
        wait();
        if (end_is_wanted()) {
            stop();
            return 0;
        }
        if (process_ && !hear_process()) {
            return 1;
        }
        look_after_process();
        if (start_at_ms_ && now_ms() >= *start_at_ms_) {
            start_at_ms_.reset();
            try {
                start(group_patience_ms);
            } catch (const Failure& failure) {
                give_up(failure.what());
                return 1;
            }
        }
        if (const auto ended = process_ ? process_->take_end() : std::nullopt) {
            // What it said last may still be in the pipe.
            if (!hear_process()) {
                process_.reset();  // no longer there to be stopped
                return 1;
            }
            if (!after_crash(*ended)) {
                return 1;
            }
        }
    }
}

ProcessOptions Supervisor::process_options() const {
    return {.bdf = device_.bdf,
            .address_bits = device_.address_bits,
            .user = identity_.user,
            .group = identity_.group};
}

bool Supervisor::end_is_wanted() {
    ended_ |= signals_.take();
    return ended_;
}

void Supervisor::start(int patience_ms) {
    failure_.clear();
    watchdog_.reset();
    report_due_ms_.reset();
    started_at_ms_ = now_ms();
    process_.emplace(program_, options_.cpu, prepare_process(patience_ms));
    if (options_.watchdog_ms != 0) {
        report_due_ms_ = now_ms() + start_patience_ms;
    }
}

void Supervisor::wait() {
    std::vector<pollfd> waiting{{signals_.fd(), POLLIN, 0}};
    if (process_ && process_->report_fd() >= 0) {
        waiting.push_back({process_->report_fd(), POLLIN, 0});
    }
    add_to(waiting);
    control_.add_to(waiting);
    if (::poll(waiting.data(), waiting.size(), patience_ms()) > 0) {
        control_.serve(waiting);
        look_at(waiting);
    }
}

// -1: nothing is to be done before something happens.
int Supervisor::patience_ms() const {
    if (ended_) {
        return 0;
    }
    std::optional<std::uint64_t> next = start_at_ms_;
    if (watchdog_) {
        next = std::min(next.value_or(next_look_ms_), next_look_ms_);
    }
    if (report_due_ms_) {
        next = std::min(next.value_or(*report_due_ms_), *report_due_ms_);
    }
    if (!next) {
        return -1;
    }
    const std::uint64_t now = now_ms();
    return *next > now ? static_cast<int>(*next - now) : 0;
}

void Supervisor::look_after_process() {
    const std::uint64_t now = now_ms();
    if (process_ && report_due_ms_ && now >= *report_due_ms_) {
        report_due_ms_.reset();
        if (failure_.empty()) {
            failure_ =
                "it hung: no valid report within " + std::to_string(start_patience_ms) + " ms of its start";
        }
        ::kill(process_->pid(), SIGKILL);
    }
    if (!process_ || !watchdog_ || now < next_look_ms_) {
        return;
    }
    next_look_ms_ = now + watchdog_->period_ms();
    switch (watchdog_->look(state_.wakeups.load(std::memory_order_relaxed), now)) {
        case Watchdog::Finding::alive:
            break;
        case Watchdog::Finding::ask:
            ring_bell();
            break;
        case Watchdog::Finding::hangs:
            failure_ = "it hung: no sign of life for " + std::to_string(options_.watchdog_ms) +
                       " ms after it was asked for one";
            watchdog_.reset();
            ::kill(process_->pid(), SIGKILL);
            break;
    }
}

// Waits until the process has shown what it counted up to now, but not for ever: one that hangs is the
// watchdog's business, and its last numbers are better than none.
void Supervisor::ask_for_counters() const {
    constexpr unsigned step_us = 100;
    constexpr unsigned most_steps = 1000;
    if (!process_) {
        return;
    }
    const std::uint64_t before = state_.published.load(std::memory_order_relaxed);
    ring_bell();
    for (unsigned step = 0; step < most_steps && state_.published.load(std::memory_order_acquire) == before;
         ++step) {
        ::usleep(step_us);
    }
}

void Supervisor::ring_bell() const {
    const char ring = 0;
    // Full: it has been rung, and nobody has listened yet.
    [[maybe_unused]] const auto written = ::write(bell_.get(), &ring, sizeof(ring));
}

void Supervisor::end_process(const std::string& reason) {
    if (failure_.empty()) {
        failure_ = reason;
    }
    process_->close_reports();
    // Once it has been waited for, its number may be another's.
    if (process_lives()) {
        ::kill(process_->pid(), SIGKILL);
    }
}

bool Supervisor::process_lives() const {
    siginfo_t ended{};
    return process_ &&
           ::waitid(P_PID, static_cast<id_t>(process_->pid()), &ended, WEXITED | WNOHANG | WNOWAIT) == 0 &&
           ended.si_pid == 0;
}

// A process that is killed lets go of its descriptors some time before its end can be seen.
bool Supervisor::ends_soon() const {
    for (int waited_ms = 0; process_lives(); waited_ms += 10) {
        if (waited_ms >= exit_patience_ms) {
            return false;
        }
        ::usleep(10'000);
    }
    return true;
}

// False: its report could not be followed, and that is the end. Throws Failure instead if nothing ever ran.
bool Supervisor::hear_process() {
    try {
        while (const auto line = process_->take_report()) {
            follow_report(*line);
            // What that took was no time of the process's.
            if (report_due_ms_) {
                report_due_ms_ = now_ms() + start_patience_ms;
            }
        }
        return true;
    } catch (const Failure& failure) {
        // What it died of, or was killed by, is no reason to end the disks or the interface.
        if (ends_soon()) {
            process_->close_reports();
            return true;
        }
        if (!was_ready_) {
            throw;
        }
        return give_up(failure.what());
    }
}

void Supervisor::announce(const std::string& note, const json& more) {
    if (!note.empty()) {
        print_message(note);
    }
    json event{{"event", was_ready_ ? "restarted" : "ready"}, {"pid", pid()}, {"device", device_.bdf}};
    event.update(more);
    event["note"] = note;
    print_event(event);
    was_ready_ = true;
    report_due_ms_.reset();
    if (options_.watchdog_ms != 0) {
        watchdog_.emplace(options_.watchdog_ms);
        next_look_ms_ = now_ms() + watchdog_->period_ms();
    }
    process_->close_reports();
}

void Supervisor::print_event(const json& event) const {
    std::printf("%s\n", event.dump(-1, ' ', true, json::error_handler_t::replace).c_str());
    std::fflush(stdout);
}

void Supervisor::print_message(const std::string& message) const {
    std::fprintf(stderr, "%s %s: %s\n", program_, device_.bdf.c_str(), message.c_str());
}

// False: that was the last time.
bool Supervisor::after_crash(int status) {
    const pid_t pid = process_->pid();
    process_.reset();
    if (!was_ready_ && !failure_.empty()) {
        throw Failure{failure_};
    }
    json event{{"event", "crashed"},
               {"pid", pid},
               {"device", device_.bdf},
               {"how", how_it_ended(status)},
               {"reason", failure_}};
    if (WIFSIGNALED(status)) {
        event["signal"] = WTERMSIG(status);
    } else {
        event["status"] = WEXITSTATUS(status);
    }
    event["restarts_left"] = policy_.left() ? json(*policy_.left()) : json("always");
    watchdog_.reset();
    report_due_ms_.reset();
    if (const auto obstacle = follow_death()) {
        print_event(event);
        return give_up(*obstacle);
    }
    if (policy_.exhausted()) {
        print_event(event);
        return give_up("the driver process " + how_it_ended(status) + ", and has been restarted " +
                       std::to_string(policy_.restarts()) + " times already");
    }
    const std::uint64_t now = now_ms();
    const unsigned delay_ms = policy_.next_delay_ms(now - started_at_ms_);
    event["restart_in_ms"] = delay_ms;
    print_event(event);
    start_at_ms_ = now + delay_ms;
    return true;
}

// Always false.
bool Supervisor::give_up(const std::string& reason) const {
    print_message(reason + "; giving up");
    print_event({{"event", "failed"}, {"device", device_.bdf}, {"reason", reason}});
    return false;
}

void Supervisor::stop() {
    if (process_) {
        before_stop();
        // A driver that hangs does not stop by itself; its end closes the device, which stops that.
        if (!process_->stop()) {
            print_message("the driver process did not end within " + std::to_string(DriverProcess::stop_patience_ms) +
                          " ms and was killed");
        }
        process_.reset();
    }
    after_stop();
}

std::string Supervisor::answer(const std::string& question) {
    if (question == "stats") {
        ask_for_counters();
        return statistics();
    }
    if (options_.allow_faults && question == "fault null") {
        return order(Fault::null);
    }
    if (options_.allow_faults && question == "fault loop") {
        return order(Fault::loop);
    }
    if (const auto own = answer_own(question)) {
        return *own;
    }
    return json{{"error", std::string{"unknown question; known: stats"} +
                              (options_.allow_faults ? ", fault null, fault loop" : "")}}
        .dump();
}

std::string Supervisor::order(Fault fault) {
    if (!process_) {
        return json{{"error", "no driver process runs at the moment"}}.dump();
    }
    publish(state_.fault, static_cast<std::uint64_t>(fault));
    ring_bell();
    return json{{"ordered", true}, {"pid", process_->pid()}}.dump();
}

}  // namespace dmatoll::user
