// SPDX-License-Identifier: BSD-2-Clause
#include "dma_supervisor.hpp"

#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "common_statistics.hpp"
#include "core/strategy.hpp"
#include "dma_arena.hpp"
#include "dma_report.hpp"
#include "dma_state.hpp"
#include "dma/dma_command.hpp"
#include "failure.hpp"
#include "nic_part.hpp"
#include "supervisor.hpp"

namespace dmatoll::user {
namespace {

using nlohmann::json;

// A command that has the device started again takes the longest. Shorter than what a client of the control
// socket waits for its answer.
constexpr int answer_patience_ms = 4500;
constexpr unsigned run_look_us = 20'000;

// The arena counts twice, as it is locked by the process and pinned by VFIO; what waits for its
// unmapping, and the shadows of the strategies that copy, once more, shadows twice; the rest is for the program itself.
rlim_t locked_bytes(const MappingOptions& driver) {
    // A benchmark's buffers are of many pages.
    const rlim_t queued = driver.strategy == strategies::deferred.name
                              ? rlim_t{driver.deferred_entries} * dma::BenchPlan::most_pages * page_bytes
                              : 0;
    return 2 * rlim_t{DmaArena::all_bytes} + 4 * rlim_t{DmaArena::area_bytes} + queued +
           (rlim_t{driver.deferred_entries} + driver.optimistic_entries + driver.quota_pages) * page_bytes +
           (rlim_t{16} << 20);
}

// What outlives the base, which refers to it.
struct DmaParts {
    explicit DmaParts(const std::string& bdf)
        : pci{find_device(bdf)},
          disk{pci.kind == ahci_controller},
          part{disk ? identity_text(pci.vendor, pci.model) : identify_nic(pci).name} {
        require_vfio(pci);
    }
    PciDevice pci;
    bool disk;
    std::string part;
    SharedPage<DmaState> state;
};

class DmaSupervisor : private DmaParts, public Supervisor {
  public:
    explicit DmaSupervisor(const DmaOptions& options)
        : DmaParts{options.device}, Supervisor{"dmatoll-dma-user", options, pci, *state}, options_{options} {
        if (disk && !options.hostile.empty())
            throw Failure{"--hostile is for a network card, and " + options.device + " is a disk controller"};
    }

    ~DmaSupervisor() override { stop(); }

  private:
    ProcessStart prepare_process(int patience_ms) override {
        state.clear();
        std::array<int, 2> ends{};
        if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) != 0) {
            throw system_failure("cannot make a socket to give commands by", errno);
        }
        commands_ = Descriptor{ends[0]};
        const DmaChildOptions child{.process = process_options(),
                                    .disk = disk,
                                    .pci_vendor = pci.vendor,
                                    .pci_device = pci.model,
                                    .driver = options_.driver,
                                    .hostile = options_.hostile};
        return {.options = to_text(child),
                .vfio = open_vfio(pci, patience_ms),
                .counters = state.fd(),
                .bell = bell_end(),
                .own = ends[1],
                .locked_bytes = locked_bytes(options_.driver),
                .own_descriptor = Descriptor{ends[1]}};
    }

    void follow_report(const std::string& line) override {
        const auto report = parse_dma_report(line);
        if (!report) {
            return;
        }
        if (!report->failure.empty()) {
            report_failure(report->failure);
            return;
        }
        announce(report->note, {{"strategy", options_.driver.strategy}, {"arena", report->arena}});
        if (!options_.commands.empty()) {
            follow_commands();
            want_end();
        }
    }

    // Those of the command line. A run is waited for, unless it has no end of its own: `end` is what ends
    // that.
    void follow_commands() {
        for (const std::string& command : options_.commands) {
            json answer = json::parse(ask(command), nullptr, false);
            while (!end_is_wanted() && is_bounded_run(command) && says(answer, "state", "running")) {
                ::usleep(run_look_us);
                answer = json::parse(ask("result"), nullptr, false);
            }
            if (end_is_wanted()) {
                return;
            }
            json event = answer.is_object() ? answer : json::object();
            event["event"] = "answer";
            event["command"] = command;
            print_event(event);
            if (event.contains("error")) {
                throw Failure{"`" + command + "`: " + event["error"].dump()};
            }
        }
    }

    static bool says(const json& answer, const char* name, const char* word) {
        return answer.is_object() && answer.contains(name) && answer[name] == word;
    }

    static bool is_bounded_run(const std::string& text) {
        dma::DmaCommand command{};
        if (dma::parse_dma_command(text, command).what != nullptr) {
            return false;
        }
        return command.verb == dma::DmaVerb::reach || command.verb == dma::DmaVerb::bench ||
               command.verb == dma::DmaVerb::bench_parts ||
               (command.verb == dma::DmaVerb::run && command.value(dma::DmaKey::copies) != 0);
    }

    // The driver process's answer, which is not trusted: some line. It is not waited for for ever.
    std::string ask(const std::string& command) const {
        std::array<char, longest_dma_message> message{};
        // An answer that came too late is an answer to something else.
        while (::recv(commands_.get(), message.data(), message.size(), MSG_DONTWAIT) > 0) {
        }
        if (::send(commands_.get(), command.data(), command.size(), MSG_NOSIGNAL | MSG_DONTWAIT) < 0) {
            return error("no driver process takes commands at the moment");
        }
        pollfd answered{commands_.get(), POLLIN, 0};
        if (::poll(&answered, 1, answer_patience_ms) <= 0) {
            return error("the driver process gave no answer within " + std::to_string(answer_patience_ms) +
                         " ms");
        }
        const ssize_t got = ::recv(commands_.get(), message.data(), message.size(), MSG_DONTWAIT);
        if (got <= 0) {
            return error("the driver process ended before it gave an answer");
        }
        return {message.data(), static_cast<std::size_t>(got)};
    }

    static std::string error(const std::string& what) { return json{{"error", what}}.dump(); }

    std::optional<std::string> answer_own(const std::string& question) override {
        const std::string answer = ask(question);
        // One line, whatever the process sent.
        return answer.find('\n') == std::string::npos
                   ? answer
                   : error("the driver process gave no line for an answer");
    }

    std::string statistics() override {
        json result = common_statistics(*state, options_, options_.driver, pid(), restarts());
        result["parameters"]["part"] = part;
        result["counters"] = counters_json(dma_counter_names, *state);
        return result.dump();
    }

    const DmaOptions& options_;
    Descriptor commands_;  // this end of the process's socket
};

}  // namespace

int supervise_dma(const DmaOptions& options) {
    if (::geteuid() != 0) {
        throw Failure{"this program needs root to open VFIO's group (the driver itself then runs without "
                      "privileges). Start it with sudo."};
    }
    return DmaSupervisor{options}.run();
}

}  // namespace dmatoll::user
