// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// The Mapper over the kernel's DMA API: Linux's own strategies, chosen by the type of the group's default
// domain.
#pragma once

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <span>

#include "core/address.hpp"
#include "core/counters.hpp"
#include "core/mapper.hpp"
#include "core/result.hpp"
#include "glue.h"
#include "kernel_backend.hpp"

namespace dmatoll::kernel {

class LinuxDma {
  public:
    // That outlives it.
    explicit LinuxDma(dmatoll_linux_dma* dma) : dma_{dma} {}
    LinuxDma(const LinuxDma&) = delete;
    LinuxDma& operator=(const LinuxDma&) = delete;

    std::uint32_t extent(Memory, std::uint32_t length, Direction) const { return length; }

    Result<Iova> map(Memory memory, std::uint32_t length, Direction direction) {
        Iova iova{};
        if (!dmatoll_dma_map(dma_, memory.address, length, to_glue(direction), &iova.value)) [[unlikely]]
            return Error::mapping_failed;
        return iova;
    }

    void unmap(Iova iova, std::uint32_t length, Direction direction, std::uint32_t) {
        dmatoll_dma_unmap(dma_, iova.value, length, to_glue(direction));
    }

    // For map_list(): that many lists at a time, each of up to that many segments. May sleep; not together
    // with the data path. Call once between two release_all(). Error: no_memory.
    Status provide_lists(std::uint32_t count, std::uint32_t segments) {
        if (count == 0) return {};
        list_bytes_ = dmatoll_dma_list_bytes(segments);
        lists_ = static_cast<std::byte*>(dmatoll_allocate(count * list_bytes_));
        free_lists_ = static_cast<std::uint32_t*>(dmatoll_allocate(count * sizeof(*free_lists_)));
        if (lists_ == nullptr || free_lists_ == nullptr) {
            release_all();
            return Error::no_memory;
        }
        longest_list_ = segments;
        // Their number, from 1 on: the first on top.
        for (std::uint32_t number = count; number > 0; --number) free_lists_[free_count_++] = number;
        return {};
    }

    // A list of one segment is a page mapping; a longer one is Linux's scatter list, which must be there
    // until it is unmapped: its number is the mark of the first device segment.
    Result<std::uint32_t> map_list(std::span<const Segment> segments, Direction direction,
                                   std::span<DeviceSegment> room) {
        if (segments.empty() || room.size() < segments.size()) [[unlikely]]
            return Error::invalid_argument;
        if (segments.size() == 1) {
            Iova iova{};
            if (!dmatoll_dma_map(dma_, segments[0].memory.address, segments[0].length, to_glue(direction),
                                 &iova.value)) [[unlikely]]
                return Error::no_memory;
            room[0] = DeviceSegment{iova, segments[0].length, 0};
            return 1u;
        }
        if (segments.size() > longest_list_) [[unlikely]]
            return Error::invalid_argument;
        const std::uint32_t number = take_list();
        if (number == 0) [[unlikely]] {
            lists_wanting_.fetch_add(1, std::memory_order_relaxed);
            return Error::no_memory;
        }
        static_assert(sizeof(dmatoll_segment) == sizeof(Segment) &&
                      sizeof(dmatoll_device_segment) == sizeof(DeviceSegment) &&
                      offsetof(dmatoll_device_segment, iova) == offsetof(DeviceSegment, iova) &&
                      offsetof(dmatoll_device_segment, length) == offsetof(DeviceSegment, length));
        const int count = dmatoll_dma_map_list(
            dma_, list(number), reinterpret_cast<const dmatoll_segment*>(segments.data()),
            static_cast<std::uint32_t>(segments.size()), to_glue(direction),
            reinterpret_cast<dmatoll_device_segment*>(room.data()));
        if (count <= 0) [[unlikely]] {
            give_list_back(number);
            return is_shortage(count) ? Error::no_memory : Error::mapping_failed;
        }
        room[0].mark = number;
        return static_cast<std::uint32_t>(count);
    }

    void unmap_list(std::span<const DeviceSegment> mapped, Direction direction, std::uint32_t) {
        const std::uint32_t number = mapped[0].mark;
        if (number == 0) {
            dmatoll_dma_unmap(dma_, mapped[0].iova.value, mapped[0].length, to_glue(direction));
        } else {
            dmatoll_dma_unmap_list(dma_, list(number), to_glue(direction));
            give_list_back(number);
        }
    }

    // Nothing is kept beyond unmap() but the lists.
    void release_all() {
        dmatoll_free(lists_);
        dmatoll_free(free_lists_);
        lists_ = nullptr;
        free_lists_ = nullptr;
        free_count_ = 0;
        longest_list_ = 0;
    }

    // Calls of the DMA API. What they did to the page table and the IOTLB, the API does not tell.
    [[nodiscard]] MappingCounters counters() const {
        MappingCounters calls{};
        dmatoll_dma_calls(dma_, &calls.maps, &calls.unmaps, &calls.failures);
        calls.failures += lists_wanting_.load(std::memory_order_relaxed);
        return calls;
    }

  private:
    [[nodiscard]] void* list(std::uint32_t number) const { return lists_ + (number - 1) * list_bytes_; }

    // It passes when other requests end.
    static constexpr bool is_shortage(int error) { return error == -ENOMEM || error == -EAGAIN; }

    // 0: there is none.
    std::uint32_t take_list() {
        lock_.lock();
        const std::uint32_t number = free_count_ != 0 ? free_lists_[--free_count_] : 0;
        lock_.unlock();
        return number;
    }
    void give_list_back(std::uint32_t number) {
        lock_.lock();
        free_lists_[free_count_++] = number;
        lock_.unlock();
    }

    dmatoll_linux_dma* dma_;
    std::size_t list_bytes_ = 0;
    std::uint32_t longest_list_ = 0;
    std::byte* lists_ = nullptr;
    KernelBackend::Lock lock_;  // of the stack of free lists
    std::uint32_t* free_lists_ = nullptr;
    std::uint32_t free_count_ = 0;
    std::atomic<std::uint64_t> lists_wanting_{0};  // requests for which there was none
};

static_assert(ScatterMapper<LinuxDma>);

}  // namespace dmatoll::kernel
