// SPDX-License-Identifier: BSD-2-Clause
// The strategies at user level: which of them is a Mapper over VFIO, and what each wants before its device is
// started. A program names none of them.
#pragma once

#include <cstddef>
#include <string>

#include "arena.hpp"
#include "common_options.hpp"
#include "core/iova_allocator.hpp"
#include "core/mapper.hpp"
#include "core/result.hpp"
#include "core/strategy.hpp"
#include "failure.hpp"
#include "flush_alarm.hpp"
#include "mapping/contiguous.hpp"
#include "mapping/copy.hpp"
#include "mapping/deferred.hpp"
#include "mapping/domain.hpp"
#include "mapping/hybrid_copy.hpp"
#include "mapping/iova/any.hpp"
#include "mapping/on_demand.hpp"
#include "mapping/optimistic.hpp"
#include "mapping/persistent.hpp"
#include "mapping/set_up.hpp"
#include "mapping/shared.hpp"
#include "mapping/strict.hpp"
#include "vfio_container.hpp"

namespace dmatoll::user {

using IovaAllocator = iova::Any<VfioContainer::Lock>;
using UserDomain = Domain<VfioContainer, IovaAllocator>;

// Throws Failure.
inline void require(Status status, const std::string& what) {
    if (!status.ok()) {
        throw Failure{what + ": " + describe(status.error())};
    }
}

// The IOVAs of the domain, by the allocator that was asked for: those that VFIO leaves below 2^bits, the width of the
// IOMMU or, if that is less, of the device. Throws Failure, which says what there is too little of.
template <class Platform>
void set_up_iovas(IovaAllocator& allocator, Platform& platform, const VfioContainer& container, unsigned bits,
                  const MappingOptions& options) {
    const IovaAllocatorEntry* const entry = iova_allocators::find(options.iova_allocator.c_str());
    if (entry == nullptr) {
        throw Failure{"there is no IOVA allocator `" + options.iova_allocator + "`"};
    }
    const Status status = allocator.set_up(platform, container.ranges(), {}, bits, IovaAllocator::default_capacity,
                                           {.kind = entry->kind});
    if (!status.ok()) {
        throw Failure{"cannot set up I/O virtual addresses below 2^" + std::to_string(bits) +
                      ", the width of this IOMMU or of this device: " +
                      iova_allocators::failure(status.error(), entry->kind, {.placement = Placement::user})};
    }
}

// use(mapper), with the Mapper of that name over the domain. All outlive the call. Throws Failure if there is
// none, and if use() leaves anything mapped.
template <class Platform, class Use>
void with_strategy(const std::string& name, UserDomain& domain, Platform& platform, FlushAlarm& alarm,
                   Use&& use) {
    const auto with = [&](auto&& mapper) { use(mapper); };
    if (name == strategies::strict.name) {
        with(Strict<UserDomain>{domain});
    } else if (name == strategies::shared.name) {
        with(Shared<UserDomain, Platform>{domain, platform});
    } else if (name == strategies::deferred.name) {
        with(Deferred<UserDomain, Platform, FlushAlarm>{domain, platform, alarm});
    } else if (name == strategies::contiguous.name) {
        with(Contiguous<UserDomain, Platform, FlushAlarm>{domain, platform, alarm});
    } else if (name == strategies::optimistic.name) {
        with(Optimistic<UserDomain, Platform, FlushAlarm>{domain, platform, alarm});
    } else if (name == strategies::copy.name) {
        with(Copy<UserDomain, Platform>{domain, platform});
    } else if (name == strategies::hybrid_copy.name) {
        with(HybridCopy<UserDomain, Platform>{domain, platform});
    } else if (name == strategies::on_demand.name) {
        with(OnDemand<UserDomain, Platform>{domain, platform});
    } else if (name == strategies::persistent.name) {
        with(Persistent<UserDomain, Platform>{domain, platform});
    } else {
        throw Failure{"there is no strategy `" + name + "` at user level"};
    }
    if (domain.live() != 0) {
        throw Failure{"mappings were left after the stop: " + std::to_string(domain.live())};
    }
}

// Before the device is started, when the domain's IOVAs are known. `slots`: of the strategies that copy. `device`: as
// messages name it. Throws Failure.
template <class Mapper>
void prepare_strategy(Mapper& mapper, const MappingOptions& options, const CopySlots& slots,
                      const std::string& device) {
    CopySlots sized = slots;
    // Only if asked for: those that there are hold the buffers otherwise.
    const bool is_large = strategies::has_page_size(Mapper::strategy) && options.page_size == large_page_bytes;
    if (is_large) sized.page_size = large_page_bytes;
    // Its tables are memory of this process, and what it maps already is pinned.
    require(set_up_strategy(mapper, options, sized),
            device + ": cannot set up strategy `" + Mapper::strategy.name + "` (" +
                (is_large ? "are there too few hugepages of 2 MiB, or " : "") +
                "is the limit of locked memory too low?)");
}

// Memory that all buffers of that direction come from, for a strategy that maps such a pool once; nothing
// under others. `what`: as messages name it. Throws Failure.
template <class Mapper>
void map_pool(Mapper& mapper, const std::byte* start, std::size_t bytes, Direction direction,
              const std::string& device, const std::string& what) {
    if constexpr (requires { mapper.premap(Memory{}, bytes, direction); }) {
        require(mapper.premap(memory_at(start), bytes, direction).error(),
                device + ": cannot map the " + what + " (is the limit of locked memory too low?)");
    }
}

}  // namespace dmatoll::user
