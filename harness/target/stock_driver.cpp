// SPDX-License-Identifier: BSD-2-Clause
#include "stock_driver.hpp"

#include <fmt/format.h>

#include <cstdlib>
#include <vector>

#include "../../drivers/core/address.hpp"
#include "../failure.hpp"
#include "../process.hpp"
#include "pci.hpp"
#include "system.hpp"

namespace dmatoll::harness {

StockDriver::StockDriver(const Trial& trial, const Strategy& strategy, const DeviceModel& model,
                         const std::string& bdf, Ownership& ownership)
    : bdf_{bdf},
      driver_{model.stock_driver},
      own_module_{!fs::exists(system_paths().sys / "module" / driver_)} {
    const DriverSettings usual;
    if (!own_module_ && (trial.settings.interrupts_per_second != usual.interrupts_per_second ||
                         trial.settings.copybreak != usual.copybreak))
        throw Unavailable{fmt::format(
            "The module {} is loaded already, and takes a rate of interrupts and copybreak only when it is "
            "loaded: remove it first",
            driver_)};
    // Loaded before, it would take the device while the type of its group is being changed.
    set_driver_override(bdf, driver_);
    set_group_type(bdf, name_of(strategy.domain));
    std::vector<std::string> load{"modprobe", driver_};
    if (own_module_) {
        ownership.note_module(driver_);
        // Its own default adapts to the traffic: a fixed rate like ours, so that moderation is held equal.
        // ethtool cannot set it for these parts.
        load.push_back(fmt::format("InterruptThrottleRate={}", trial.settings.interrupts_per_second));
        load.push_back(fmt::format("copybreak={}", trial.settings.copybreak));
        interrupts_per_second_ = trial.settings.interrupts_per_second;
    }
    const Ended loaded = run({.arguments = load});
    if (loaded.status != 0)
        throw Unavailable{
            fmt::format("The distribution's driver {} cannot be loaded: {}", driver_, loaded.error)};
    try {
        set_up(trial);
    } catch (...) {
        stop();
        throw;
    }
}

void StockDriver::set_up(const Trial& trial) {
    bind_driver(bdf_, driver_);
    interface_.emplace(wait_for_interface(bdf_, 5), "");
    // Both placements use what the device offers; this driver leaves receive checksums off by itself.
    interface_->set_offloads(trial.settings.offloads);
    run_or_fail({.arguments = {"ethtool", "-G", interface_->name(), "rx",
                               std::to_string(trial.settings.receive_descriptors), "tx",
                               std::to_string(trial.settings.transmit_descriptors)}},
                "set the ring sizes of " + interface_->name() + " (80 to 4096 descriptors)");
}

StockDriver::~StockDriver() {
    try {
        stop();
    } catch (const std::exception&) {
        // The ownership file still tells how the device was.
    }
}

Counts StockDriver::counters() {
    const Counts hardware = interface_->ethtool_statistics();
    const Counts software = interface_->interface_statistics();
    if (!hardware.contains("tx_packets") || !hardware.contains("rx_packets"))
        fail("The driver {} of {} has no packet counters; expected tx_packets and rx_packets in `ethtool -S`",
             driver_, bdf_);
    // The part's octet counters include the CRC or not, depending on the model; the interface's do not.
    Counts counts{{"frames_transmitted", hardware.at("tx_packets")},
                  {"frames_received", hardware.at("rx_packets")},
                  {"bytes_transmitted", software.at("tx_bytes")},
                  {"bytes_received", software.at("rx_bytes")}};
    for (const auto& [theirs, ours] : {std::pair{"tx_errors", "transmit_errors"},
                                       {"rx_errors", "receive_errors"},
                                       {"rx_missed_errors", "receive_missed"}})
        if (hardware.contains(theirs)) counts[ours] = hardware.at(theirs);
    return counts;
}

nlohmann::json StockDriver::effective() {
    const PciDevice device = pci_device(bdf_);
    nlohmann::json effective{
        {"domain", device.group_type}, {"page_size", page_bytes}, {"driver", device.driver}};
    // Loaded by somebody else, or left at its default, it chooses the rate by the traffic.
    if (interrupts_per_second_)
        effective["interrupts_per_second"] = *interrupts_per_second_;
    else
        effective["moderation"] = "adaptive";
    if (const auto bytes =
            read_attribute(system_paths().sys / "module" / driver_ / "parameters" / "copybreak"))
        effective["copybreak"] = std::atoi(bytes->c_str());
    return effective;
}

void StockDriver::require_alive() {
    if (pci_device(bdf_).driver != driver_) fail("{} is no longer bound to {}", bdf_, driver_);
}

void StockDriver::stop() {
    unbind(bdf_);
    if (own_module_ && fs::exists(system_paths().sys / "module" / driver_))
        run_or_fail({.arguments = {"rmmod", driver_}}, "remove the module " + driver_);
}

}  // namespace dmatoll::harness
