// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// A driver inside the kernel: one object for each strategy. Which one it is decides a compare and a branch:
// an indirect call would go through a thunk on the data path.
#pragma once

#include <cstddef>
#include <cstdint>
#include <new>
#include <span>

#include "core/address.hpp"
#include "core/counters.hpp"
#include "core/iova_allocator.hpp"
#include "core/result.hpp"
#include "core/strategy.hpp"
#include "glue.h"
#include "kernel_backend.hpp"
#include "kernel_platform.hpp"
#include "linux_dma.hpp"
#include "mapping/contiguous.hpp"
#include "mapping/copy.hpp"
#include "mapping/deferred.hpp"
#include "mapping/hybrid_copy.hpp"
#include "mapping/iova/any.hpp"
#include "mapping/on_demand.hpp"
#include "mapping/optimistic.hpp"
#include "mapping/passthrough.hpp"
#include "mapping/persistent.hpp"
#include "mapping/set_up.hpp"
#include "mapping/shared.hpp"
#include "mapping/strict.hpp"
#include "settings_of.hpp"

namespace dmatoll::kernel {

static_assert(sizeof(dmatoll_segment) == sizeof(Segment) &&
              offsetof(dmatoll_segment, physical) == offsetof(Segment, memory) &&
              offsetof(dmatoll_segment, length) == offsetof(Segment, length));
static_assert(sizeof(dmatoll_range) == sizeof(MemoryRange) &&
              offsetof(dmatoll_range, first) == offsetof(MemoryRange, first) &&
              offsetof(dmatoll_range, last) == offsetof(MemoryRange, last));

class KernelAlarm {
  public:
    explicit KernelAlarm(dmatoll_bound* bound) : bound_{bound} {}
    void set(std::uint64_t nanoseconds) { dmatoll_alarm_set(bound_, nanoseconds); }

  private:
    dmatoll_bound* bound_;
};

enum class Kind : std::uint8_t {
    strict,
    persistent,
    deferred,
    copy,
    passthrough,
    linux_dma,
    shared,
    optimistic,
    on_demand,
    hybrid_copy,
    contiguous,
};

inline Kind kind_of(const Strategy& strategy) {
    if (strategy.domain != DomainKind::own) return Kind::linux_dma;
    if (&strategy == &strategies::persistent) return Kind::persistent;
    if (&strategy == &strategies::deferred) return Kind::deferred;
    if (&strategy == &strategies::copy) return Kind::copy;
    if (&strategy == &strategies::passthrough) return Kind::passthrough;
    if (&strategy == &strategies::shared) return Kind::shared;
    if (&strategy == &strategies::optimistic) return Kind::optimistic;
    if (&strategy == &strategies::on_demand) return Kind::on_demand;
    if (&strategy == &strategies::hybrid_copy) return Kind::hybrid_copy;
    if (&strategy == &strategies::contiguous) return Kind::contiguous;
    return Kind::strict;
}

// Laid out alike.
inline std::span<const MemoryRange> memory_of(const dmatoll_surroundings& around) {
    return {reinterpret_cast<const MemoryRange*>(around.memory), around.memory_count};
}

inline Memory last_memory(const dmatoll_surroundings& around) { return memory_of(around).back().last; }

// How many mappings can exist at a time. One buffer, one mapping under `strict`: rings and tags bound them,
// and under `deferred` these and the queue, or the queues of all CPUs. `persistent` keeps one for every page and direction that was ever
// used; its book-keeping is held to 64 MiB, 16 GiB of mapped buffers with the usual allocator. Beyond that a
// buffer on a new page cannot be mapped, and is counted as a map failure.
inline std::uint32_t mappings_needed(const Strategy& strategy, const StrategySettings& settings,
                                     IovaAllocatorKind allocator, std::uint64_t last_physical) {
    if (&strategy == &strategies::deferred && settings.deferred_per_cpu != 0) {
        const DeferredLimits limits{.entries = settings.deferred_entries, .per_cpu = true};
        return IovaAllocator::default_capacity + limits.queues(dmatoll_cpus()) * limits.entries;
    }
    if (&strategy != &strategies::persistent) return IovaAllocator::default_capacity;
    const std::uint64_t most = (std::uint64_t{64} << 20) / IovaAllocator::bytes_a_range(allocator);
    const std::uint64_t both_directions = 2 * (last_physical / page_bytes + 1) + 64;
    return static_cast<std::uint32_t>(both_directions < most ? both_directions : most);
}

// `Device<M>` is the driver over the strategy M: it has a member `mapper`, and is made of the platform, the
// device's own arguments, and then the mapper's.
template <template <class> class Device>
class ByStrategy {
  public:
    ByStrategy(const dmatoll_surroundings& around, const Strategy& strategy)
        : kind_{kind_of(strategy)},
          alarm_{around.bound},
          backend_{around.domain},
          domain_{backend_, allocator_},
          platform_{around.registers, around.device, around.domain != nullptr ? &domain_ : nullptr} {}
    ByStrategy(const ByStrategy&) = delete;
    ByStrategy& operator=(const ByStrategy&) = delete;
    // What construct() made ends with destroy().
    ~ByStrategy() {}

