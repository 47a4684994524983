// SPDX-License-Identifier: BSD-2-Clause
#include "crash.hpp"

#include <algorithm>

#include "echo_probe.hpp"
#include "failure.hpp"
#include "kernel_log.hpp"
#include "paths.hpp"
#include "process.hpp"
#include "text.hpp"

namespace dmatoll::harness {
namespace {

constexpr const char* server_program = "dmatoll-udp-echo";
// For the driver to fail, be noticed, be started again, and get a reply through.
constexpr std::uint64_t patience_ns = 30'000'000'000;
// Replies behind a restart that show that traffic flows again.
constexpr std::size_t flowing_replies = 20;
constexpr std::uint64_t cool_down_ns = 300'000'000;

// What the trial makes of the driver, out of the workload's name: crash-<how>.
std::string how_of(const Trial& trial) { return trial.workload.substr(trial.workload.find('-') + 1); }

class EchoServer {
  public:
    explicit EchoServer(const TrafficEnd& end) {
        const fs::path program = our_program(server_program);
        if (program.empty())
            throw Unavailable{fmt::format("The program {} is neither beside dmatoll nor in PATH; build it",
                                          server_program)};
        child_ = std::make_unique<Child>(
            Command{.arguments = {program.string(), "--address", end.address, "--port", "0", "--announce"},
                    .cpu = end.cpu,
                    .network_namespace = end.network_namespace});
        const auto line = child_->read_line(10);
        const auto announced = line ? nlohmann::json::parse(*line, nullptr, false) : nlohmann::json{};
        if (!announced.is_object() || !announced.contains("port")) {
            const Ended ended = child_->terminate(1);
            fail("{} did not start: status {}: {}", server_program, ended.status,
                 trim(ended.error + ended.output));
        }
        port_ = announced["port"];
    }
    [[nodiscard]] std::uint16_t port() const { return port_; }

  private:
    std::unique_ptr<Child> child_;
    std::uint16_t port_ = 0;
};

nlohmann::json summary(std::vector<std::uint64_t> all) {
    nlohmann::json result{{"n", all.size()}, {"all", all}};
    std::sort(all.begin(), all.end());
    if (all.empty()) return result;
    const std::size_t middle = all.size() / 2;
    result["median"] = all.size() % 2 ? all[middle] : (all[middle - 1] + all[middle]) / 2;
    result["worst"] = all.back();
    return result;
}

}  // namespace

nlohmann::json run_faults(const Trial& trial, const TrafficPlaces& places,
                          const std::function<void(std::uint64_t, std::uint64_t)>& step) {
    const auto parameter = [&](const char* name) { return trial.parameters.at(name); };
    const std::uint64_t kills = parameter("kills");
    const std::string how = how_of(trial);
    const EchoServer server{places.device};
    EchoProbe probe{{.server = places.device.address,
                     .port = server.port(),
                     .network_namespace = places.peer.network_namespace,
                     .load_bps = parameter("load_bps"),
                     .payload_bytes = parameter("payload_bytes")}};
    const auto never = [] { return false; };
    probe.run_until(now_ns() + parameter("warm_up_ms") * 1'000'000, never);
    if (probe.replies().empty()) fail("No echo came back before any fault, of {} datagrams", probe.sent());

    KernelLog log;
    std::vector<std::uint64_t> faults;
    std::uint64_t recoveries = 0;
    std::string reason;  // why there are no more
    step(0, kills);
    for (std::uint64_t i = 0; i < kills; ++i) {
        const std::uint64_t restarts = places.driver.restarts();
        const std::size_t replies = probe.replies().size();
        faults.push_back(now_ns());
        places.driver.make_fault(how);
        bool restarted = false;
        std::size_t replies_at_restart = replies;
        const auto recovered = [&] {
            if (!restarted) {
                restarted = places.driver.restarts() > restarts;
                replies_at_restart = probe.replies().size();
            }
            return restarted && probe.replies().size() >= replies_at_restart + flowing_replies;
        };
        probe.run_until(faults.back() + patience_ns, recovered);
        if (!recovered()) {
            reason = fmt::format("no recovery within {} s of fault {} of {}: {} restarts, {} replies since",
                                 patience_ns / 1'000'000'000, i + 1, kills,
                                 places.driver.restarts() - restarts, probe.replies().size() - replies);
            break;
        }
        ++recoveries;
        probe.run_until(now_ns() + parameter("window_ms") * 1'000'000, never);
        step(i + 1, kills);
    }
    probe.drain_until(now_ns() + cool_down_ns);
    const auto complaints = log.complaints();

    // The outages that ended.
    const std::uint64_t kills_made = faults.size();
    faults.resize(recoveries);
    nlohmann::json record;
    record["metrics"] = {{"kills", kills_made},
                         {"recoveries", recoveries},
                         {"outage_ns", summary(outages(probe.replies(), faults))},
                         {"packets_sent", probe.sent()},
                         {"packets_lost", probe.lost()},
                         {"load_requested_bps", parameter("load_bps")},
                         {"kernel_messages", complaints.size()}};
    record["crash"] = {{"how", how},
                       {"outage", "the longest time without a reply behind each fault, at the peer"},
                       {"kernel_messages", complaints}};
    if (!reason.empty()) record["crash"]["not_recovered"] = reason;
    return record;
}

std::string oops_of(const std::vector<std::string>& console) {
    const auto first = std::find_if(console.begin(), console.end(), [](const std::string& line) {
        return line.find("BUG: ") != std::string::npos || line.find("Oops: ") != std::string::npos;
    });
    return join({first, console.end()}, "\n");
}

}  // namespace dmatoll::harness
