// SPDX-License-Identifier: BSD-2-Clause
// The interrupt registers: which causes the driver uses, masking, and throttling.
//
// [8254x] Intel 317453 §13.4 (ICR, ITR, IMS, IMC).
#pragma once

#include <cstdint>

#include "../core/counter.hpp"
#include "../core/platform.hpp"
#include "../core/register.hpp"
#include "registers.hpp"

namespace dmatoll::e1000 {

struct InterruptCauses {
    bool receive = false;
    bool transmit = false;
    bool link = false;
    bool any = false;          // false: the interrupt is somebody else's
    bool device_gone = false;  // the device does not answer any more; then none of the others is set
};

inline constexpr std::uint32_t receive_causes = InterruptCauseRead::receiver_timer.mask |
                                                InterruptCauseRead::receive_descriptor_minimum.mask |
                                                InterruptCauseRead::receiver_overrun.mask;
inline constexpr std::uint32_t transmit_causes = InterruptCauseRead::transmit_descriptor_written_back.mask;
inline constexpr std::uint32_t link_causes = InterruptCauseRead::link_status_change.mask;
inline constexpr std::uint32_t all_causes = receive_causes | transmit_causes | link_causes;

// Reads and clears the pending causes; one that is ours adds one to `taken`. Declared inline, as it is on the
// way of every interrupt: without the word the compiler keeps one copy and calls it.
template <Platform P>
inline InterruptCauses take_interrupt_causes(P& platform, Counter& taken) {
    const InterruptCauseRead causes = read_register<InterruptCauseRead>(platform);
    if (causes.raw == all_ones) [[unlikely]]
        return InterruptCauses{.device_gone = true};
    InterruptCauses result{};
    result.receive = (causes.raw & receive_causes) != 0;
    result.transmit = (causes.raw & transmit_causes) != 0;
    result.link = (causes.raw & link_causes) != 0;
    result.any = (causes.raw & all_causes) != 0;
    if (result.any) taken.add(1);
    return result;
}

template <Platform P>
void forget_interrupt_causes(P& platform) {
    static_cast<void>(read_register<InterruptCauseRead>(platform));
}

template <Platform P>
void unmask_interrupts(P& platform, bool transmit) {
    platform.write32(InterruptMaskSet::offset, transmit ? all_causes : receive_causes | link_causes);
}

// All that the device has, not only ours.
template <Platform P>
void mask_interrupts(P& platform) {
    platform.write32(InterruptMaskClear::offset, all_ones);
}

// per_second: 60 to 1000000, or 0 for no limit.
template <Platform P>
void throttle_interrupts(P& platform, std::uint32_t per_second) {
    std::uint32_t interval = 0;
    if (per_second != 0) interval = 1'000'000'000u / (per_second * 256u);
    write_register(platform, InterruptThrottling{}.set(InterruptThrottling::interval, interval));
}

}  // namespace dmatoll::e1000
