// SPDX-License-Identifier: BSD-2-Clause
#include "plan.hpp"

#include <algorithm>
#include <bit>
#include <map>
#include <set>

#include "catalogue.hpp"
#include "failure.hpp"
#include "shuffle.hpp"
#include "text.hpp"
#include "traffic.hpp"

namespace dmatoll::harness {
namespace {

// As many as a suite can have repetitions.
constexpr std::uint64_t boots_per_seed = 1000;

// For estimates: what both ends of the lab work on one packet of UDP.
constexpr double busy_seconds_a_packet = 59e-6;
// From an endless loop in a driver to its successor: the watchdog's patience, and the restart.
constexpr double hung_seconds = 4;

// A trial of every repetition.
struct Point {
    Trial trial;
    std::string label;                 // of the workload among the suite's
    std::vector<std::string> also_in;  // later parts of the suite that have it, too
};

// What one number of a workload looks like in the id of a trial.
std::string parameter_label(const std::string& name, std::uint64_t value) {
    if (name == "load_bps")
        return value == 0 ? "unpaced" : fmt::format("{:.10g}M", static_cast<double>(value) / 1e6);
    if (name == "io_depth") return fmt::format("qd{}", value);
    if (name == "direct") return value == 0 ? "buffered" : "direct";
    if (name.ends_with("_bytes")) return fmt::format("{}B", value);
    return fmt::format("{}{}", name.substr(0, name.rfind('_')), value);
}

// Two entries of one suite may differ in a parameter only, most often in the load: then that is told, and
// others as far as it takes.
std::string workload_label(const SuiteWorkload& workload, const Suite& suite) {
    std::vector<const SuiteWorkload*> others;
    for (const auto& part : suite.parts)
        for (const auto& other : part.workloads)
            if (other.name == workload.name && other.parameters != workload.parameters)
                others.push_back(&other);
    std::vector<std::string> names{"load_bps", "payload_bytes", "frame_bytes", "block_bytes", "io_depth"};
    for (const auto& [name, value] : workload.parameters)
        if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
    std::string label = workload.name;
    for (const auto& name : names) {
        const auto found = workload.parameters.find(name);
        if (found == workload.parameters.end()) continue;
        const auto differ = [&](const SuiteWorkload* other) {
            return other->parameters.at(name) != found->second;
        };
        if (std::none_of(others.begin(), others.end(), differ)) continue;
        label += fmt::format("-{}", parameter_label(name, found->second));
        std::erase_if(others, differ);
    }
    return label;
}

// Settings that this placement, strategy and program do not have are as if they had not been asked for.
DriverSettings relevant(DriverSettings settings, const Trial& trial) {
    const DriverSettings usual;
    const DeviceKind kind = kind_of(trial.device);
    if (kind == DeviceKind::disk || trial.copies_memory()) {
        settings.receive_descriptors = usual.receive_descriptors;
        settings.transmit_descriptors = usual.transmit_descriptors;
        settings.interrupts_per_second = usual.interrupts_per_second;
        settings.mtu = usual.mtu;
        settings.offloads = usual.offloads;
        settings.copybreak = usual.copybreak;
    }
    if (!trial.pattern) settings.max_sectors_kb = usual.max_sectors_kb;
    // There is nothing to do while the device copies: the driver looks whether it has.
    if (trial.copies_memory()) settings.completion = "poll";
    for (const StrategyParameter* parameter : parameters::all)
        if (trial.strategy != parameter->strategy->name) settings.*parameter->value = usual.*parameter->value;
    // What is in the kernel is compiled as the kernel compiles.
    if (trial.placement != "user") settings.code_generation = usual.code_generation;
    if (trial.placement != "stock") settings.copybreak = usual.copybreak;
    if (const Strategy* strategy = find_strategy(trial.strategy); !strategy || !strategies::has_page_size(*strategy))
        settings.page_size = usual.page_size;
    // Linux's domains have Linux's allocator.
    if (const Strategy* known = find_strategy(trial.strategy); known && known->domain != DomainKind::own)
        settings.iova_allocator = usual.iova_allocator;
    return settings;
}

void exclude(Plan& plan, const Trial& trial, const std::string& reason) {
    const auto same = [&](const Excluded& excluded) {
        return excluded.placement == trial.placement && excluded.strategy == trial.strategy &&
               excluded.reason == reason;
    };
    if (std::none_of(plan.excluded.begin(), plan.excluded.end(), same))
        plan.excluded.push_back({trial.placement, trial.strategy, reason});
}

// Every point of the suite that can be, in the suite's order; notes in the plan what cannot.
std::vector<Point> points(const Suite& suite, Plan& plan, std::optional<std::uint32_t> cpus) {
    std::vector<Point> result;
    std::map<std::string, std::size_t> seen;
    for (const auto& part : suite.parts)
        for (const auto& guest : part.guests)
            for (const auto& device : part.devices)
                for (const auto& placement : part.placements)
                    for (const auto& strategy : part.strategies)
                        for (const auto& settings : part.settings)
                            for (const auto& workload : part.workloads) {
                                const Workload described = load_workload(workload.name);
                                Trial trial;
                                trial.part = part.name;
                                trial.device = device;
                                trial.placement = placement;
                                trial.strategy = strategy;
                                trial.workload = workload.name;
                                trial.program = described.program;
                                trial.parameters = workload.parameters;
                                trial.transport = described.transport;
                                trial.flow = described.flow;
                                trial.pattern = described.pattern;
                                trial.of = suite.boots;
                                trial.settings = relevant(settings, trial);
                                trial.guest = guest;
                                if (const auto reason = impossible(trial, cpus)) {
                                    exclude(plan, trial, *reason);
                                    continue;
                                }
                                auto identity = to_json(trial);
                                identity.erase("part");
                                const auto [found, fresh] = seen.emplace(identity.dump(), result.size());
                                if (fresh)
                                    result.push_back({trial, workload_label(workload, suite), {}});
                                else
                                    result[found->second].also_in.push_back(part.name);
                            }
    return result;
}

// What needs a boot of its own.
std::string boot_group(const Point& point) {
    std::string group = fmt::format("{}/{}", point.trial.device, label(point.trial.guest));
    if (point.trial.ends_its_guest()) group += fmt::format("/{}/{}", point.trial.combination(), point.label);
    return group;
}

// In the order in which they first appear.
template <class Item, class Key>
std::vector<std::vector<Item>> grouped(const std::vector<Item>& items, Key key) {
    std::vector<std::vector<Item>> groups;
    std::map<std::string, std::size_t> known;
    for (const auto& item : items) {
        const auto [found, fresh] = known.emplace(key(item), groups.size());
        if (fresh) groups.emplace_back();
        groups[found->second].push_back(item);
    }
    return groups;
}

std::string trial_id(const Point& point, std::uint32_t boot) {
    const Trial& trial = point.trial;
    std::vector<std::string> parts{std::to_string(boot), trial.device, trial.placement, trial.strategy};
    for (const auto& more : {label(trial.settings), label(trial.guest)})
        if (!more.empty()) parts.push_back(more);
    parts.push_back(point.label);
    return join(parts, "-");
}

}  // namespace

std::string Trial::combination() const {
    std::string result = device + "/" + placement + "/" + strategy;
    if (const std::string more = label(settings); !more.empty()) result += fmt::format("/{}", more);
    if (driver_is_workload()) result += fmt::format("/{}/{}", workload, parameters.at("frame_bytes"));
    if (makes_faults() || copies_memory()) result += fmt::format("/{}", workload);
    return result;
}

bool Trial::copies_by_disk() const { return copies_memory() && kind_of(device) == DeviceKind::disk; }

std::optional<std::string> impossible(const Trial& trial, std::optional<std::uint32_t> cpus) {
    const auto because = [&](const std::string& reason) {
        return fmt::format("{} {}: {}", trial.placement, trial.strategy, reason);
    };
    Placement placement{};
    const Strategy* strategy = find_strategy(trial.strategy);
    if (!find_placement(trial.placement, placement) || !strategy)
        return because("unknown placement or strategy");
    const DriverSettings& settings = trial.settings;
    const DeviceKind kind = kind_of(trial.device);
    if (const TrafficProgram* program = find_traffic_program(trial.program); program && program->kind.value_or(kind) != kind)
        return fmt::format("the workload {} is for a {}, and {} is none", trial.workload,
                           program->kind == DeviceKind::disk ? "disk" : "network card", trial.device);
    if (!strategy->runs_in(placement))
        return fmt::format("the strategy {} does not run in the placement {}", trial.strategy,
                           trial.placement);
    if (trial.attacks() && placement != Placement::user)
        return because("a driver in the kernel is part of what it would attack: nothing holds it back");
    if (placement == Placement::user && settings.deferred_per_cpu != 0)
        return because("a driver process has one thread, and with it one queue of deferred unmappings");
    if (const IovaAllocatorEntry* allocator = iova_allocators::find(settings.iova_allocator.c_str()))
        if (const char* refusal = iova_allocators::refusal(allocator->kind,
                                                           {.placement = placement,
                                                            .strategy = strategy,
                                                            .lists = trial.pattern.has_value(),
                                                            .large_pages = settings.page_size == large_page_bytes}))
            return because(fmt::format("no IOVA allocator {}: {}", settings.iova_allocator, refusal));
    if (placement == Placement::user && settings.code_generation == "kernel")
        return because("no code generation 'kernel' there");
    if (placement == Placement::stock) {
        if (trial.copies_memory()) return because("the distribution's driver copies no memory on command");
        if (settings.completion == "poll") return because("the distribution's driver does not poll");
        // A table with its list of memory may cross a page, and behind a translating IOMMU its pages need not be
        // neighbours; QEMU takes it in one piece or not at all. Up to 256 KiB make eight entries at most, and with
        // eight no table reaches a second page.
        if (kind == DeviceKind::disk && settings.max_sectors_kb > 256)
            return because("QEMU loses requests of more than 256 KiB of the distribution's driver");
        if (settings.receive_descriptors < 80 || settings.transmit_descriptors < 80)
            return because("the distribution's driver has no ring of fewer than 80 descriptors");
        // For 0 it does not write the register, and the emulated part keeps through a reset what was there.
        if (const auto rate = settings.interrupts_per_second; rate < 100 || rate > 100'000)
            return because("the distribution's driver takes a rate of 100 to 100000 interrupts per second");
        if (trial.transport == Transport::raw && trial.flow == Flow::both)
            return because("the distribution's driver offers no loopback for other programs' frames");
        if (trial.makes_faults()) return because("the distribution's driver takes no order to fail");
    } else if (!std::has_single_bit(settings.receive_descriptors) ||
               !std::has_single_bit(settings.transmit_descriptors)) {
        return because("our rings have a power of two of descriptors");
    }
    if (trial.driver_is_workload() && trial.flow != Flow::receive && trial.parameters.at("load_bps") > 0)
        return because("the driver process makes frames as fast as it can: it has no offered load");
    if (trial.program == "dma-copy" &&
        trial.parameters.at("batch_copies") > trial.parameters.at("working_set_pairs"))
        return because("a batch of copies is no more than the working set");
    if (trial.times_mapping()) {
        const auto& parameters = trial.parameters;
        const std::uint64_t block = parameters.at("buffer_pages") + parameters.at("skew_pages");
        if (block > 1024 || block * parameters.at("held_buffers") * parameters.at("threads") > 4096)
            return because("a buffer and its skew are 1024 pages at most, and all that is held at a time 4096");
        if (placement == Placement::user && parameters.at("threads") != 1)
            return because("a driver process has one thread");
        if (const std::uint32_t there = cpus.value_or(trial.guest.vcpus); parameters.at("threads") > there)
            return because(fmt::format("{} threads need a CPU each, and {} has {}", parameters.at("threads"),
                                       cpus ? "this machine" : "the guest (vcpus)", there));
    }
    if (trial.makes_faults() && placement == Placement::kernel && trial.workload != "crash-null")
        return because(trial.workload + " is for a driver that is a process");
    return std::nullopt;
}

std::uint32_t Plan::boots() const {
    std::set<std::uint32_t> seen;
    for (const auto& trial : trials) seen.insert(trial.boot);
    return static_cast<std::uint32_t>(seen.size());
}

Plan make_plan(const Suite& suite, std::uint64_t seed, const std::string& filter_text,
               std::optional<std::uint32_t> cpus) {
    const Filter filter{filter_text};
    Plan plan;
    plan.suite = suite.name;
    plan.suite_file = suite.file;
    plan.seed = seed;
    plan.filter = filter_text;

    // What needs another boot, then what needs another driver, then the workloads.
    const auto groups = grouped(points(suite, plan, cpus), boot_group);
    std::set<std::string> ids;
    const auto boots_of_one = static_cast<std::uint32_t>(groups.size());
    for (std::uint32_t boot = 0; boot < suite.boots * boots_of_one; ++boot) {
        // Its own sequence for each boot: a suite with more boots begins like one with fewer.
        std::seed_seq mixed{static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32), boot};
        std::mt19937_64 random{mixed};
        auto combinations = grouped(groups[boot % boots_of_one],
                                    [](const Point& point) { return point.trial.combination(); });
        shuffle(combinations, random);
        for (auto& combination : combinations) {
            shuffle(combination, random);
            for (const auto& point : combination) {
                Trial trial = point.trial;
                trial.boot = boot;
                trial.index = boot / boots_of_one;
                // Neighbouring seeds of runs have no boot in common.
                trial.boot_seed = seed * boots_per_seed + trial.index;
                trial.id = trial_id(point, boot);
                auto part = point.also_in.begin();
                while (!filter.accepts(trial) && part != point.also_in.end()) trial.part = *part++;
                if (!filter.accepts(trial)) continue;
                if (!ids.insert(trial.id).second)
                    fail(
                        "Two trials of the suite {} would be called {}: give them parameters that differ "
                        "more",
                        suite.name, trial.id);
                plan.trials.push_back(std::move(trial));
            }
        }
    }
    if (plan.trials.empty())
        fail("Nothing of the suite {} is left by the filter '{}'", suite.name, filter_text);
    return plan;
}

namespace {

const std::vector<std::string> axes{"device", "placement", "strategy",   "workload",
                                    "part",   "boot",      "repetition", "load"};

// Under the names of the axes, of the settings and of the guest; a workload's parameters beside them.
std::string value_of(const Trial& trial, const std::string& key) {
    if (key == "device") return trial.device;
    if (key == "placement") return trial.placement;
    if (key == "strategy") return trial.strategy;
    if (key == "workload") return trial.workload;
    if (key == "part") return trial.part;
    if (key == "boot") return std::to_string(trial.boot);
    if (key == "repetition") return std::to_string(trial.index);
    const std::string parameter = key == "load" ? "load_bps" : key;
    if (const auto found = trial.parameters.find(parameter); found != trial.parameters.end())
        return std::to_string(found->second);
    if (key == "code_generation") return code_generation(trial);
    auto settings = to_json(trial.settings);
    settings.update(to_json(trial.guest));
    if (!settings.contains(key)) return {};
    return settings[key].is_string() ? settings[key].get<std::string>() : settings[key].dump();
}

std::vector<std::string> filter_keys() {
    std::vector<std::string> keys = axes;
    auto settings = to_json(DriverSettings{});
    settings.update(to_json(GuestShape{}));
    for (const auto& [name, value] : settings.items()) keys.push_back(name);
    for (const auto& name : workload_names())
        for (const auto& [parameter, value] : load_workload(name).defaults)
            if (std::find(keys.begin(), keys.end(), parameter) == keys.end()) keys.push_back(parameter);
    return keys;
}

}  // namespace

std::string code_generation(const Trial& trial) {
    if (!trial.settings.code_generation.empty()) return trial.settings.code_generation;
    return trial.placement == "user" ? "native" : "kernel";
}

Filter::Filter(const std::string& expression) {
    if (trim(expression).empty()) return;
    const auto keys = filter_keys();
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
        if (term.key == "iova_allocator") known = iova_allocator_names();
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
        const std::string value = value_of(trial, term.key);
        const bool any = std::any_of(term.patterns.begin(), term.patterns.end(),
                                     [&](const std::string& pattern) { return glob_match(pattern, value); });
        return any != term.negated;
    });
}

