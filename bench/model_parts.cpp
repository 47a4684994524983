// SPDX-License-Identifier: BSD-2-Clause
// What a map and an unmap take each by itself, and their parts, as the driver's own benchmark measures them in the kernel
// and in a process: medians in ticks of the time stamp counter stand beside the time of a round.
#include <benchmark/benchmark.h>

#include <thread>
#include <vector>

#include "core/map_work.hpp"
#include "dma/map_bench.hpp"
#include "dma/part_bench.hpp"
#include "mapping/strict.hpp"
#include "model_machine.hpp"

namespace dmatoll::bench {
namespace {

constexpr std::uint32_t rounds = 1000;

auto provider(Machine& machine) {
    return [&machine](Direction, std::uint64_t pages) -> Result<Memory> { return machine.memory.allocate_pages(pages); };
}
auto taker(Machine& machine) {
    return [&machine](Memory memory, Direction, std::uint64_t pages) { machine.memory.free_pages(memory, pages); };
}

void show(benchmark::State& state, const char* what, const TickHistogram& ticks) {
    state.counters[what] = static_cast<double>(ticks.summary().p50);
}

void parts(benchmark::State& state) {
    Machine machine;
    dma::PartBench<ModelPlatform> bench{machine.platform};
    const dma::BenchPlan plan{.pages = static_cast<std::uint32_t>(state.range(0)), .rounds = rounds};
    for ([[maybe_unused]] auto _ : state) {
        require(bench.begin(plan, provider(machine), taker(machine)));
        while (!bench.finished()) require(bench.step());
        for (std::size_t i = 0; i < works; ++i) {
            const TickHistogram& found = bench.found(static_cast<Work>(i));
            if (found.count() != 0) show(state, work_names[i], found);
        }
        bench.end(taker(machine));
    }
    state.SetItemsProcessed(state.iterations() * rounds);
}

// By so many threads at a time, on one domain.
void both(benchmark::State& state) {
    Machine machine;
    Strict<ModelDomain> strict{machine.domain};
    dma::MapBench<ModelPlatform, Strict<ModelDomain>> bench{machine.platform, strict};
    const dma::BenchPlan plan{.pages = static_cast<std::uint32_t>(state.range(0)),
                                .rounds = rounds,
                                .threads = static_cast<std::uint32_t>(state.range(1))};
    std::uint64_t pairs = 0;
    for ([[maybe_unused]] auto _ : state) {
        require(bench.begin(plan, provider(machine), taker(machine)));
        std::vector<std::jthread> threads;
        for (std::uint32_t number = 0; number < plan.threads; ++number)
            threads.emplace_back([&bench, number] {
                while (!bench.finished(number)) bench.step(number);
            });
        threads.clear();
        require(bench.error());
        show(state, "map", bench.maps());
        show(state, "unmap", bench.unmaps());
        pairs += bench.maps().count();
        bench.end(taker(machine));
    }
    state.SetItemsProcessed(static_cast<std::int64_t>(pairs));
}

BENCHMARK(parts)->Name("ticks/parts")->ArgName("pages")->Arg(1)->Arg(16)->Arg(256)->Arg(1024);
BENCHMARK(both)
    ->Name("ticks/strict")
    ->ArgNames({"pages", "threads"})
    ->ArgsProduct({{1, 16, 256, 1024}, {1}})
    ->ArgsProduct({{1}, {2, 4}})
    ->UseRealTime();

}  // namespace
}  // namespace dmatoll::bench
