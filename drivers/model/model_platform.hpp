// SPDX-License-Identifier: BSD-2-Clause
// The Platform of a driver whose device is made of software.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <mutex>
#include <new>
#include <string>
#include <vector>

#include "core/address.hpp"
#include "core/platform.hpp"
#include "core/result.hpp"
#include "physical_memory.hpp"

namespace dmatoll::model {

// Which of the CPUs a thread of a test is.
inline thread_local std::uint32_t this_cpu = 0;
inline constexpr std::uint32_t cpu_count = 4;

struct LogLine {
    LogLevel level;
    std::string text;
};

// Time moves only when it is waited for, and a little with every register access, as a bus transaction takes
// a while: a driver that polls without waiting ends, too. Domain: mapping/domain.hpp over the software IOMMU.
// `Device` has read32(), write32(), set_bus_master() and set_time().
template <class Domain, class Device>
class ModelPlatform {
  public:
    // What a driver guards its own state with: threads here are the contexts of the kernel.
    using Lock = std::mutex;

    static constexpr std::uint64_t register_access_ns = 250;

    ModelPlatform(Device& device, PhysicalMemory& memory, Domain& domain)
        : device_{device}, memory_{memory}, domain_{domain} {}
    ModelPlatform(const ModelPlatform&) = delete;
    ModelPlatform& operator=(const ModelPlatform&) = delete;

    std::uint32_t read32(std::uint32_t offset) {
        advance_ns(register_access_ns);
        return device_.read32(offset);
    }
    void write32(std::uint32_t offset, std::uint32_t value) {
        advance_ns(register_access_ns);
        device_.write32(offset, value);
    }

    Result<RingMemory> allocate_ring(std::uint32_t bytes) {
        const std::scoped_lock guard{mutex_};
        if (refused(ring_refusal_)) return Error::no_memory;
        if (bytes == 0 || bytes > most_ring_bytes) return Error::invalid_argument;
        const std::uint64_t pages = pages_spanned(0, bytes);
        const Memory memory = memory_.allocate_pages(pages);
        const Result<Iova> iova = domain_.map_pages(memory, pages * page_bytes, Direction::bidirectional);
        if (!iova.ok()) {
            memory_.free_pages(memory, pages);
            return iova.error();
        }
        rings_[iova.value().value] = Ring{memory, bytes};
        return RingMemory{memory_.at(memory, pages * page_bytes), iova.value(), bytes};
    }

    void free_ring(const RingMemory& ring) {
        const std::scoped_lock guard{mutex_};
        const auto known = rings_.find(ring.iova.value);
        if (known == rings_.end() || known->second.bytes != ring.bytes ||
            memory_.at(known->second.memory) != ring.cpu) {
            ++misuses_;
            return;
        }
        const std::uint64_t pages = pages_spanned(0, ring.bytes);
        // What is still mapped is not handed out again.
        if (domain_.unmap_pages(ring.iova, pages * page_bytes).ok())
            memory_.free_pages(known->second.memory, pages);
        rings_.erase(known);
    }

    Result<PageMemory> allocate_pages(std::uint32_t bytes) {
        const std::scoped_lock guard{mutex_};
        if (refused(page_refusal_)) return Error::no_memory;
        if (bytes == 0 || bytes > most_page_bytes) return Error::invalid_argument;
        return hand_out(bytes, 1);
    }
    Result<PageMemory> allocate_large_page() {
        const std::scoped_lock guard{mutex_};
        if (refused(page_refusal_)) return Error::no_memory;
        return hand_out(large_page_bytes, large_page_bytes / page_bytes);
    }
    void free_pages(const PageMemory& pages) {
        const std::scoped_lock guard{mutex_};
        memory_.free_pages(pages.memory, pages_spanned(0, pages.bytes));
        --pages_out_;
    }

    void* cpu_address(Memory buffer) const { return memory_.at(buffer); }

    Result<void*> allocate(std::size_t bytes) {
        const std::scoped_lock guard{mutex_};
        if (bytes == 0 || refused(table_refusal_)) return Error::no_memory;
        auto* const memory = new (std::align_val_t{page_bytes}) std::byte[bytes]{};
        tables_[memory] = bytes;
        return static_cast<void*>(memory);
    }

    void free(void* memory, std::size_t bytes) {
        const std::scoped_lock guard{mutex_};
        const auto known = tables_.find(memory);
        if (known == tables_.end() || known->second != bytes) {
            ++misuses_;
            return;
        }
        tables_.erase(known);
        ::operator delete[](memory, std::align_val_t{page_bytes});
    }

    Domain* domain() const { return &domain_; }

    std::uint64_t now_ns() { return now_.load(); }

    std::uint32_t cpu() const { return this_cpu; }
    std::uint32_t cpus() const { return cpu_count; }

    void delay_us(std::uint32_t microseconds) {
        if (microseconds > 1000) ++misuses_;
        ++delays_;
        advance_ns(std::uint64_t{microseconds} * 1000);
    }

    void log(LogLevel level, const char* message) {
        const std::scoped_lock guard{mutex_};
        log_.push_back({level, message});
    }

    void forbid_dma() { device_.set_bus_master(false); }

    // The test's side.
    void advance_ns(std::uint64_t nanoseconds) { device_.set_time(now_ += nanoseconds); }
    // After that many more successes the next call is refused with no_memory.
    void refuse_ring(std::uint64_t after) { ring_refusal_ = after; }
    void refuse_pages(std::uint64_t after) { page_refusal_ = after; }
    void refuse_allocation(std::uint64_t after) { table_refusal_ = after; }

    [[nodiscard]] const std::vector<LogLine>& log_lines() const { return log_; }
    [[nodiscard]] std::size_t rings_out() const { return rings_.size(); }
    [[nodiscard]] std::size_t pages_out() const { return pages_out_; }
    [[nodiscard]] std::size_t tables_out() const { return tables_.size(); }
    // Memory given back that was never given out, or with another size; delays longer than the seam allows.
    [[nodiscard]] std::uint64_t misuses() const { return misuses_; }
    [[nodiscard]] std::uint64_t delays() const { return delays_; }

  private:
    // core/platform.hpp
    static constexpr std::uint32_t most_ring_bytes = 1 << 20;
    static constexpr std::uint32_t most_page_bytes = 4 << 20;
    static constexpr std::uint64_t never = std::numeric_limits<std::uint64_t>::max();

    struct Ring {
        Memory memory;
        std::uint32_t bytes;
    };

    PageMemory hand_out(std::uint32_t bytes, std::uint64_t alignment) {
        const Memory memory = memory_.allocate_pages(pages_spanned(0, bytes), alignment);
        ++pages_out_;
        return PageMemory{memory_.at(memory, bytes), memory, bytes};
    }

    static bool refused(std::uint64_t& countdown) {
        if (countdown == never) return false;
        return countdown-- == 0;  // at 0 it becomes `never`
    }

    Device& device_;
    PhysicalMemory& memory_;
    Domain& domain_;
    std::mutex mutex_;
    std::atomic<std::uint64_t> now_{1'000'000};
    std::map<std::uint64_t, Ring> rings_;
    std::map<void*, std::size_t> tables_;
    std::vector<LogLine> log_;
    std::atomic<std::uint64_t> misuses_ = 0;
    std::atomic<std::uint64_t> delays_ = 0;
    std::uint64_t ring_refusal_ = never;
    std::uint64_t table_refusal_ = never;
    std::uint64_t page_refusal_ = never;
    std::size_t pages_out_ = 0;
};

}  // namespace dmatoll::model
