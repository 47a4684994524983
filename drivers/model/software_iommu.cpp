// SPDX-License-Identifier: BSD-2-Clause
#include "software_iommu.hpp"

#include <algorithm>
#include <atomic>
#include <cstring>

#include "core/ticks.hpp"

namespace dmatoll::model {

bool SoftwareIommu::Refusals::next() {
    if (refusals == 0) return false;
    if (calls > 0) {
        --calls;
        return false;
    }
    --refusals;
    return true;
}

std::uint32_t SoftwareIommu::cpu() {
    static std::atomic<std::uint32_t> threads = 0;
    thread_local const std::uint32_t number = threads++;
    return number % most_cpus;
}

SoftwareIommu::SoftwareIommu(PhysicalMemory& memory, std::uint32_t address_bits, std::size_t iotlb_entries)
    : memory_{memory},
      page_limit_{(std::uint64_t{1} << address_bits) / page_bytes},
      iotlb_entries_{std::max<std::size_t>(iotlb_entries, 1)} {}

Status SoftwareIommu::map(Iova iova, Memory memory, std::uint64_t bytes, Direction direction) {
    const std::scoped_lock guard{mutex_};
    if (bytes == 0 || offset_in_page(iova.value | memory.address | bytes) != 0)
        return Error::invalid_argument;
    const std::uint64_t first = iova.value / page_bytes;
    const std::uint64_t pages = bytes / page_bytes;
    if (map_refusals_.next()) return Error::mapping_failed;
    if (first == 0 || first >= page_limit_ || pages > page_limit_ - first) return Error::mapping_failed;
    if (memory.address >= memory_.bytes() || bytes > memory_.bytes() - memory.address)
        return Error::mapping_failed;
    for (std::uint64_t page = first; page < first + pages; ++page) {
        if (table_.contains(page)) return Error::mapping_failed;
    }
    for (std::uint64_t i = 0; i < pages; ++i) {
        table_[first + i] = Entry{memory.address / page_bytes + i, direction};
    }
    ranges_[first] = pages;
    ++counts_.maps;
    return {};
}

Status SoftwareIommu::unmap(Iova iova, std::uint64_t bytes, Invalidate when) {
    const std::scoped_lock guard{mutex_};
    const Status cleared = clear(iova, bytes);
    if (cleared.ok() && when == Invalidate::now) return invalidate(iova.value / page_bytes, bytes / page_bytes);
    return cleared;
}

Status SoftwareIommu::unmap_timed(Iova iova, std::uint64_t bytes, std::uint64_t& cleared) {
    const std::scoped_lock guard{mutex_};
    const Status status = clear(iova, bytes);
    cleared = read_ticks();
    if (status.ok()) return invalidate(iova.value / page_bytes, bytes / page_bytes);
    return status;
}

Status SoftwareIommu::clear(Iova iova, std::uint64_t bytes) {
    const std::uint64_t first = iova.value / page_bytes;
    const std::uint64_t end = first + bytes / page_bytes;
    if (unmap_refusals_.next()) return Error::mapping_failed;
    if (bytes == 0 || offset_in_page(iova.value | bytes) != 0) return Error::mapping_failed;
    // Whole ranges, without a gap.
    const auto begin = ranges_.find(first);
    auto range = begin;
    std::uint64_t page = first;
    for (; page < end; ++range) {
        if (range == ranges_.end() || range->first != page) return Error::mapping_failed;
        page += range->second;
    }
    if (page != end) return Error::mapping_failed;
    for (page = first; page < end; ++page) table_.erase(page);
    ranges_.erase(begin, range);
    ++counts_.unmaps;
    return {};
}

Status SoftwareIommu::invalidate(std::uint64_t first_page, std::uint64_t pages) {
    ++counts_.invalidations;
    if (invalidation_timeouts_.next()) return Error::timed_out;
    if (lose_invalidations_) return {};
    for (std::uint64_t page = first_page; page < first_page + pages; ++page) {
        const auto cached = iotlb_.find(page);
        if (cached == iotlb_.end()) continue;
        iotlb_order_.erase(cached->second.age);
        iotlb_.erase(cached);
    }
    return {};
}

Status SoftwareIommu::invalidate_all() {
    const std::scoped_lock guard{mutex_};
    ++counts_.invalidations;
    if (invalidation_timeouts_.next()) return Error::timed_out;
    if (lose_invalidations_) return {};
    iotlb_.clear();
    iotlb_order_.clear();
    return {};
}

void SoftwareIommu::remember(std::uint64_t page, const Entry& entry) {
    if (iotlb_.size() == iotlb_entries_) {
        iotlb_.erase(iotlb_order_.front());
        iotlb_order_.pop_front();
    }
    iotlb_[page] = Cached{entry, iotlb_order_.insert(iotlb_order_.end(), page)};
}

// `bytes` stay within one page. nullptr: refused, and recorded.
std::byte* SoftwareIommu::translate(Iova iova, std::uint64_t bytes, Access access) {
    ++counts_.accesses;
    const std::uint64_t page = iova.value / page_bytes;
    if (page >= page_limit_) {
        faults_.push_back({iova, access, FaultReason::beyond_address_width});
        return nullptr;
    }
    const auto present = table_.find(page);
    const auto cached = iotlb_.find(page);
    Entry entry{};
    if (cached != iotlb_.end()) {
        entry = cached->second.entry;
    } else if (present != table_.end()) {
        entry = present->second;
        remember(page, entry);
    } else {
        faults_.push_back({iova, access, FaultReason::not_mapped});
        return nullptr;
    }
    if (!entry.allows(access)) {
        faults_.push_back({iova, access, FaultReason::wrong_direction});
        return nullptr;
    }
    const Memory reached{entry.frame * page_bytes + offset_in_page(iova.value)};
    if (present == table_.end() || present->second != entry) stale_.push_back({iova, access, reached});
    return memory_.at(reached, bytes);
}

bool SoftwareIommu::read(Iova iova, std::span<std::byte> destination) {
    const std::scoped_lock guard{mutex_};
    while (!destination.empty()) {
        const std::size_t piece =
            std::min<std::size_t>(destination.size(), page_bytes - offset_in_page(iova.value));
        const std::byte* const source = translate(iova, piece, Access::read);
        if (source == nullptr) return false;
        std::memcpy(destination.data(), source, piece);
        destination = destination.subspan(piece);
        iova = iova + piece;
    }
    return true;
}

bool SoftwareIommu::write(Iova iova, std::span<const std::byte> source) {
    const std::scoped_lock guard{mutex_};
    while (!source.empty()) {
        const std::size_t piece =
            std::min<std::size_t>(source.size(), page_bytes - offset_in_page(iova.value));
        std::byte* const destination = translate(iova, piece, Access::write);
        if (destination == nullptr) return false;
        std::memcpy(destination, source.data(), piece);
        source = source.subspan(piece);
        iova = iova + piece;
    }
    return true;
}

void SoftwareIommu::refuse_maps(std::uint64_t calls, std::uint64_t refusals) {
    const std::scoped_lock guard{mutex_};
    map_refusals_ = {calls, refusals};
}

void SoftwareIommu::refuse_unmaps(std::uint64_t calls, std::uint64_t refusals) {
    const std::scoped_lock guard{mutex_};
    unmap_refusals_ = {calls, refusals};
}

void SoftwareIommu::lose_invalidations(bool lose) {
    const std::scoped_lock guard{mutex_};
    lose_invalidations_ = lose;
}

void SoftwareIommu::time_out_invalidations(std::uint64_t calls, std::uint64_t invalidations) {
    const std::scoped_lock guard{mutex_};
    invalidation_timeouts_ = {calls, invalidations};
}

std::vector<DmaFault> SoftwareIommu::faults() const {
    const std::scoped_lock guard{mutex_};
    return faults_;
}

std::vector<StaleAccess> SoftwareIommu::stale_accesses() const {
    const std::scoped_lock guard{mutex_};
    return stale_;
}

void SoftwareIommu::forget_events() {
    const std::scoped_lock guard{mutex_};
    faults_.clear();
    stale_.clear();
}

SoftwareIommu::Counts SoftwareIommu::counts() const {
    const std::scoped_lock guard{mutex_};
    return counts_;
}

std::uint64_t SoftwareIommu::mapped_pages() const {
    const std::scoped_lock guard{mutex_};
    return table_.size();
}

bool SoftwareIommu::reachable(Iova iova, Access access) const {
    const std::scoped_lock guard{mutex_};
    const std::uint64_t page = iova.value / page_bytes;
    if (const auto cached = iotlb_.find(page); cached != iotlb_.end())
        return cached->second.entry.allows(access);
    const auto present = table_.find(page);
    return present != table_.end() && present->second.allows(access);
}

bool SoftwareIommu::exposed(Memory memory, Access access) const {
    const std::scoped_lock guard{mutex_};
    const auto leads_there = [&](const Entry& entry) {
        return entry.frame == memory.address / page_bytes && entry.allows(access);
    };
    return std::any_of(table_.begin(), table_.end(),
                       [&](const auto& item) { return leads_there(item.second); }) ||
           std::any_of(iotlb_.begin(), iotlb_.end(),
                       [&](const auto& item) { return leads_there(item.second.entry); });
}

}  // namespace dmatoll::model
