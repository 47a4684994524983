// SPDX-License-Identifier: BSD-2-Clause
#include "supervisor.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <nlohmann/json.hpp>
#include <optional>
#include <vector>

#include "control_socket.hpp"
#include "driver_process.hpp"
#include "failure.hpp"
#include "fault.hpp"
#include "interface_watch.hpp"
#include "pci_device.hpp"
#include "restart_policy.hpp"
#include "sandbox.hpp"
#include "shared_state.hpp"
#include "statistics_text.hpp"
#include "tap.hpp"
#include "vfio_open.hpp"
#include "watchdog.hpp"

namespace dmatoll::user {
namespace {

using nlohmann::json;

// VFIO lets go of a group when the last user's exit is through; that takes milliseconds, seconds with much
// memory to unpin.
constexpr int group_patience_ms = 5000;
// A driver that hangs does not stop by itself; its end closes the device, which stops that.
constexpr int stop_patience_ms = 5000;
// From a process's start to its report: seconds with much memory to pin.
constexpr std::uint64_t start_patience_ms = 60'000;

std::uint64_t now_ms() {
    return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(
                                          std::chrono::steady_clock::now().time_since_epoch())
                                          .count());
}

void print_event(const json& event) {
    std::printf("%s\n", event.dump(-1, ' ', true, json::error_handler_t::replace).c_str());
    std::fflush(stdout);
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

// SIGTERM, SIGINT and SIGCHLD as something to poll.
class Signals {
  public:
    Signals() {
        sigset_t set;
        ::sigemptyset(&set);
        for (const int signal : {SIGTERM, SIGINT, SIGCHLD}) {
            ::sigaddset(&set, signal);
        }
        ::sigprocmask(SIG_BLOCK, &set, nullptr);
        fd_ = Descriptor{::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK)};
        if (!fd_.valid()) {
            throw system_failure("cannot wait for signals", errno);
        }
    }

    [[nodiscard]] int fd() const { return fd_.get(); }

    // Takes what is pending; true if somebody wants the end.
    bool take() const {
        bool end = false;
        signalfd_siginfo info{};
        while (::read(fd_.get(), &info, sizeof(info)) == sizeof(info)) {
            end |= info.ssi_signo != SIGCHLD;
        }
        return end;
    }

  private:
    Descriptor fd_;
};

class Supervisor {
  public:
    explicit Supervisor(const Options& options)
        : options_{options},
          device_{find_device(options.device)},
          identity_{find_user(options.user)},
          control_{options.control, [this](const std::string& question) { return answer(question); }},
          policy_{options.restarts} {
        if (options.driver.raw == Raw::none) {
            // First, so that it misses nothing.
            interface_watch_.emplace();
            tap_.emplace(options.tap, options.driver.mtu, options.driver.offloads);
        }
        std::array<int, 2> bell{};
        if (::pipe2(bell.data(), O_CLOEXEC | O_NONBLOCK) != 0) {
            throw system_failure("cannot make a pipe to wake the driver process by", errno);
        }
        bell_end_ = Descriptor{bell[0]};
        bell_ = Descriptor{bell[1]};
    }

    ~Supervisor() { stop(); }
    Supervisor(const Supervisor&) = delete;
    Supervisor& operator=(const Supervisor&) = delete;

