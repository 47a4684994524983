// SPDX-License-Identifier: BSD-2-Clause
#include "process.hpp"

#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <utility>

#include "failure.hpp"
#include "text.hpp"

namespace dmatoll::harness {
namespace {

std::atomic<bool> stop_requested{false};

constexpr gid_t no_group = 65534;

void on_signal(int) { stop_requested = true; }

// What the child does between fork and exec. Its own failures are exit statuses that no program uses by
// itself.
[[noreturn]] void become(const Command& command, const std::string& program, int output, int error,
                         pid_t parent) {
    // First: what follows does not last where that changes.
    if (command.user && (::setgroups(0, nullptr) != 0 || ::setresgid(no_group, no_group, no_group) != 0 ||
                         ::setresuid(*command.user, *command.user, *command.user) != 0)) {
        static constexpr char text[] = "cannot become another user\n";
        [[maybe_unused]] const ssize_t put = ::write(error, text, sizeof text - 1);
        ::_exit(125);
    }
    // A killed harness leaves nothing running.
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != parent) ::_exit(126);
    if (command.own_group) ::setpgid(0, 0);
    ::signal(SIGINT, SIG_DFL);
    ::signal(SIGTERM, SIG_DFL);
    ::signal(SIGPIPE, SIG_DFL);
    const int null = ::open("/dev/null", O_RDONLY);
    ::dup2(null, 0);
    ::dup2(output, 1);
    ::dup2(error, 2);
    if (command.cpu) {
        cpu_set_t set;
        CPU_ZERO(&set);
        CPU_SET(static_cast<std::size_t>(*command.cpu), &set);
        ::sched_setaffinity(0, sizeof set, &set);
    }
    if (!command.network_namespace.empty()) {
        const std::string path = "/run/netns/" + command.network_namespace;
        const int handle = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
        if (handle < 0 || ::setns(handle, CLONE_NEWNET) != 0) {
            static constexpr char text[] = "cannot enter the network namespace\n";
            [[maybe_unused]] const ssize_t put = ::write(2, text, sizeof text - 1);
            ::_exit(125);
        }
    }
    std::vector<char*> arguments;
    for (const auto& argument : command.arguments) arguments.push_back(const_cast<char*>(argument.c_str()));
    arguments.push_back(nullptr);
    ::execv(program.c_str(), arguments.data());
    ::_exit(127);
}

int status_of(int raw) { return WIFEXITED(raw) ? WEXITSTATUS(raw) : 128 + WTERMSIG(raw); }

}  // namespace

std::optional<std::string> find_program(const std::string& name) {
    if (name.find('/') != std::string::npos)
        return ::access(name.c_str(), X_OK) == 0 ? std::optional{name} : std::nullopt;
    const char* path = std::getenv("PATH");
    // A user's PATH may lack the sbin directories, where ip and modprobe live.
    const std::string search =
        std::string{path ? path : "/usr/bin:/bin"} + ":/usr/sbin:/sbin:/usr/local/sbin";
    for (const auto& directory : split(search, ':')) {
        std::string candidate = directory + "/" + name;
        if (::access(candidate.c_str(), X_OK) == 0) return candidate;
    }
    return std::nullopt;
}

Child::Child(const Command& command) : name_{command.arguments.at(0)} {
    const auto program = find_program(name_);
    if (!program) fail("The program '{}' is not installed; `dmatoll doctor` says how to get it", name_);
    int output[2] = {-1, -1};
    int error[2] = {-1, -1};
    if (::pipe2(output, O_CLOEXEC) != 0 || ::pipe2(error, O_CLOEXEC) != 0)
        fail("Cannot start {}: no pipe: {}", name_, system_error(errno));
    const pid_t parent = ::getpid();
    pid_ = ::fork();
    if (pid_ < 0) fail("Cannot start {}: {}", name_, system_error(errno));
    if (pid_ == 0) become(command, *program, output[1], error[1], parent);
    if (command.own_group) ::setpgid(pid_, pid_);
    ::close(output[1]);
    ::close(error[1]);
    output_ = Descriptor{output[0]};
    error_ = Descriptor{error[0]};
}

Child::Child(Child&& other) noexcept
    : name_{std::move(other.name_)},
      pid_{std::exchange(other.pid_, -1)},
      ended_{std::exchange(other.ended_, true)},
      result_{std::move(other.result_)},
      line_begin_{other.line_begin_},
      output_{std::move(other.output_)},
      error_{std::move(other.error_)} {}

Child::~Child() {
    if (pid_ < 0 || ended_) return;
    ::kill(pid_, SIGKILL);
    int raw = 0;
    while (::waitpid(pid_, &raw, 0) < 0 && errno == EINTR) {
    }
}

void Child::signal(int number) const {
    if (!ended_ && pid_ > 0) ::kill(pid_, number);
}

