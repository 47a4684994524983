// SPDX-License-Identifier: BSD-2-Clause
// A device that copies memory on command: what its driver, the load and the probe ask of it, whatever it is.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>

#include "../core/address.hpp"
#include "../core/result.hpp"

namespace dmatoll::dma {

// Addresses are the caller's: the engine maps nothing but its own pages, and takes any IOVA. One caller at a time.
template <class E>
concept CopyEngine = requires(E engine, const E& looked_at, Iova iova, std::uint32_t bytes, void (*done)(std::uint32_t)) {
    // Of a copy: a multiple of the unit, and what it is if nobody says. The least is what a stray access moves.
    { E::least_copy_bytes } -> std::convertible_to<std::uint32_t>;
    { E::most_copy_bytes } -> std::convertible_to<std::uint32_t>;
    { E::usual_copy_bytes } -> std::convertible_to<std::uint32_t>;
    { E::copy_unit_bytes } -> std::convertible_to<std::uint32_t>;
    { E::most_in_flight } -> std::convertible_to<std::uint32_t>;

    // Brings the device into a state in which it does no DMA, whatever it did before; ahead of bus mastering.
    { engine.probe() } -> std::same_as<Status>;
    // Takes the engine's own pages, and comes back when a first copy has arrived. stop() gives back what was taken.
    { engine.start() } -> std::same_as<Status>;
    // The device does no DMA after the return. May follow any outcome of start(), and be called twice.
    { engine.stop() } -> std::same_as<void>;
    { looked_at.is_on() } -> std::same_as<bool>;
    // Of a device that did not end what it had begun. It is well again when a copy has arrived, and in flight is nothing.
    { engine.restart() } -> std::same_as<Status>;

    { looked_at.in_flight() } -> std::same_as<std::uint32_t>;
    // Not with most_in_flight in flight; the device is told by ring_doorbell().
    { engine.submit(iova, iova, bytes) } -> std::same_as<void>;
    { engine.ring_doorbell() } -> std::same_as<void>;
    // Takes back what the device says to be done with, the oldest first: done(bytes), as many as it says to have stored. How
    // many copies. It is no proof of anything.
    { engine.collect(done) } -> std::same_as<std::uint32_t>;
    // One copy with nothing else in flight. timed_out: it did not end, or the device says that it failed; restart() is due.
    // No other error is for want of an address that is not the engine's.
    { engine.copy_and_wait(iova, iova, bytes) } -> std::same_as<Status>;
    // When it gave the device the last such address: not later than the device went there.
    { looked_at.began_ns() } -> std::same_as<std::uint64_t>;

    // Two pages of the engine's own, which stay mapped for both directions, to copy from and to.
    { looked_at.origin() } -> std::same_as<std::byte*>;
    { looked_at.landing() } -> std::same_as<std::byte*>;
    { looked_at.origin_iova() } -> std::same_as<Iova>;
    { looked_at.landing_iova() } -> std::same_as<Iova>;
    // Of the pages that the device works by.
    { looked_at.is_own(iova) } -> std::same_as<bool>;
};

}  // namespace dmatoll::dma
