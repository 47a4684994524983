// SPDX-License-Identifier: BSD-2-Clause
// An IOMMU domain with its IOVA space: what every strategy of ours maps into.
#pragma once

#include <cstdint>

#include "../core/address.hpp"
#include "../core/counter.hpp"
#include "../core/counters.hpp"
#include "../core/result.hpp"
#include "backend.hpp"

namespace dmatoll {

// All of it may be called from several CPUs at once. The counters are written under the lock only, which the
// allocator needs anyway: they cost the data path no locked instruction, and no increment is lost.
template <IommuBackend Backend, class Allocator>
class Domain {
  public:
    // Both outlive the domain; the allocator is set up already.
    Domain(Backend& backend, Allocator& allocator) : backend_{backend}, allocator_{allocator} {}
    Domain(const Domain&) = delete;
    Domain& operator=(const Domain&) = delete;

    // Maps whole pages, `bytes` a multiple of page_bytes, at an IOVA of the domain's choice. `first_touch`
    // says that a cache asked because it did not know the page. Errors: no_iova_space, mapping_failed,
    // no_memory.
    Result<Iova> map_pages(Memory memory, std::uint64_t bytes, Direction direction,
                           bool first_touch = false) {
        lock_.lock();
        const Result<Iova> iova = allocator_.allocate(bytes / page_bytes);
        if (iova.ok()) {
            maps_.add(1);
            if (first_touch) first_touches_.add(1);
        } else {
            failures_.add(1);
        }
        lock_.unlock();
        if (!iova.ok()) return iova;

        const Status mapped = backend_.map(iova.value(), memory, bytes, direction);
        if (mapped.ok()) return iova;

        lock_.lock();
        // The backend has left no translation of the range: it can be used again at once.
        allocator_.free(iova.value(), bytes / page_bytes);
        maps_.take_back();
        if (first_touch) first_touches_.take_back();
        failures_.add(1);
        lock_.unlock();
        return mapped.error();
    }

    // Ends one map_pages() with the same bytes. On return no translation of the range is left, and only then
    // is its IOVA free: handed out earlier, the next buffer's IOVA could still lead the device to the last
    // buffer's memory. A range whose unmapping is refused stays taken for good, since nobody knows what it
    // leads to.
    Status unmap_pages(Iova iova, std::uint64_t bytes) {
        const Status unmapped = backend_.unmap(iova, bytes, Invalidate::now);
        lock_.lock();
        if (unmapped.ok()) {
            allocator_.free(iova, bytes / page_bytes);
            unmaps_.add(1);
            invalidations_.add(1);
        } else {
            quarantined_.add(1);
            failures_.add(1);
        }
        lock_.unlock();
        return unmapped;
    }

    [[nodiscard]] MappingCounters counters() const {
        return MappingCounters{.maps = maps_.read(),
                               .unmaps = unmaps_.read(),
                               .invalidations = invalidations_.read(),
                               .first_touches = first_touches_.read(),
                               .failures = failures_.read()};
    }

    // Mappings that exist, rings included; 0 after an orderly stop.
    [[nodiscard]] std::uint64_t live() const { return maps_.read() - unmaps_.read(); }
    // Ranges given up because their unmapping was refused.
    [[nodiscard]] std::uint64_t quarantined() const { return quarantined_.read(); }

  private:
    Backend& backend_;
    Allocator& allocator_;
    typename Backend::Lock lock_{};
    Counter maps_;
    Counter unmaps_;
    Counter invalidations_;
    Counter first_touches_;
    Counter failures_;
    Counter quarantined_;
};

}  // namespace dmatoll
