// SPDX-License-Identifier: BSD-2-Clause
#include "map_unmap.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>

#include "../drivers/core/map_work.hpp"
#include "../drivers/core/tick_histogram.hpp"
#include "catalogue.hpp"
#include "failure.hpp"
#include "process.hpp"

namespace dmatoll::harness {
namespace {

using nlohmann::json;

// Whatever the machine: the slowest are a thousand pages by system calls, a million times.
constexpr double patience_seconds = 3600;
// What asks costs the driver's CPU: not more often than that.
constexpr double look_seconds = 0.02;

std::uint64_t number(const json& answer, const std::string& name) {
    const auto found = answer.find(name);
    if (found == answer.end() || !found->is_number_unsigned())
        fail("The driver does not say what it timed: {} is missing", name);
    return found->get<std::uint64_t>();
}

// Has the driver do that from beginning to end; what came of it.
class Measurement {
  public:
    Measurement(Driver& driver, const std::string& line) : driver_{driver} {
        driver_.command(line);
        begun_ = true;
        const double patience = now_seconds() + patience_seconds;
        while ((answer_ = driver_.command("result")).value("state", "") == "running") {
            driver_.require_alive();
            if (now_seconds() > patience) fail("The driver does not end `{}`", line);
            sleep_seconds(look_seconds);
        }
        if (answer_.contains("failure"))
            fail("The driver ended `{}`: {}", line, answer_["failure"].get<std::string>());
    }
    ~Measurement() {
        if (!begun_) return;
        try {
            driver_.command("end");
        } catch (const std::exception&) {
            // Whoever needs the driver next is told.
        }
    }
    Measurement(const Measurement&) = delete;
    Measurement& operator=(const Measurement&) = delete;

    [[nodiscard]] const json& answer() const { return answer_; }

