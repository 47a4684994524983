// SPDX-License-Identifier: BSD-2-Clause
// The transmit and the receive unit: what is set in them once their ring is known, and how they are switched
// on.
//
// [8254x] Intel 317453.
#pragma once

#include <cstdint>

#include "../core/platform.hpp"
#include "../core/register.hpp"
#include "part.hpp"
#include "registers.hpp"

namespace dmatoll::e1000 {

// Gaps between frames, and no delay of what is written back.
template <Platform P>
void prepare_transmitter(P& platform, const Part& part) {
    // The values of [8254x §13.4 TIPG] for copper: 8, 8 and 6 byte times on top of the minimum.
    write_register(platform, TransmitGap{}
                                 .set(TransmitGap::back_to_back, 10)
                                 .set(TransmitGap::part_1, 8)
                                 .set(TransmitGap::part_2, 6));
    write_register(platform, TransmitDelay{});
    write_register(platform, TransmitAbsoluteDelay{});
    // A write-back for every descriptor that asks for one, at once: a threshold would hold reclaiming up.
    write_register(platform, TransmitDescriptorControl{}
                                 .set(TransmitDescriptorControl::write_back_threshold, 1)
                                 .set(TransmitDescriptorControl::must_be_set, part.pci_express ? 1 : 0)
                                 .set(TransmitDescriptorControl::granularity_descriptors));
}

// Thresholds for collisions from [8254x §13.4 TCTL]: they matter at half duplex only.
template <Platform P>
void enable_transmitter(P& platform, const Part& part) {
    write_register(platform, TransmitControl{}
                                 .set(TransmitControl::enable)
                                 .set(TransmitControl::pad_short_packets)
                                 .set(TransmitControl::collision_threshold, 0x0f)
                                 .set(TransmitControl::collision_distance, 0x40)
                                 .set(TransmitControl::retransmit_late_collision)
                                 .set(TransmitControl::multiple_requests, part.pci_express ? 1 : 0));
}

// Delays of their own for received frames: none.
template <Platform P>
void prepare_receiver(P& platform) {
    write_register(platform, ReceiveDelay{});
    write_register(platform, ReceiveAbsoluteDelay{});
}

// A receiver that is on, with buffers of that many bytes: a power of two, 256 to 16384.
constexpr ReceiveControl receiver_on(std::uint32_t buffer_bytes) {
    ReceiveControl control{};
    control.set(ReceiveControl::enable).set(ReceiveControl::strip_crc);
    switch (buffer_bytes) {
        case 256:
            control.set(ReceiveControl::buffer_size, 3);
            break;
        case 512:
            control.set(ReceiveControl::buffer_size, 2);
            break;
        case 1024:
            control.set(ReceiveControl::buffer_size, 1);
            break;
        case 4096:
            control.set(ReceiveControl::buffer_size, 3).set(ReceiveControl::buffer_size_extension);
            break;
        case 8192:
            control.set(ReceiveControl::buffer_size, 2).set(ReceiveControl::buffer_size_extension);
            break;
        case 16384:
            control.set(ReceiveControl::buffer_size, 1).set(ReceiveControl::buffer_size_extension);
            break;
        default:
            break;  // 2048
    }
    return control;
}

}  // namespace dmatoll::e1000
