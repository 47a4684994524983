// SPDX-License-Identifier: BSD-2-Clause
// Addresses as types: one that the device uses cannot be passed where the CPU's is meant.
#pragma once

#include <compare>
#include <cstdint>

namespace dmatoll {

// The unit of IOMMU mappings and of protection on every IOMMU that we drive.
inline constexpr std::uint64_t page_bytes = 4096;

// The next larger page: one entry of the table's second level. Not every IOMMU has it.
inline constexpr std::uint64_t large_page_bytes = 512 * page_bytes;

// I/O virtual address: what is written into a descriptor. Zero is never handed out.
struct Iova {
    std::uint64_t value = 0;

    constexpr auto operator<=>(const Iova&) const = default;
    constexpr Iova operator+(std::uint64_t bytes) const { return Iova{value + bytes}; }
};

// Memory as the surroundings name it to their IOMMU: a physical address in the kernel, an address of the
// process under VFIO, an offset into the model's memory. A driver passes it on and never dereferences it.
struct Memory {
    std::uint64_t address = 0;

    constexpr auto operator<=>(const Memory&) const = default;
    constexpr Memory operator+(std::uint64_t bytes) const { return Memory{address + bytes}; }
};

// A piece of a buffer: contiguous as the surroundings name it.
struct Segment {
    Memory memory{};
    std::uint32_t length = 0;  // bytes, at least 1
};

// What a device is told of such a piece.
struct DeviceSegment {
    Iova iova{};
    std::uint32_t length = 0;
    std::uint32_t mark = 0;  // the mapper's own, given back to it as it was
};

// Both ends belong to the range.
struct MemoryRange {
    Memory first{};
    Memory last{};
};

// Who may do what: to_device lets the device read, from_device lets it write.
enum class Direction : std::uint8_t { to_device, from_device, bidirectional };

constexpr std::uint64_t page_floor(std::uint64_t address) { return address & ~(page_bytes - 1); }

constexpr std::uint64_t offset_in_page(std::uint64_t address) { return address & (page_bytes - 1); }

// Pages touched by `length` (at least 1) bytes from `address` on.
constexpr std::uint64_t pages_spanned(std::uint64_t address, std::uint64_t length) {
    return (offset_in_page(address) + length + page_bytes - 1) / page_bytes;
}

}  // namespace dmatoll