  private:
    Driver& driver_;
    bool begun_ = false;
    json answer_;
};

std::string bench_line(const Trial& trial, std::uint64_t rounds) {
    const auto& parameters = trial.parameters;
    return fmt::format("bench pages={} skew={} held={} hold_us={} rounds={} threads={}", parameters.at("buffer_pages"),
                       parameters.at("skew_pages"), parameters.at("held_buffers"), parameters.at("hold_us"), rounds,
                       parameters.at("threads"));
}

// The domain is the same under any strategy of ours, and these map as the parts are measured.
std::string why_no_parts(const Trial& trial) {
    const Strategy* strategy = find_strategy(trial.strategy);
    if (strategy->domain != DomainKind::own) return "nobody tells what Linux's DMA API does inside";
    if (trial.settings.iova_allocator == "identity") return "the allocator identity has no IOVAs to allocate: pages stay where they are";
    if (strategy == &strategies::strict || strategy == &strategies::deferred) return {};
    return "they are those of strategy strict, on the same domain";
}

json measure_parts(const Trial& trial, Driver& driver) {
    const auto& parameters = trial.parameters;
    const Measurement measurement{driver, fmt::format("bench_parts pages={} skew={} rounds={}", parameters.at("buffer_pages"),
                                                      parameters.at("skew_pages"), parameters.at("rounds"))};
    json result = json::object();
    for (std::size_t i = 0; i < works; ++i)
        if (static_cast<Work>(i) != Work::clock && measurement.answer().contains(std::string{work_names[i]} + "_n"))
            result[work_names[i]] = tick_summary(measurement.answer(), work_names[i]);
    return result;
}

// What the DMA API does inside is not known.
json operations(const Trial& trial, const json& answer) {
    json result{{"maps", number(answer, "maps")}, {"unmaps", number(answer, "unmaps")}};
    if (find_strategy(trial.strategy)->domain == DomainKind::own)
        result["invalidations"] = number(answer, "invalidations");
    return result;
}

}  // namespace

json tick_summary(const json& answer, const std::string& name) {
    const std::uint64_t n = number(answer, name + "_n");
    if (n == 0) fail("The driver timed nothing: {}_n is 0", name);
    json result = json::object();
    for (const SummaryField& field : summary_fields)
        result[field.name] = number(answer, fmt::format("{}_{}", name, field.name));
    result["mean"] = result["total"].get<double>() / static_cast<double>(n);
    result.erase("total");
    return result;
}

json run_map_unmap(const Trial& trial, const TrafficPlaces& places,
                   const std::function<void(const std::function<void()>&)>& in_window) {
    const std::uint64_t rounds = trial.parameters.at("rounds");
    if (const std::uint64_t warm_up = trial.parameters.at("warm_up_rounds"); warm_up > 0)
        const Measurement warmed{places.driver, bench_line(trial, warm_up)};

    json answer;
    in_window([&] { answer = Measurement{places.driver, bench_line(trial, rounds)}.answer(); });

    const json maps = tick_summary(answer, "map");
    const json unmaps = tick_summary(answer, "unmap");
    // Threads go on until the slowest has had its rounds.
    const std::uint64_t pairs = maps["n"];
    const std::uint64_t least = rounds * trial.parameters.at("threads");
    if (unmaps["n"] != pairs || pairs < least)
        fail("{} maps and {} unmaps were timed, and not as many of each, {} at least", pairs, unmaps["n"].dump(), least);
    // What is done outside of maps and unmaps of what was put off: in both placements what waits at the end, and between
    // pairs what a driver process looks for. In the kernel a timer does that, wherever it interrupts: in a map or an unmap,
    // mostly.
    const json put_off = answer.contains("put_off_n") ? tick_summary(answer, "put_off") : json{};
    const double put_off_a_pair =
        put_off.is_null() ? 0 : put_off["mean"].get<double>() * put_off["n"].get<double>() / static_cast<double>(pairs);
    json metrics{{"pairs", pairs},
                 // All of them from the first pair on until each had had its rounds.
                 {"threads_together", trial.parameters.at("threads")},
                 {"map_ticks", maps},
                 {"unmap_ticks", unmaps},
                 {"clock_ticks", tick_summary(answer, "clock")},
                 {"pair_ticks",
                  {{"mean", maps["mean"].get<double>() + unmaps["mean"].get<double>() + put_off_a_pair},
                   {"p50", maps["p50"].get<std::uint64_t>() + unmaps["p50"].get<std::uint64_t>()}}},
                 {"ticks_per_ns", static_cast<double>(number(answer, "ticks")) /
                                      static_cast<double>(std::max<std::uint64_t>(number(answer, "nanoseconds"), 1))},
                 {"tick_unit", places.virtual_clock ? "instructions" : "tsc"},
                 {"iommu", operations(trial, answer)}};
    metrics["put_off_ticks_per_pair"] = put_off_a_pair;
    if (!put_off.is_null()) metrics["put_off_ticks"] = put_off;
    if (const std::string reason = why_no_parts(trial); reason.empty())
        metrics["parts_ticks"] = measure_parts(trial, places.driver);
    else
        metrics["parts_absent"] = reason;
    return {{"metrics", metrics},
            {"meters",
             {{"map_unmap", {{"available", true}, {"source", "the driver, by the time stamp counter"}, {"result", answer}}}}}};
}

json benchmark_json(const json& environment, const std::vector<json>& records) {
    json context{{"executable", "dmatoll bench"}};
    for (const auto& [name, value] : environment.items())
        if (!value.is_structured()) context[name] = value;
    json benchmarks = json::array();
    for (const auto& record : records) {
        const json metrics = record.value("metrics", json::object());
        if (record.value("status", "") != "ok" || !metrics.contains("pair_ticks")) continue;
        if (benchmarks.empty()) context["date"] = record.at("started_utc");
        const double nanoseconds =
            metrics.at("pair_ticks").at("mean").get<double>() / metrics.at("ticks_per_ns").get<double>();
        json benchmark{{"name", record.at("trial")},
                       {"run_name", record.at("trial")},
                       {"run_type", "iteration"},
                       {"repetitions", record.at("repetition").at("of")},
                       {"repetition_index", record.at("repetition").at("index")},
                       {"threads", record.at("workload").at("parameters").at("threads")},
                       {"iterations", metrics.at("pairs")},
                       {"real_time", nanoseconds},
                       {"cpu_time", nanoseconds},
                       {"time_unit", "ns"}};
        // Of the whole run, with what was put off and with the measuring: where the lab counts.
        if (metrics.contains("instructions_per_pair"))
            benchmark["instructions_per_pair"] = metrics["instructions_per_pair"];
        const auto count = [&](const std::string& what, const json& summary) {
            for (const auto& [name, value] : summary.items())
                if (name != "n") benchmark[what + "_" + name] = value;
        };
        for (const char* what : {"map_ticks", "unmap_ticks", "clock_ticks"}) count(what, metrics.at(what));
        if (metrics.contains("put_off_ticks")) {
            // Of each time that it was done. With its share of a pair it is known how often that was.
            count("put_off_ticks", metrics["put_off_ticks"]);
            benchmark["put_off_ticks_per_pair"] = metrics.at("put_off_ticks_per_pair");
        }
        const json timed_parts = metrics.value("parts_ticks", json::object());
        for (const auto& [part, summary] : timed_parts.items()) count(part + "_ticks", summary);
        benchmarks.push_back(std::move(benchmark));
    }
    return {{"context", std::move(context)}, {"benchmarks", std::move(benchmarks)}};
}

}  // namespace dmatoll::harness
