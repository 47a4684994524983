// SPDX-License-Identifier: BSD-2-Clause
// The privileged process: it holds what the user sees (an interface, disks), starts the driver process,
// watches it, starts it again after a crash, and answers questions. It never touches the device itself.
#pragma once

#include <poll.h>
#include <sys/types.h>

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "common_options.hpp"
#include "control_socket.hpp"
#include "descriptor.hpp"
#include "driver_process.hpp"
#include "fault.hpp"
#include "pci_device.hpp"
#include "restart_policy.hpp"
#include "sandbox.hpp"
#include "shared_state.hpp"
#include "signals.hpp"
#include "watchdog.hpp"

namespace dmatoll::user {

// What every kind of device needs of it. The program adds what is its own by deriving from it, and calls
// stop() in its destructor.
class Supervisor {
  public:
    Supervisor(const Supervisor&) = delete;
    Supervisor& operator=(const Supervisor&) = delete;

    // Until somebody wants the end, or it gives up. Returns the exit status. Throws Failure if the driver
    // never ran.
    int run();

  protected:
    // VFIO lets go of a group when the last user's exit is through; that takes milliseconds, seconds with
    // much memory to unpin.
    static constexpr int group_patience_ms = 5000;

    // All outlive it. `program`: its name, as messages begin. Throws Failure without root's privileges, or if
    // the CPU or the user that the options name is not there.
    Supervisor(const char* program, const CommonOptions& options, const PciDevice& device,
               SharedState& state);
    virtual ~Supervisor();

    // ---- what a program adds ----

    // Takes what the process is to have, and clears what it will show.
    virtual ProcessStart prepare_process(int patience_ms) = 0;
    // A line from the driver process, which is not trusted: answers with report_failure() or announce().
    // Throws Failure if it cannot be followed.
    virtual void follow_report(const std::string& line) = 0;
    // Further descriptors to wait for, and a look at what was found.
    virtual void add_to(std::vector<pollfd>&) {}
    virtual void look_at(const std::vector<pollfd>&) {}
    // The process is gone. Why it cannot be started again, if so.
    virtual std::optional<std::string> follow_death() { return std::nullopt; }
    // The end is wanted while the process still serves, and when it is gone (or never was).
    virtual void before_stop() {}
    virtual void after_stop() {}
    // The answer to `stats`.
    virtual std::string statistics() = 0;
    // The answer to what the program alone is asked; nothing if it knows no such question.
    virtual std::optional<std::string> answer_own(const std::string&) { return std::nullopt; }

    // ---- for the program ----

    // The driver runs. `more` stands behind the common fields of the event.
    void announce(const std::string& note, const nlohmann::json& more);
    void report_failure(const std::string& reason) { failure_ = reason; }
    // The process does not do what it must: it is killed, and started again as after any death. `reason`:
    // what is told of it, unless it has said so itself; empty: nothing more than its end.
    void end_process(const std::string& reason);
    // False: it has ended, and will be found so.
    [[nodiscard]] bool process_lives() const;
    void print_event(const nlohmann::json& event) const;
    void print_message(const std::string& message) const;
    // Makes the process look at the shared page, and show what it has counted.
    void ring_bell() const;
    // Ends the process, and what the program has beside it. May be called again.
    void stop();
    // Takes note of signals that came. True: somebody wants the end.
    bool end_is_wanted();
    // The program itself does.
    void want_end() { ended_ = true; }

    [[nodiscard]] const DriverProcess* process() const { return process_ ? &*process_ : nullptr; }
    // 0: none runs.
    [[nodiscard]] pid_t pid() const { return process_ ? process_->pid() : 0; }
    [[nodiscard]] unsigned restarts() const { return policy_.restarts(); }
    [[nodiscard]] bool may_restart() const { return !policy_.exhausted(); }
    [[nodiscard]] const PciDevice& device() const { return device_; }
    [[nodiscard]] bool was_ready() const { return was_ready_; }
    [[nodiscard]] ProcessOptions process_options() const;
    [[nodiscard]] int bell_end() const { return bell_end_.get(); }

  private:
    void start(int patience_ms);
    void wait();
    [[nodiscard]] int patience_ms() const;
    void look_after_process();
    void ask_for_counters() const;
    bool hear_process();
    [[nodiscard]] bool ends_soon() const;
    bool after_crash(int status);
    bool give_up(const std::string& reason) const;
    std::string answer(const std::string& question);
    std::string order(Fault fault);

    const char* const program_;
    const CommonOptions& options_;
    const PciDevice& device_;
    SharedState& state_;
    Signals signals_;
    Identity identity_;
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
    bool ended_ = false;  // somebody wanted it
};

}  // namespace dmatoll::user
