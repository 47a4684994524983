// SPDX-License-Identifier: BSD-2-Clause
// The Platform of a driver that is a process: registers in a mapped BAR, ring memory from the arena.
#pragma once

#include <linux/mman.h>
#include <sys/mman.h>
#include <time.h>

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <span>

#include "arena.hpp"
#include "core/platform.hpp"
#include "vfio_device.hpp"

namespace dmatoll::user {

// Domain: an IOMMU domain that maps pages (mapping/domain.hpp).
template <class Domain>
class UserPlatform {
  public:
    // One thread drives: there is nobody to exclude.
    struct Lock {
        void lock() {}
        void unlock() {}
    };

    // All outlive the platform. `program`: its name, as messages begin. `rings`: the memory that rings are
    // made of.
    UserPlatform(const char* program, const VfioDevice& device, std::span<std::byte> rings, Domain& domain)
        : program_{program},
          registers_{device.registers()},
          name_{device.name().c_str()},
          rings_{rings},
          domain_{domain} {}
    UserPlatform(const UserPlatform&) = delete;
    UserPlatform& operator=(const UserPlatform&) = delete;

    std::uint32_t read32(std::uint32_t offset) const {
        const std::uint32_t value = registers_[offset / sizeof(std::uint32_t)];
        // What is read from memory afterwards was not read before the register.
        std::atomic_signal_fence(std::memory_order_seq_cst);
        return value;
    }

    void write32(std::uint32_t offset, std::uint32_t value) const {
        // Stores to cached memory are visible before a later store to the uncached register on x86-64: the
        // compiler is the only one that could exchange them.
        std::atomic_signal_fence(std::memory_order_seq_cst);
        registers_[offset / sizeof(std::uint32_t)] = value;
    }

    Result<RingMemory> allocate_ring(std::uint32_t bytes) {
        const std::size_t whole = page_floor(bytes + page_bytes - 1);
        if (bytes == 0 || whole > rings_.size() - ring_bytes_used_) {
            return Error::no_memory;
        }
        std::byte* const start = rings_.data() + ring_bytes_used_;
        const Result<Iova> iova = domain_.map_pages(memory_at(start), whole, Direction::bidirectional);
        if (!iova.ok()) {
            return iova.error();
        }
        std::memset(start, 0, whole);
        ring_bytes_used_ += whole;
        ++rings_out_;
        return RingMemory{start, iova.value(), bytes};
    }

    void free_ring(const RingMemory& ring) {
        static_cast<void>(domain_.unmap_pages(ring.iova, page_floor(ring.bytes + page_bytes - 1)));
        // The area is filled from its start again once the last ring is back: a driver takes its rings
        // together.
        if (--rings_out_ == 0) {
            ring_bytes_used_ = 0;
        }
    }

    // Straight from the kernel: zeroed, and nothing that the data path could wait for, as it is never called
    // there.
    Result<void*> allocate(std::size_t bytes) const { return allocate(bytes, 0); }
    void free(void* memory, std::size_t bytes) const { ::munmap(memory, bytes); }

    Result<PageMemory> allocate_pages(std::uint32_t bytes) const { return allocate_pages(bytes, 0); }
    Result<PageMemory> allocate_large_page() const {
        return allocate_pages(large_page_bytes, MAP_HUGETLB | MAP_HUGE_2MB);
    }
    void free_pages(const PageMemory& pages) const { free(pages.cpu, pages.bytes); }

    void* cpu_address(Memory buffer) const { return reinterpret_cast<void*>(buffer.address); }

    Domain* domain() const { return &domain_; }

    std::uint64_t now_ns() const {
        timespec now{};
        ::clock_gettime(CLOCK_MONOTONIC, &now);
        return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000 +
               static_cast<std::uint64_t>(now.tv_nsec);
    }

    void delay_us(std::uint32_t microseconds) const {
        timespec left{0, static_cast<long>(microseconds) * 1000};
        while (::nanosleep(&left, &left) != 0) {
        }
    }

    void log(LogLevel level, const char* message) const {
        static constexpr const char* prefix[] = {"error: ", "warning: ", ""};
        std::fprintf(stderr, "%s %s: %s%s\n", program_, name_, prefix[static_cast<std::size_t>(level)],
                     message);
    }

  private:
    static Result<void*> allocate(std::size_t bytes, int kind) {
        void* const memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE | kind, -1, 0);
        if (memory == MAP_FAILED) {
            return Error::no_memory;
        }
        return memory;
    }

    static Result<PageMemory> allocate_pages(std::uint32_t bytes, int kind) {
        const Result<void*> memory = allocate(bytes, kind);
        if (!memory.ok()) {
            return memory.error();
        }
        return PageMemory{memory.value(), memory_at(static_cast<const std::byte*>(memory.value())), bytes};
    }

    const char* const program_;
    volatile std::uint32_t* registers_;
    const char* name_;
    const std::span<std::byte> rings_;
    Domain& domain_;
    std::size_t ring_bytes_used_ = 0;
    std::uint32_t rings_out_ = 0;
};

}  // namespace dmatoll::user