    // `slots`: of the strategies that copy. `own`: the device's own arguments. After an error there is nothing to
    // destroy.
    template <class... Own>
    Status construct(const dmatoll_surroundings& around, const Strategy& strategy, const CopySlots& slots,
                     const Own&... own) {
        if (kind_ == Kind::linux_dma) {
            new (&linux_dma_) Device<LinuxDma>{platform_, own..., around.linux_dma};
            return {};
        }
        if (const Status space = set_up_space(around, strategy); !space.ok()) return space;
        const Status ready = construct_own(around, slots, own...);
        if (ready.ok()) return ready;
        if (ready.error() == Error::no_memory) {
            platform_.log(LogLevel::error, "there is too little memory for the strategy: its tables, what it maps "
                                           "ahead, or where it copies to");
        }
        give_back_space();
        return ready;
    }

    // Unmaps everything. The driver has stopped.
    void destroy() {
        with([](auto& one) { one.mapper.release_all(); });
        if (kind_ == Kind::linux_dma) return;
        if (domain_.live() != 0) {
            platform_.log(LogLevel::error,
                          "mappings were left after the stop: the domain is destroyed with them");
        }
        give_back_space();
    }

    template <class Use>
    decltype(auto) with(Use&& use) {
        return choose(*this, use);
    }
    template <class Use>
    decltype(auto) with(Use&& use) const {
        return choose(*this, use);
    }

    // Pages that the cache of strategy persistent has mapped by now.
    [[nodiscard]] CachedPages cached_pages() const {
        return kind_ == Kind::persistent ? persistent_.mapper.cached() : CachedPages{};
    }

    void on_alarm() {
        with([](auto& one) {
            if constexpr (requires { one.mapper.on_alarm(); }) one.mapper.on_alarm();
        });
    }

    // What the DMA API does inside, nobody counts.
    [[nodiscard]] bool is_known(std::uint64_t MappingCounters::*counter) const {
        return kind_ != Kind::linux_dma ||
               (counter != &MappingCounters::invalidations && counter != &MappingCounters::first_touches);
    }

  private:
    template <class Self, class Use>
    static decltype(auto) choose(Self& self, Use& use) {
        if (self.kind_ == Kind::strict) return use(self.strict_);
        if (self.kind_ == Kind::persistent) return use(self.persistent_);
        if (self.kind_ == Kind::deferred) return use(self.deferred_);
        if (self.kind_ == Kind::copy) return use(self.copy_);
        if (self.kind_ == Kind::passthrough) return use(self.passthrough_);
        if (self.kind_ == Kind::linux_dma) return use(self.linux_dma_);
        if (self.kind_ == Kind::shared) return use(self.shared_);
        if (self.kind_ == Kind::optimistic) return use(self.optimistic_);
        if (self.kind_ == Kind::on_demand) return use(self.on_demand_);
        if (self.kind_ == Kind::hybrid_copy) return use(self.hybrid_copy_);
        return use(self.contiguous_);
    }

    void give_back_space() { allocator_.tear_down(platform_); }

