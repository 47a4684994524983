// SPDX-License-Identifier: BSD-2-Clause
// What a map and an unmap for one use consist of, each part timed by itself, on the domain of a driver's own:
// what strategy `strict` does in a row.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "../core/address.hpp"
#include "../core/map_work.hpp"
#include "../core/platform.hpp"
#include "../core/result.hpp"
#include "../core/tick_histogram.hpp"
#include "../core/ticks.hpp"
#include "map_bench.hpp"

namespace dmatoll::dma {

// One caller at a time.
template <Platform P>
class PartBench {
  public:
    // The platform outlives it.
    explicit PartBench(P& platform) : platform_{platform} {}
    PartBench(const PartBench&) = delete;
    PartBench& operator=(const PartBench&) = delete;

    [[nodiscard]] bool ready() const { return found_ != nullptr; }
    [[nodiscard]] bool finished() const { return rounds_left_ == 0; }
    [[nodiscard]] const TickHistogram& found(Work work) const { return found_[static_cast<std::size_t>(work)]; }

    // Takes a buffer; maps nothing yet. provide, give_back: as MapBench's. Errors: invalid_argument, no_memory,
    // not_supported (there is no domain of our own).
    template <class Provide, class GiveBack>
    Status begin(const BenchPlan& plan, Provide&& provide, GiveBack&& give_back) {
        if (ready() || !valid(plan)) return Error::invalid_argument;
        if (platform_.domain() == nullptr) return Error::not_supported;
        const Result<Memory> block = provide(Direction::to_device, plan.block_pages());
        if (!block.ok()) return block.error();
        const Result<void*> found = platform_.allocate(works * sizeof(TickHistogram));
        if (!found.ok()) {
            give_back(block.value(), Direction::to_device, plan.block_pages());
            return found.error();
        }
        plan_ = plan;
        block_ = block.value();
        found_ = static_cast<TickHistogram*>(found.value());
        rounds_left_ = plan.rounds;
        return {};
    }

    template <class GiveBack>
    void end(GiveBack&& give_back) {
        if (!ready()) return;
        platform_.free(found_, works * sizeof(TickHistogram));
        found_ = nullptr;
        give_back(block_, Direction::to_device, plan_.block_pages());
    }

    // One round. Nothing is mapped when it returns. Errors: of the domain's allocator and its IOMMU; what they refuse
    // leaves its IOVAs out of use, since nobody knows what they lead to.
    Status step() {
        auto& domain = *platform_.domain();
        const Result<Iova> iova = timed(Work::iova_allocation, [&] { return domain.reserve(plan_.pages); });
        if (!iova.ok()) return iova.error();
        timed(Work::clock, [] {});
        if (const Status used = use(domain, domain.backend(), iova.value()); !used.ok()) return used;
        timed(Work::iova_free, [&] { domain.give_back(iova.value(), plan_.pages); });
        --rounds_left_;
        return {};
    }

  private:
    void add(Work work, std::uint64_t ticks) { found_[static_cast<std::size_t>(work)].add(ticks); }

    template <class Do>
    auto timed(Work work, Do&& what) {
        const std::uint64_t begun = read_ticks();
        if constexpr (std::is_void_v<decltype(what())>) {
            what();
            add(work, read_ticks() - begun);
        } else {
            const auto result = what();
            add(work, read_ticks() - begun);
            return result;
        }
    }

    template <class Domain, class Backend>
    Status use(Domain& domain, Backend& backend, Iova iova) {
        const Memory memory = block_ + plan_.skew * page_bytes;
        const std::uint64_t bytes = plan_.pages * page_bytes;
        const auto map = [&] { return backend.map(iova, memory, bytes, Direction::to_device); };
        if constexpr (Backend::clears_without_invalidating) {
            if (const Status mapped = timed(Work::page_table_map, map); !mapped.ok()) return mapped;
            std::uint64_t cleared = 0;
            const std::uint64_t begun = read_ticks();
            const Status unmapped = backend.unmap_timed(iova, bytes, cleared);
            const std::uint64_t ended = read_ticks();
            if (!unmapped.ok()) return unmapped;
            add(Work::page_table_unmap, cleared - begun);
            add(Work::invalidation, ended - cleared);
            // The same again, for the other way to invalidate.
            if (const Status mapped = map(); !mapped.ok()) return mapped;
            if (const Status unmapped_again = domain.begin_unmap({iova, bytes}); !unmapped_again.ok())
                return unmapped_again;
            return timed(Work::domain_invalidation, [&] { return backend.invalidate_all(); });
        } else {
            if (const Status mapped = timed(Work::map_call, map); !mapped.ok()) return mapped;
            timed(Work::system_call, [&] { backend.call_nothing(); });
            if (const Status unmapped = timed(Work::unmap_call, [&] { return backend.unmap_now(iova, bytes); });
                !unmapped.ok())
                return unmapped;
            // Not between the two: it leaves in the caches what an unmap looks at.
            time_pinning(backend, memory, bytes);
            return {};
        }
    }

    // Where the kernel does not let it be done, the other parts stand all the same.
    template <class Backend>
    void time_pinning(Backend& backend, Memory memory, std::uint64_t bytes) {
        const std::uint64_t begun = read_ticks();
        const int error = backend.pin_and_unpin(memory, bytes);
        const std::uint64_t ended = read_ticks();
        if (error == 0) [[likely]] {
            add(Work::pin_call, ended - begun);
        } else if (!pin_error_told_) {
            platform_.log(LogLevel::warning, backend.pin_error_text(error).c_str());
            pin_error_told_ = true;
        }
    }

    P& platform_;
    BenchPlan plan_{};
    Memory block_{};
    TickHistogram* found_ = nullptr;
    std::uint32_t rounds_left_ = 0;
    bool pin_error_told_ = false;
};

}  // namespace dmatoll::dma
