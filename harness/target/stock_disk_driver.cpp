// SPDX-License-Identifier: BSD-2-Clause
#include "stock_disk_driver.hpp"

#include "../../drivers/core/address.hpp"
#include "../failure.hpp"
#include "../process.hpp"
#include "../text.hpp"
#include "pci.hpp"
#include "system.hpp"

namespace dmatoll::harness {
namespace {

// Makes disks of what the controller's driver finds. It stays until all is given back.
constexpr const char* disk_module = "sd_mod";

void load(const std::string& module) {
    const Ended loaded = run({.arguments = {"modprobe", module}});
    if (loaded.status != 0)
        throw Unavailable{
            fmt::format("The distribution's driver {} cannot be loaded: {}", module, trim(loaded.error))};
}

}  // namespace

StockDiskDriver::StockDiskDriver(const Strategy& strategy, const DeviceModel& model, const std::string& bdf,
                                 Ownership& ownership)
    : ownership_{ownership},
      bdf_{bdf},
      driver_{model.stock_driver},
      own_module_{!fs::exists(system_paths().sys / "module" / driver_)} {
    if (!fs::exists(system_paths().sys / "module" / disk_module)) {
        ownership.note_module(disk_module);
        load(disk_module);
    }
    // Loaded before, it would take the device while the type of its group is being changed.
    set_driver_override(bdf, driver_);
    set_group_type(bdf, name_of(strategy.domain));
    if (own_module_) ownership.note_module(driver_);
    load(driver_);
    try {
        bind_driver(bdf_, driver_);
    } catch (...) {
        stop();
        throw;
    }
}

StockDiskDriver::~StockDiskDriver() {
    try {
        stop();
    } catch (const std::exception&) {
        // The ownership file still tells how the device was.
    }
}

nlohmann::json StockDiskDriver::effective() {
    const PciDevice device = pci_device(bdf_);
    return {{"domain", device.group_type}, {"page_size", page_bytes}, {"driver", device.driver}};
}

void StockDiskDriver::require_alive() {
    if (pci_device(bdf_).driver != driver_) fail("{} is no longer bound to {}", bdf_, driver_);
}

void StockDiskDriver::stop() {
    ownership_.unbind(bdf_);
    if (own_module_ && fs::exists(system_paths().sys / "module" / driver_))
        run_or_fail({.arguments = {"rmmod", driver_}}, "remove the module " + driver_);
}

}  // namespace dmatoll::harness
