// SPDX-License-Identifier: BSD-2-Clause
// An IOMMU made of software: one domain with a page table, and an IOTLB that keeps what it has seen until it
// is told not to.
//
// The IOTLB is explicit because it is where protection is lost in practice: an entry whose page-table entry
// has gone still lets the device through. The model lets it through as well, and records it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <list>
#include <map>
#include <mutex>
#include <span>
#include <unordered_map>
#include <vector>

#include "core/address.hpp"
#include "core/result.hpp"
#include "mapping/backend.hpp"
#include "physical_memory.hpp"

namespace dmatoll::model {

enum class Access : std::uint8_t { read, write };

enum class FaultReason : std::uint8_t { not_mapped, wrong_direction, beyond_address_width };

// An access that the IOMMU refused.
struct DmaFault {
    Iova iova{};
    Access access = Access::read;
    FaultReason reason = FaultReason::not_mapped;
};

// An access that went through on an IOTLB entry that the page table no longer holds.
struct StaleAccess {
    Iova iova{};
    Access access = Access::read;
    Memory reached{};  // where it ended
};

// All of it may be called from several threads.
class SoftwareIommu {
  public:
    static constexpr bool clears_without_invalidating = true;

    // Each thread has a CPU of its own, as long as there are no more than that.
    static constexpr std::uint32_t most_cpus = 8;
    static std::uint32_t cpu();

    class Lock {
      public:
        void lock() { mutex_.lock(); }
        void unlock() { mutex_.unlock(); }

      private:
        std::mutex mutex_;
    };

    struct Counts {
        std::uint64_t maps = 0;
        std::uint64_t unmaps = 0;
        std::uint64_t invalidations = 0;  // ranges and whole domains
        std::uint64_t accesses = 0;       // page-wise accesses by the device, refused ones included
    };

    // `address_bits` bounds the IOVAs; `iotlb_entries` (at least 1) the translations that are kept, the
    // oldest goes first.
    explicit SoftwareIommu(PhysicalMemory& memory, std::uint32_t address_bits = 39,
                           std::size_t iotlb_entries = 4096);

    // IommuBackend, as mapping/backend.hpp says. Beyond it: a range that is mapped already, IOVA 0 and a
    // range beyond the address width are refused with mapping_failed; what is not page-aligned with
    // invalid_argument.
    Status map(Iova iova, Memory memory, std::uint64_t bytes, Direction direction);
    Status unmap(Iova iova, std::uint64_t bytes, Invalidate when);
    // As unmap() with Invalidate::now; the clock of core/ticks.hpp between page table and invalidation goes into
    // `cleared`.
    Status unmap_timed(Iova iova, std::uint64_t bytes, std::uint64_t& cleared);
    Status invalidate_all();

    // The device's side. False: refused from some page on, and recorded; the pages ahead of it were accessed.
    bool read(Iova iova, std::span<std::byte> destination);
    bool write(Iova iova, std::span<const std::byte> source);

    // Injected failures. After `calls` more calls that succeed, the next `refusals` are refused with
    // mapping_failed.
    void refuse_maps(std::uint64_t calls, std::uint64_t refusals = 1);
    void refuse_unmaps(std::uint64_t calls, std::uint64_t refusals = 1);
    // A broken invalidation: it is counted and does nothing.
    void lose_invalidations(bool lose);
    // After `calls` more that succeed, the next invalidations, ranges and whole domains, are counted, do nothing,
    // and end with timed_out.
    void time_out_invalidations(std::uint64_t calls, std::uint64_t invalidations = 1);

    [[nodiscard]] std::vector<DmaFault> faults() const;
    [[nodiscard]] std::vector<StaleAccess> stale_accesses() const;
    void forget_events();
    [[nodiscard]] Counts counts() const;
    [[nodiscard]] std::uint64_t mapped_pages() const;
    // What a device would be allowed to do at this moment, by page table and IOTLB. Leaves both alone,
    // records nothing.
    [[nodiscard]] bool reachable(Iova iova, Access access) const;
    // Whether any translation leads to that page, in that way.
    [[nodiscard]] bool exposed(Memory memory, Access access) const;

  private:
    struct Entry {
        std::uint64_t frame = 0;  // page number
        Direction direction = Direction::bidirectional;

        bool operator==(const Entry&) const = default;
        [[nodiscard]] bool allows(Access access) const {
            return direction == Direction::bidirectional ||
                   direction == (access == Access::read ? Direction::to_device : Direction::from_device);
        }
    };
    struct Cached {
        Entry entry;
        std::list<std::uint64_t>::iterator age;
    };
    struct Refusals {
        std::uint64_t calls = 0;
        std::uint64_t refusals = 0;
        bool next();
    };

    std::byte* translate(Iova iova, std::uint64_t bytes, Access access);
    void remember(std::uint64_t page, const Entry& entry);
    Status clear(Iova iova, std::uint64_t bytes);
    Status invalidate(std::uint64_t first_page, std::uint64_t pages);

    PhysicalMemory& memory_;
    const std::uint64_t page_limit_;
    const std::size_t iotlb_entries_;

    mutable std::mutex mutex_;
    std::unordered_map<std::uint64_t, Entry> table_;
    std::map<std::uint64_t, std::uint64_t> ranges_;  // first page -> pages, one for each map()
    std::unordered_map<std::uint64_t, Cached> iotlb_;
    std::list<std::uint64_t> iotlb_order_;  // the oldest first
    std::vector<DmaFault> faults_;
    std::vector<StaleAccess> stale_;
    Counts counts_;
    Refusals map_refusals_;
    Refusals unmap_refusals_;
    Refusals invalidation_timeouts_;
    bool lose_invalidations_ = false;
};

static_assert(IommuBackend<SoftwareIommu>);

}  // namespace dmatoll::model
