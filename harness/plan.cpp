// SPDX-License-Identifier: BSD-2-Clause
#include "plan.hpp"

#include <algorithm>
#include <set>

#include "catalogue.hpp"
#include "failure.hpp"
#include "shuffle.hpp"
#include "text.hpp"

namespace dmatoll::harness {
namespace {

struct Combination {
    std::string device, placement, strategy;
};

// Two entries of one suite may differ in a parameter only, most often in the load.
std::string workload_label(const SuiteWorkload& workload, const Suite& suite) {
    const auto same = [&](const SuiteWorkload& other) { return other.name == workload.name; };
    if (std::count_if(suite.workloads.begin(), suite.workloads.end(), same) == 1) return workload.name;
    const std::uint64_t load = workload.parameters.at("load_bps");
    const auto same_load = [&](const SuiteWorkload& other) {
        return same(other) && other.parameters.at("load_bps") == load;
    };
    std::string label = workload.name + (load == 0 ? "-unpaced" : fmt::format("-{}M", load / 1'000'000));
    if (std::count_if(suite.workloads.begin(), suite.workloads.end(), same_load) > 1) {
        const auto at = static_cast<std::size_t>(&workload - suite.workloads.data());
        label += fmt::format("-{}", at);
    }
    return label;
}

}  // namespace

std::uint32_t Plan::boots() const {
    std::set<std::uint32_t> seen;
    for (const auto& trial : trials) seen.insert(trial.boot);
    return static_cast<std::uint32_t>(seen.size());
}

Plan make_plan(const Suite& suite, std::uint64_t seed, const std::string& filter_text) {
    const Filter filter{filter_text};
    Plan plan;
    plan.suite = suite.name;
    plan.suite_file = suite.file;
    plan.seed = seed;
    plan.filter = filter_text;

    std::vector<Combination> combinations;
    for (const auto& device : suite.devices)
        for (const auto& placement_name : suite.placements)
            for (const auto& strategy_name : suite.strategies) {
                Placement placement{};
                const Strategy* strategy = find_strategy(strategy_name);
                if (!find_placement(placement_name, placement) || !strategy)
                    fail("The suite {} names the unknown pair {}, {}", suite.name, placement_name,
                         strategy_name);
                if (strategy->runs_in(placement)) {
                    combinations.push_back({device, placement_name, strategy_name});
                } else {
                    plan.excluded.push_back({placement_name, strategy_name,
                                             fmt::format("the strategy {} does not run in the placement {}",
                                                         strategy_name, placement_name)});
                }
            }

    for (std::uint32_t boot = 0; boot < suite.boots; ++boot) {
        // Its own sequence for each boot: a suite with more boots begins like one with fewer.
        std::seed_seq mixed{static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32), boot};
        std::mt19937_64 random{mixed};
        auto order = combinations;
        shuffle(order, random);
        for (const auto& combination : order) {
            std::vector<const SuiteWorkload*> workloads;
            for (const auto& workload : suite.workloads) workloads.push_back(&workload);
            shuffle(workloads, random);
            for (const SuiteWorkload* workload : workloads) {
                const Workload described = load_workload(workload->name);
                Trial trial;
                trial.boot = boot;
                trial.boot_seed = seed + boot;
                trial.device = combination.device;
                trial.placement = combination.placement;
                trial.strategy = combination.strategy;
                trial.workload = workload->name;
                trial.program = described.program;
                trial.parameters = workload->parameters;
                trial.transport = described.transport;
                trial.flow = described.flow;
                trial.index = boot;
                trial.of = suite.boots;
                trial.receive_descriptors = suite.receive_descriptors;
                trial.transmit_descriptors = suite.transmit_descriptors;
                trial.interrupts_per_second = suite.interrupts_per_second;
                trial.id = fmt::format("{}-{}-{}-{}-{}", boot, trial.device, trial.placement, trial.strategy,
                                       workload_label(*workload, suite));
                if (filter.accepts(trial)) plan.trials.push_back(std::move(trial));
            }
        }
    }
    if (plan.trials.empty())
        fail("Nothing of the suite {} is left by the filter '{}'", suite.name, filter_text);
    return plan;
}

Filter::Filter(const std::string& expression) {
    static const std::vector<std::string> keys{"device", "placement", "strategy", "workload", "boot", "load"};
    if (trim(expression).empty()) return;
    for (const auto& part : split(expression, ',')) {
        const std::size_t equals = part.find('=');
        if (equals == std::string::npos || equals == 0)
            fail(
                "The filter term '{}' is not of the form key=value; an example: "
                "placement=user,strategy=strict|persistent",
                part);
        Term term;
        term.negated = part[equals - 1] == '!';
        term.key = trim(part.substr(0, term.negated ? equals - 1 : equals));
        if (std::find(keys.begin(), keys.end(), term.key) == keys.end())
            fail("Unknown key '{}' in the filter{}", term.key, suggestion(term.key, keys));
        for (const auto& pattern : split(part.substr(equals + 1), '|'))
            term.patterns.push_back(trim(pattern));

        std::vector<std::string> known;
        if (term.key == "device") known = device_model_names();
        if (term.key == "placement") known = placement_names();
        if (term.key == "strategy") known = strategy_names();
        if (term.key == "workload") known = workload_names();
        for (const auto& pattern : term.patterns) {
            const auto matches = [&](const std::string& name) { return glob_match(pattern, name); };
            if (!known.empty() && std::none_of(known.begin(), known.end(), matches))
                fail("The filter asks for the unknown {} '{}'{}", term.key, pattern,
                     suggestion(pattern, known));
        }
        terms_.push_back(std::move(term));
    }
}

