// SPDX-License-Identifier: BSD-2-Clause
// A plan: the suite's product as a list of trials in the order in which they run.
#pragma once

#include <nlohmann/json.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "suite.hpp"

namespace dmatoll::harness {

struct Trial {
    std::string id;  // the same for the same suite and seed; names raw outputs
    std::string part;  // of the suite; empty: it has none
    std::uint32_t boot = 0;
    std::uint64_t boot_seed = 0;  // of the emulator
    std::string device;
    std::string placement;
    std::string strategy;
    std::string workload;
    std::string program = "iperf3";  // that runs the workload: traffic.hpp
    Parameters parameters;
    Transport transport = Transport::tcp;
    Flow flow = Flow::transmit;
    std::optional<Pattern> pattern;  // of a workload for disks
    std::uint32_t index = 0;  // of `of` repetitions of this point
    std::uint32_t of = 1;
    DriverSettings settings;
    GuestShape guest;

    // Trials that share it share a driver that is set up once.
    [[nodiscard]] std::string combination() const;
    // The device copies memory on command, or could, and is no network card meanwhile.
    [[nodiscard]] bool copies_memory() const { return program == "dma-copy" || probes() || attacks() || times_mapping(); }
    // Accesses that must fail are tried: nothing is measured but what becomes of them.
    [[nodiscard]] bool probes() const { return program == "probe"; }
    // Nothing flows: the driver maps and unmaps, and times it.
    [[nodiscard]] bool times_mapping() const { return program == "map-unmap"; }
    // The driver process tries what it has no business to do.
    [[nodiscard]] bool attacks() const { return program == "probe-driver"; }
    // The driver process makes or takes the frames itself, and is started for that workload.
    [[nodiscard]] bool driver_is_workload() const {
        return transport == Transport::raw && placement == "user" && !copies_memory();
    }
    // It destroys what the disk holds.
    [[nodiscard]] bool writes_to_disk() const { return pattern && writes(*pattern); }
    // It writes to the end of a disk, whichever of the controller's has nothing there.
    [[nodiscard]] bool copies_by_disk() const;
    // Faults are made in the driver on purpose.
    [[nodiscard]] bool makes_faults() const { return program == "crash"; }
    // It ends the machine that it runs on: a guest of its own, or not at all.
    [[nodiscard]] bool ends_its_guest() const { return makes_faults() && placement == "kernel"; }
};

// A point of the product that cannot be.
struct Excluded {
    std::string placement;
    std::string strategy;
    std::string reason;
};

struct Plan {
    std::string suite;
    std::string suite_file;
    std::uint64_t seed = 0;
    std::string filter;
    std::vector<Trial> trials;
    std::vector<Excluded> excluded;

    [[nodiscard]] std::uint32_t boots() const;
};

// The product of the axes in a random order that the seed decides: repetitions one after the other, and in
// each a boot for every device and shape of guest; in each boot, combinations of placement, strategy and
// settings are shuffled, and the workloads within each. Points that cannot be are listed as excluded, with
// the reason. `cpus`: of the machine that runs it; nothing: each trial has those of its guest. Throws Failure for a
// bad filter and for one that leaves nothing.
Plan make_plan(const Suite& suite, std::uint64_t seed, const std::string& filter,
               std::optional<std::uint32_t> cpus = std::nullopt);

// Of the driver: what was asked for, or what the placement has.
std::string code_generation(const Trial& trial);

// Why this trial cannot be, whatever else the machine is like; nothing if it can. `cpus`: as make_plan()'s.
std::optional<std::string> impossible(const Trial& trial, std::optional<std::uint32_t> cpus = std::nullopt);

// "key=value" terms separated by commas, all of which must hold; key!=value excludes; value|value gives a
// choice; * is any text. Keys: device, placement, strategy, workload, part, boot, repetition, load, and every
// setting, guest shape and workload parameter under its name. Throws Failure for an unknown key, or a value
// that nothing has.
class Filter {
  public:
    explicit Filter(const std::string& expression);
    [[nodiscard]] bool accepts(const Trial& trial) const;

  private:
    struct Term {
        std::string key;
        bool negated = false;
        std::vector<std::string> patterns;
    };
    std::vector<Term> terms_;
};

// How long it takes on the lab's virtual clock or on another, in seconds of this machine.
struct Estimate {
    double trials_seconds = 0;  // of all trials, one after the other
    double boots_seconds = 0;
    double total_seconds = 0;  // with that many guests at a time
};
enum class ClockKind : std::uint8_t { virtual_clock, wall_clock };
Estimate estimate(const Plan& plan, bool lab, ClockKind clock, unsigned jobs);
double estimate_trial(const Trial& trial, ClockKind clock);

nlohmann::json to_json(const Trial& trial);
Trial trial_from_json(const nlohmann::json& json);
nlohmann::json to_json(const Plan& plan);
Plan plan_from_json(const nlohmann::json& json);

}  // namespace dmatoll::harness
