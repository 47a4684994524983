// SPDX-License-Identifier: BSD-2-Clause
#include "driver.hpp"

#include "../catalogue.hpp"
#include "../failure.hpp"
#include "../process.hpp"
#include "../text.hpp"
#include "kernel_driver.hpp"
#include "pci.hpp"
#include "stock_disk_driver.hpp"
#include "stock_driver.hpp"
#include "user_driver.hpp"

namespace dmatoll::harness {

void Driver::make_fault(const std::string& how) { fail("This driver takes no order to fail ({})", how); }

nlohmann::json Driver::command(const std::string& line) { fail("This driver copies no memory on command ({})", line); }

std::unique_ptr<Driver> start_driver(const Trial& trial, const std::string& bdf, Ownership& ownership,
                                     int cpu) {
    const Strategy* strategy = find_strategy(trial.strategy);
    Placement placement{};
    if (!strategy || !find_placement(trial.placement, placement) || !strategy->runs_in(placement))
        fail("The strategy {} does not run in the placement {}", trial.strategy, trial.placement);
    const PciDevice device = pci_device(bdf);
    const DeviceModel* model = find_device_model(device.vendor, device.device, device.class_code);
    if (!model || trial.device != model->model)
        throw Unavailable{fmt::format("{} is {:04x}:{:04x}, not the {} that the trial asks for", bdf,
                                      device.vendor, device.device, trial.device)};
    if (!device.group)
        throw Unavailable{
            fmt::format("{} has no IOMMU group: no IOMMU is active here; `dmatoll doctor` says more", bdf)};
    require_own_group(device, "the strategy " + trial.strategy);

    ownership.unbind(bdf);
    switch (placement) {
        case Placement::stock:
            if (model->kind == DeviceKind::disk)
                return std::make_unique<StockDiskDriver>(*strategy, *model, bdf, ownership);
            return std::make_unique<StockDriver>(trial, *strategy, *model, bdf, ownership);
        case Placement::kernel:
            return std::make_unique<KernelDriver>(trial, *strategy, bdf, ownership, cpu);
        case Placement::user:
            return std::make_unique<UserDriver>(trial, bdf, ownership, cpu);
    }
    fail("The placement {} is unknown", trial.placement);
}

Disk wait_for_disk(Driver& driver, const std::string& bdf, unsigned port, double seconds) {
    const double deadline = now_seconds() + seconds;
    for (;;) {
        const auto disks = driver.disks();
        for (const auto& disk : disks)
            // Without its file it is not finished.
            if (disk.port == port && fs::exists("/dev/" + disk.name)) return Disk{disk.name};
        driver.require_alive();
        if (now_seconds() >= deadline) {
            std::vector<std::string> there;
            for (const auto& disk : disks) there.push_back(fmt::format("{} at port {}", disk.name,
                                                                     disk.port ? std::to_string(*disk.port) : "(unknown)"));
            const std::string log = kernel_log_about(bdf);
            fail("{} has no disk at port {} within {} s; it has {}{}", bdf, port, seconds,
                 there.empty() ? "none" : join(there, ", "), log.empty() ? "" : ". The kernel said:\n" + log);
        }
        sleep_seconds(0.02);
    }
}

}  // namespace dmatoll::harness
