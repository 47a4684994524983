// SPDX-License-Identifier: BSD-2-Clause
// What a driver may ask of its surroundings. A concept and not a base class: an indirect call would cost a
// thunk in the kernel and nothing at user level, and so bias the comparison that this project exists for.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>

#include "address.hpp"
#include "result.hpp"

namespace dmatoll {

// Memory shared with the device for as long as the driver runs: zeroed, page-aligned, coherent, and mapped in
// both directions at `iova`.
struct RingMemory {
    void* cpu = nullptr;
    Iova iova{};
    std::uint32_t bytes = 0;
};

// Memory of the driver's own that a strategy maps for the device itself: zeroed whole pages.
struct PageMemory {
    void* cpu = nullptr;
    Memory memory{};
    std::uint32_t bytes = 0;
};

enum class LogLevel : std::uint8_t { error, warning, information };

template <class P>
concept Platform =
    requires(P platform, std::uint32_t offset, std::uint32_t value, std::size_t bytes, RingMemory ring, PageMemory pages, void* memory, Memory buffer,
             LogLevel level, const char* message) {
        // 32-bit registers of the device's memory BAR, offset in bytes. A write is ordered after every earlier store to ring memory and to
        // buffers: the device cannot see a doorbell before the descriptors that it announces.
        { platform.read32(offset) } -> std::same_as<std::uint32_t>;
        { platform.write32(offset, value) } -> std::same_as<void>;

        // Ring memory; at most 1 MiB a call. Errors: no_memory, no_iova_space, mapping_failed.
        { platform.allocate_ring(value) } -> std::same_as<Result<RingMemory>>;
        { platform.free_ring(ring) } -> std::same_as<void>;

        // Pages that are mapped nowhere yet; at most 4 MiB a call, at set-up only. Error: no_memory.
        { platform.allocate_pages(value) } -> std::same_as<Result<PageMemory>>;
        { platform.free_pages(pages) } -> std::same_as<void>;
        // large_page_bytes of them that are aligned to that in physical memory. The same error, and given back the same way.
        { platform.allocate_large_page() } -> std::same_as<Result<PageMemory>>;

        // Zeroed memory for the driver's own tables, invisible to the device. Up to page_bytes it is asked for on the data path, too
        // (in the kernel: softirq); more at set-up only. Error: no_memory.
        { platform.allocate(bytes) } -> std::same_as<Result<void*>>;
        { platform.free(memory, bytes) } -> std::same_as<void>;

        // The CPU's own address of a buffer's memory, for a strategy that copies.
        { platform.cpu_address(buffer) } -> std::same_as<void*>;

        // Monotonic time in nanoseconds.
        { platform.now_ns() } -> std::same_as<std::uint64_t>;
        // Waits for at least that many microseconds (at most 1000 a call). Never called on the data path.
        { platform.delay_us(value) } -> std::same_as<void>;

        // One line, without its newline; the surroundings add the device's name.
        { platform.log(level, message) } -> std::same_as<void>;
    };

// Surroundings whose data path runs on several CPUs at a time tell which of them this is, 0 to cpus() - 1. It may be another
// by the time that the answer is used.
template <class P>
concept CpuPlatform = Platform<P> && requires(P platform) {
    { platform.cpu() } -> std::same_as<std::uint32_t>;
    { platform.cpus() } -> std::same_as<std::uint32_t>;
};

// For a driver whose data path runs on several CPUs at once: a lock that is held for a few register accesses, in process and
// softirq context. Nothing where there is one context.
template <class P>
concept LockingPlatform = Platform<P> && std::default_initializable<typename P::Lock> && requires(typename P::Lock lock) {
    { lock.lock() } -> std::same_as<void>;
    { lock.unlock() } -> std::same_as<void>;
};

}  // namespace dmatoll
