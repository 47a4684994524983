// SPDX-License-Identifier: BSD-2-Clause
// What a map and an unmap cost under each strategy, where page table and IOTLB are software: the strategy's own
// share, and how it grows with pages.
#include <benchmark/benchmark.h>

#include "mapping/copy.hpp"
#include "mapping/deferred.hpp"
#include "mapping/persistent.hpp"
#include "mapping/strict.hpp"
#include "model_machine.hpp"

namespace dmatoll::bench {
namespace {

struct NoAlarm {
    void set(std::uint64_t) {}
};

using StrictMapper = Strict<ModelDomain>;
using DeferredMapper = Deferred<ModelDomain, ModelPlatform, NoAlarm>;
using CopyMapper = Copy<ModelDomain, ModelPlatform>;
using PersistentMapper = Persistent<ModelDomain, ModelPlatform>;

template <class M>
struct Prepared;
template <>
struct Prepared<StrictMapper> {
    explicit Prepared(Machine& machine) : mapper{machine.domain} {}
    StrictMapper mapper;
};
template <>
struct Prepared<DeferredMapper> {
    explicit Prepared(Machine& machine) : mapper{machine.domain, machine.platform, alarm} {
        require(mapper.set_up({}));
    }
    NoAlarm alarm;
    DeferredMapper mapper;
};
template <>
struct Prepared<CopyMapper> {
    explicit Prepared(Machine& machine) : mapper{machine.domain, machine.platform} {
        require(mapper.set_up({.to_device = 64, .from_device = 64}));
    }
    CopyMapper mapper;
};
template <>
struct Prepared<PersistentMapper> {
    explicit Prepared(Machine& machine) : mapper{machine.domain, machine.platform} {
        require(mapper.cover(Memory{0}, Memory{machine.memory.bytes() - 1}));
    }
    PersistentMapper mapper;
};

// A buffer of so many pages for the device to read, mapped and unmapped again.
template <class M>
void pair(benchmark::State& state) {
    const auto pages = static_cast<std::uint64_t>(state.range(0));
    const auto length = static_cast<std::uint32_t>(pages * page_bytes);
    Machine machine;
    {
        Prepared<M> prepared{machine};
        M& mapper = prepared.mapper;
        const Memory memory = machine.memory.allocate_pages(pages);
        for ([[maybe_unused]] auto _ : state) {
            const Result<Iova> mapped = mapper.map(memory, length, Direction::to_device);
            if (!mapped.ok()) {
                state.SkipWithError(describe(mapped.error()));
                break;
            }
            mapper.unmap(mapped.value(), length, Direction::to_device, 0);
        }
        mapper.release_all();
    }
    state.SetItemsProcessed(state.iterations());
}

void by_pages(benchmark::internal::Benchmark* benchmark) {
    benchmark->ArgName("pages")->RangeMultiplier(4)->Range(1, 1024);
}
BENCHMARK(pair<StrictMapper>)->Name("pair/strict")->Apply(by_pages);
BENCHMARK(pair<DeferredMapper>)->Name("pair/deferred")->Apply(by_pages);
// These know buffers within a page.
BENCHMARK(pair<PersistentMapper>)->Name("pair/persistent")->ArgName("pages")->Arg(1);
BENCHMARK(pair<CopyMapper>)->Name("pair/copy")->ArgName("pages")->Arg(1);

}  // namespace
}  // namespace dmatoll::bench
