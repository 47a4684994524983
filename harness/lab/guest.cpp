// SPDX-License-Identifier: BSD-2-Clause
#include "guest.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <fstream>
#include <iostream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <thread>
#include <utility>

#include "cpio.hpp"
#include "emulator.hpp"

namespace dmatoll::harness::lab {

namespace {

using namespace std::chrono_literals;
using std::filesystem::path;

constexpr auto poll_interval = 20ms;
constexpr std::string_view panic_words = "Kernel panic - not syncing";
// QEMU warns of it in every start, and for us it is as it should be.
constexpr std::string_view expected_warning = "is not connected to host network";

std::string shell_quoted(std::string_view word) {
    std::string result = "'";
    for (const char character : word) {
        if (character == '\'') {
            result += "'\\''";
        } else {
            result += character;
        }
    }
    return result + "'";
}

std::string read_file(const path& file, std::uint64_t offset = 0) {
    std::ifstream stream(file, std::ios::binary);
    stream.seekg(static_cast<std::streamoff>(offset));
    return {std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
}

std::vector<std::string> lines_of(const std::string& text) {
    std::vector<std::string> lines;
    for (std::size_t begin = 0; begin < text.size();) {
        std::size_t end = text.find('\n', begin);
        if (end == std::string::npos) end = text.size();
        std::string line = text.substr(begin, end - begin);
        if (line.ends_with('\r')) line.pop_back();
        lines.push_back(std::move(line));
        begin = end + 1;
    }
    return lines;
}

/// The image with the job behind it: the kernel unpacks one archive after the other. It lives in memory, and
/// is gone with the last process that has it open.
class Initramfs {
  public:
    Initramfs(const GuestOptions& options, const std::string& script, bool interactive) {
        CpioArchive archive;
        archive.add("/dmatoll/command", script);
        if (interactive) archive.add("/dmatoll/interactive", "");
        for (const auto& [name, contents] : options.files) archive.add(name, contents);
        std::string bytes = read_file(options.artefacts / "initramfs.cpio");
        if (options.disks) bytes += read_file(options.artefacts / "disk.cpio");
        bytes += std::move(archive).finish();

        descriptor_ = memfd_create("initramfs", MFD_CLOEXEC);
        for (std::size_t done = 0; descriptor_ >= 0 && done < bytes.size();) {
            const ssize_t written = write(descriptor_, bytes.data() + done, bytes.size() - done);
            if (written >= 0) {
                done += static_cast<std::size_t>(written);
            } else if (errno != EINTR) {
                close(std::exchange(descriptor_, -1));
            }
        }
        if (descriptor_ < 0) {
            throw std::runtime_error(fmt::format("cannot make the guest's initramfs of {} bytes: {}",
                                                 bytes.size(), std::strerror(errno)));
        }
    }
    Initramfs(const Initramfs&) = delete;
    Initramfs& operator=(const Initramfs&) = delete;
    ~Initramfs() { close(descriptor_); }

    int descriptor() const { return descriptor_; }
    /// Its name for a process that inherited the descriptor.
    path file() const { return fmt::format("/proc/self/fd/{}", descriptor_); }

  private:
    int descriptor_ = -1;
};

/// What the second disk keeps: a sparse file without a name, gone with the emulator however that ends.
class DiskFile {
  public:
    explicit DiskFile(const GuestOptions& options) {
        if (!options.disks) return;
        const path file = options.output / "disk.raw";
        std::error_code ignored;
        std::filesystem::remove(file, ignored);
        descriptor_ = open(file.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        const bool sized = descriptor_ >= 0 && ftruncate(descriptor_, static_cast<off_t>(disk_bytes)) == 0;
        const int error = errno;
        std::filesystem::remove(file, ignored);
        if (sized) return;
        if (descriptor_ >= 0) close(descriptor_);
        throw std::runtime_error(
            fmt::format("cannot make {} for the guest's disk: {}", file.string(), std::strerror(error)));
    }
    DiskFile(const DiskFile&) = delete;
    DiskFile& operator=(const DiskFile&) = delete;
    ~DiskFile() {
        if (descriptor_ >= 0) close(descriptor_);
    }

    int descriptor() const { return descriptor_; }
    path file() const { return fmt::format("/proc/self/fd/{}", descriptor_); }

  private:
    int descriptor_ = -1;
};

struct Launch {
    std::vector<std::string> arguments;
    std::vector<int> inherited;  ///< descriptors that the emulator gets
    std::optional<unsigned> host_cpu;
    path log;               ///< standard output and error, unless the terminal is kept
    bool terminal = false;  ///< keeps standard streams, session and process group
};

/// Starts the emulator; returns its process. Throws if it cannot be executed.
pid_t launch(const Launch& launch) {
    std::vector<char*> argv;
    for (const std::string& argument : launch.arguments) argv.push_back(const_cast<char*>(argument.c_str()));
    argv.push_back(nullptr);

    cpu_set_t cpus;
    CPU_ZERO(&cpus);
    if (launch.host_cpu) CPU_SET(*launch.host_cpu, &cpus);

    int log = -1;
    int nothing = -1;
    if (!launch.terminal) {
        log = open(launch.log.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0644);
        nothing = open("/dev/null", O_RDONLY | O_CLOEXEC);
        if (log < 0 || nothing < 0) {
            throw std::runtime_error(
                fmt::format("cannot write {}: {}", launch.log.string(), std::strerror(errno)));
        }
    }
    // The child reports the step that failed, and errno, through a pipe that a successful exec closes.
    enum class Step : int { none, parent, affinity, exec };
    struct Report {
        Step step = Step::none;
        int error = 0;
    };
    int report_pipe[2];
    if (pipe2(report_pipe, O_CLOEXEC) != 0)
        throw std::runtime_error(fmt::format("pipe: {}", std::strerror(errno)));

    const pid_t parent = getpid();
    const pid_t child = fork();
    if (child == 0) {
        const auto fail = [&](Step step) {
            const Report report{step, errno};
            [[maybe_unused]] const ssize_t written = write(report_pipe[1], &report, sizeof(report));
            _exit(127);
        };
        // Nothing of ours may outlive the harness, not even when it is killed.
        if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != parent) fail(Step::parent);
        if (launch.host_cpu && sched_setaffinity(0, sizeof(cpus), &cpus) != 0) fail(Step::affinity);
        if (!launch.terminal) {
            setsid();  // a Ctrl-C at the terminal is for the harness, which then ends its guests in order
            dup2(nothing, STDIN_FILENO);
            dup2(log, STDOUT_FILENO);
            dup2(log, STDERR_FILENO);
        }
        for (const int descriptor : launch.inherited)
            if (descriptor >= 0) fcntl(descriptor, F_SETFD, 0);
        sigset_t signals;
        sigemptyset(&signals);
        sigprocmask(SIG_SETMASK, &signals, nullptr);
        execv(argv[0], argv.data());
        fail(Step::exec);
    }
    const int fork_error = errno;
    close(report_pipe[1]);
    if (log >= 0) close(log);
    if (nothing >= 0) close(nothing);

    Report report;
    if (child > 0) {
        ssize_t got;
        do {
            got = read(report_pipe[0], &report, sizeof(report));
        } while (got < 0 && errno == EINTR);
        if (got != sizeof(report)) report = {};
    }
    close(report_pipe[0]);
    if (child < 0)
        throw std::runtime_error(
            fmt::format("cannot start the emulator: fork: {}", std::strerror(fork_error)));
    if (report.step == Step::none) return child;

    waitpid(child, nullptr, 0);
    if (report.step == Step::affinity) {
        throw std::runtime_error(
            fmt::format("cannot run the guest on host CPU {}: {}. Choose one that this process may use "
                        "(see 'taskset -cp $$')",
                        *launch.host_cpu, std::strerror(report.error)));
    }
    throw std::runtime_error(
        fmt::format("cannot start {}: {}", launch.arguments.front(), std::strerror(report.error)));
}

void prepare_output(const path& directory) {
    std::error_code error;
    std::filesystem::create_directories(directory, error);
    if (error) {
        throw std::runtime_error(
            fmt::format("cannot create {} for the guest's output: {}", directory.string(), error.message()));
    }
    for (const char* file : {"console.log", "records.jsonl", "windows.jsonl", "profile.jsonl", "qemu.log"}) {
        std::filesystem::remove(directory / file, error);
    }
}

}  // namespace

std::string_view name(ExitState state) {
    switch (state) {
        case ExitState::running:
            return "running";
        case ExitState::finished:
            return "finished";
        case ExitState::panicked:
            return "panicked";
        case ExitState::stopped:
            return "stopped";
        case ExitState::killed:
            return "killed";
        case ExitState::emulator_failed:
            return "emulator failed";
    }
    return "unknown";
}

std::optional<std::string> meter_unavailable(const GuestOptions& options) {
    if (!options.meter) return "switched off";
    if (options.clock == Clock::wall_clock) {
        return "on the wall clock the vCPUs run on several threads, and instructions are not counted exactly";
    }
    return std::nullopt;
}

Guest Guest::start(const GuestOptions& options) {
    const path emulator = find_emulator();
    check_artefacts(options);
    if (options.command.empty())
        throw std::runtime_error("a lab guest was started without a command to run in it");
    prepare_output(options.output);

    std::string script = "exec";
    for (const std::string& word : options.command) script += ' ' + shell_quoted(word);
    Guest guest;
    guest.output_ = options.output;
    const Initramfs initramfs(options, script + '\n', false);
    const DiskFile disk(options);
    guest.pid_ = launch({.arguments = emulator_arguments(options, emulator, initramfs.file(), disk.file(),
                                                         Console::file),
                         .inherited = {initramfs.descriptor(), disk.descriptor()},
                         .host_cpu = options.host_cpu,
                         .log = options.output / "qemu.log"});
    return guest;
}

Guest::Guest(Guest&& other) noexcept
    : output_(std::move(other.output_)),
      pid_(std::exchange(other.pid_, -1)),
      ended_(std::exchange(other.ended_, true)),
      killed_(other.killed_),
      wait_status_(other.wait_status_),
      records_read_(other.records_read_) {}

Guest& Guest::operator=(Guest&& other) noexcept {
    if (this != &other) {
        kill();
        output_ = std::move(other.output_);
        pid_ = std::exchange(other.pid_, -1);
        ended_ = std::exchange(other.ended_, true);
        killed_ = other.killed_;
        wait_status_ = other.wait_status_;
        records_read_ = other.records_read_;
    }
    return *this;
}

Guest::~Guest() { kill(); }

void Guest::reap(bool block) {
    if (ended_ || pid_ < 0) return;
    pid_t reaped;
    do {
        reaped = waitpid(pid_, &wait_status_, block ? 0 : WNOHANG);
    } while (reaped < 0 && errno == EINTR);
    if (reaped != 0) ended_ = true;
}

bool Guest::running() {
    reap(false);
    return !ended_;
}

bool Guest::wait(std::chrono::milliseconds limit) {
    const auto deadline = std::chrono::steady_clock::now() + limit;
    while (running()) {
        if (std::chrono::steady_clock::now() >= deadline) return false;
        std::this_thread::sleep_for(poll_interval);
    }
    return true;
}

void Guest::kill() {
    if (pid_ < 0 || !running()) return;
    ::kill(pid_, SIGKILL);
    killed_ = true;
    reap(true);
}

ExitState Guest::state() {
    if (running()) return ExitState::running;
    if (killed_) return ExitState::killed;
    if (!WIFEXITED(wait_status_) || WEXITSTATUS(wait_status_) != 0) return ExitState::emulator_failed;
    if (read_file(console_path()).find(panic_words) != std::string::npos) return ExitState::panicked;
    return command_status() ? ExitState::finished : ExitState::stopped;
}

std::optional<int> Guest::command_status() const {
    const auto lines = lines_of(read_file(records_path()));
    if (lines.empty()) return std::nullopt;
    const auto last = nlohmann::json::parse(lines.back(), nullptr, false);
    if (!last.is_object() || last.value("event", "") != "exit" || !last.contains("status"))
        return std::nullopt;
    return last["status"].get<int>();
}

std::string Guest::explanation() {
    switch (state()) {
        case ExitState::running:
            return "the guest is running";
        case ExitState::finished:
            return fmt::format("the command in the guest ended with status {}", *command_status());
        case ExitState::panicked:
            // A dump of registers follows the words that say why: they are not among the console's last lines.
            for (const std::string& line : lines_of(read_file(console_path()))) {
                const std::size_t words = line.find(panic_words);
                if (words != std::string::npos) return "the guest's kernel panicked: " + line.substr(words);
            }
            return "the guest's kernel panicked";
        case ExitState::stopped:
            return "the guest went down before its command had ended, without a panic: it was reset, or the "
                   "host's disk is full";
        case ExitState::killed:
            return "the guest was killed";
        case ExitState::emulator_failed:
            break;
    }
    const std::string how = WIFSIGNALED(wait_status_)
                                ? fmt::format("by signal {}", WTERMSIG(wait_status_))
                                : fmt::format("with status {}", WEXITSTATUS(wait_status_));
    return fmt::format("QEMU ended {}: {}", how, emulator_log());
}

std::vector<std::string> Guest::new_records() {
    std::string text = read_file(records_path(), records_read_);
    const std::size_t end = text.rfind('\n');
    if (end == std::string::npos) return {};
    text.resize(end + 1);
    records_read_ += text.size();
    return lines_of(text);
}

std::vector<std::string> Guest::console_tail(std::size_t lines) const {
    auto all = lines_of(read_file(console_path()));
    if (all.size() > lines) all.erase(all.begin(), all.end() - static_cast<std::ptrdiff_t>(lines));
    return all;
}

std::string Guest::emulator_log() const {
    std::string log;
    for (const std::string& line : lines_of(read_file(output_ / "qemu.log"))) {
        if (line.find(expected_warning) == std::string::npos) log += line + '\n';
    }
    return log;
}

std::uint64_t Guest::refused_accesses() const {
    std::uint64_t count = 0;
    for (const std::string& line : lines_of(read_file(output_ / "qemu.log"))) {
        if (line.find("vtd_dmar_fault") != std::string::npos) ++count;
    }
    return count;
}

int lab_shell(GuestOptions options) {
    const path emulator = find_emulator();
    options.meter = false;
    check_artefacts(options);
    prepare_output(options.output);
    const Initramfs initramfs(options, "exec bash\n", true);
    const DiskFile disk(options);
    const pid_t child =
        launch({.arguments = emulator_arguments(options, emulator, initramfs.file(), disk.file(),
                                                Console::terminal),
                .inherited = {initramfs.descriptor(), disk.descriptor()},
                .host_cpu = options.host_cpu,
                .log = {},
                .terminal = true});
    int status = 0;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int lab_run(GuestOptions options, const std::vector<std::string>& arguments, std::chrono::seconds limit) {
    options.command = arguments;
    // Only what the command says, and a panic's last words, belong on the console.
    options.kernel_arguments = "loglevel=1 " + options.kernel_arguments;
    Guest guest = Guest::start(options);

    std::uint64_t shown = 0;
    const auto show = [&] {
        const std::string text = read_file(guest.console_path(), shown);
        shown += text.size();
        std::cout << text << std::flush;
    };
    const auto deadline = std::chrono::steady_clock::now() + limit;
    while (guest.running() && std::chrono::steady_clock::now() < deadline) {
        show();
        std::this_thread::sleep_for(poll_interval);
    }
    const bool late = guest.running();
    guest.kill();
    show();
    if (guest.state() == ExitState::finished) return *guest.command_status();

    std::string message = late ? fmt::format("the guest still ran after {} s and was killed", limit.count())
                               : guest.explanation();
    message += "; the console's last lines:";
    for (const std::string& line : guest.console_tail(20)) message += "\n  " + line;
    throw std::runtime_error(message);
}

}  // namespace dmatoll::harness::lab
