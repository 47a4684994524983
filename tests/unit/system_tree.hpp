// SPDX-License-Identifier: BSD-2-Clause
// A sysfs and a procfs made of files, with one network card.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <string>

#include "failure.hpp"
#include "file.hpp"
#include "target/pci.hpp"
#include "target/system.hpp"

namespace dmatoll::harness {

inline constexpr const char* nic = "0000:00:04.0";

class TargetTest : public testing::Test {
  protected:
    TargetTest() {
        std::string pattern = (fs::temp_directory_path() / "dmatoll-target-XXXXXX").string();
        root_ = ::mkdtemp(pattern.data());
        before_ = system_paths();
        system_paths() = {root_ / "sys", root_ / "proc", root_ / "run"};
        fs::create_directories(root_ / "sys/bus/pci/devices");
        fs::create_directories(root_ / "proc/net");
        put("proc/net/route", "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\n");
        device(nic, "0x100e", "0x020000", 1);
    }
    ~TargetTest() override {
        system_paths() = before_;
        fs::remove_all(root_);
    }

    void put(const std::string& path, const std::string& text) {
        fs::create_directories((root_ / path).parent_path());
        std::ofstream{root_ / path} << text;
    }
    void device(const std::string& bdf, const std::string& id, const std::string& class_code, int group) {
        const std::string folder = "sys/bus/pci/devices/" + bdf;
        put(folder + "/vendor", "0x8086\n");
        put(folder + "/device", id + "\n");
        put(folder + "/class", class_code + "\n");
        put(folder + "/driver_override", "(null)\n");
        if (group < 0) return;
        const fs::path home = root_ / "sys/kernel/iommu_groups" / std::to_string(group);
        fs::create_directories(home / "devices" / bdf);
        std::ofstream{home / "type"} << "DMA-FQ\n";
        fs::create_symlink(home, root_ / folder / "iommu_group");
    }
    void default_route_over(const std::string& bdf, const std::string& interface) {
        fs::create_directories(device_path(bdf) / "net" / interface);
        put("proc/net/route", "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\n" +
                                  interface + "\t00000000\t0100A8C0\t0003\t0\t0\t0\t00000000\t0\n");
    }
    template <class Action>
    static std::string complaint(Action&& action) {
        try {
            action();
        } catch (const Failure& failure) {
            return failure.what();
        }
        return "no complaint";
    }

    fs::path root_;
    SystemPaths before_;
};

}  // namespace dmatoll::harness
