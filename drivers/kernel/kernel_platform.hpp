// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// The Platform of a driver that is a kernel module.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "core/address.hpp"
#include "core/platform.hpp"
#include "core/result.hpp"
#include "glue.h"
#include "kernel_backend.hpp"
#include "linux_iova.hpp"
#include "mapping/domain.hpp"
#include "mapping/iova/any.hpp"

namespace dmatoll::kernel {

using IovaAllocator = iova::Any<KernelBackend::Lock, LinuxIova>;
using KernelDomain = Domain<KernelBackend, IovaAllocator>;

class KernelPlatform {
  public:
    using Lock = KernelBackend::Lock;

    // All outlive the platform. Without a domain ring memory comes from the DMA API.
    KernelPlatform(void* registers, struct device* device, KernelDomain* domain)
        : registers_{static_cast<volatile std::byte*>(registers)}, device_{device}, domain_{domain} {}
    KernelPlatform(const KernelPlatform&) = delete;
    KernelPlatform& operator=(const KernelPlatform&) = delete;

    std::uint32_t read32(std::uint32_t offset) const {
        const std::uint32_t value = *at(offset);
        // What is read from memory afterwards was not read before the register.
        std::atomic_signal_fence(std::memory_order_seq_cst);
        return value;
    }

    void write32(std::uint32_t offset, std::uint32_t value) const {
        // Stores to cached memory are visible before a later store to the uncached register on x86-64: the
        // compiler is the only one that could exchange them.
        std::atomic_signal_fence(std::memory_order_seq_cst);
        *at(offset) = value;
    }

    Result<RingMemory> allocate_ring(std::uint32_t bytes) {
        RingMemory ring{};
        ring.bytes = bytes;
        if (domain_ == nullptr) {
            ring.cpu = dmatoll_coherent_allocate(device_, bytes, &ring.iova.value);
            if (ring.cpu == nullptr) return Error::no_memory;
            return ring;
        }
        Memory memory{};
        ring.cpu = dmatoll_pages_allocate(bytes, &memory.address);
        if (ring.cpu == nullptr) return Error::no_memory;
        const Result<Iova> mapped = domain_->map_pages(memory, whole_pages(bytes), Direction::bidirectional);
        if (!mapped.ok()) {
            dmatoll_pages_free(ring.cpu, bytes);
            return mapped.error();
        }
        ring.iova = mapped.value();
        return ring;
    }

    void free_ring(const RingMemory& ring) {
        if (domain_ == nullptr) {
            dmatoll_coherent_free(device_, ring.cpu, ring.bytes, ring.iova.value);
        } else if (domain_->unmap_pages(ring.iova, whole_pages(ring.bytes)).ok()) {
            dmatoll_pages_free(ring.cpu, ring.bytes);
        } else {
            // The device may still reach these pages: nobody else gets them.
            log(LogLevel::error, "unmapping a ring was refused: its pages stay allocated");
        }
    }

    Result<PageMemory> allocate_pages(std::uint32_t bytes) {
        PageMemory pages{};
        pages.bytes = bytes;
        pages.cpu = dmatoll_pages_allocate(bytes, &pages.memory.address);
        if (pages.cpu == nullptr) return Error::no_memory;
        return pages;
    }
    // By the page allocator, which aligns what is a power of two of pages.
    Result<PageMemory> allocate_large_page() { return allocate_pages(large_page_bytes); }
    void free_pages(const PageMemory& pages) { dmatoll_pages_free(pages.cpu, pages.bytes); }

    Result<void*> allocate(std::size_t bytes) {
        void* const memory = dmatoll_allocate(bytes);
        if (memory == nullptr) return Error::no_memory;
        return memory;
    }
    void free(void* memory, std::size_t) { dmatoll_free(memory); }

    void* cpu_address(Memory buffer) const { return dmatoll_cpu_address(buffer.address); }

    std::uint64_t now_ns() const { return dmatoll_now_ns(); }
    void delay_us(std::uint32_t microseconds) const { dmatoll_delay_us(microseconds); }

    std::uint32_t cpu() const { return dmatoll_cpu(); }
    std::uint32_t cpus() const { return dmatoll_cpus(); }

    // Of our own; none: the DMA API maps.
    KernelDomain* domain() const { return domain_; }

    void forbid_dma() const { dmatoll_forbid_dma(device_); }

    void log(LogLevel level, const char* message) const {
        static_assert(static_cast<int>(LogLevel::error) == DMATOLL_ERROR &&
                      static_cast<int>(LogLevel::warning) == DMATOLL_WARNING &&
                      static_cast<int>(LogLevel::information) == DMATOLL_INFORMATION);
        dmatoll_log(device_, static_cast<dmatoll_log_level>(level), message);
    }

  private:
    static constexpr std::uint64_t whole_pages(std::uint32_t bytes) {
        return pages_spanned(0, bytes) * page_bytes;
    }

    volatile std::uint32_t* at(std::uint32_t offset) const {
        return reinterpret_cast<volatile std::uint32_t*>(registers_ + offset);
    }

    volatile std::byte* registers_;
    struct device* device_;
    KernelDomain* domain_;
};

static_assert(LockingPlatform<KernelPlatform> && CpuPlatform<KernelPlatform>);

}  // namespace dmatoll::kernel
