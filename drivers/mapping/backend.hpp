// SPDX-License-Identifier: BSD-2-Clause
// What a strategy stands on: one IOMMU domain, in pages. The kernel's IOMMU API, a VFIO container and the model's software
// IOMMU each provide one.
#pragma once

#include <concepts>
#include <cstdint>

#include "../core/address.hpp"
#include "../core/result.hpp"

namespace dmatoll {

// Whether a translation may outlive its page-table entry in the IOTLB.
enum class Invalidate : std::uint8_t { now, later };

template <class B>
concept IommuBackend =
    requires(B backend, Iova iova, Memory memory, std::uint64_t bytes, Direction direction, Invalidate when, typename B::Lock lock) {
        // Maps whole pages. Addresses and bytes are multiples of page_bytes. Callable wherever the driver's data path runs
        // (in the kernel: softirq). After an error no translation of the range is left. Errors: mapping_failed, no_memory.
        { backend.map(iova, memory, bytes, direction) } -> std::same_as<Status>;

        // Clears the entries of a range that one map() made, or several whose ranges adjoin. With Invalidate::now no
        // translation of the range is used after the return. Errors: mapping_failed if the range was not mapped as a whole,
        // timed_out if the IOMMU did not say that it has forgotten it.
        { backend.unmap(iova, bytes, when) } -> std::same_as<Status>;

        // Whether entries can be cleared ahead of the invalidation. If so, what was unmapped with Invalidate::later is out of
        // reach after an invalidate_all() that began later, and unlikely to be reached before. If not (VFIO),
        // Invalidate::later invalidates at once: to invalidate less often, the unmapping itself must wait. Error:
        // timed_out, what was unmapped may be reached still.
        requires std::same_as<const bool, decltype(B::clears_without_invalidating)>;
        { backend.invalidate_all() } -> std::same_as<Status>;

        // A number below most_cpus for the CPU that calls, which may be another's by the time it is used: what belongs to a
        // CPU is chosen by it and guarded by a lock. More CPUs than that share numbers.
        requires(B::most_cpus > 0);
        { B::cpu() } -> std::same_as<std::uint32_t>;

        // Mutual exclusion between the contexts that a driver runs in; nothing at all where there is one only.
        { lock.lock() } -> std::same_as<void>;
        { lock.unlock() } -> std::same_as<void>;
    };

}  // namespace dmatoll
