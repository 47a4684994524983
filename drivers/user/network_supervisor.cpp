// SPDX-License-Identifier: BSD-2-Clause
#include "network_supervisor.hpp"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <optional>
#include <vector>

#include "failure.hpp"
#include "interface_watch.hpp"
#include "network_report.hpp"
#include "network_state.hpp"
#include "network_statistics.hpp"
#include "nic_part.hpp"
#include "packet_arena.hpp"
#include "supervisor.hpp"
#include "tap.hpp"

namespace dmatoll::user {
namespace {

using nlohmann::json;

// The arena counts twice, as it is locked by the process and pinned by VFIO, and what waits for its unmapping
// once more; the rest is for rings and for the program itself.
rlim_t locked_bytes(const NetworkDriverOptions& driver) {
    const std::size_t arena = arena_layout(driver.receive_descriptors, driver.transmit_descriptors).bytes();
    const std::size_t deferred = driver.deferred_entries * ArenaLayout::transmit_slot_bytes;
    const std::size_t idle = (driver.optimistic_entries + driver.quota_pages) * page_bytes;
    return 2 * arena + deferred + idle + (rlim_t{16} << 20);
}

// What outlives the base, which refers to it.
struct NetworkParts {
    explicit NetworkParts(const std::string& bdf) : pci{find_device(bdf)}, part{identify_nic(pci)} { require_vfio(pci); }
    PciDevice pci;
    const e1000::Part& part;
    SharedPage<NetworkState> state;
};

class NetworkSupervisor : private NetworkParts, public Supervisor {
  public:
    explicit NetworkSupervisor(const NetworkOptions& options)
        : NetworkParts{options.device},
          Supervisor{"dmatoll-net-user", options, pci, *state},
          options_{options} {
        if (options.driver.raw == Raw::none) {
            // First, so that it misses nothing.
            interface_watch_.emplace();
            tap_.emplace(options.tap, options.driver.mtu, options.driver.offloads);
        }
    }

    ~NetworkSupervisor() override { stop(); }

  private:
    ProcessStart prepare_process(int patience_ms) override {
        state.clear();
        publish(state->promiscuous, promiscuous_);
        NetworkChildOptions child{.process = process_options(),
                                  .pci_vendor = part.vendor,
                                  .pci_device = part.device,
                                  .driver = options_.driver};
        child.driver.join_datagrams = tap_ && tap_->takes_joined_datagrams();
        return {.options = to_text(child),
                .vfio = open_vfio(pci, patience_ms),
                .counters = state.fd(),
                .bell = bell_end(),
                .own = tap_ ? tap_->fd() : -1,
                .locked_bytes = locked_bytes(options_.driver),
                .own_descriptor = {}};
    }

    void add_to(std::vector<pollfd>& waiting) override {
        if (interface_watch_) {
            waiting.push_back({interface_watch_->fd(), POLLIN, 0});
        }
    }

    void look_at(const std::vector<pollfd>& found) override {
        const auto changed = [this](const pollfd& entry) {
            return entry.fd == interface_watch_->fd() && entry.revents != 0;
        };
        if (interface_watch_ && std::any_of(found.begin(), found.end(), changed)) {
            follow_interface();
        }
    }

    // The device takes what the interface is to show.
    void follow_interface() {
        interface_watch_->take();
        const bool wanted = tap_->promiscuous().value_or(promiscuous_);
        if (wanted != promiscuous_) {
            promiscuous_ = wanted;
            publish(state->promiscuous, promiscuous_);
            ring_bell();
        }
    }

    void follow_report(const std::string& line) override {
        const auto report = parse_network_report(line);
        if (!report) {
            return;
        }
        if (!report->ready) {
            report_failure(report->failure);
            return;
        }
        if (tap_) {
            tap_->bring_up(report->mac);
        }
        std::array<char, 18> mac{};
        std::snprintf(mac.data(), mac.size(), "%02x:%02x:%02x:%02x:%02x:%02x", report->mac[0], report->mac[1],
                      report->mac[2], report->mac[3], report->mac[4], report->mac[5]);
        announce(report->note, {{"tap", options_.tap},
                                {"mac", mac.data()},
                                {"strategy", options_.driver.strategy},
                                {"arena", report->arena}});
    }

    std::optional<std::string> follow_death() override {
        if (tap_ && !tap_->exists()) {
            return "its TAP interface " + options_.tap + " was deleted";
        }
        if (tap_) {
            set_carrier(tap_->fd(), false);
        }
        return std::nullopt;
    }

    std::string statistics() override {
        return network_statistics(*state, options_, part, pid(), restarts());
    }

    const NetworkOptions& options_;
    // Neither with raw frames.
    std::optional<InterfaceWatch> interface_watch_;
    std::optional<Tap> tap_;
    bool promiscuous_ = false;
};

}  // namespace

int supervise_network(const NetworkOptions& options) {
    if (::geteuid() != 0) {
        throw Failure{
            "this program needs root to open VFIO's group and to make a TAP (the driver itself then runs "
            "without privileges). Start it with sudo."};
    }
    return NetworkSupervisor{options}.run();
}

}  // namespace dmatoll::user
