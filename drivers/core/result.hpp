// SPDX-License-Identifier: BSD-2-Clause
// Errors as values: drivers throw nothing, since a kernel module cannot and a user process must not differ.
#pragma once

#include <cstdint>
#include <type_traits>

namespace dmatoll {

enum class Error : std::uint8_t {
    none,
    invalid_argument,   // a parameter out of its range
    no_memory,          // the surroundings have no memory to give
    no_iova_space,      // the IOVA allocator has no range of that size
    mapping_failed,     // the IOMMU (or the DMA API) refused the mapping
    ring_full,          // no descriptor is free: try again after reclaiming
    timed_out,          // the device did not answer within its bound
    device_gone,        // registers read as all ones
    device_misbehaves,  // the device wrote something that it must not write
    not_supported,      // this part, or this surrounding, cannot do it
};

constexpr const char* describe(Error error) {
    switch (error) {
        case Error::none: return "no error";
        case Error::invalid_argument: return "parameter out of range";
        case Error::no_memory: return "out of memory";
        case Error::no_iova_space: return "IOVA space exhausted";
        case Error::mapping_failed: return "the IOMMU refused the mapping";
        case Error::ring_full: return "ring full";
        case Error::timed_out: return "the device did not answer in time";
        case Error::device_gone: return "the device does not respond (reads all ones)";
        case Error::device_misbehaves: return "the device wrote an impossible value";
        case Error::not_supported: return "not supported";
    }
    return "unknown error";
}

// A value or an error. T is trivially copyable, so that a Result<Iova> travels in two registers.
template <class T>
class [[nodiscard]] Result {
    static_assert(std::is_trivially_copyable_v<T>);

  public:
    constexpr Result(T value) : value_{value} {}
    constexpr Result(Error error) : error_{error} {}

    [[nodiscard]] constexpr bool ok() const { return error_ == Error::none; }
    [[nodiscard]] constexpr Error error() const { return error_; }
    // Meaningful only if ok().
    [[nodiscard]] constexpr T value() const { return value_; }

  private:
    T value_{};
    Error error_ = Error::none;
};

// Success or an error.
class [[nodiscard]] Status {
  public:
    constexpr Status() = default;
    constexpr Status(Error error) : error_{error} {}

    [[nodiscard]] constexpr bool ok() const { return error_ == Error::none; }
    [[nodiscard]] constexpr Error error() const { return error_; }

  private:
    Error error_ = Error::none;
};

}  // namespace dmatoll
