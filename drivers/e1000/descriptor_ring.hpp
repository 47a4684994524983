// SPDX-License-Identifier: BSD-2-Clause
// A ring of descriptors that the device sees, and beside each a slot with what the driver remembers of it.
#pragma once

#include <cstddef>
#include <cstdint>

#include "../core/address.hpp"
#include "../core/platform.hpp"
#include "../core/register.hpp"
#include "../core/result.hpp"
#include "../core/ring.hpp"

namespace dmatoll::e1000 {

// Tells the device where a ring is and how long.
template <class BaseLow, class BaseHigh, class Length, Platform P>
void program_ring(P& platform, Iova iova, std::uint32_t bytes) {
    BaseLow low{};
    low.raw = static_cast<std::uint32_t>(iova.value);
    write_register(platform, low);
    BaseHigh high{};
    high.raw = static_cast<std::uint32_t>(iova.value >> 32);
    write_register(platform, high);
    Length length{};
    length.raw = bytes;
    write_register(platform, length);
}

// Read-only while the data path runs. The members are open: the position of an index is worked out once and
// used for both arrays, also across a barrier.
template <class Descriptor, class Slot>
struct DescriptorRing {
    Descriptor* descriptors = nullptr;
    Slot* slots = nullptr;
    RingSize size{};
    RingMemory memory{};

    // After an error release() gives back what there is. Errors: those of the Platform.
    template <Platform P>
    Status allocate(P& platform, std::uint32_t count) {
        size = RingSize{count};
        const Result<RingMemory> ring = platform.allocate_ring(count * std::uint32_t{sizeof(Descriptor)});
        if (!ring.ok()) return ring.error();
        memory = ring.value();
        descriptors = static_cast<Descriptor*>(memory.cpu);
        const Result<void*> beside = platform.allocate(count * sizeof(Slot));
        if (!beside.ok()) return beside.error();
        slots = static_cast<Slot*>(beside.value());
        return {};
    }

    template <Platform P>
    void release(P& platform) {
        if (slots != nullptr) platform.free(slots, size.slots() * sizeof(Slot));
        if (descriptors != nullptr) platform.free_ring(memory);
        slots = nullptr;
        descriptors = nullptr;
    }

    template <class BaseLow, class BaseHigh, class Length, Platform P>
    void program(P& platform) const {
        program_ring<BaseLow, BaseHigh, Length>(platform, memory.iova,
                                                size.slots() * std::uint32_t{sizeof(Descriptor)});
    }
};

}  // namespace dmatoll::e1000