bool Filter::accepts(const Trial& trial) const {
    return std::all_of(terms_.begin(), terms_.end(), [&](const Term& term) {
        std::string value;
        if (term.key == "device") value = trial.device;
        if (term.key == "placement") value = trial.placement;
        if (term.key == "strategy") value = trial.strategy;
        if (term.key == "workload") value = trial.workload;
        if (term.key == "boot") value = std::to_string(trial.boot);
        if (term.key == "load") value = std::to_string(trial.parameters.at("load_bps"));
        const bool any = std::any_of(term.patterns.begin(), term.patterns.end(),
                                     [&](const std::string& pattern) { return glob_match(pattern, value); });
        return any != term.negated;
    });
}

double estimate_trial(const Trial& trial, ClockKind clock) {
    const auto load = trial.parameters.at("load_bps");
    const double measured =
        static_cast<double>(trial.parameters.at("warm_up_ms") + trial.parameters.at("window_ms")) * 1e-3 +
        0.3;
    // Where no load is given the machine is busy all the time; an offered load leaves the clock idle jumps
    // that cost nothing.
    const double busy = load == 0 ? 1.0 : std::min(1.0, static_cast<double>(load) / 200e6);
    // 2.5 s of this machine buy 1 s of busy guest time; starting and ending the traffic programs is about 0.5
    // s.
    return clock == ClockKind::virtual_clock ? 0.5 + 2.5 * measured * busy : 0.5 + measured;
}

Estimate estimate(const Plan& plan, bool lab, ClockKind clock, unsigned jobs) {
    // Seconds of this machine: a boot until the first trial; a driver set up and taken down again.
    constexpr double boot_seconds = 9;
    const double combination_seconds = clock == ClockKind::virtual_clock ? 1.5 : 4;
    Estimate result;
    std::string combination;
    for (const auto& trial : plan.trials) {
        const std::string current = fmt::format("{}:{}", trial.boot, trial.combination());
        if (current != combination) result.trials_seconds += combination_seconds;
        combination = current;
        result.trials_seconds += estimate_trial(trial, clock);
    }
    if (!lab) {
        result.total_seconds = result.trials_seconds;
        return result;
    }
    const unsigned boots = std::max(plan.boots(), 1U);
    result.boots_seconds = boots * boot_seconds;
    const unsigned at_once = std::clamp(jobs, 1U, boots);
    const unsigned rounds = (boots + at_once - 1) / at_once;
    result.total_seconds = (result.trials_seconds + result.boots_seconds) / boots * rounds;
    return result;
}

nlohmann::json to_json(const Trial& trial) {
    return {{"id", trial.id},
            {"boot", trial.boot},
            {"boot_seed", trial.boot_seed},
            {"device", trial.device},
            {"placement", trial.placement},
            {"strategy", trial.strategy},
            {"workload", trial.workload},
            {"program", trial.program},
            {"parameters", parameters_json(trial.parameters)},
            {"transport", name_of(trial.transport)},
            {"flow", name_of(trial.flow)},
            {"index", trial.index},
            {"of", trial.of},
            {"receive_descriptors", trial.receive_descriptors},
            {"transmit_descriptors", trial.transmit_descriptors},
            {"interrupts_per_second", trial.interrupts_per_second}};
}

Trial trial_from_json(const nlohmann::json& json) {
    Trial trial;
    trial.id = json.at("id");
    trial.boot = json.at("boot");
    trial.boot_seed = json.at("boot_seed");
    trial.device = json.at("device");
    trial.placement = json.at("placement");
    trial.strategy = json.at("strategy");
    trial.workload = json.at("workload");
    for (const auto& [name, value] : json.at("parameters").items()) trial.parameters[name] = value;
    const std::string where = "the trial " + trial.id;
    trial.program = json.value("program", trial.program);
    trial.transport = transport_named(json.at("transport"), where);
    trial.flow = flow_named(json.at("flow"), where);
    trial.index = json.at("index");
    trial.of = json.at("of");
    trial.receive_descriptors = json.at("receive_descriptors");
    trial.transmit_descriptors = json.at("transmit_descriptors");
    trial.interrupts_per_second = json.at("interrupts_per_second");
    return trial;
}

nlohmann::json to_json(const Plan& plan) {
    nlohmann::json result{
        {"suite", plan.suite},   {"suite_file", plan.suite_file},     {"seed", plan.seed},
        {"filter", plan.filter}, {"trials", nlohmann::json::array()}, {"excluded", nlohmann::json::array()}};
    for (const auto& trial : plan.trials) result["trials"].push_back(to_json(trial));
    for (const auto& excluded : plan.excluded)
        result["excluded"].push_back({{"placement", excluded.placement},
                                      {"strategy", excluded.strategy},
                                      {"reason", excluded.reason}});
    return result;
}

Plan plan_from_json(const nlohmann::json& json) {
    Plan plan;
    plan.suite = json.at("suite");
    plan.suite_file = json.at("suite_file");
    plan.seed = json.at("seed");
    plan.filter = json.at("filter");
    for (const auto& trial : json.at("trials")) plan.trials.push_back(trial_from_json(trial));
    for (const auto& excluded : json.at("excluded"))
        plan.excluded.push_back({excluded.at("placement"), excluded.at("strategy"), excluded.at("reason")});
    return plan;
}

}  // namespace dmatoll::harness