    Status set_up_space(const dmatoll_surroundings& around, const Strategy& strategy) {
        const IovaRange aperture{around.aperture.first, around.aperture.last};
        // One more than the IOMMU's own: under `passthrough` IOVAs up to the end of memory are that memory's.
        if (around.reserved_count >= IovaAllocator::most_windows) {
            static_assert(IovaAllocator::most_windows == 32);
            platform_.log(LogLevel::error, "the IOMMU has reserved more ranges of addresses than the 31 that this "
                                           "driver knows how to leave out; the strategies linux-* do without");
            return Error::not_supported;
        }
        for (std::uint32_t i = 0; i < around.reserved_count; ++i) {
            reserved_[i] = IovaRange{around.reserved[i].first, around.reserved[i].last};
        }
        reserved_count_ = around.reserved_count;
        std::uint32_t taken = reserved_count_;
        if (kind_ == Kind::passthrough) reserved_[taken++] = IovaRange{0, last_memory(around).address};
        const Memory last = last_memory(around);
        const auto number = static_cast<std::size_t>(around.settings.iova_allocator);
        const IovaAllocatorKind kind = iova_allocators::catalogue[number].kind;
        const Status status =
            allocator_.set_up(platform_, std::span{&aperture, 1}, std::span{reserved_, taken}, around.address_bits,
                              mappings_needed(strategy, settings_of(around.settings), kind, last.address),
                              {.kind = kind,
                               .cpus = KernelBackend::cpu_count(),
                               .last = last,
                               .clears_without_invalidating = KernelBackend::clears_without_invalidating});
        if (!status.ok()) {
            platform_.log(LogLevel::error, iova_allocators::failure(status.error(), kind, {.strategy = &strategy}));
        }
        return status;
    }

    template <class... Own>
    Status construct_own(const dmatoll_surroundings& around, const CopySlots& slots, const Own&... own) {
        const auto place = [&]<class M>(Device<M>& device, auto&... wanted) {
            new (&device) Device<M>{platform_, own..., wanted...};
        };
        const auto make = [&](auto& device, auto&... wanted) {
            place(device, wanted...);
            CopySlots sized = slots;
            sized.page_size = around.settings.page_size;
            return set_up_strategy(device.mapper, settings_of(around.settings), sized);
        };
        if (kind_ == Kind::strict) return make(strict_, domain_);
        if (kind_ == Kind::shared) return make(shared_, domain_, platform_);
        if (kind_ == Kind::deferred) return make(deferred_, domain_, platform_, alarm_);
        if (kind_ == Kind::contiguous) return make(contiguous_, domain_, platform_, alarm_);
        if (kind_ == Kind::optimistic) return make(optimistic_, domain_, platform_, alarm_);
        if (kind_ == Kind::copy) return make(copy_, domain_, platform_);
        if (kind_ == Kind::hybrid_copy) return make(hybrid_copy_, domain_, platform_);
        if (kind_ == Kind::on_demand) return make(on_demand_, domain_, platform_);
        if (kind_ == Kind::passthrough) {
            place(passthrough_, domain_);
            return passthrough_.mapper.set_up(last_memory(around), std::span{reserved_, reserved_count_},
                                              around.address_bits);
        }
        place(persistent_, domain_, platform_);
        return persistent_.mapper.cover(Memory{0}, last_memory(around),
                                        {.bytes = around.settings.page_size,
                                         .memory = memory_of(around),
                                         .reserved = std::span{reserved_, reserved_count_}});
    }

    Kind kind_;
    KernelAlarm alarm_;
    // The domain and its space are used by our own strategies only.
    KernelBackend backend_;
    IovaAllocator allocator_;
    KernelDomain domain_;
    IovaRange reserved_[IovaAllocator::most_windows] = {};
    std::uint32_t reserved_count_ = 0;
    KernelPlatform platform_;
    union {
        Device<Strict<KernelDomain>> strict_;
        Device<Persistent<KernelDomain, KernelPlatform>> persistent_;
        Device<Deferred<KernelDomain, KernelPlatform, KernelAlarm>> deferred_;
        Device<Copy<KernelDomain, KernelPlatform>> copy_;
        Device<Passthrough<KernelDomain>> passthrough_;
        Device<LinuxDma> linux_dma_;
        Device<Shared<KernelDomain, KernelPlatform>> shared_;
        Device<Optimistic<KernelDomain, KernelPlatform, KernelAlarm>> optimistic_;
        Device<OnDemand<KernelDomain, KernelPlatform>> on_demand_;
        Device<HybridCopy<KernelDomain, KernelPlatform>> hybrid_copy_;
        Device<Contiguous<KernelDomain, KernelPlatform, KernelAlarm>> contiguous_;
    };
};

}  // namespace dmatoll::kernel
