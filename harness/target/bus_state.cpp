// SPDX-License-Identifier: BSD-2-Clause
#include "bus_state.hpp"

#include <linux/pci_regs.h>

#include <algorithm>
#include <cstdio>
#include <vector>

#include "../failure.hpp"
#include "../text.hpp"
#include "pci.hpp"
#include "system.hpp"

namespace dmatoll::harness {
namespace {

constexpr std::size_t config_bytes = 256;
constexpr unsigned type_mask = 0x7f;

unsigned byte_at(const std::string& config, std::size_t at) {
    return at < config.size() ? static_cast<unsigned char>(config[at]) : 0;
}

// Where its power state is, which may change of itself; 0: it has none.
std::size_t power_state_of(const std::string& config) {
    std::size_t at = byte_at(config, PCI_CAPABILITY_LIST);
    for (std::size_t left = config_bytes / 4; at >= PCI_STD_HEADER_SIZEOF && left != 0; --left) {
        if (byte_at(config, at) == PCI_CAP_ID_PM) return at + PCI_PM_CTRL;
        at = byte_at(config, at + PCI_CAP_LIST_NEXT);
    }
    return 0;
}

// Of the command register, what says how the function itself answers, asks, reports errors and interrupts. Not what
// has it look at or rely upon others: special cycles, palette snooping, stepping, fast transfers back to back.
constexpr unsigned own_command = PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_INVALIDATE |
                                 PCI_COMMAND_PARITY | PCI_COMMAND_SERR | PCI_COMMAND_INTX_DISABLE;

constexpr unsigned all = 0xff;

// The bits there that tell addresses, or where messages go, and change by nobody's doing but a driver's.
unsigned fixed_bits(const std::string& config, std::size_t at, bool own) {
    if (at == PCI_COMMAND) return own ? all & ~own_command : all;
    if (at == PCI_COMMAND + 1) return own ? all & ~(own_command >> 8) : all;
    if (at < PCI_BASE_ADDRESS_0) return 0;
    // The state of the bus behind a bridge.
    const bool bridge = (byte_at(config, PCI_HEADER_TYPE) & type_mask) == PCI_HEADER_TYPE_BRIDGE;
    if (bridge && (at == PCI_SEC_STATUS || at == PCI_SEC_STATUS + 1)) return 0;
    if (at < PCI_STD_HEADER_SIZEOF) return all;
    // Others' capabilities have state of their own.
    const std::size_t power = power_state_of(config);
    return own && !(power != 0 && at >= power && at < power + 4) ? all : 0;
}

}  // namespace

BusState::BusState() {
    for (const auto& device : pci_devices()) {
        const fs::path folder = device_path(device.bdf);
        std::string config;
        try {
            config = read_file(folder / "config");
        } catch (const Failure&) {
            continue;
        }
        config.resize(std::min(config.size(), config_bytes));
        functions_[device.bdf] = {std::move(config), read_attribute(folder / "resource").value_or("")};
    }
    if (functions_.empty())
        fail("No PCI function's configuration can be read in {}", device_path("*").string());
}

std::vector<std::string> BusState::changes_since(const BusState& before, const std::string& own) const {
    std::vector<std::string> changes;
    for (const auto& [bdf, was] : before.functions_) {
        const auto found = functions_.find(bdf);
        if (found == functions_.end()) {
            changes.push_back(bdf + " is gone");
            continue;
        }
        const Function& now = found->second;
        if (now.resources != was.resources) changes.push_back(bdf + ": the kernel knows other addresses");
        if (now.config.size() != was.config.size())
            changes.push_back(bdf + ": its configuration has another length");
        for (std::size_t at = 0; at < std::min(was.config.size(), now.config.size()); ++at)
            if (((byte_at(now.config, at) ^ byte_at(was.config, at)) & fixed_bits(was.config, at, bdf == own)) != 0)
                changes.push_back(fmt::format("{}: byte {:#x} is {:#04x} and was {:#04x}", bdf, at,
                                              byte_at(now.config, at), byte_at(was.config, at)));
    }
    return changes;
}

// Lines "first last flags".
std::uint64_t registers_of_another(const std::string& own) {
    constexpr unsigned long long memory = 0x200;  // IORESOURCE_MEM
    constexpr unsigned long long highest = 0xffff'ffff;
    for (const auto& device : pci_devices()) {
        if (device.bdf == own || device.is_bridge()) continue;
        for (const auto& line : lines(read_attribute(device_path(device.bdf) / "resource").value_or(""))) {
            unsigned long long first = 0;
            unsigned long long last = 0;
            unsigned long long flags = 0;
            if (std::sscanf(line.c_str(), "%llx %llx %llx", &first, &last, &flags) == 3 &&
                (flags & memory) != 0 && first != 0 && first <= highest)
                return first;
        }
    }
    return 0;
}

}  // namespace dmatoll::harness
