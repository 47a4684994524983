// SPDX-License-Identifier: BSD-2-Clause
// How many accesses of a device the IOMMU made of software translates in a second.
#include <benchmark/benchmark.h>

#include <array>
#include <cstddef>

#include "model_machine.hpp"

namespace dmatoll::bench {
namespace {

// Of 8 bytes, to `pages` pages in turn.
template <bool writes>
void accesses(benchmark::State& state) {
    const auto pages = static_cast<std::uint64_t>(state.range(0));
    model::PhysicalMemory memory{std::uint64_t{128} << 20};
    model::SoftwareIommu iommu{memory};
    const Iova first{std::uint64_t{1} << 30};
    require(iommu.map(first, memory.allocate_pages(pages), pages * page_bytes, Direction::bidirectional));
    std::array<std::byte, 8> word{};
    std::uint64_t page = 0;
    for ([[maybe_unused]] auto _ : state) {
        const Iova iova = first + page * page_bytes;
        const bool ended = writes ? iommu.write(iova, word) : iommu.read(iova, word);
        if (!ended) state.SkipWithError("an access was refused");
        page = page + 1 == pages ? 0 : page + 1;
    }
    state.SetItemsProcessed(state.iterations());
}

// Within the IOTLB of 4096 entries, and far beyond it.
BENCHMARK(accesses<false>)->Name("iommu/read")->ArgName("pages")->Arg(1)->Arg(64)->Arg(4096)->Arg(16384);
BENCHMARK(accesses<true>)->Name("iommu/write")->ArgName("pages")->Arg(1)->Arg(64)->Arg(4096)->Arg(16384);

}  // namespace
}  // namespace dmatoll::bench
