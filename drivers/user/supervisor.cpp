// SPDX-License-Identifier: BSD-2-Clause
#include "supervisor.hpp"

#include <poll.h>
#include <sched.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <nlohmann/json.hpp>
#include <optional>
#include <vector>

#include "control_socket.hpp"
#include "driver_process.hpp"
#include "failure.hpp"
#include "pci_device.hpp"
#include "sandbox.hpp"
#include "shared_state.hpp"
#include "statistics_text.hpp"
#include "tap.hpp"
#include "vfio_open.hpp"

namespace dmatoll::user {
namespace {

using nlohmann::json;

// VFIO lets go of a group when the last user's exit is through; that takes milliseconds, seconds with much
// memory to unpin.
constexpr int group_patience_ms = 5000;
// A driver that hangs does not stop by itself; its end closes the device, which stops that.
constexpr int stop_patience_ms = 5000;

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
          tap_{options.tap},
          control_{options.control, [this](const std::string& question) { return answer(question); }} {}

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
            if (process_) {
                if (const auto report = process_->take_report()) {
                    handle(*report);
                }
            }
            int status = 0;
            if (process_ && ::waitpid(process_->pid(), &status, WNOHANG) == process_->pid()) {
                // What it said last may still be in the pipe.
                if (const auto report = process_->take_report()) {
                    handle(*report);
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
        failure_.clear();
        process_.emplace(ChildOptions{.bdf = device_.bdf,
                                      .address_bits = device_.address_bits,
                                      .pci_vendor = device_.part->vendor,
                                      .pci_device = device_.part->device,
                                      .driver = options_.driver,
                                      .user = identity_.user,
                                      .group = identity_.group,
                                      .parent = ::getpid()},
                         options_.cpu, open_vfio(device_, patience_ms), tap_.fd(), counters_.fd());
    }

    void wait() {
        std::vector<pollfd> waiting{{signals_.fd(), POLLIN, 0}};
        if (process_ && process_->report_fd() >= 0) {
            waiting.push_back({process_->report_fd(), POLLIN, 0});
        }
        control_.add_to(waiting);
        if (::poll(waiting.data(), waiting.size(), -1) > 0) {
            control_.serve(waiting);
        }
    }

    void handle(const Report& report) {
        if (!report.ready) {
            failure_ = report.failure;
            return;
        }
        tap_.bring_up(report.mac);
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
        event["restarts_left"] = options_.restarts - restarts_;
        print_event(event);
        set_carrier(tap_.fd(), false);
        if (restarts_ == options_.restarts) {
            std::fprintf(stderr,
                         "dmatoll-net-user %s: the driver process %s, and has been restarted %u times "
                         "already; giving up\n",
                         device_.bdf.c_str(), how_it_ended(status).c_str(), restarts_);
            return false;
        }
        ++restarts_;
        start(group_patience_ms);
        return true;
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
        if (question != "stats") {
            return json{{"error", "unknown question; known: stats"}}.dump(-1, ' ', true,
                                                                          json::error_handler_t::replace);
        }
        return statistics_text(*counters_, options_, process_ ? process_->pid() : 0, restarts_);
    }

    const Options& options_;
    Signals signals_;
    PciDevice device_;
    Identity identity_;
    Tap tap_;
    SharedPage counters_;
    ControlSocket control_;
    std::optional<DriverProcess> process_;
    std::string failure_;  // what the process said was wrong
    unsigned restarts_ = 0;
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
