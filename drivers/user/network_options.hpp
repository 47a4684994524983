// SPDX-License-Identifier: BSD-2-Clause
// What the user asked dmatoll-net-user for, and how the supervisor passes it on to the driver process.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "common_options.hpp"
#include "core/mac_address.hpp"

namespace dmatoll::user {

// Frames that the driver process makes or takes itself, instead of moving those of a TAP.
enum class Raw : std::uint8_t { none, transmit, receive, loopback };

struct NetworkDriverOptions : MappingOptions {
    std::uint32_t receive_descriptors = 256;
    std::uint32_t transmit_descriptors = 256;
    std::uint32_t interrupts_per_second = 8000;
    std::uint32_t mtu = 1500;
    bool offloads = true;        // checksums and segmentation by the device, segments joined for the TAP
    bool join_datagrams = true;  // as far as the TAP takes them; found out, not asked for
    Raw raw = Raw::none;
    std::uint32_t frame_bytes = 64;  // raw: on the wire, with CRC
    // Raw transmission: a station's address, administered locally, that nobody has unless it was given.
    MacAddress peer_mac{0x02, 0, 0, 0, 0, 0x01};
};

struct NetworkOptions : CommonOptions {
    std::string tap;  // empty with raw frames
    NetworkDriverOptions driver;
};

// What the driver process is told: one JSON object as its only argument.
struct NetworkChildOptions {
    ProcessOptions process;
    std::uint16_t pci_vendor = 0;
    std::uint16_t pci_device = 0;
    NetworkDriverOptions driver;
};

// Nothing when the user asked for help, which is then printed. Throws Failure: what is wrong with the
// arguments.
std::optional<NetworkOptions> parse_network_options(int argc, const char* const* argv);

// As --raw spells it; empty for `none`.
std::string name_of(Raw raw);

std::string to_text(const NetworkChildOptions& options);
// Throws Failure if the text is not what to_text() writes.
NetworkChildOptions network_child_options(const std::string& text);

}  // namespace dmatoll::user
