// SPDX-License-Identifier: BSD-2-Clause
// What the user asked for, and how the supervisor passes it on to the driver process.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <sys/types.h>

#include "core/mac_address.hpp"
#include "mapping/deferred.hpp"

namespace dmatoll::user {

// Frames that the driver process makes or takes itself, instead of moving those of a TAP.
enum class Raw : std::uint8_t { none, transmit, receive, loopback };

struct DriverOptions {
    std::string strategy = "strict";
    std::uint32_t receive_descriptors = 256;
    std::uint32_t transmit_descriptors = 256;
    std::uint32_t interrupts_per_second = 8000;
    std::uint32_t mtu = 1500;
    bool poll = false;            // never sleeps, and wants no interrupts
    bool offloads = true;         // checksums and segmentation by the device, segments joined for the TAP
    bool join_datagrams = true;   // as far as the TAP takes them; found out, not asked for
    std::uint32_t page_size = 0;  // of the arena: 4096 or 2 MiB; 0: 2 MiB if there are such pages
    std::uint32_t deferred_entries = DeferredLimits{}.entries;
    std::uint32_t deferred_milliseconds = DeferredLimits{}.milliseconds;
    Raw raw = Raw::none;
    std::uint32_t frame_bytes = 64;  // raw: on the wire, with CRC
    // Raw transmission: a station's address, administered locally, that nobody has unless it was given.
    MacAddress peer_mac{0x02, 0, 0, 0, 0, 0x01};
};

struct Options {
    std::string device;
    std::string tap;  // empty with raw frames
    DriverOptions driver;
    std::optional<unsigned> cpu;
    std::string user = "nobody";
    std::string control;                   // path of the control socket; empty: none
    std::optional<unsigned> restarts = 3;  // none: always again
    unsigned watchdog_ms = 1000;           // 0: none
    bool allow_faults = false;
    bool json = false;
};

// What the driver process is told: one JSON object as its only argument.
struct ChildOptions {
    std::string bdf;
    unsigned address_bits = 0;
    std::uint16_t pci_vendor = 0;
    std::uint16_t pci_device = 0;
    DriverOptions driver;
    uid_t user = 0;
    gid_t group = 0;
    pid_t parent = 0;
};

// Nothing when the user asked for help, which is then printed. Throws Failure: what is wrong with the
// arguments.
std::optional<Options> parse_options(int argc, const char* const* argv);

// As --raw spells it; empty for `none`.
std::string name_of(Raw raw);

std::string to_text(const ChildOptions& options);
// Throws Failure if the text is not what to_text() writes.
ChildOptions child_options(const std::string& text);

}  // namespace dmatoll::user
