// SPDX-License-Identifier: BSD-2-Clause
#include <fmt/format.h>

#include "../catalogue.hpp"
#include "../failure.hpp"
#include "../process.hpp"
#include "../target/disk.hpp"
#include "../target/ownership.hpp"
#include "../target/pci.hpp"
#include "../target/system.hpp"
#include "../text.hpp"
#include "commands.hpp"

namespace dmatoll::harness::cli {
namespace {

nlohmann::json device_json(const PciDevice& device, const DeviceModel& model) {
    nlohmann::json json{{"bdf", device.bdf},
                        {"pci_id", fmt::format("{:04x}:{:04x}", device.vendor, device.device)},
                        {"model", model.model},
                        {"driver", device.driver},
                        {"interfaces", device.interfaces},
                        {"default_route", device.default_route},
                        {"disks", nlohmann::json::array()},
                        {"group_companions", group_companions(device)}};
    for (const auto& disk : disks_of(device.bdf)) json["disks"].push_back(disk.name);
    if (device.group) {
        json["group"] = *device.group;
        json["group_type"] = device.group_type;
    }
    return json;
}

void print_devices(bool as_json) {
    nlohmann::json list = nlohmann::json::array();
    for (const auto& device : pci_devices())
        if (const DeviceModel* model = find_device_model(device.vendor, device.device, device.class_code))
            list.push_back(device_json(device, *model));
    if (as_json) {
        fmt::print("{}\n", list.dump(2));
        return;
    }
    if (list.empty()) {
        fmt::print(
            "This machine has no network card or disk controller that dmatoll can drive (it drives: {}). The "
            "emulated lab has them: dmatoll run quick\n",
            join(device_model_names(), ", "));
        return;
    }
    fmt::print("{:13} {:10} {:9} {:12} {:14} {}\n", "address", "id", "model", "driver", "interface/disk",
               "IOMMU group");
    for (const auto& device : list) {
        auto interfaces = device["interfaces"].get<std::vector<std::string>>();
        for (const auto& disk : device["disks"]) interfaces.push_back(disk.get<std::string>());
        const auto companions = device["group_companions"].get<std::vector<std::string>>();
        fmt::print("{:13} {:10} {:9} {:12} {:14} {}{}{}\n", device["bdf"].get<std::string>(),
                   device["pci_id"].get<std::string>(), device["model"].get<std::string>(),
                   device["driver"].get<std::string>(), join(interfaces, ","),
                   device.contains("group") ? fmt::format("{} ({})", device["group"].get<int>(),
                                                          device["group_type"].get<std::string>())
                                            : "none: no IOMMU is active",
                   companions.empty() ? "" : ", shared with " + join(companions, ", "),
                   device["default_route"].get<bool>() ? "; carries the default route" : "");
    }
}

void bind_device(const std::string& bdf, const std::string& driver, bool force) {
    const PciDevice device = pci_device(bdf);
    require_drivable(device);
    require_free(device, force);
    if (driver == "vfio-pci") require_own_group(device, "VFIO");
    Ownership ownership;
    const bool loaded = fs::exists(system_paths().sys / "bus/pci/drivers" / driver);
    if (!loaded) {
        const Ended known = run({.arguments = {"modprobe", "--dry-run", driver}});
        if (known.status != 0)
            fail("There is no PCI driver '{}', and no module of that name: {}", driver, trim(known.error));
    }
    ownership.take(bdf, force);
    try {
        if (!loaded) run_or_fail({.arguments = {"modprobe", driver}}, "load the driver " + driver);
        bind_driver(bdf, driver);
    } catch (const Failure& failure) {
        fail("{}\n`dmatoll restore` gives {} back{}", failure.what(), bdf,
             device.driver.empty() ? "" : " to " + device.driver);
    }
    fmt::print("{} is with {} now; `dmatoll restore` gives it back{}\n", bdf, driver,
               device.driver.empty() ? "" : " to " + device.driver);
}

int restore_devices(bool force) {
    Ownership ownership;
    const auto report = ownership.restore(force);
    for (const auto& line : report.done) fmt::print("{}\n", line);
    for (const auto& line : report.problems) fmt::print(stderr, "not restored: {}\n", line);
    if (report.done.empty() && report.problems.empty()) fmt::print("Nothing was taken.\n");
    return report.problems.empty() ? 0 : failed_status;
}

}  // namespace

void add_devices(CLI::App& program, Outcome& outcome) {
    auto* devices =
        program.add_subcommand("devices", "Lists this machine's network cards and disk controllers that dmatoll can drive");
    auto json = std::make_shared<bool>(false);
    devices->add_flag("--json", *json, "as a JSON array");
    devices->callback([json] { print_devices(*json); });

    struct Bind {
        std::string bdf, driver;
        bool force = false;
    };
    auto options = std::make_shared<Bind>();
    auto* bind_command =
        program.add_subcommand("bind", "Takes a device from its driver and gives it to another");
    bind_command->add_option("BDF", options->bdf, "PCI address, as `dmatoll devices` prints it")->required();
    bind_command->add_option("DRIVER", options->driver, "for example vfio-pci, dmatoll-net, dmatoll-blk, e1000")
        ->required();
    bind_command->add_flag("--force", options->force, "even if it carries this machine's default route, or its disks are in use");
    bind_command->footer(
        "How the device was is written down first: `dmatoll restore` undoes it, even after a crash.");
    bind_command->callback([options] { bind_device(options->bdf, options->driver, options->force); });

    auto* restore =
        program.add_subcommand("restore", "Gives back every device that dmatoll took, as it was before");
    auto force = std::make_shared<bool>(false);
    restore->add_flag("--force", *force, "even if disks of it are in use, whose data may be lost");
    restore->callback([force, &outcome] { outcome.status = restore_devices(*force); });
}

}  // namespace dmatoll::harness::cli