// Reads what is there, waiting at most that long for something; false once both pipes are at their end.
bool Child::drain(int timeout_ms) {
    pollfd waits[2];
    Descriptor* ends[2];
    std::string* texts[2];
    nfds_t count = 0;
    for (auto [end, text] : {std::pair{&output_, &result_.output}, std::pair{&error_, &result_.error}}) {
        if (!end->valid()) continue;
        waits[count] = {end->get(), POLLIN, 0};
        ends[count] = end;
        texts[count++] = text;
    }
    if (count == 0) return false;
    if (::poll(waits, count, timeout_ms) <= 0) return true;
    for (nfds_t i = 0; i < count; ++i) {
        if (waits[i].revents == 0) continue;
        char block[16384];
        const ssize_t got = ::read(waits[i].fd, block, sizeof block);
        if (got > 0)
            texts[i]->append(block, static_cast<std::size_t>(got));
        else if (got == 0)
            ends[i]->reset();
    }
    return output_.valid() || error_.valid();
}

bool Child::wait_for(double seconds) {
    const double deadline = now_seconds() + seconds;
    while (!ended_) {
        int raw = 0;
        const pid_t got = ::waitpid(pid_, &raw, WNOHANG);
        if (got == pid_) {
            ended_ = true;
            result_.status = status_of(raw);
            // What was written before the end is still in the pipes; a grandchild may keep them open, so no
            // waiting.
            for (int blocks = 0; blocks < 1024 && drain(0); ++blocks) {
                pollfd probe[2] = {{output_.get(), POLLIN, 0}, {error_.get(), POLLIN, 0}};
                if (::poll(probe, 2, 0) <= 0) break;
            }
            break;
        }
        const double left = deadline - now_seconds();
        if (left <= 0) {
            drain(0);
            break;
        }
        const int slice = static_cast<int>(std::min(left * 1000 + 1, 10.0));
        if (!drain(slice)) ::poll(nullptr, 0, slice);
    }
    return ended_;
}

Ended Child::finish(double seconds) {
    if (wait_for(seconds)) return result_;
    ::kill(pid_, SIGKILL);
    wait_for(5);
    result_.status = -1;
    result_.error += fmt::format("{} did not end within {} and was killed\n", name_, duration_text(seconds));
    return result_;
}

Ended Child::terminate(double seconds) {
    signal(SIGTERM);
    if (!wait_for(seconds)) {
        signal(SIGKILL);
        wait_for(5);
        result_.status = -1;
    }
    return result_;
}

std::optional<std::string> Child::read_line(double seconds) {
    const double deadline = now_seconds() + seconds;
    for (;;) {
        const std::size_t end = result_.output.find('\n', line_begin_);
        if (end != std::string::npos) {
            std::string line = result_.output.substr(line_begin_, end - line_begin_);
            line_begin_ = end + 1;
            return line;
        }
        const double left = deadline - now_seconds();
        if (left <= 0 || ended_) return std::nullopt;
        wait_for(std::min(left, 0.01));
    }
}

Ended run(const Command& command, double seconds) {
    Child child{command};
    return child.finish(seconds);
}

std::string run_or_fail(const Command& command, const std::string& purpose, double seconds) {
    Ended ended = run(command, seconds);
    if (ended.status != 0) {
        const std::string said = trim(ended.error.empty() ? ended.output : ended.error);
        fail("Cannot {}: `{}` ended with status {}{}{}", purpose, join(command.arguments, " "), ended.status,
             said.empty() ? "" : ": ", said);
    }
    return std::move(ended.output);
}

void install_interrupt_handler() {
    struct sigaction action {};
    action.sa_handler = on_signal;  // no SA_RESTART: a wait ends at once
    ::sigaction(SIGINT, &action, nullptr);
    ::sigaction(SIGTERM, &action, nullptr);
    ::signal(SIGPIPE, SIG_IGN);
}

bool interrupted() { return stop_requested; }

void check_interrupted() {
    if (stop_requested) throw Interrupted{};
}

std::uint64_t now_ns() {
    timespec now{};
    ::clock_gettime(CLOCK_MONOTONIC, &now);
    return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<std::uint64_t>(now.tv_nsec);
}

double now_seconds() { return static_cast<double>(now_ns()) * 1e-9; }

void sleep_until_ns(std::uint64_t deadline) {
    const timespec until{static_cast<time_t>(deadline / 1'000'000'000),
                         static_cast<long>(deadline % 1'000'000'000)};
    while (::clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, nullptr) == EINTR) check_interrupted();
}

void sleep_seconds(double seconds) { sleep_until_ns(now_ns() + static_cast<std::uint64_t>(seconds * 1e9)); }

void pin_to_cpu(int cpu) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(static_cast<std::size_t>(cpu), &set);
    if (::sched_setaffinity(0, sizeof set, &set) != 0)
        fail("Cannot run on CPU {}: {}; the harness needs two CPUs", cpu, system_error(errno));
}

void run_first() {
    sched_param parameters{};
    parameters.sched_priority = 1;
    if (::sched_setscheduler(0, SCHED_FIFO | SCHED_RESET_ON_FORK, &parameters) != 0)
        fail("Cannot run with real-time priority: {}; this needs root", system_error(errno));
}

}  // namespace dmatoll::harness
