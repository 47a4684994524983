// SPDX-License-Identifier: BSD-2-Clause
// Programs that the harness starts: pinned, perhaps in another network namespace, never outliving it.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "file.hpp"

namespace dmatoll::harness {

struct Command {
    std::vector<std::string>
        arguments{};                  // the first is the program, looked up in PATH and the sbin directories
    std::optional<int> cpu{};         // pinned there
    std::optional<uid_t> user{};      // runs as that one, and nobody's group; none: as we do
    std::string network_namespace{};  // of `ip netns`; empty: ours
    // A process group of its own: Ctrl-C at the terminal is for us, who then end it in order. A program that
    // is in the middle of changing the machine is not cut short.
    bool own_group = true;
};

struct Ended {
    int status = 0;  // exit status; 128 + signal if it was killed
    std::string output;
    std::string error;
};

// A running program. Its destructor kills and reaps it.
class Child {
  public:
    explicit Child(const Command& command);
    Child(Child&& other) noexcept;
    Child& operator=(Child&&) = delete;
    ~Child();

    [[nodiscard]] pid_t pid() const { return pid_; }
    // Collects output for at most that long; true once the program has ended.
    bool wait_for(double seconds);
    // Waits for its end, at most that long; then kills it. The result's status is -1 if it had to be killed.
    Ended finish(double seconds);
    // Asks it to end, then makes it: SIGTERM, at most that long, SIGKILL.
    Ended terminate(double seconds);
    void signal(int number) const;
    // One line of what it prints, without its newline; nothing if none came in time or it ended.
    std::optional<std::string> read_line(double seconds);

  private:
    bool drain(int timeout_ms);

    std::string name_;
    pid_t pid_ = -1;
    bool ended_ = false;
    Ended result_;
    std::size_t line_begin_ = 0;
    Descriptor output_;
    Descriptor error_;
};

// Runs to its end. `seconds` is the bound; status -1 and a text in `error` if it was exceeded.
Ended run(const Command& command, double seconds = 30);

// Runs; Failure with what it said if it does not end with status 0. Returns its output.
std::string run_or_fail(const Command& command, const std::string& purpose, double seconds = 30);

// Where a program is, or nothing.
std::optional<std::string> find_program(const std::string& name);

// Set by SIGINT and SIGTERM once install_interrupt_handler() was called.
void install_interrupt_handler();
bool interrupted();
void check_interrupted();  // throws Interrupted

// Monotonic, in seconds and nanoseconds.
double now_seconds();
std::uint64_t now_ns();
// Sleeps to an absolute monotonic time: wakes once, so that the sleeper adds nothing to the window that it
// measures.
void sleep_until_ns(std::uint64_t deadline);
void sleep_seconds(double seconds);  // ends early, by throwing, when interrupted

void pin_to_cpu(int cpu);

// From now on nothing but the kernel runs before us on our CPU; programs that we start run as ever. Between
// reading a counter and opening a window no traffic program may be scheduled. Throws Failure without the
// right to.
void run_first();

}  // namespace dmatoll::harness
