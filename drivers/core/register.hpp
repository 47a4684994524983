// SPDX-License-Identifier: BSD-2-Clause
// Registers as types: one knows its offset, what may be done to it, and its fields.
#pragma once

#include <cstdint>

#include "platform.hpp"

namespace dmatoll {

enum class Access : std::uint8_t {
    read_only,
    write_only,
    read_write,
    read_clear,        // reading clears it
    write_one_to_set,    // writing a one sets the bit, writing a zero leaves it
    write_one_to_clear,  // likewise, but clears it
};

constexpr bool readable(Access access) { return access != Access::write_only; }
constexpr bool writable(Access access) { return access != Access::read_only && access != Access::read_clear; }

// A register's value. A register is a struct derived from this that names its fields:
//     struct DeviceControl : Register<DeviceControl, 0x0000, Access::read_write> {
//         static constexpr Field full_duplex = bit(0);
//     };
// A Field belongs to its register: one of another register does not compile.
template <class Self, std::uint32_t Offset, Access Mode>
struct Register {
    static_assert(Offset % 4 == 0);
    static constexpr std::uint32_t offset = Offset;
    static constexpr Access access = Mode;

    struct Field {
        std::uint32_t low;
        std::uint32_t mask;  // in place
    };

    static constexpr Field bit(std::uint32_t position) {
        return Field{position, std::uint32_t{1} << position};
    }
    // From `high` down to `low`, both included.
    static constexpr Field bits(std::uint32_t high, std::uint32_t low) {
        return Field{low, static_cast<std::uint32_t>(((std::uint64_t{1} << (high - low + 1)) - 1) << low)};
    }

    std::uint32_t raw = 0;

    [[nodiscard]] constexpr std::uint32_t get(Field field) const { return (raw & field.mask) >> field.low; }
    [[nodiscard]] constexpr bool test(Field field) const { return (raw & field.mask) != 0; }
    constexpr Self& set(Field field, std::uint32_t value = 1) {
        raw = (raw & ~field.mask) | ((value << field.low) & field.mask);
        return static_cast<Self&>(*this);
    }
    constexpr Self& clear(Field field) {
        raw &= ~field.mask;
        return static_cast<Self&>(*this);
    }
};

// What a read gives when nothing answers any more: the device was pulled out or fell off the bus.
inline constexpr std::uint32_t all_ones = 0xffff'ffff;

template <class R, Platform P>
R read_register(P& platform) {
    static_assert(readable(R::access), "this register cannot be read");
    R value{};
    value.raw = platform.read32(R::offset);
    return value;
}

template <class R, Platform P>
void write_register(P& platform, const R& value) {
    static_assert(writable(R::access), "this register cannot be written");
    platform.write32(R::offset, value.raw);
}

}  // namespace dmatoll