double estimate_trial(const Trial& trial, ClockKind clock) {
    const auto parameter = [&](const char* name) -> double {
        const auto found = trial.parameters.find(name);
        return found == trial.parameters.end() ? 0.0 : static_cast<double>(found->second);
    };
    // Each fault of a driver has a window of sound life behind it. One that hangs keeps its CPU busy until it
    // is noticed.
    const double hung = trial.workload == "crash-loop" ? parameter("kills") * hung_seconds : 0;
    const double windows = trial.makes_faults() ? parameter("kills") : 1;
    const double measured =
        (parameter("warm_up_ms") + windows * parameter("window_ms") + parameter("cool_down_ms")) * 1e-3 + 0.3;
    if (trial.pattern) {
        // What is verified is moved twice, together at about so many bytes a second of this machine.
        constexpr double verified_bytes_per_second = 20e6;
        if (trial.program == "fio-verify")
            return 1 + parameter("verify_bytes") / verified_bytes_per_second;
        return clock == ClockKind::virtual_clock ? 1 + 2.8 * measured : 1 + measured;
    }
    // Where no load is given the machine is busy all the time; an offered load leaves the clock idle jumps
    // that cost nothing: what counts is packets.
    // Both kinds of stale accesses, with a buffer that stays within reach.
    if (trial.probes()) return 2 + 5 * 2e-3 * parameter("rounds") * parameter("patience_ms");
    if (trial.times_mapping()) {
        // Instructions of a pair, the slower the more pages; parts are measured as often again.
        const double instructions = 2 * (parameter("rounds") + parameter("warm_up_rounds")) * parameter("threads") *
                                    (10e3 + 2e3 * parameter("buffer_pages") + 1e3 * parameter("hold_us"));
        return 0.5 + (clock == ClockKind::virtual_clock ? 2.5 : 1) * 1e-9 * instructions;
    }
    // Two drivers are killed and started again.
    if (trial.attacks()) return 20;
    const double load = parameter("load_bps");
    const double bytes = std::clamp(parameter("payload_bytes"), 46.0, 1472.0);
    const double packets = load / (8 * bytes) * (trial.flow == Flow::both ? 2 : 1);
    const double busy = load <= 0 ? 1.0 : std::min(1.0, packets * busy_seconds_a_packet);
    // 2.5 s of this machine buy 1 s of busy guest time, and 5 where a device that copies is emulated all the while;
    // starting and ending the traffic programs is about 0.5 s.
    const double pace = trial.program == "dma-copy" ? 5 : 2.5;
    return clock == ClockKind::virtual_clock ? 0.5 + pace * (measured * busy + hung) : 0.5 + measured + hung;
}

