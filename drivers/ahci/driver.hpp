// SPDX-License-Identifier: BSD-2-Clause
// The driver of an AHCI host bus adapter and its disks: the same source in the kernel, in a user process and
// on the model.
//
// [AHCI] Serial ATA Advanced Host Controller Interface, revision 1.3.1.
#pragma once

#include <cstdint>

#include "../core/counters.hpp"
#include "../core/mapper.hpp"
#include "../core/platform.hpp"
#include "../core/result.hpp"
#include "disk.hpp"
#include "registers.hpp"
#include "request.hpp"
#include "settings.hpp"

namespace dmatoll::ahci {

// The 32-bit registers of the Platform are BAR 5 here, the ABAR.
template <LockingPlatform P, ScatterMapper M>
class Driver {
  public:
    Driver(P& platform, M& mapper, const Settings& settings);
    Driver(const Driver&) = delete;
    Driver& operator=(const Driver&) = delete;

    Status probe();
    Status ensure_quiet();
    Status start();
    template <class Sink>  // (port, tag, Outcome::gone)
    void stop(Sink&& sink);

    [[nodiscard]] std::uint32_t ports() const;
    [[nodiscard]] const Disk& disk(std::uint32_t port) const;
    // False once the disk went away: every submit() then answers device_gone.
    [[nodiscard]] bool present(std::uint32_t port) const;

    Status submit(std::uint32_t port, std::uint32_t tag, const Request& request);
    std::uint32_t take_interrupt();
    template <class Sink>  // (tag, Outcome)
    std::uint32_t complete(std::uint32_t port, Sink&& sink);
    [[nodiscard]] bool needs_recovery(std::uint32_t port) const;
    template <class Sink>  // (tag, Outcome)
    void recover(std::uint32_t port, Sink&& sink);
    template <class Sink>  // (tag, Outcome)
    bool watch(std::uint32_t port, Sink&& sink);

    void enable_interrupts();
    void disable_interrupts();

    [[nodiscard]] StorageCounters counters() const;
};

}  // namespace dmatoll::ahci