    int run() {
        start(0);
        while (true) {
            wait();
            if (signals_.take()) {
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
            int status = 0;
            if (process_ && ::waitpid(process_->pid(), &status, WNOHANG) == process_->pid()) {
                // What it said last may still be in the pipe.
                if (!hear_process()) {
                    process_.reset();  // no longer there to be stopped
                    return 1;
                }
                if (!after_crash(status)) {
                    return 1;
                }
            }
        }
    }

  private:
    void start(int patience_ms) {
        counters_.clear();
        publish(counters_->promiscuous, promiscuous_);
        failure_.clear();
        watchdog_.reset();
        report_due_ms_.reset();
        started_at_ms_ = now_ms();
        DriverOptions driver = options_.driver;
        driver.join_datagrams = tap_ && tap_->takes_joined_datagrams();
        process_.emplace(ChildOptions{.bdf = device_.bdf,
                                      .address_bits = device_.address_bits,
                                      .pci_vendor = device_.part->vendor,
                                      .pci_device = device_.part->device,
                                      .driver = driver,
                                      .user = identity_.user,
                                      .group = identity_.group,
                                      .parent = ::getpid()},
                         options_.cpu, open_vfio(device_, patience_ms), tap_ ? tap_->fd() : -1,
                         counters_.fd(), bell_end_.get());
        if (options_.watchdog_ms != 0) {
            report_due_ms_ = now_ms() + start_patience_ms;
        }
    }

    void wait() {
        std::vector<pollfd> waiting{{signals_.fd(), POLLIN, 0}};
        if (process_ && process_->report_fd() >= 0) {
            waiting.push_back({process_->report_fd(), POLLIN, 0});
        }
        if (interface_watch_) {
            waiting.push_back({interface_watch_->fd(), POLLIN, 0});
        }
        control_.add_to(waiting);
        if (::poll(waiting.data(), waiting.size(), patience_ms()) > 0) {
            control_.serve(waiting);
            const auto changed = [this](const pollfd& entry) {
                return entry.fd == interface_watch_->fd() && entry.revents != 0;
            };
            if (interface_watch_ && std::any_of(waiting.begin(), waiting.end(), changed)) {
                follow_interface();
            }
        }
    }

    // The device takes what the interface is to show.
    void follow_interface() {
        interface_watch_->take();
        const bool wanted = tap_->promiscuous().value_or(promiscuous_);
        if (wanted != promiscuous_) {
            promiscuous_ = wanted;
            publish(counters_->promiscuous, promiscuous_);
            ring_bell();
        }
    }

    // -1: nothing is to be done before something happens.
    [[nodiscard]] int patience_ms() const {
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

    void look_after_process() {
        const std::uint64_t now = now_ms();
        if (process_ && report_due_ms_ && now >= *report_due_ms_) {
            report_due_ms_.reset();
            if (failure_.empty()) {
                failure_ = "it hung: no valid report within " + std::to_string(start_patience_ms) +
                           " ms of its start";
            }
            ::kill(process_->pid(), SIGKILL);
        }
        if (!process_ || !watchdog_ || now < next_look_ms_) {
            return;
        }
        next_look_ms_ = now + watchdog_->period_ms();
        switch (watchdog_->look(counters_->wakeups.load(std::memory_order_relaxed), now)) {
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
    void ask_for_counters() const {
        constexpr unsigned step_us = 100;
        constexpr unsigned most_steps = 1000;
        if (!process_) {
            return;
        }
        const std::uint64_t before = counters_->published.load(std::memory_order_relaxed);
        ring_bell();
        for (unsigned step = 0;
             step < most_steps && counters_->published.load(std::memory_order_acquire) == before; ++step) {
            ::usleep(step_us);
        }
    }

    void ring_bell() const {
        const char ring = 0;
        // Full: it has been rung, and nobody has listened yet.
        [[maybe_unused]] const auto written = ::write(bell_.get(), &ring, sizeof(ring));
    }

    // False: its report could not be followed, and that is the end. Throws Failure instead if nothing ever
    // ran.
    bool hear_process() {
        const auto report = process_->take_report();
        if (!report) {
            return true;
        }
        try {
            handle(*report);
            return true;
        } catch (const Failure& failure) {
            if (!was_ready_) {
                throw;
            }
            return give_up(failure.what());
        }
    }

    void handle(const Report& report) {
        if (!report.ready) {
            failure_ = report.failure;
            return;
        }
        if (tap_) {
            tap_->bring_up(report.mac);
        }
        if (!report.note.empty()) {
            std::fprintf(stderr, "dmatoll-net-user %s: %s\n", device_.bdf.c_str(), report.note.c_str());
        }
        std::array<char, 18> mac{};
        std::snprintf(mac.data(), mac.size(), "%02x:%02x:%02x:%02x:%02x:%02x", report.mac[0], report.mac[1],
                      report.mac[2], report.mac[3], report.mac[4], report.mac[5]);
        print_event({{"event", was_ready_ ? "restarted" : "ready"},
                     {"pid", process_->pid()},
                     {"device", device_.bdf},
                     {"tap", options_.tap},
                     {"mac", mac.data()},
                     {"strategy", options_.driver.strategy},
                     {"arena", report.arena},
                     {"note", report.note}});
        was_ready_ = true;
        report_due_ms_.reset();
        if (options_.watchdog_ms != 0) {
            watchdog_.emplace(options_.watchdog_ms);
            next_look_ms_ = now_ms() + watchdog_->period_ms();
        }
    }

    // False: that was the last time.
    bool after_crash(int status) {
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
        if (tap_ && !tap_->exists()) {
            print_event(event);
            return give_up("its TAP interface " + options_.tap + " was deleted");
        }
        if (tap_) {
            set_carrier(tap_->fd(), false);
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
    bool give_up(const std::string& reason) const {
        std::fprintf(stderr, "dmatoll-net-user %s: %s; giving up\n", device_.bdf.c_str(), reason.c_str());
        print_event({{"event", "failed"}, {"device", device_.bdf}, {"reason", reason}});
        return false;
    }

    void stop() {
        if (!process_) {
            return;
        }
        const pid_t pid = process_->pid();
        process_.reset();
        ::kill(pid, SIGTERM);
        for (int waited_ms = 0; waited_ms < stop_patience_ms; waited_ms += 10) {
            if (::waitpid(pid, nullptr, WNOHANG) != 0) {
                return;
            }
            ::usleep(10'000);
        }
        std::fprintf(stderr,
                     "dmatoll-net-user %s: the driver process did not end within %d ms and is killed\n",
                     device_.bdf.c_str(), stop_patience_ms);
        ::kill(pid, SIGKILL);
        ::waitpid(pid, nullptr, 0);
    }

    std::string answer(const std::string& question) {
        if (question == "stats") {
            ask_for_counters();
            return statistics_text(*counters_, options_, *device_.part, process_ ? process_->pid() : 0,
                                   policy_.restarts());
        }
        if (options_.allow_faults && question == "fault null") {
            return order(Fault::null);
        }
        if (options_.allow_faults && question == "fault loop") {
            return order(Fault::loop);
        }
        return json{{"error", std::string{"unknown question; known: stats"} +
                                  (options_.allow_faults ? ", fault null, fault loop" : "")}}
            .dump();
    }

    std::string order(Fault fault) {
        if (!process_) {
            return json{{"error", "no driver process runs at the moment"}}.dump();
        }
        publish(counters_->fault, static_cast<std::uint64_t>(fault));
        ring_bell();
        return json{{"ordered", true}, {"pid", process_->pid()}}.dump();
    }

    const Options& options_;
    Signals signals_;
    PciDevice device_;
    Identity identity_;
    // Neither with raw frames.
    std::optional<InterfaceWatch> interface_watch_;
    std::optional<Tap> tap_;
    bool promiscuous_ = false;
    SharedPage counters_;
    // A pipe, whose ends share no flags: the process is not trusted, and cannot make this one wait. The end
    // that it reads is held here, too, for the next process, and so that ringing never breaks the pipe.
    Descriptor bell_;
    Descriptor bell_end_;
    ControlSocket control_;
    std::optional<DriverProcess> process_;
    std::string failure_;  // what the process said was wrong
    RestartPolicy policy_;
    std::optional<Watchdog> watchdog_;  // while there is a process that has reported
    std::uint64_t next_look_ms_ = 0;
    std::optional<std::uint64_t> report_due_ms_;  // while there is a process that has not reported
    std::uint64_t started_at_ms_ = 0;
    std::optional<std::uint64_t> start_at_ms_;
    bool was_ready_ = false;
};

}  // namespace

int supervise(const Options& options) {
    if (::geteuid() != 0) {
        throw Failure{
            "this program needs root to open VFIO's group and to make a TAP (the driver itself then runs as "
            "`" +
            options.user + "`). Start it with sudo."};
    }
    if (options.cpu) {
        check_cpu(*options.cpu);
    }
    return Supervisor{options}.run();
}

}  // namespace dmatoll::user
