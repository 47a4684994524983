// SPDX-License-Identifier: BSD-2-Clause
// What a trial asks of the driver, and of the guest that it runs in.
#pragma once

#include <nlohmann/json.hpp>

#include <compare>
#include <cstdint>
#include <string>
#include <vector>

#include "../drivers/core/iova_allocator.hpp"
#include "../drivers/core/strategy_parameters.hpp"

namespace dmatoll::harness {

struct DriverSettings : StrategySettings {
    std::uint32_t receive_descriptors = 256;
    std::uint32_t transmit_descriptors = 256;
    std::uint32_t interrupts_per_second = 8000;  // at most; 0: as many as there are causes
    std::uint32_t mtu = 1500;                    // of both ends
    bool offloads = true;                        // checksums and segmentation, all or none
    std::string completion = "interrupt";        // or poll
    std::string code_generation{};               // empty: what the placement has
    // Of the distribution's driver: received frames up to so many bytes are copied, and their buffers stay
    // mapped.
    std::uint32_t copybreak = 256;
    // Of a disk's queue: longer requests are cut. A controller that QEMU emulates finds the distribution's driver's
    // command tables in one piece up to 256 only (plan.cpp, impossible()).
    std::uint32_t max_sectors_kb = 256;
    std::uint32_t page_size = 0;  // by which a strategy that can maps, in bytes; 0: what the placement has
    // Where IOVAs come from: a name of drivers/core/iova_allocator.hpp.
    std::string iova_allocator = iova_allocators::default_name;

    auto operator<=>(const DriverSettings&) const = default;
};

// Of the lab's guest. Elsewhere the machine is as it is.
struct GuestShape {
    std::uint32_t vcpus = 2;
    std::uint32_t memory_mib = 1024;
    std::uint32_t address_bits = 39;  // of the IOMMU

    auto operator<=>(const GuestShape&) const = default;
};

// Everything, under the names of the members.
nlohmann::json to_json(const DriverSettings& settings);
nlohmann::json to_json(const GuestShape& guest);
// What is missing has its default.
DriverSettings driver_settings_from_json(const nlohmann::json& json);
GuestShape guest_shape_from_json(const nlohmann::json& json);

// The names of a strategy's parameters; of most there are none.
std::vector<std::string> parameters_of(const std::string& strategy);

// What differs from the defaults, for names and tables: "mtu9000-rx64-poll"; empty: nothing.
std::string label(const DriverSettings& settings);
std::string label(const GuestShape& guest);

}  // namespace dmatoll::harness
