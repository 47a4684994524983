// SPDX-License-Identifier: BSD-2-Clause
// A plan: the suite's product as a list of trials in the order in which they run.
#pragma once

#include <nlohmann/json.hpp>

#include <cstdint>
#include <string>
#include <vector>

#include "suite.hpp"

namespace dmatoll::harness {

struct Trial {
    std::string id;  // the same for the same suite and seed; names raw outputs
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
    std::uint32_t index = 0;  // of `of` repetitions of this point
    std::uint32_t of = 1;
    std::uint32_t receive_descriptors = 256;
    std::uint32_t transmit_descriptors = 256;
    std::uint32_t interrupts_per_second = 8000;

    // Trials that share it share a driver that is set up once.
    [[nodiscard]] std::string combination() const { return device + "/" + placement + "/" + strategy; }
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

// The product of the axes in a random order that the seed decides: boots one after the other; in each,
// combinations of device, placement and strategy are shuffled, and the workloads within each. Points that the
// strategy table rules out are listed as excluded. Throws Failure for a bad filter and for one that leaves
// nothing.
Plan make_plan(const Suite& suite, std::uint64_t seed, const std::string& filter);

// "key=value" terms separated by commas, all of which must hold; key!=value excludes; value|value gives a
// choice; * is any text. Keys: device, placement, strategy, workload, boot, load. Throws Failure for an
// unknown key, or a value that nothing has.
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
