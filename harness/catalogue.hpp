// SPDX-License-Identifier: BSD-2-Clause
// What there is to choose from on each axis: devices, placements, strategies (drivers/core/strategy.hpp) and
// workloads.
#pragma once

#include <nlohmann/json.hpp>

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "../drivers/core/iova_allocator.hpp"
#include "../drivers/core/strategy_parameters.hpp"

namespace dmatoll::harness {

enum class DeviceKind : std::uint8_t { network, disk };

struct DeviceModel {
    DeviceKind kind;
    const char* name;   // of the driver family: the trial's device.name
    const char* model;  // the part: what a suite names
    std::uint16_t vendor;
    std::uint16_t device;
    const char* stock_driver;  // the distribution's own
    const char* emulated_as;   // QEMU's name of it
    const char* summary;
};

const std::vector<DeviceModel>& device_models();
const DeviceModel* find_device_model(const std::string& model);  // nullptr: unknown
// By what a device says of itself: an AHCI controller is one by its class, whoever made it.
const DeviceModel* find_device_model(std::uint16_t vendor, std::uint16_t device, std::uint32_t class_code);
// Of the model of that name; an unknown one is a network card.
DeviceKind kind_of(const std::string& model);
std::vector<std::string> device_model_names();

inline constexpr std::uint32_t ahci_class = 0x010601;

std::vector<std::string> placement_names();
bool find_placement(const std::string& name, Placement& placement);
const char* summary_of(Placement placement);

std::vector<std::string> iova_allocator_names();

std::vector<std::string> strategy_names();
const Strategy* find_strategy(const std::string& name);

// Protection as the record has it: {granularity, window} of what a stray DMA reaches, and each pair by its
// name, with those parameters. `page_size`: by which the strategy maps; 0: what the placement has.
nlohmann::json protection_json(const Strategy& strategy, Placement placement, const StrategySettings& settings = {},
                               std::uint64_t page_size = 0);
// Whether the placement can map by pages of 2 MiB under that strategy, at the price of less protection.
bool loses_by_large_pages(const Strategy& strategy, Placement placement);
std::string window_text(const Window& window);

// Everything at once, for `dmatoll list --json`.
nlohmann::json catalogue_json();

}  // namespace dmatoll::harness
