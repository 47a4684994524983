// SPDX-License-Identifier: BSD-2-Clause
// The parts that the driver drives, and what it decides by. They share registers, descriptors and rings; what
// is not the same stands here, and nowhere else does the driver ask which part it has.
//
// [8254x] Intel, PCI/PCI-X Family of Gigabit Ethernet Controllers Software Developer's Manual, 317453.
// [82574] Intel, 82574 GbE Controller Family Datasheet, 317694.
#pragma once

#include <array>
#include <cstdint>

namespace dmatoll::e1000 {

// The link header in front of what the MTU counts.
inline constexpr std::uint32_t link_header_bytes = 14;
inline constexpr std::uint32_t vlan_tag_bytes = 4;
// Bytes with link header, without CRC and VLAN tag: an MTU of 1500, and the largest that is in use, 9000.
inline constexpr std::uint32_t standard_frame = 1500 + link_header_bytes;
inline constexpr std::uint32_t jumbo_frame = 9000 + link_header_bytes;

struct Part {
    const char* name;
    std::uint16_t vendor;
    std::uint16_t device;
    // What it sends and receives, as standard_frame counts.
    std::uint32_t longest_frame;
    // PCI Express: outstanding requests are waited for before a reset, the EEPROM is behind an NVM interface
    // with another layout of EERD, and some bits must be set that have no counterpart on the others.
    bool pci_express;
    // Message-signalled interrupts, from the same causes and masks as the line.
    bool message_signalled;

    [[nodiscard]] constexpr std::uint32_t longest_mtu() const {
        return (longest_frame < jumbo_frame ? longest_frame : jumbo_frame) - link_header_bytes;
    }
};

namespace parts {

// The longest packet that the transmitter takes [8254x §3.3.3], less a VLAN tag.
inline constexpr std::uint32_t longest_8254x_frame = 16288 - vlan_tag_bytes;

inline constexpr Part i82540em{.name = "82540EM",
                               .vendor = 0x8086,
                               .device = 0x100e,
                               .longest_frame = longest_8254x_frame,
                               .pci_express = false,
                               .message_signalled = false};

// Copper.
inline constexpr Part i82545em{.name = "82545EM",
                               .vendor = 0x8086,
                               .device = 0x100f,
                               .longest_frame = longest_8254x_frame,
                               .pci_express = false,
                               .message_signalled = false};

// 9 KB on the wire, CRC and tag among them. After a reset its 40 KB of packet buffer are halved, which is two
// of the largest frames each way, and what other drivers write into PBA: it needs no other value.
inline constexpr Part i82574l{.name = "82574L",
                              .vendor = 0x8086,
                              .device = 0x10d3,
                              .longest_frame = 9216 - 4 - vlan_tag_bytes,
                              .pci_express = true,
                              .message_signalled = true};

// In the order in which they are listed.
inline constexpr std::array all{&i82540em, &i82545em, &i82574l};

}  // namespace parts

// By PCI identifiers; nullptr: none of ours.
constexpr const Part* find_part(std::uint16_t vendor, std::uint16_t device) {
    for (const Part* part : parts::all) {
        if (part->vendor == vendor && part->device == device) return part;
    }
    return nullptr;
}

static_assert(find_part(0x8086, 0x10d3) == &parts::i82574l && find_part(0x8086, 0x10d4) == nullptr &&
              find_part(0x10ec, 0x100e) == nullptr);
static_assert(parts::i82540em.longest_mtu() == 9000 && parts::i82574l.longest_mtu() == 9000);

}  // namespace dmatoll::e1000