Estimate estimate(const Plan& plan, bool lab, ClockKind clock, unsigned jobs) {
    // Seconds of this machine: a boot until the first trial; a driver set up and taken down again.
    constexpr double boot_seconds = 9;
    const double combination_seconds = clock == ClockKind::virtual_clock ? 1.5 : 4;
    Estimate result;
    std::map<std::uint32_t, double> boots;  // in the order in which they run
    std::string combination;
    for (const auto& trial : plan.trials) {
        double seconds = estimate_trial(trial, clock);
        const std::string current = fmt::format("{}:{}", trial.boot, trial.combination());
        if (current != combination) seconds += combination_seconds;
        combination = current;
        result.trials_seconds += seconds;
        boots[trial.boot] += seconds;
    }
    if (!lab) {
        result.total_seconds = result.trials_seconds;
        return result;
    }
    result.boots_seconds = static_cast<double>(boots.size()) * boot_seconds;
    // Each boot goes to the CPU that is free first.
    std::vector<double> cpus(std::max(jobs, 1U));
    for (const auto& [boot, seconds] : boots)
        *std::min_element(cpus.begin(), cpus.end()) += seconds + boot_seconds;
    result.total_seconds = *std::max_element(cpus.begin(), cpus.end());
    return result;
}

nlohmann::json to_json(const Trial& trial) {
    nlohmann::json result{{"id", trial.id},
                          {"part", trial.part},
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
                          {"guest", to_json(trial.guest)}};
    if (trial.pattern) result["pattern"] = name_of(*trial.pattern);
    result.update(to_json(trial.settings));
    return result;
}

Trial trial_from_json(const nlohmann::json& json) {
    Trial trial;
    trial.id = json.at("id");
    trial.part = json.value("part", trial.part);
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
    if (json.contains("pattern")) trial.pattern = pattern_named(json["pattern"], where);
    trial.index = json.at("index");
    trial.of = json.at("of");
    trial.settings = driver_settings_from_json(json);
    trial.guest = guest_shape_from_json(json.value("guest", nlohmann::json::object()));
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
